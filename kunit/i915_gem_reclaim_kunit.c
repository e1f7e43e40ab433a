// SPDX-License-Identifier: MIT
/*
 * What a dead context holds comes back: its address space, page tables and engines
 * are bounded while clients create and destroy, on a mock device.
 */

#include <linux/completion.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/rbtree.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "gem/i915_gem_context_types.h"
#include "gt/intel_gtt.h"
#include "i915_drv.h"
#include "i915_vma_resource.h"

#include "i915_gem_context_mock.h"

/* More than anything here takes under emulation, unless it never ends */
#define PATIENCE	(10 * HZ)

/* An address space that tells when it is cleaned up, and can hold that up. */
struct watched_vm {
	struct i915_address_space *vm;
	void (*cleanup)(struct i915_address_space *vm);
	struct completion cleaning;
	struct completion let_go;
	bool hold;
	bool cleaned;
};

/* One test runs at a time */
static struct watched_vm *watched;
static unsigned int watched_count;

static void watched_cleanup(struct i915_address_space *vm)
{
	struct watched_vm *w = watched;

	/* The memory of one that is gone may be used again */
	while (w->vm != vm || w->cleaned)
		w++;

	complete(&w->cleaning);
	if (w->hold)
		wait_for_completion_timeout(&w->let_go, PATIENCE);
	w->cleanup(vm);
	WRITE_ONCE(w->cleaned, true);
}

static struct watched_vm *watch_vm(struct i915_address_space *vm)
{
	struct watched_vm *w = &watched[watched_count++];

	w->vm = vm;
	w->cleanup = vm->cleanup;
	init_completion(&w->cleaning);
	init_completion(&w->let_go);
	vm->cleanup = watched_cleanup;

	return w;
}

static unsigned int count_alive(void)
{
	unsigned int alive = 0, i;

	for (i = 0; i < watched_count; i++)
		alive += !READ_ONCE(watched[i].cleaned);

	return alive;
}

/* A context with an address space of its own, which exists. */
static struct watched_vm *create_watched(struct kunit *test, struct mock_client *client, u32 *id)
{
	KUNIT_ASSERT_EQ(test, create_context(client, 0, id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, *id), 0);

	return watch_vm(find_context(client, *id)->vm);
}

/* Nobody but creations can free: no worker runs. */
static void vms_bounded_by_creations(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	unsigned int most = 0, i;
	u32 id;

	mock_device_block_queue(client->mock);
	for (i = 0; i < 200; i++) {
		create_watched(test, client, &id);
		KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
		most = max(most, count_alive());
		KUNIT_EXPECT_EQ(test, waiting(client), 1);
	}
	KUNIT_EXPECT_EQ(test, most, 1);
	mock_device_unblock_queue(client->mock);
}

/* A backlog shrinks with each creation, of a context, of a vm or of a file. */
static void vms_backlog_shrinks(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	unsigned int i, alive;
	u32 id[16];

	for (i = 0; i < ARRAY_SIZE(id); i++)
		create_watched(test, client, &id[i]);
	mock_device_block_queue(client->mock);
	for (i = 0; i < ARRAY_SIZE(id); i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
	KUNIT_EXPECT_EQ(test, count_alive(), ARRAY_SIZE(id));

	for (alive = ARRAY_SIZE(id), i = 0; alive; i++) {
		switch (i % 3) {
		case 0:
			KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[0]), 0);
			break;
		case 1:
			create_vm(test, client);
			break;
		case 2:
			mock_client_open(test);
			break;
		}
		/* Two contexts, with an address space each */
		KUNIT_ASSERT_EQ(test, count_alive(), alive - I915_GEM_RECLAIM_BATCH / 2);
		alive = count_alive();
	}
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
	mock_device_unblock_queue(client->mock);
}

/* The page tables of a vm that a creation has freed do not wait for a worker. */
static void objects_flushed_by_creation(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	u32 id;

	create_watched(test, client, &id);
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id), 0);
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
	mock_device_unblock_queue(client->mock);
}

/* An object that is put while nothing else is freed has the worker queued as well. */
static void objects_freed_by_worker(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct drm_i915_gem_create create = { .size = PAGE_SIZE };

	KUNIT_ASSERT_EQ(test, client->mock->ops->gem_create(&i915->drm, &create, client->file), 0);
	client->mock->ops->flush(i915);
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, drm_gem_handle_delete(client->file, create.handle), 0);
	KUNIT_EXPECT_FALSE(test, llist_empty(&i915->mm.free_list));
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&i915->gem.reclaim.free_work));
	mock_device_unblock_queue(client->mock);

	client->mock->ops->run_worker(i915);
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
}

/* The last put of a vm, where it was to be done */
struct vm_put {
	const char *description;
	void (*put)(struct i915_address_space *vm);
};

struct put_vm_work {
	struct irq_work irq_work;
	struct rcu_head rcu;
	struct i915_address_space *vm;
	struct completion done;
};

static void put_in_process(struct i915_address_space *vm)
{
	i915_gem_context_test_ops.put_vm(vm);
}

static void put_vm_irq_work(struct irq_work *work)
{
	i915_gem_context_test_ops.put_vm(container_of(work, struct put_vm_work, irq_work)->vm);
}

static void put_in_hardirq(struct i915_address_space *vm)
{
	struct put_vm_work w = { .irq_work = IRQ_WORK_INIT_HARD(put_vm_irq_work), .vm = vm };

	irq_work_queue(&w.irq_work);
	irq_work_sync(&w.irq_work);
}

static void put_vm_rcu(struct rcu_head *rcu)
{
	struct put_vm_work *w = container_of(rcu, typeof(*w), rcu);

	i915_gem_context_test_ops.put_vm(w->vm);
	complete(&w->done);
}

static void put_in_rcu(struct i915_address_space *vm)
{
	struct put_vm_work w = { .vm = vm };

	init_completion(&w.done);
	init_rcu_head_on_stack(&w.rcu);
	call_rcu(&w.rcu, put_vm_rcu);
	wait_for_completion(&w.done);
	destroy_rcu_head_on_stack(&w.rcu);
}

/* Nothing that a last put takes may wait for memory. */
static void put_in_memory_reclaim(struct i915_address_space *vm)
{
	fs_reclaim_acquire(GFP_KERNEL);
	i915_gem_context_test_ops.put_vm(vm);
	fs_reclaim_release(GFP_KERNEL);
}

static const struct vm_put vm_puts[] = {
	{ .description = "process", .put = put_in_process },
	{ .description = "hardirq", .put = put_in_hardirq },
	{ .description = "RCU", .put = put_in_rcu },
	{ .description = "memory reclaim", .put = put_in_memory_reclaim },
};

KUNIT_ARRAY_PARAM_DESC(vm_put, vm_puts, description);

/* The last put of a vm may come from anywhere: it frees nothing, the worker does. */
static void vm_put_frees_nothing(struct kunit *test)
{
	const struct vm_put *vm_put = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct i915_address_space *vm;
	struct watched_vm *w;
	u32 id;

	w = create_watched(test, client, &id);
	vm = client->mock->ops->get_vm(w->vm);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	client->mock->ops->flush(client->mock->i915);
	KUNIT_ASSERT_FALSE(test, w->cleaned);

	mock_device_block_queue(client->mock);
	vm_put->put(vm);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(w->cleaned));
	mock_device_unblock_queue(client->mock);

	client->mock->ops->run_worker(client->mock->i915);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
}

static const char *fence_name(struct dma_fence *fence)
{
	return "test";
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_name,
	.get_timeline_name = fence_name,
};

/*
 * A vm with an unbind that waits for a request keeps no creation waiting, and no
 * other vm. It goes once the unbind is done.
 */
static void vm_with_pending_unbind_is_skipped(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct i915_vma_resource *unbind;
	struct watched_vm *w, *other;
	struct rb_root_cached *root;
	spinlock_t lock; /* of the fence */
	u32 id[2];

	unbind = kunit_kzalloc(test, sizeof(*unbind), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, unbind);
	spin_lock_init(&lock);
	dma_fence_init(&unbind->unbind_fence, &fence_ops, &lock, 0, 0);

	other = create_watched(test, client, &id[1]);
	w = create_watched(test, client, &id[0]);
	root = &w->vm->pending_unbind;
	mutex_lock(&w->vm->mutex);
	rb_link_node(&unbind->rb, NULL, &root->rb_root.rb_node);
	rb_insert_color_cached(&unbind->rb, root, true);
	mutex_unlock(&w->vm->mutex);

	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id[1]), 0);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id[0]), 0);
	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[0]), 0);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(w->cleaned));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(other->cleaned));
	mock_device_unblock_queue(client->mock);

	/* As __i915_vma_resource_unhold() does */
	dma_fence_signal(&unbind->unbind_fence);
	mutex_lock(&w->vm->mutex);
	rb_erase_cached(&unbind->rb, root);
	mutex_unlock(&w->vm->mutex);

	client->mock->ops->flush(client->mock->i915);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
}

struct flush {
	const char *description;
	void (*flush)(struct drm_i915_private *i915);
};

static void flush_for_removal(struct drm_i915_private *i915)
{
	i915_gem_context_test_ops.flush(i915);
}

static void flush_for_suspend(struct drm_i915_private *i915)
{
	i915_gem_context_test_ops.suspend(i915);
}

static const struct flush flushes[] = {
	{ .description = "removal", .flush = flush_for_removal },
	{ .description = "suspend", .flush = flush_for_suspend },
};

KUNIT_ARRAY_PARAM_DESC(flush, flushes, description);

/* A call in a thread of its own */
struct call {
	struct mock_client *client;
	void (*flush)(struct drm_i915_private *i915);
	struct task_struct *task;
	struct completion done;
	bool ended;
	int err;
};

static int call_create(void *data)
{
	struct call *call = data;
	u32 id;

	/* As for a task of a user */
	allow_signal(SIGKILL);
	call->err = create_context(call->client, 0, &id);
	kthread_complete_and_exit(&call->done, 0);
}

static int call_flush(void *data)
{
	struct call *call = data;

	call->flush(call->client->mock->i915);
	kthread_complete_and_exit(&call->done, 0);
}

static void call_end(void *data)
{
	struct call *call = data;

	if (!call->ended)
		wait_for_completion(&call->done);
	put_task_struct(call->task);
}

/* Says whether the call has ended by then. */
static bool call_wait(struct call *call, unsigned long timeout)
{
	if (!call->ended)
		call->ended = wait_for_completion_timeout(&call->done, timeout);

	return call->ended;
}

static struct call *call_start(struct kunit *test, struct mock_client *client,
			       int (*fn)(void *data),
			       void (*flush)(struct drm_i915_private *i915))
{
	struct call *call = kunit_kzalloc(test, sizeof(*call), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, call);
	call->client = client;
	call->flush = flush;
	init_completion(&call->done);
	call->task = kthread_create(fn, call, "i915-call");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, call->task);
	get_task_struct(call->task);
	wake_up_process(call->task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, call_end, call), 0);

	return call;
}

/* Flush and suspend wait for the creation that has taken a vm off the list. */
static void flush_waits_for_creation(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct call *creation, *flusher;
	struct watched_vm *w;
	u32 id;

	w = create_watched(test, client, &id);
	w->hold = true;
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);

	creation = call_start(test, client, call_create, NULL);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));
	mock_device_unblock_queue(client->mock);

	flusher = call_start(test, client, call_flush, flush->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	complete(&w->let_go);
	kunit_release_action(test, call_end, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));

	kunit_release_action(test, call_end, creation);
	KUNIT_EXPECT_EQ(test, creation->err, 0);
}

static void unthrottle(void *data)
{
	i915_gem_context_test_ops.pending_sub(data, I915_GEM_PENDING_MAX);
}

/* A creation that waits, as too much is pending. */
static struct call *start_throttled(struct kunit *test, struct mock_client *client)
{
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *creation;

	client->mock->ops->pending_add(i915, I915_GEM_PENDING_MAX);
	creation = call_start(test, client, call_create, NULL);
	/* Before the end of the creation is waited for */
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, unthrottle, i915), 0);
	KUNIT_EXPECT_FALSE(test, call_wait(creation, HZ / 10));

	return creation;
}

/* A creation waits while too much is pending, and goes on when it is less. */
static void creation_throttled(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *creation;

	creation = start_throttled(test, client);

	/* Neither a flush nor suspend waits for it */
	client->mock->ops->flush(i915);
	client->mock->ops->suspend(i915);
	KUNIT_EXPECT_FALSE(test, call_wait(creation, 1));

	kunit_release_action(test, unthrottle, i915);
	KUNIT_EXPECT_TRUE(test, call_wait(creation, PATIENCE));
	KUNIT_EXPECT_EQ(test, creation->err, 0);
}

/* A client that waits can be killed. */
static void creation_throttled_can_be_killed(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct call *creation;

	creation = start_throttled(test, client);

	send_sig(SIGKILL, creation->task, 1);
	KUNIT_EXPECT_TRUE(test, call_wait(creation, PATIENCE));
	KUNIT_EXPECT_EQ(test, creation->err, -ERESTARTSYS);
}

/* All that was pending for a context that came and went is not pending any more. */
static void nothing_stays_pending(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	int before, most = 0, i;
	u32 id;

	client->mock->ops->flush(i915);
	before = atomic_read(&i915->gem.reclaim.pending);
	KUNIT_EXPECT_EQ(test, before, 0);

	for (i = 0; i < 8; i++) {
		create_watched(test, client, &id);
		KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
		client->mock->ops->run_worker(i915);
		most = max(most, atomic_read(&i915->gem.reclaim.pending));
	}
	/* At least a context, its engine and the page tables of one of them */
	KUNIT_EXPECT_GT(test, most, 2);

	client->mock->ops->flush(i915);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->gem.reclaim.pending), 0);
}

static const struct intel_device_info reclaim_info = MOCK_CLIENT_INFO(12);

static int reclaim_init(struct kunit *test)
{
	watched_count = 0;
	watched = kunit_kcalloc(test, 256, sizeof(*watched), GFP_KERNEL);
	if (!watched)
		return -ENOMEM;

	return mock_client_test_init(test, &reclaim_info);
}

static struct kunit_case reclaim_cases[] = {
	KUNIT_CASE(vms_bounded_by_creations),
	KUNIT_CASE(vms_backlog_shrinks),
	KUNIT_CASE(objects_flushed_by_creation),
	KUNIT_CASE(objects_freed_by_worker),
	KUNIT_CASE_PARAM(vm_put_frees_nothing, vm_put_gen_params),
	KUNIT_CASE(vm_with_pending_unbind_is_skipped),
	KUNIT_CASE_PARAM(flush_waits_for_creation, flush_gen_params),
	KUNIT_CASE(creation_throttled),
	KUNIT_CASE(creation_throttled_can_be_killed),
	KUNIT_CASE(nothing_stays_pending),
	{}
};

static struct kunit_suite reclaim_suite = {
	.name = "i915_gem_reclaim",
	.init = reclaim_init,
	.exit = mock_client_test_exit,
	.test_cases = reclaim_cases,
};

kunit_test_suites(&reclaim_suite);
