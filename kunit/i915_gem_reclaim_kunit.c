// SPDX-License-Identifier: MIT
/*
 * What a dead context holds comes back: its address space, page tables and engines
 * are bounded while clients create and destroy, on a mock device.
 */

#include <linux/completion.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "gem/i915_gem_context_types.h"
#include "gt/intel_engine.h"
#include "gt/intel_gt.h"
#include "gt/intel_gtt.h"
#include "i915_drv.h"
#include "i915_vma_resource.h"

#include "i915_gem_context_mock.h"

/* More than anything here takes under emulation, unless it never ends */
#define PATIENCE	(10 * HZ)

/*
 * An address space that tells when it is cleaned up, and can hold that up, in
 * &mock_device.vms
 */
struct watched_vm {
	struct list_head link;
	struct i915_address_space *vm;
	void (*cleanup)(struct i915_address_space *vm);
	struct completion cleaning;
	struct completion let_go;
	bool hold;
	bool cleaned;
};

static void watched_cleanup(struct i915_address_space *vm)
{
	struct mock_device *mock = to_mock_device(vm->i915);
	struct watched_vm *w;

	/* The memory of one that was cleaned up may be used again */
	spin_lock(&mock->struct_mutex);
	list_for_each_entry(w, &mock->vms, link)
		if (w->vm == vm && !w->cleaned)
			break;
	spin_unlock(&mock->struct_mutex);

	complete(&w->cleaning);
	if (w->hold)
		wait_for_completion_timeout(&w->let_go, PATIENCE);
	w->cleanup(vm);
	WRITE_ONCE(w->cleaned, true);
}

static struct watched_vm *watch_vm(struct kunit *test, struct i915_address_space *vm)
{
	struct mock_device *mock = test->priv;
	struct watched_vm *w;

	w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, w);

	w->vm = vm;
	w->cleanup = vm->cleanup;
	init_completion(&w->cleaning);
	init_completion(&w->let_go);
	vm->cleanup = watched_cleanup;

	spin_lock(&mock->struct_mutex);
	list_add(&w->link, &mock->vms);
	spin_unlock(&mock->struct_mutex);

	return w;
}

static unsigned int count_alive(struct mock_device *mock)
{
	unsigned int alive = 0;
	struct watched_vm *w;

	/* Only the test adds */
	list_for_each_entry(w, &mock->vms, link)
		alive += !READ_ONCE(w->cleaned);

	return alive;
}

/* A context with an address space of its own, which exists. */
static struct watched_vm *create_watched(struct kunit *test, struct mock_client *client, u32 *id)
{
	KUNIT_ASSERT_EQ(test, create_context(client, 0, id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, *id), 0);

	return watch_vm(test, find_context(client, *id)->vm);
}

static u32 create_object(struct kunit *test, struct mock_client *client)
{
	struct drm_i915_gem_create create = { .size = PAGE_SIZE };

	KUNIT_ASSERT_EQ(test, client->mock->ops->gem_create(&client->mock->i915->drm, &create,
							    client->file), 0);

	return create.handle;
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
		most = max(most, count_alive(client->mock));
		KUNIT_EXPECT_EQ(test, waiting(client), 1);
	}
	KUNIT_EXPECT_EQ(test, most, 1);
	mock_device_unblock_queue(client->mock);
}

/* A backlog shrinks with each creation, of a context, a vm, a file or an object. */
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
	KUNIT_EXPECT_EQ(test, count_alive(client->mock), ARRAY_SIZE(id));

	for (alive = ARRAY_SIZE(id), i = 0; alive; i++) {
		switch (i % 4) {
		case 0:
			KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[0]), 0);
			break;
		case 1:
			create_vm(test, client);
			break;
		case 2:
			mock_client_open(test);
			break;
		case 3:
			create_object(test, client);
			break;
		}
		/* Two contexts, with an address space each */
		KUNIT_ASSERT_EQ(test, count_alive(client->mock),
				alive - I915_GEM_RECLAIM_BATCH / 2);
		alive = count_alive(client->mock);
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
	const u32 handle = create_object(test, client);

	mock_device_settle(client->mock);
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, drm_gem_handle_delete(client->file, handle), 0);
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

static int open_context(struct mock_client *client)
{
	u32 id;

	return create_context(client, 0, &id);
}

static int open_vm(struct mock_client *client)
{
	struct drm_i915_gem_vm_control args = {};

	return vm_create(client, &args);
}

static int open_object(struct mock_client *client)
{
	struct drm_i915_gem_create create = { .size = PAGE_SIZE };

	return client->mock->ops->gem_create(&client->mock->i915->drm, &create, client->file);
}

static int open_file(struct mock_client *client)
{
	struct file *filp = mock_drm_getfile(client->mock->i915->drm.primary, O_RDWR);

	if (IS_ERR(filp))
		return PTR_ERR(filp);
	__fput_sync(filp);

	return 0;
}

/* Whoever may outrun RCU */
struct creator {
	const char *description;
	int (*create)(struct mock_client *client);
};

static const struct creator creators[] = {
	{ .description = "context", .create = open_context },
	{ .description = "vm", .create = open_vm },
	{ .description = "object", .create = open_object },
	{ .description = "file", .create = open_file },
};

KUNIT_ARRAY_PARAM_DESC(creator, creators, description);

/* A call in a thread of its own */
struct call {
	struct mock_client *client;
	int (*create)(struct mock_client *client);
	void (*flush)(struct drm_i915_private *i915);
	struct task_struct *task;
	struct completion done;
	bool ended;
	int err;
};

static int call_create(void *data)
{
	struct call *call = data;

	/* As for a task of a user */
	allow_signal(SIGKILL);
	call->err = call->create(call->client);
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
			       int (*create)(struct mock_client *client),
			       void (*flush)(struct drm_i915_private *i915))
{
	struct call *call = kunit_kzalloc(test, sizeof(*call), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, call);
	call->client = client;
	call->create = create;
	call->flush = flush;
	init_completion(&call->done);
	call->task = kthread_create(create ? call_create : call_flush, call, "i915-call");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, call->task);
	get_task_struct(call->task);
	wake_up_process(call->task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, call_end, call), 0);

	return call;
}

/* Flush and suspend wait for the worker that has taken a vm off the list. */
static void flush_waits_for_worker(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct call *flusher;
	struct watched_vm *w;
	u32 id;

	w = create_watched(test, client, &id);
	w->hold = true;
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));

	flusher = call_start(test, client, NULL, flush->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	complete(&w->let_go);
	kunit_release_action(test, call_end, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
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

	creation = call_start(test, client, open_context, NULL);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));
	mock_device_unblock_queue(client->mock);

	flusher = call_start(test, client, NULL, flush->flush);
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
	const struct creator *creator = test->param_value;
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *creation;

	client->mock->ops->pending_add(i915, I915_GEM_PENDING_MAX);
	creation = call_start(test, client, creator->create, NULL);
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

	/* Still too much, and still after some of it has gone */
	client->mock->ops->pending_add(i915, 1);
	client->mock->ops->pending_sub(i915, 1);
	KUNIT_EXPECT_FALSE(test, call_wait(creation, HZ / 10));

	/* The last kB that is too much */
	client->mock->ops->pending_sub(i915, 1);
	KUNIT_EXPECT_TRUE(test, call_wait(creation, PATIENCE));
	client->mock->ops->pending_add(i915, 1);
	kunit_release_action(test, unthrottle, i915);
	KUNIT_EXPECT_EQ(test, creation->err, 0);
}

/* One kB less than too much keeps nobody waiting. */
static void creation_not_throttled(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const struct creator *creator = test->param_value;
	struct call *creation;

	client->mock->ops->pending_add(client->mock->i915, I915_GEM_PENDING_MAX - 1);
	creation = call_start(test, client, creator->create, NULL);
	KUNIT_EXPECT_TRUE(test, call_wait(creation, PATIENCE));
	client->mock->ops->pending_sub(client->mock->i915, I915_GEM_PENDING_MAX - 1);
	kunit_release_action(test, call_end, creation);
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
	kunit_release_action(test, unthrottle, client->mock->i915);
}

/* A thread that holds up RCU, on another CPU than that of the test */
struct rcu_reader {
	struct completion started, done;
	bool end;
};

static int rcu_reader_fn(void *data)
{
	struct rcu_reader *reader = data;
	const unsigned long end = jiffies + PATIENCE;

	rcu_read_lock();
	complete(&reader->started);
	while (!READ_ONCE(reader->end) && time_before(jiffies, end))
		cpu_relax();
	rcu_read_unlock();
	kthread_complete_and_exit(&reader->done, 0);
}

static void rcu_reader_start(struct kunit *test, struct rcu_reader *reader)
{
	struct task_struct *task;

	init_completion(&reader->started);
	init_completion(&reader->done);
	task = kthread_run(rcu_reader_fn, reader, "i915-reader");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	wait_for_completion(&reader->started);
}

static void rcu_reader_end(struct rcu_reader *reader)
{
	WRITE_ONCE(reader->end, true);
	wait_for_completion(&reader->done);
}

/*
 * Exactly what RCU keeps of a context that was freed is pending, and nothing of it any
 * more after a grace period.
 */
static void nothing_stays_pending(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct rcu_reader reader = {};
	int pending, objects;
	u32 id;

	need_two_cpus(test);

	create_watched(test, client, &id);
	mock_device_settle(client->mock);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->gem.reclaim.pending), 0);

	/* Nothing leaves RCU before its reader does */
	rcu_reader_start(test, &reader);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	client->mock->ops->run_worker(i915);
	pending = atomic_read(&i915->gem.reclaim.pending);
	objects = atomic_read(&i915->mm.free_count);
	rcu_reader_end(&reader);

	/* A context, its engine, and each of the objects that were its page tables */
	KUNIT_EXPECT_GE(test, objects, 4);
	KUNIT_EXPECT_EQ(test, pending, 1 + 1 + objects);

	mock_device_settle(client->mock);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->gem.reclaim.pending), 0);
}

static void put_context(struct kunit *test, struct mock_client *client, u32 id)
{
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
}

static void put_address_space(struct kunit *test, struct mock_client *client, u32 id)
{
	KUNIT_EXPECT_EQ(test, destroy_vm(client, id), 0);
}

static void put_object(struct kunit *test, struct mock_client *client, u32 id)
{
	KUNIT_EXPECT_EQ(test, drm_gem_handle_delete(client->file, id), 0);
}

static u32 create_used_context(struct kunit *test, struct mock_client *client)
{
	u32 id;

	create_watched(test, client, &id);

	return id;
}

/* What the worker is queued for */
struct dead {
	const char *description;
	u32 (*create)(struct kunit *test, struct mock_client *client);
	void (*put)(struct kunit *test, struct mock_client *client, u32 id);
};

static const struct dead deads[] = {
	{ "context", create_used_context, put_context },
	{ "vm", create_vm, put_address_space },
	{ "object", create_object, put_object },
};

KUNIT_ARRAY_PARAM_DESC(dead, deads, description);

/* The worker is due a jiffy after the first put. The next put does not postpone it. */
static void worker_due_in_a_jiffy(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct i915_gem_reclaim *r = &client->mock->i915->gem.reclaim;
	const struct dead *dead = test->param_value;
	unsigned long before, after, due;
	u32 id[2];

	id[0] = dead->create(test, client);
	id[1] = dead->create(test, client);
	mock_device_settle(client->mock);

	/* For the worker not to queue itself again for what it leaves */
	mock_device_block_queue(client->mock);
	before = jiffies;
	dead->put(test, client, id[0]);
	after = jiffies;
	due = r->free_work.timer.expires;
	KUNIT_EXPECT_TRUE(test, time_in_range(due, before + 1, after + 1));

	schedule_timeout_uninterruptible(3);
	dead->put(test, client, id[1]);
	KUNIT_EXPECT_EQ(test, r->free_work.timer.expires, due);
	mock_device_unblock_queue(client->mock);
}

static bool nothing_waits(struct drm_i915_private *i915)
{
	return llist_empty(&i915->gem.reclaim.free_list) && llist_empty(&i915->mm.free_list);
}

/* The worker comes by itself, and once more for what is put after its run. */
static void worker_comes_again(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	const struct dead *dead = test->param_value;
	unsigned long end;
	u32 id[4];
	int i;

	for (i = 0; i < ARRAY_SIZE(id); i++)
		id[i] = dead->create(test, client);
	mock_device_settle(client->mock);

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		long runs;

		/* A run that has not ended yet would free the next one, too */
		client->mock->ops->run_worker(i915);
		runs = worker_runs(client->mock);
		dead->put(test, client, id[i]);
		end = jiffies + PATIENCE;
		while (!nothing_waits(i915) && time_before(jiffies, end))
			schedule_timeout_uninterruptible(1);
		KUNIT_ASSERT_TRUE(test, nothing_waits(i915));
		KUNIT_EXPECT_GT(test, worker_runs(client->mock), runs);
	}
}

/* Drain and cleanup leave no worker behind whose time has not come. */
static void worker_gone_after_drain(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct delayed_work *worker = &i915->gem.reclaim.free_work;
	u32 id = create_used_context(test, client);

	mock_device_settle(client->mock);

	mod_delayed_work(i915->wq, worker, 3600 * HZ);
	put_context(test, client, id);
	client->mock->ops->drain(i915);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(worker));
	KUNIT_EXPECT_TRUE(test, nothing_waits(i915));
	KUNIT_EXPECT_EQ(test, count_alive(client->mock), 0);

	mod_delayed_work(i915->wq, worker, 3600 * HZ);
	client->mock->ops->cleanup(i915);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(worker));
}

/*
 * From so many contexts on that are closed and wait for their requests to be retired, a
 * creation retires idle timelines, and waits a jiffy if they do not get fewer.
 */
static void idle_timelines_retired_by_creation(struct kunit *test)
{
	const int limit = I915_GEM_PENDING_MAX / (4 * I915_GEM_PENDING_ENGINE);
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct intel_engine_cs *engine = to_gt(i915)->engine[RCS0];
	struct i915_gem_reclaim *r = &i915->gem.reclaim;
	int closed, i;

	/* Leave it to the creations */
	disable_work_sync(&engine->retire_work);
	for (closed = limit - 1; closed <= limit; closed++) {
		unsigned long least = ULONG_MAX;

		client->mock->ops->add_retire(engine, engine->kernel_context->timeline);
		KUNIT_EXPECT_NOT_NULL(test, READ_ONCE(engine->retire));

		atomic_add(closed, &r->closed);
		/* The machine may be slow, but not each time */
		for (i = 0; i < 20; i++) {
			const unsigned long begin = jiffies;

			KUNIT_EXPECT_EQ(test, open_context(client), 0);
			least = min(least, jiffies - begin);
		}
		atomic_sub(closed, &r->closed);

		KUNIT_EXPECT_EQ(test, !READ_ONCE(engine->retire), closed == limit);
		if (closed == limit) {
			KUNIT_EXPECT_GE(test, least, 1);
			KUNIT_EXPECT_LE(test, least, HZ / 10);
		} else {
			KUNIT_EXPECT_EQ(test, least, 0);
		}
	}
	enable_work(&engine->retire_work);
}

static const struct intel_device_info reclaim_info = MOCK_CLIENT_INFO(12);

static int reclaim_init(struct kunit *test)
{
	return mock_client_test_init(test, &reclaim_info);
}

static struct kunit_case reclaim_cases[] = {
	KUNIT_CASE(vms_bounded_by_creations),
	KUNIT_CASE(vms_backlog_shrinks),
	KUNIT_CASE(objects_flushed_by_creation),
	KUNIT_CASE(objects_freed_by_worker),
	KUNIT_CASE_PARAM(vm_put_frees_nothing, vm_put_gen_params),
	KUNIT_CASE(vm_with_pending_unbind_is_skipped),
	KUNIT_CASE_PARAM(flush_waits_for_worker, flush_gen_params),
	KUNIT_CASE_PARAM(flush_waits_for_creation, flush_gen_params),
	KUNIT_CASE_PARAM(creation_throttled, creator_gen_params),
	KUNIT_CASE_PARAM(creation_not_throttled, creator_gen_params),
	KUNIT_CASE_PARAM(creation_throttled_can_be_killed, creator_gen_params),
	KUNIT_CASE(nothing_stays_pending),
	KUNIT_CASE_PARAM(worker_due_in_a_jiffy, dead_gen_params),
	KUNIT_CASE_PARAM(worker_comes_again, dead_gen_params),
	KUNIT_CASE(worker_gone_after_drain),
	KUNIT_CASE(idle_timelines_retired_by_creation),
	{}
};

static struct kunit_suite reclaim_suite = {
	.name = "i915_gem_reclaim",
	.init = reclaim_init,
	.exit = mock_client_test_exit,
	.test_cases = reclaim_cases,
};

kunit_test_suites(&reclaim_suite);
