// SPDX-License-Identifier: MIT
/*
 * Tracked contexts are contexts of the driver, made, put and freed by its own code.
 * The mock part is what the free of a context needs and gives back. As
 * the driver has no hook there, the last reference that a context drops to its
 * syncobj, and that to its fence, serves as one.
 */

#include <kunit/static_stub.h>

#include <linux/debug_locks.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>

#include <drm/drm_drv.h>
#include <drm/drm_syncobj.h>

#include <trace/events/printk.h>

#include "gem/i915_gem_context_types.h"
#include "i915_drv.h"

#include "i915_gem_context_mock.h"

/* Without page tables, a context is all that there is to free */
static const struct intel_device_info mock_info = MOCK_DEVICE_INFO(12, INTEL_PPGTT_NONE);

static void mock_device_test_release(struct drm_device *drm)
{
	i915_gem_context_test_ops.release_device(drm);
}

static const struct drm_driver mock_drm_driver = {
	.name = "mock",
	.driver_features = DRIVER_GEM,
	.release = mock_device_test_release,
};

static void destroy_device(void *mock_device)
{
	struct mock_device *mock = mock_device;

	mock->ops->destroy_device(mock->i915);
	mock->i915 = NULL;
}

static void blocker_fn(struct work_struct *work)
{
	struct mock_device *mock = container_of(work, typeof(*mock), blocker);

	wait_for_completion(&mock->unblock);
}

/*
 * WARN(), lockdep, KASAN and might_sleep() all print one of these. Taints stay set once
 * they are, and only some of these disable lockdep.
 */
static void count_warning(void *mock_device, const char *text, size_t len)
{
	struct mock_device *mock = mock_device;

	if (strnstr(text, "WARNING: ", len) || strnstr(text, "BUG: ", len))
		atomic_inc(&mock->warnings);
}

/* Runs last, so that a warning of the device's own end is also seen. */
static void expect_no_warning(void *kunit)
{
	struct kunit *test = kunit;
	struct mock_device *mock = test->priv;

	unregister_trace_console(count_warning, mock);
	tracepoint_synchronize_unregister();
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mock->warnings), 0,
			    "the kernel warned, see its log");
}

static void destroy_ida(void *ida)
{
	ida_destroy(ida);
}

static int mock_device_test_init_for(struct kunit *test, const struct drm_driver *driver,
				     const struct intel_device_info *info)
{
	struct mock_device *mock;
	int err;

	mock = kunit_kzalloc(test, sizeof(*mock), GFP_KERNEL);
	if (!mock)
		return -ENOMEM;

	test->priv = mock;
	mock->debug_locks = debug_locks;
	/* Without CONFIG_TRACEPOINTS, only the log tells of warnings */
	if (!register_trace_console(count_warning, mock)) {
		err = kunit_add_action_or_reset(test, expect_no_warning, test);
		if (err)
			return err;
	}

	spin_lock_init(&mock->struct_mutex);
	INIT_LIST_HEAD(&mock->contexts);
	INIT_LIST_HEAD(&mock->clients);
	INIT_WORK(&mock->blocker, blocker_fn);
	init_completion(&mock->unblock);
	ida_init(&mock->hw_ida);
	err = kunit_add_action_or_reset(test, destroy_ida, &mock->hw_ida);
	if (err)
		return err;

	mock->ops = &i915_gem_context_test_ops;
	mock->i915 = mock->ops->create_device(driver, info, "mock");
	if (!mock->i915)
		return -ENOMEM;

	return kunit_add_action_or_reset(test, destroy_device, mock);
}

/**
 * mock_device_test_init - for &kunit_suite.init: make a mock device for tracked contexts
 * @test: the test, whose priv will be the &struct mock_device
 *
 * Context: Process context.
 * Return: 0 on success, a negative error code if there is no memory.
 */
int mock_device_test_init(struct kunit *test)
{
	return mock_device_test_init_for(test, &mock_drm_driver, &mock_info);
}

/**
 * mock_device_test_exit - for &kunit_suite.exit: what holds after every test
 * @test: the test
 *
 * Puts what an aborted test has left behind, and expects that all contexts are
 * then freed, first by the worker alone, that their ids came back, and that lockdep
 * did not complain during the test, if it had not done so before. The kernel must not
 * warn before the end of the device.
 *
 * Context: Process context.
 */
void mock_device_test_exit(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t, *tn;

	if (!mock || !mock->i915)
		return;

	mock_device_unblock_queue(mock);
	list_for_each_entry_safe(t, tn, &mock->contexts, link)
		tracked_context_destroy(t);
	/* By the worker alone, before the drain */
	KUNIT_EXPECT_TRUE_MSG(test, mock_device_wait_freed(mock),
			      "the worker does not free what was released");
	mock->ops->drain(mock->i915);

	KUNIT_EXPECT_EQ_MSG(test, mock->freed, mock->created, "contexts are lost");
	KUNIT_EXPECT_TRUE_MSG(test, ida_is_empty(&mock->hw_ida), "ids are lost");
	KUNIT_EXPECT_TRUE_MSG(test, list_empty(&mock->i915->gem.contexts.list),
			      "contexts are lost");

	KUNIT_EXPECT_EQ(test, atomic_read(&mock->i915->mm.free_count), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&mock->i915->gem.reclaim.closed), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&mock->i915->gem.reclaim.pending), 0);

	KUNIT_EXPECT_EQ_MSG(test, debug_locks, mock->debug_locks,
			    "lockdep complained, see the kernel log");
}

/**
 * mock_device_block_queue - block the ordered workqueue
 * @mock: the device
 *
 * Until mock_device_unblock_queue() or the end of the test.
 *
 * Context: Any context.
 */
void mock_device_block_queue(struct mock_device *mock)
{
	reinit_completion(&mock->unblock);
	mock->blocked = queue_work(mock->i915->wq, &mock->blocker);
}

/**
 * mock_device_unblock_queue - undo mock_device_block_queue(), if it was called
 * @mock: the device
 *
 * Context: Process context. May sleep.
 */
void mock_device_unblock_queue(struct mock_device *mock)
{
	if (!mock->blocked)
		return;

	mock->blocked = false;
	complete(&mock->unblock);
	flush_work(&mock->blocker);
}

/**
 * mock_device_wait_freed - wait until the worker has freed all that was released
 * @mock: the device
 *
 * Frees nothing and does not queue or hurry the worker, so that a worker that was
 * not queued is not overlooked.
 *
 * Context: Process context. May sleep.
 * Return: False if something is left after %PATIENCE.
 */
bool mock_device_wait_freed(struct mock_device *mock)
{
	const unsigned long end = jiffies + PATIENCE;

	do {
		if (mock->ops->all_freed(mock->i915))
			return true;
		schedule_timeout_uninterruptible(1);
	} while (time_before(jiffies, end));

	return mock->ops->all_freed(mock->i915);
}

static void stub_gt(struct intel_gt *gt)
{
}

/**
 * mock_device_stub_gt - have driver remove and release leave the GT alone
 * @test: the test
 *
 * A mock device calls intel_gt_driver_remove() when it is destroyed, and does not have
 * what intel_gt_driver_release() releases. In effect until the end of the test.
 *
 * Context: Process context, the thread of the test.
 */
void mock_device_stub_gt(struct kunit *test)
{
	struct mock_device *mock = test->priv;

	kunit_activate_static_stub(test, mock->ops->gt_driver_remove, stub_gt);
	kunit_activate_static_stub(test, mock->ops->gt_driver_release, stub_gt);
}

static int call_thread(void *data)
{
	struct call *call = data;

	current->kunit_test = call->test;
	/* As for the task of a user */
	allow_signal(SIGKILL);
	allow_signal(SIGUSR1);
	call->ret = call->fn(call->data);
	kthread_complete_and_exit(&call->done, 0);
}

static void call_join(void *data)
{
	struct call *call = data;

	if (!call->ended)
		wait_for_completion(&call->done);
	put_task_struct(call->task);
}

/**
 * call_start - call something in a thread of its own, or end the test
 * @test: the test, which does not end before the call
 * @fn: what to call
 * @data: its argument
 *
 * Context: Process context, the thread of the test. May sleep.
 * Return: The call.
 */
struct call *call_start(struct kunit *test, int (*fn)(void *data), void *data)
{
	struct call *call;

	call = kunit_kzalloc(test, sizeof(*call), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, call);

	call->test = test;
	call->fn = fn;
	call->data = data;
	init_completion(&call->done);
	call->task = kthread_create(call_thread, call, "i915-call");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, call->task);
	get_task_struct(call->task);
	wake_up_process(call->task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, call_join, call), 0);

	return call;
}

/* What call_start_flush() calls */
struct flush_call {
	struct drm_i915_private *i915;
	void (*flush)(struct drm_i915_private *i915);
};

static int call_flush(void *data)
{
	struct flush_call *f = data;

	f->flush(f->i915);

	return 0;
}

/**
 * call_start_flush - flush the device in a thread of its own, or end the test
 * @test: the test
 * @flush: such as &i915_gem_context_test_ops.flush
 *
 * Context: Process context, the thread of the test. May sleep.
 * Return: The call.
 */
struct call *call_start_flush(struct kunit *test,
			      void (*flush)(struct drm_i915_private *i915))
{
	struct mock_device *mock = test->priv;
	struct flush_call *f;

	f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f);
	f->i915 = mock->i915;
	f->flush = flush;

	return call_start(test, call_flush, f);
}

/**
 * call_wait - has the call ended?
 * @call: the call
 * @timeout: how many jiffies to wait for that
 *
 * Context: Process context. May sleep.
 * Return: True if it has.
 */
bool call_wait(struct call *call, unsigned long timeout)
{
	if (!call->ended)
		call->ended = wait_for_completion_timeout(&call->done, timeout);

	return call->ended;
}

/**
 * call_end - wait until the call has ended
 * @test: the test
 * @call: the call, whose &call.ret is valid then
 *
 * Context: Process context, the thread of the test. May sleep.
 */
void call_end(struct kunit *test, struct call *call)
{
	kunit_release_action(test, call_join, call);
}

static int rcu_reader_fn(void *data)
{
	const unsigned long end = jiffies + PATIENCE;
	struct rcu_reader *reader = data;

	rcu_read_lock();
	complete(&reader->reading);
	while (!READ_ONCE(reader->stop) && time_before(jiffies, end))
		cpu_relax();
	rcu_read_unlock();

	return 0;
}

/**
 * rcu_reader_start - start an RCU read-side critical section in another thread
 * @test: the test, which needs two CPUs
 *
 * It lasts until rcu_reader_end(), or for %PATIENCE.
 *
 * Context: Process context, the thread of the test. May sleep.
 * Return: The reader.
 */
struct rcu_reader *rcu_reader_start(struct kunit *test)
{
	struct rcu_reader *reader;

	reader = kunit_kzalloc(test, sizeof(*reader), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, reader);
	init_completion(&reader->reading);
	reader->call = call_start(test, rcu_reader_fn, reader);
	wait_for_completion(&reader->reading);

	return reader;
}

/**
 * rcu_reader_end - end the critical section of rcu_reader_start()
 * @test: the test
 * @reader: the reader
 *
 * Context: Process context, the thread of the test. May sleep.
 */
void rcu_reader_end(struct kunit *test, struct rcu_reader *reader)
{
	WRITE_ONCE(reader->stop, true);
	call_end(test, reader->call);
}

static const char *mock_fence_name(struct dma_fence *fence)
{
	return "mock";
}

/* For a fence that a test signals by itself */
const struct dma_fence_ops test_fence_ops = {
	.get_driver_name = mock_fence_name,
	.get_timeline_name = mock_fence_name,
};

static void tracked_context_free(struct dma_fence *fence)
{
	struct tracked_context *t = container_of(fence, typeof(*t), fence);
	struct mock_device *mock = t->mock;
	bool seen;

	seen = mock->ops->freeing_held(mock->i915);
	mock->ops->poison_free_link(t->ctx);

	if (t->free_fn)
		t->free_fn(t);

	spin_lock(&mock->struct_mutex);
	ida_free(&mock->hw_ida, t->hw_id);
	mock->freed_unseen += !seen;
	/* Pairs with smp_load_acquire() in tracked_context_is_freed() */
	smp_store_release(&t->freed, ++mock->freed);
	spin_unlock(&mock->struct_mutex);
}

static const struct dma_fence_ops mock_fence_ops = {
	.get_driver_name = mock_fence_name,
	.get_timeline_name = mock_fence_name,
	.release = tracked_context_free,
};

/**
 * tracked_context_init - have the driver make a context
 * @t: the tracked context, zeroed
 * @mock: the device
 *
 * Context: Process context, any thread. May sleep.
 * Return: 0 on success, a negative error code if there is no memory.
 */
int tracked_context_init(struct tracked_context *t, struct mock_device *mock)
{
	struct drm_syncobj *syncobj;
	struct i915_gem_context *ctx;
	int err;

	t->mock = mock;

	/* Before the id is allocated, as the reap may give one back */
	ctx = mock->ops->create(mock->i915);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	t->hw_id = ida_alloc(&mock->hw_ida, GFP_KERNEL);
	if (t->hw_id < 0) {
		err = t->hw_id;
		goto err_ctx;
	}

	err = drm_syncobj_create(&syncobj, 0, NULL);
	if (err)
		goto err_id;

	dma_fence_init(&t->fence, &mock_fence_ops, NULL, dma_fence_context_alloc(1), 1);
	drm_syncobj_replace_fence(syncobj, &t->fence);
	dma_fence_put(&t->fence);
	ctx->syncobj = syncobj;
	t->ctx = ctx;

	spin_lock(&mock->struct_mutex);
	list_add(&t->link, &mock->contexts);
	mock->created++;
	spin_unlock(&mock->struct_mutex);

	return 0;

err_id:
	ida_free(&mock->hw_ida, t->hw_id);
err_ctx:
	mock->ops->close(ctx);
	return err;
}

/**
 * tracked_contexts_create - have the driver make contexts, or end the test
 * @test: the test
 * @count: how many
 *
 * Context: Process context, the thread of the test. May sleep.
 * Return: An array of tracked contexts, which goes with the test.
 */
struct tracked_context *tracked_contexts_create(struct kunit *test, unsigned int count)
{
	struct tracked_context *t;
	unsigned int i;

	t = kunit_kcalloc(test, count, sizeof(*t), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t);

	for (i = 0; i < count; i++)
		KUNIT_ASSERT_EQ(test, tracked_context_init(&t[i], test->priv), 0);

	return t;
}

/**
 * tracked_context_close - close the context, and leave the last reference to the caller
 * @t: the tracked context
 *
 * Context: Process context, any thread. May sleep.
 */
void tracked_context_close(struct tracked_context *t)
{
	struct mock_device *mock = t->mock;

	spin_lock(&mock->struct_mutex);
	list_del(&t->link);
	spin_unlock(&mock->struct_mutex);

	kref_get(&t->ctx->ref);
	mock->ops->close(t->ctx);
}

/**
 * tracked_context_put - drop the reference that tracked_context_close() left
 * @t: the tracked context
 *
 * Context: Any context.
 */
void tracked_context_put(struct tracked_context *t)
{
	kref_put(&t->ctx->ref, t->mock->ops->release);
}

/**
 * tracked_context_destroy - close the context, and drop the last reference
 * @t: the tracked context
 *
 * Context: Process context, any thread. May sleep.
 */
void tracked_context_destroy(struct tracked_context *t)
{
	tracked_context_close(t);
	tracked_context_put(t);
}

/**
 * tracked_context_is_freed - has the driver freed the context?
 * @t: the tracked context
 *
 * Context: Any context.
 * Return: True if it has, and then the caller sees all that the free has done.
 */
bool tracked_context_is_freed(const struct tracked_context *t)
{
	/* Pairs with smp_store_release() in tracked_context_free() */
	return smp_load_acquire(&t->freed);
}

/**
 * tracked_context_hold - for &tracked_context.free_fn: hold up whoever frees
 * @t: the tracked context
 *
 * Spins, as a fence is released under RCU, until tracked_context_let_go() or for
 * ten seconds: to be used with two CPUs.
 *
 * Context: Any context.
 */
void tracked_context_hold(struct tracked_context *t)
{
	const unsigned long end = jiffies + PATIENCE;

	WRITE_ONCE(t->being_freed, true);
	while (!READ_ONCE(t->let_go) && time_before(jiffies, end))
		cpu_relax();
}

/**
 * tracked_context_wait_being_freed - wait until the free is in tracked_context_hold()
 * @test: the test, which ends if it does not come to that
 * @t: the tracked context
 *
 * Context: Process context, the thread of the test. Spins.
 */
void tracked_context_wait_being_freed(struct kunit *test, struct tracked_context *t)
{
	const unsigned long end = jiffies + PATIENCE;

	while (!READ_ONCE(t->being_freed) && time_before(jiffies, end))
		cpu_relax();
	KUNIT_ASSERT_TRUE_MSG(test, READ_ONCE(t->being_freed), "nobody frees the context");
}

/**
 * tracked_context_let_go - end tracked_context_hold()
 * @t: the tracked context
 *
 * Context: Any context.
 */
void tracked_context_let_go(struct tracked_context *t)
{
	WRITE_ONCE(t->let_go, true);
}

static int client_driver_open(struct drm_device *drm, struct drm_file *file)
{
	return i915_gem_context_test_ops.open(to_i915(drm), file);
}

static void client_driver_postclose(struct drm_device *drm, struct drm_file *file)
{
	i915_gem_context_test_ops.postclose(to_i915(drm), file);
}

static const struct file_operations client_fops = {
	.owner = THIS_MODULE,
	.release = drm_release_noglobal,
};

static const struct drm_driver client_driver = {
	.name = "mock",
	.driver_features = DRIVER_GEM | DRIVER_SYNCOBJ,
	.fops = &client_fops,
	.open = client_driver_open,
	.postclose = client_driver_postclose,
	.release = mock_device_test_release,
};

/**
 * mock_client_open - open a file, or end the test
 * @test: the test
 *
 * Context: Process context, the thread of the test. May sleep.
 * Return: The file, which mock_client_close() or the end of the test closes.
 */
struct mock_client *mock_client_open(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct mock_client *client;

	client = kunit_kzalloc(test, sizeof(*client), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, client);
	client->mock = mock;

	client->filp = mock_drm_getfile(mock->i915->drm.primary, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, client->filp);
	client->file = client->filp->private_data;
	list_add(&client->link, &mock->clients);

	return client;
}

/**
 * mock_client_close - close a file
 * @client: the file
 *
 * Context: Process context. May sleep.
 */
void mock_client_close(struct mock_client *client)
{
	list_del(&client->link);
	__fput_sync(client->filp);
}

/**
 * mock_client_test_init - for &kunit_suite.init: make a mock device that can be opened
 * @test: the test, whose priv will be the &struct mock_device
 * @info: what kind of device, such as MOCK_CLIENT_INFO()
 *
 * Context: Process context.
 * Return: 0 on success, a negative error code if there is no memory.
 */
int mock_client_test_init(struct kunit *test, const struct intel_device_info *info)
{
	struct mock_device *mock;
	int err;

	err = mock_device_test_init_for(test, &client_driver, info);
	if (err)
		return err;

	mock = test->priv;
	DRIVER_CAPS(mock->i915)->has_logical_contexts = true;

	return 0;
}

/**
 * mock_client_test_exit - for &kunit_suite.exit: close all files
 * @test: the test
 *
 * See mock_device_test_exit().
 *
 * Context: Process context.
 */
void mock_client_test_exit(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct mock_client *client, *cn;

	if (!mock || !mock->i915)
		return;

	mock_device_unblock_queue(mock);
	list_for_each_entry_safe(client, cn, &mock->clients, link)
		mock_client_close(client);
	mock_device_test_exit(test);
}
