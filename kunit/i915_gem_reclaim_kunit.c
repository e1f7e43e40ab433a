// SPDX-License-Identifier: MIT
/*
 * The address spaces, page tables and engines of dead contexts are freed, and stay
 * bounded while clients create and destroy contexts, on a mock device.
 */

#include <kunit/static_stub.h>

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/file.h>
#include <linux/irq_work.h>
#include <linux/mman.h>
#include <linux/rbtree.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>

#include "gem/i915_gem_context_types.h"
#include "gem/i915_gem_object.h"
#include "gt/intel_gt.h"
#include "gt/intel_gtt.h"
#include "gt/intel_ring_types.h"
#include "i915_drv.h"
#include "i915_vma_resource.h"

#include "i915_gem_context_mock.h"

/* An address space that tells when it is cleaned up, and can hold that up */
struct watched_vm {
	struct list_head link; /* in &mock_device.vms */
	struct i915_address_space *vm; /* NULL once it is cleaned up */
	void (*cleanup)(struct i915_address_space *vm);
	void (*retire)(struct i915_active *ref); /* of a vma, see retire_slowly() */
	struct completion cleaning;
	struct completion retiring;
	struct completion let_go;
	bool hold;
	bool cleaned;
};

static struct watched_vm *find_watched(struct i915_address_space *vm)
{
	struct mock_device *mock = dev_get_platdata(vm->i915->drm.dev);
	struct watched_vm *w = NULL, *pos;

	/* Another thread may add meanwhile, to the head */
	list_for_each_entry_rcu(pos, &mock->vms, link, true) {
		if (READ_ONCE(pos->vm) == vm)
			w = pos;
	}

	return w;
}

static void watched_cleanup(struct i915_address_space *vm)
{
	struct watched_vm *w = find_watched(vm);

	complete(&w->cleaning);
	if (w->hold)
		wait_for_completion_timeout(&w->let_go, PATIENCE);
	/* The next vm may be at the same address */
	WRITE_ONCE(w->vm, NULL);
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
	init_completion(&w->retiring);
	init_completion(&w->let_go);
	list_add_rcu(&w->link, &mock->vms);
	vm->cleanup = watched_cleanup;

	return w;
}

static unsigned int watched_vms_alive(struct mock_device *mock)
{
	unsigned int alive = 0;
	struct watched_vm *w;

	/* Only the thread of the test adds */
	list_for_each_entry(w, &mock->vms, link)
		alive += !READ_ONCE(w->cleaned);

	return alive;
}

/* Creates a context with an address space of its own. */
static struct watched_vm *create_watched(struct kunit *test, struct mock_client *client, u32 *id)
{
	KUNIT_ASSERT_EQ(test, create_context(client, 0, id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, *id), 0);

	return watch_vm(test, find_context(client, *id)->vm);
}

/* With the worker blocked, creations alone keep the number of address spaces bounded. */
static void vms_bounded_by_creations(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	unsigned int most = 0, i;
	u32 id;

	mock_device_block_queue(client->mock);
	for (i = 0; i < 200; i++) {
		create_watched(test, client, &id);
		KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
		most = max(most, watched_vms_alive(client->mock));
		KUNIT_EXPECT_EQ(test, waiting(client), 1);
	}
	KUNIT_EXPECT_EQ(test, most, 1);
	KUNIT_EXPECT_EQ(test, client->mock->i915->gem.contexts.stats.max_waiting, 1);
	mock_device_unblock_queue(client->mock);
}

/* Each of these frees a little before it creates something */
struct creation {
	const char *description;
	int (*create)(void *client);
	bool of_context; /* and so retires */
};

static int creation_of_context(void *client)
{
	u32 id;

	/* On this version of graphics, the use creates it */
	return create_context(client, 0, &id) ?: use_context(client, id);
}

/* From version 13 on, the ioctl creates it */
static int creation_of_context_by_ioctl(void *data)
{
	struct mock_client *client = data;
	struct intel_runtime_info *info = RUNTIME_INFO(client->mock->i915);
	u32 id;
	int err;

	info->graphics.ip.ver = 13;
	err = create_context(client, 0, &id);
	info->graphics.ip.ver = 12;

	return err;
}

static int creation_of_vm(void *client)
{
	struct drm_i915_gem_vm_control args = {};

	return vm_create(client, &args);
}

static int creation_of_object(void *client)
{
	u32 handle;

	return create_object(client, &handle);
}

static int creation_of_file(void *data)
{
	struct mock_client *client = data;
	struct file *filp;

	filp = mock_drm_getfile(client->mock->i915->drm.primary, O_RDWR);
	if (IS_ERR(filp))
		return PTR_ERR(filp);
	__fput_sync(filp);

	return 0;
}

static const struct creation creations[] = {
	{ .description = "context", .create = creation_of_context, .of_context = true },
	{ .description = "context, by the ioctl", .create = creation_of_context_by_ioctl,
	  .of_context = true },
	{ .description = "vm", .create = creation_of_vm },
	{ .description = "object", .create = creation_of_object },
	{ .description = "file", .create = creation_of_file, .of_context = true },
};

KUNIT_ARRAY_PARAM_DESC(creation, creations, description);

/* A backlog of contexts shrinks by the same number with each creation. */
static void vms_backlog_shrinks(struct kunit *test)
{
	const struct creation *creation = test->param_value;
	const unsigned int step = I915_GEM_RECLAIM_BATCH / 2;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	unsigned int alive, i;
	u32 id[16];

	for (i = 0; i < ARRAY_SIZE(id); i++)
		create_watched(test, client, &id[i]);
	mock_device_block_queue(mock);
	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
		KUNIT_EXPECT_EQ(test, waiting(client), i + 1);
	}
	KUNIT_EXPECT_EQ(test, watched_vms_alive(mock), ARRAY_SIZE(id));

	/* Half of a batch are contexts, the rest their address spaces */
	KUNIT_ASSERT_GT(test, step, 1);
	for (alive = ARRAY_SIZE(id); alive; alive -= step) {
		KUNIT_ASSERT_EQ(test, creation->create(client), 0);
		if (creation->create == creation_of_file) {
			/* This may have freed the context of its own file instead */
			KUNIT_ASSERT_LT(test, watched_vms_alive(mock), alive);
			break;
		}
		KUNIT_ASSERT_EQ(test, watched_vms_alive(mock), alive - step);
		KUNIT_EXPECT_EQ(test, waiting(client), alive - step);
		KUNIT_EXPECT_TRUE(test, llist_empty(&mock->i915->mm.free_list));
	}
	mock_device_unblock_queue(mock);
}

/* What the worker frees, each on the list of contexts and vms or on that of objects */
struct dead {
	const char *description;
	int (*create)(struct mock_client *client, u32 *id);
	int (*destroy)(struct mock_client *client, u32 id);
};

static int dead_context_create(struct mock_client *client, u32 *id)
{
	return create_context(client, 0, id) ?: use_context(client, *id);
}

static int dead_vm_create(struct mock_client *client, u32 *id)
{
	struct drm_i915_gem_vm_control args = {};
	int err = vm_create(client, &args);

	*id = args.vm_id;

	return err;
}

static int dead_object_destroy(struct mock_client *client, u32 handle)
{
	return drm_gem_handle_delete(client->file, handle);
}

static const struct dead deads[] = {
	{
		.description = "context",
		.create = dead_context_create,
		.destroy = destroy_context,
	}, {
		.description = "vm",
		.create = dead_vm_create,
		.destroy = destroy_vm,
	}, {
		.description = "object",
		.create = create_object,
		.destroy = dead_object_destroy,
	},
};

KUNIT_ARRAY_PARAM_DESC(dead, deads, description);

/* The worker is due a jiffy after an add to an empty list, and frees all by itself. */
static void worker_due_after_a_jiffy(struct kunit *test)
{
	const struct dead *dead = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct delayed_work *work = &mock->i915->gem.reclaim.free_work;
	unsigned long before, after, due;
	u32 id;

	KUNIT_ASSERT_EQ(test, dead->create(client, &id), 0);
	mock->ops->flush(mock->i915);
	mock->ops->run_worker(mock->i915);

	mock_device_block_queue(mock);
	before = jiffies;
	KUNIT_ASSERT_EQ(test, dead->destroy(client, id), 0);
	after = jiffies;
	due = READ_ONCE(work->timer.expires);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(work));
	KUNIT_EXPECT_TRUE_MSG(test, time_in_range(due, before + 1, after + 1),
			      "due %ld jiffies after the put", due - before);
	KUNIT_EXPECT_FALSE(test, mock->ops->all_freed(mock->i915));
	mock_device_unblock_queue(mock);

	KUNIT_EXPECT_TRUE(test, mock_device_wait_freed(mock));
}

/* A worker that is already queued runs when it is due: no later put changes that. */
static void worker_not_postponed(struct kunit *test)
{
	const struct dead *dead = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct delayed_work *work = &mock->i915->gem.reclaim.free_work;
	unsigned long due;
	u32 id;

	KUNIT_ASSERT_EQ(test, dead->create(client, &id), 0);
	mock->ops->flush(mock->i915);
	mock->ops->run_worker(mock->i915);

	/* Far in the future, to see whether a put changes that */
	mod_delayed_work(mock->i915->wq, work, 1000 * HZ);
	due = READ_ONCE(work->timer.expires);
	KUNIT_ASSERT_EQ(test, dead->destroy(client, id), 0);
	KUNIT_EXPECT_EQ(test, READ_ONCE(work->timer.expires), due);
	KUNIT_EXPECT_FALSE(test, mock->ops->all_freed(mock->i915));

	mod_delayed_work(mock->i915->wq, work, 0);
	KUNIT_EXPECT_TRUE(test, mock_device_wait_freed(mock));
}

/* The worker runs by itself, and again for each put after it has run. */
static void worker_runs_again(struct kunit *test)
{
	const struct dead *dead = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	u32 id[4];
	long runs;
	int i;

	for (i = 0; i < ARRAY_SIZE(id); i++)
		KUNIT_ASSERT_EQ(test, dead->create(client, &id[i]), 0);
	mock->ops->flush(mock->i915);

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		/* A run that has not ended would free the next one, too */
		mock->ops->run_worker(mock->i915);
		runs = worker_runs(mock);
		KUNIT_ASSERT_EQ(test, dead->destroy(client, id[i]), 0);
		KUNIT_ASSERT_TRUE(test, mock_device_wait_freed(mock));
		KUNIT_EXPECT_GT(test, worker_runs(mock), runs);
	}
}

/* An object whose release puts a vm */
struct putting_object {
	struct drm_i915_gem_object_ops ops;
	void (*release)(struct drm_i915_gem_object *obj);
	struct mock_device *mock;
	struct i915_address_space *vm;
	bool busy;
};

static void putting_release(struct drm_i915_gem_object *obj)
{
	const struct putting_object *ops = container_of(obj->ops, typeof(*ops), ops);
	struct putting_object *p = (struct putting_object *)ops;

	if (p->release)
		p->release(obj);
	p->busy = current_work() == &p->mock->i915->gem.reclaim.free_work.work;
	p->mock->ops->put_vm(p->vm);
}

/* A put after the worker's last look at the list queues the worker again. */
static void worker_requeued_while_it_runs(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct drm_i915_gem_object *obj;
	struct putting_object *p;
	struct watched_vm *w;
	u32 id, handle;
	long runs;

	p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);

	w = create_watched(test, client, &id);
	p->mock = mock;
	p->vm = mock->ops->get_vm(w->vm);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);

	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	obj = to_intel_bo(drm_gem_object_lookup(client->file, handle));
	KUNIT_ASSERT_NOT_NULL(test, obj);
	p->ops = *obj->ops;
	p->release = obj->ops->release;
	p->ops.release = putting_release;
	obj->ops = &p->ops;
	i915_gem_object_put(obj);

	mock->ops->flush(mock->i915);
	mock->ops->run_worker(mock->i915);
	KUNIT_ASSERT_FALSE(test, READ_ONCE(w->cleaned));
	runs = worker_runs(mock);

	/* The worker frees objects last */
	KUNIT_ASSERT_EQ(test, drm_gem_handle_delete(client->file, handle), 0);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));
	KUNIT_EXPECT_TRUE(test, mock_device_wait_freed(mock));
	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
	KUNIT_EXPECT_TRUE_MSG(test, p->busy, "the object was not freed by the worker");
	KUNIT_EXPECT_GE(test, worker_runs(mock), runs + 2);
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
	KUNIT_ASSERT_EQ(test, creation_of_context(client), 0);
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
	mock_device_unblock_queue(client->mock);
}

/* The creation of an object of user memory frees such page tables, too. */
static void objects_flushed_by_userptr(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct drm_i915_gem_userptr args = { .user_size = PAGE_SIZE };
	struct watched_vm *w;
	u32 id;

	args.user_ptr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, args.user_ptr, 0);
	w = create_watched(test, client, &id);
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	KUNIT_EXPECT_EQ(test, client->mock->ops->userptr(&i915->drm, &args, client->file), 0);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
	mock_device_unblock_queue(client->mock);
}

/* The last put of an object queues the worker, even if nothing else is freed. */
static void objects_freed_by_worker(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	u32 handle;

	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	client->mock->ops->flush(i915);
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, drm_gem_handle_delete(client->file, handle), 0);
	KUNIT_EXPECT_FALSE(test, llist_empty(&i915->mm.free_list));
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&i915->gem.reclaim.free_work));
	mock_device_unblock_queue(client->mock);

	client->mock->ops->run_worker(i915);
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
}

/* Does the last put of a vm */
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

/* No lock that a last put takes may be held while memory is allocated. */
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

/* The last put of a vm may be done in any context. It frees nothing: the worker does. */
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

/* A creation after the end of two contexts frees one vm, and does not wait for the other. */
static struct call *expect_skipped(struct kunit *test, struct mock_client *client,
				   const u32 id[2], struct watched_vm *skipped,
				   struct watched_vm *freed)
{
	struct call *creation;

	mock_device_block_queue(client->mock);
	/* No assertions: the caller ends what the creation would wait for */
	KUNIT_EXPECT_EQ(test, destroy_context(client, id[1]), 0);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id[0]), 0);
	creation = call_start(test, creation_of_context, client);
	KUNIT_EXPECT_TRUE(test, call_wait(creation, PATIENCE));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(skipped->cleaned));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(freed->cleaned));
	mock_device_unblock_queue(client->mock);

	return creation;
}

/* An unbind that waits for a request */
struct pending_unbind {
	struct i915_vma_resource res;
	struct watched_vm *w;
	spinlock_t lock; /* of the fence */
};

static struct pending_unbind *unbind_start(struct kunit *test, struct watched_vm *w)
{
	struct rb_root_cached *root = &w->vm->pending_unbind;
	struct pending_unbind *unbind;

	unbind = kunit_kzalloc(test, sizeof(*unbind), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, unbind);
	unbind->w = w;
	spin_lock_init(&unbind->lock);
	dma_fence_init(&unbind->res.unbind_fence, &test_fence_ops, &unbind->lock, 0, 0);

	mutex_lock(&w->vm->mutex);
	rb_link_node(&unbind->res.rb, NULL, &root->rb_root.rb_node);
	rb_insert_color_cached(&unbind->res.rb, root, true);
	mutex_unlock(&w->vm->mutex);

	return unbind;
}

/* As __i915_vma_resource_unhold() does */
static void unbind_end(struct pending_unbind *unbind)
{
	struct i915_address_space *vm = unbind->w->vm;

	dma_fence_signal(&unbind->res.unbind_fence);
	/* Otherwise the test has failed */
	if (!READ_ONCE(unbind->w->cleaned)) {
		mutex_lock(&vm->mutex);
		rb_erase_cached(&unbind->res.rb, &vm->pending_unbind);
		mutex_unlock(&vm->mutex);
	}
}

/*
 * A creation does not wait for a vm whose unbind waits for a request, and frees other
 * vms. That one is freed once the unbind is done, for which a flush waits.
 */
static void vm_with_pending_unbind_is_skipped(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct pending_unbind *unbind;
	struct watched_vm *w, *other;
	struct call *creation, *flush;
	u32 id[2];

	other = create_watched(test, client, &id[1]);
	w = create_watched(test, client, &id[0]);
	unbind = unbind_start(test, w);

	creation = expect_skipped(test, client, id, w, other);
	flush = call_start_flush(test, client->mock->ops->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flush, HZ / 10));

	unbind_end(unbind);
	call_end(test, creation);
	call_end(test, flush);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
}

/*
 * Nor does a creation wait for a vm with an active vma, such as one whose bind waits for
 * a fence, even if a signal would end the wait.
 */
static void vm_with_active_vma_is_skipped(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct watched_vm *w, *other;
	struct call *creation;
	struct i915_vma *vma;
	u32 id[2], handle;

	other = create_watched(test, client, &id[1]);
	w = create_watched(test, client, &id[0]);
	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	vma = mock->ops->bind_active(client->file, handle, w->vm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vma);

	creation = expect_skipped(test, client, id, w, other);

	if (!READ_ONCE(w->cleaned))
		mock->ops->end_active(vma);
	call_end(test, creation);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
}

static void retire_slowly(struct i915_active *ref)
{
	struct watched_vm *w = find_watched(container_of(ref, struct i915_vma, active)->vm);

	complete(&w->retiring);
	wait_for_completion_timeout(&w->let_go, PATIENCE);
	if (!READ_ONCE(w->cleaned))
		w->retire(ref);
}

static int end_active(void *vma)
{
	i915_gem_context_test_ops.end_active(vma);

	return 0;
}

/* A vma whose last user is gone is not freed before its retirement has ended. */
static void vma_freed_after_it_is_retired(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct call *retirement, *flusher;
	struct watched_vm *w;
	struct i915_vma *vma;
	u32 id, handle;

	w = create_watched(test, client, &id);
	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	vma = mock->ops->bind_active(client->file, handle, w->vm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vma);
	w->retire = vma->active.retire;
	vma->active.retire = retire_slowly;
	mock_device_block_queue(mock);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);

	retirement = call_start(test, end_active, vma);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&w->retiring, PATIENCE));
	flusher = call_start_flush(test, mock->ops->free_contexts);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(w->cleaned));
	complete(&w->let_go);
	call_end(test, retirement);
	call_end(test, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
	mock_device_unblock_queue(mock);
}

/* Cases use the constants of the driver. What waits is bounded if these are small. */
static void limits_are_small(struct kunit *test)
{
	KUNIT_EXPECT_LE(test, I915_GEM_RECLAIM_BATCH, 8);
	KUNIT_EXPECT_LE(test, I915_GEM_CLOSED_MAX, 256);
	KUNIT_EXPECT_LE(test, I915_GEM_PENDING_MAX, SZ_32M / SZ_1K);
	KUNIT_EXPECT_LE(test, I915_GEM_THROTTLE_MAX, 10 * HZ);

	/* But a creation must not sleep for little, and all memory counts */
	KUNIT_EXPECT_GE(test, I915_GEM_CLOSED_MAX, 16);
	KUNIT_EXPECT_GE(test, I915_GEM_PENDING_MAX, SZ_4M / SZ_1K);
	KUNIT_EXPECT_GE(test, I915_GEM_PENDING_VM, 64);
	KUNIT_EXPECT_GE(test, I915_GEM_PENDING_TIMELINE, 4);
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

static void flush_for_late_suspend(struct drm_i915_private *i915)
{
	i915_gem_context_test_ops.suspend_late(i915);
}

static void flush_for_release(struct drm_i915_private *i915)
{
	i915_gem_context_test_ops.drain(i915);
}

static const struct flush flushes[] = {
	{ .description = "removal", .flush = flush_for_removal },
	{ .description = "suspend", .flush = flush_for_suspend },
	{ .description = "late suspend", .flush = flush_for_late_suspend },
	{ .description = "release", .flush = flush_for_release },
};

KUNIT_ARRAY_PARAM_DESC(flush, flushes, description);

/* Each flush waits for the unbind of a vm that is still on the list. */
static void flush_waits_for_unbind(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct delayed_work *work = &client->mock->i915->gem.reclaim.free_work;
	struct pending_unbind *unbind;
	struct watched_vm *w;
	struct call *flusher;
	u32 id;

	w = create_watched(test, client, &id);
	unbind = unbind_start(test, w);
	disable_delayed_work_sync(work);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);

	flusher = call_start_flush(test, flush->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(w->cleaned));
	unbind_end(unbind);
	call_end(test, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
	enable_delayed_work(work);
}

/* Each flush waits for the worker that has taken a vm off the list. */
static void flush_waits_for_worker(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct watched_vm *w;
	struct call *flusher;
	u32 id;

	w = create_watched(test, client, &id);
	w->hold = true;
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));

	flusher = call_start_flush(test, flush->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	complete(&w->let_go);
	call_end(test, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));
}

/* Leaves a dead vm on the list of a blocked queue. Its free waits for @let_go. */
static struct watched_vm *leave_held(struct kunit *test, struct mock_client *client)
{
	struct watched_vm *w;
	u32 id;

	w = create_watched(test, client, &id);
	w->hold = true;
	mock_device_block_queue(client->mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);

	return w;
}

/* Each flush waits for the creation that has taken a vm off the list. */
static void flush_waits_for_creation(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct watched_vm *w = leave_held(test, client);
	struct call *creation, *flusher;

	creation = call_start(test, creation_of_context, client);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));
	mock_device_unblock_queue(client->mock);

	flusher = call_start_flush(test, flush->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	complete(&w->let_go);
	call_end(test, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));

	call_end(test, creation);
	KUNIT_EXPECT_EQ(test, creation->ret, 0);
}

/* A creation does not wait for a flush that is freeing a vm. */
static void creation_never_waits_for_flush(struct kunit *test)
{
	const struct creation *creation = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct watched_vm *w = leave_held(test, client);
	struct call *call, *flusher;

	flusher = call_start_flush(test, client->mock->ops->free_contexts);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&w->cleaning, PATIENCE));

	call = call_start(test, creation->create, client);
	KUNIT_EXPECT_TRUE(test, call_wait(call, PATIENCE));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(w->cleaned));
	complete(&w->let_go);
	call_end(test, flusher);
	call_end(test, call);
	KUNIT_EXPECT_EQ(test, call->ret, 0);
	mock_device_unblock_queue(client->mock);
}

/* A flush leaves nothing on any list, even if the worker cannot run at all. */
static void flush_empties_each_list(struct kunit *test)
{
	const struct flush *flush = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct drm_i915_private *i915 = mock->i915;
	u32 id[ARRAY_SIZE(deads)];
	int i;

	for (i = 0; i < ARRAY_SIZE(deads); i++)
		KUNIT_ASSERT_EQ(test, deads[i].create(client, &id[i]), 0);
	mock->ops->flush(i915);

	disable_delayed_work_sync(&i915->gem.reclaim.free_work);
	for (i = 0; i < ARRAY_SIZE(deads); i++)
		KUNIT_ASSERT_EQ(test, deads[i].destroy(client, id[i]), 0);
	KUNIT_EXPECT_FALSE(test, llist_empty(&i915->gem.reclaim.free_list));
	KUNIT_EXPECT_FALSE(test, llist_empty(&i915->mm.free_list));

	flush->flush(i915);
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->gem.reclaim.free_list));
	KUNIT_EXPECT_TRUE(test, llist_empty(&i915->mm.free_list));
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->mm.free_count), 0);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
	enable_delayed_work(&i915->gem.reclaim.free_work);
}

/* A work item that requeues itself, as the TTM workqueue of a busy device is never empty */
struct requeuing_work {
	struct work_struct work;
	struct workqueue_struct *wq;
	bool end;
};

static void requeuing_work_fn(struct work_struct *work)
{
	struct requeuing_work *w = container_of(work, typeof(*w), work);

	fsleep(1000);
	if (!READ_ONCE(w->end))
		queue_work(w->wq, &w->work);
}

/* A flush does not wait for objects that TTM frees later, nor does it drop them. */
static void flush_does_not_drain_ttm(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct requeuing_work w = { .wq = i915->bdev.wq };
	struct call *flusher;
	u32 handle;

	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	disable_delayed_work_sync(&i915->gem.reclaim.free_work);
	KUNIT_EXPECT_EQ(test, drm_gem_handle_delete(client->file, handle), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&i915->mm.free_count), 0);
	INIT_WORK_ONSTACK(&w.work, requeuing_work_fn);
	queue_work(w.wq, &w.work);

	flusher = call_start_flush(test, client->mock->ops->flush);
	KUNIT_EXPECT_TRUE(test, call_wait(flusher, PATIENCE));
	WRITE_ONCE(w.end, true);
	call_end(test, flusher);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->mm.free_count), 0);

	cancel_work_sync(&w.work);
	destroy_work_on_stack(&w.work);
	enable_delayed_work(&i915->gem.reclaim.free_work);
}

/* The work of a virtual engine, which holds the last reference to a vm */
struct virtual_work {
	struct work_struct work;
	struct i915_address_space *vm;
	struct completion let_go;
};

static void virtual_work_fn(struct work_struct *work)
{
	struct virtual_work *v = container_of(work, typeof(*v), work);

	wait_for_completion_timeout(&v->let_go, PATIENCE);
	i915_gem_context_test_ops.put_vm(v->vm);
}

/* A flush waits for the work of virtual engines, and then frees what that releases. */
static void flush_waits_for_virtual_engine(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct virtual_work v;
	struct watched_vm *w;
	struct call *flusher;
	u32 id;

	w = create_watched(test, client, &id);
	disable_delayed_work_sync(&mock->i915->gem.reclaim.free_work);
	v.vm = mock->ops->get_vm(w->vm);
	init_completion(&v.let_go);
	INIT_WORK_ONSTACK(&v.work, virtual_work_fn);
	queue_work(mock->i915->unordered_wq, &v.work);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);

	flusher = call_start_flush(test, mock->ops->flush);
	KUNIT_EXPECT_FALSE(test, call_wait(flusher, HZ / 10));
	complete(&v.let_go);
	call_end(test, flusher);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(w->cleaned));

	flush_work(&v.work);
	destroy_work_on_stack(&v.work);
	enable_delayed_work(&mock->i915->gem.reclaim.free_work);
}

/* Drain and cleanup each leave no worker behind that is not due yet. */
static void worker_gone_after_drain(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct delayed_work *work = &mock->i915->gem.reclaim.free_work;

	mod_delayed_work(mock->i915->wq, work, 1000 * HZ);
	mock->ops->drain(mock->i915);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(work));

	mod_delayed_work(mock->i915->wq, work, 1000 * HZ);
	mock->ops->cleanup(mock->i915);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(work));
}

/* Adds to what is pending, which is nothing after a flush. */
static void throttle(struct kunit *test, struct mock_client *client, unsigned int kb)
{
	struct drm_i915_private *i915 = client->mock->i915;

	client->mock->ops->flush(i915);
	KUNIT_ASSERT_EQ(test, atomic_read(&i915->gem.reclaim.pending), 0);
	client->mock->ops->pending_add(i915, kb);
}

static void unthrottle(void *data)
{
	struct drm_i915_private *i915 = data;

	i915_gem_context_test_ops.pending_sub(i915, I915_GEM_PENDING_MAX);
}

/* Starts a creation, which waits, as exactly the limit is pending. */
static struct call *start_throttled(struct kunit *test, struct mock_client *client)
{
	const struct creation *creation = test->param_value;
	struct call *call;

	throttle(test, client, I915_GEM_PENDING_MAX);
	call = call_start(test, creation->create, client);
	/* Before the end of the creation is waited for */
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, unthrottle, client->mock->i915), 0);
	KUNIT_EXPECT_FALSE(test, call_wait(call, HZ / 20));
	/* Only a fatal signal ends the wait */
	send_sig(SIGUSR1, call->task, 1);
	KUNIT_EXPECT_FALSE(test, call_wait(call, HZ / 20));

	return call;
}

/* A creation waits while too much is pending, and goes on once it is 1 kB less. */
static void creation_throttled(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *call;

	call = start_throttled(test, client);

	/* Neither a flush nor suspend waits for it */
	client->mock->ops->flush(i915);
	client->mock->ops->suspend(i915);
	KUNIT_EXPECT_FALSE(test, call_wait(call, 1));

	/* It is not enough that some of it has gone */
	client->mock->ops->pending_add(i915, 1);
	client->mock->ops->pending_sub(i915, 1);
	KUNIT_EXPECT_FALSE(test, call_wait(call, HZ / 20));

	/* Woken up, before it would go on by itself */
	client->mock->ops->pending_sub(i915, 1);
	KUNIT_EXPECT_TRUE(test, call_wait(call, I915_GEM_THROTTLE_MAX / 2));
	KUNIT_EXPECT_EQ(test, call->ret, 0);

	client->mock->ops->pending_add(i915, 1);
	kunit_release_action(test, unthrottle, i915);
	call_end(test, call);
}

/* A creation that waits can be killed, and returns -ERESTARTSYS then. */
static void creation_throttled_can_be_killed(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct call *call;

	call = start_throttled(test, client);

	send_sig(SIGKILL, call->task, 1);
	KUNIT_EXPECT_TRUE(test, call_wait(call, PATIENCE));
	KUNIT_EXPECT_EQ(test, call->ret, -ERESTARTSYS);
	kunit_release_action(test, unthrottle, client->mock->i915);
	call_end(test, call);
}

/* A creation does not wait while less is pending, if only by 1 kB. */
static void creation_not_throttled(struct kunit *test)
{
	const struct creation *creation = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *call;

	throttle(test, client, I915_GEM_PENDING_MAX - 1);
	call = call_start(test, creation->create, client);
	KUNIT_EXPECT_TRUE(test, call_wait(call, I915_GEM_THROTTLE_MAX / 2));
	client->mock->ops->pending_sub(i915, I915_GEM_PENDING_MAX - 1);
	call_end(test, call);
	KUNIT_EXPECT_EQ(test, call->ret, 0);
}

/* A creation goes on after some seconds, whatever is pending. */
static void creation_not_throttled_for_good(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	const unsigned long start = jiffies;
	struct call *call;

	throttle(test, client, I915_GEM_PENDING_MAX);
	call = call_start(test, creation_of_context, client);
	KUNIT_EXPECT_TRUE(test, call_wait(call, I915_GEM_THROTTLE_MAX + PATIENCE));
	KUNIT_EXPECT_GE(test, jiffies - start, I915_GEM_THROTTLE_MAX);
	client->mock->ops->pending_sub(i915, I915_GEM_PENDING_MAX);
	call_end(test, call);
	KUNIT_EXPECT_EQ(test, call->ret, 0);
}

/* What waits for RCU is counted as pending, to the kB, until RCU is done. */
static void pending_is_exact(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct drm_i915_private *i915 = mock->i915;
	const int count = 4;
	struct rcu_reader *reader;
	u32 id, handle;
	int i;

	need_two_cpus(test);

	/* One has a timeline, which comes with the first request */
	create_watched(test, client, &id);
	KUNIT_ASSERT_EQ(test, mock->ops->submit(find_context(client, id), 0, NULL, 0), 0);
	mock->ops->complete(i915);

	throttle(test, client, 0);
	mock_device_block_queue(mock);
	reader = rcu_reader_start(test);

	for (i = 0; i < count; i++) {
		if (i)
			create_watched(test, client, &id);
		KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	}
	mock->ops->free_contexts(i915);
	/* This flushes the objects */
	KUNIT_ASSERT_EQ(test, create_object(client, &handle), 0);
	KUNIT_EXPECT_TRUE(test, mock->ops->all_freed(i915));
	KUNIT_EXPECT_EQ(test, watched_vms_alive(mock), 0);

	/* A context, its engine and the page tables of one of them */
	KUNIT_EXPECT_GE(test, atomic_read(&i915->mm.free_count), count);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->gem.reclaim.pending),
			2 * count + I915_GEM_PENDING_TIMELINE + atomic_read(&i915->mm.free_count));

	rcu_reader_end(test, reader);
	mock_device_unblock_queue(mock);
	mock->ops->flush(i915);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->gem.reclaim.pending), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&i915->mm.free_count), 0);
}

/* A context is counted as closed until its requests are retired. */
static void closed_is_exact(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	atomic_t *closed = &mock->i915->gem.reclaim.closed;
	u32 id[3];
	int i;

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, dead_context_create(client, &id[i]), 0);
		/* The last is idle */
		if (i < 2)
			KUNIT_ASSERT_EQ(test, mock->ops->submit(find_context(client, id[i]), 0,
								NULL, 3600 * HZ), 0);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(closed), 0);
	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(closed), min(i + 1, 2));
	}

	mock->ops->complete(mock->i915);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, atomic_read(closed), 0);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

static const struct closed_limit {
	const char *description;
	int closed, retired;
	bool retire_helps;
} closed_limits[] = {
	{ .description = "one less", .closed = I915_GEM_CLOSED_MAX - 1 },
	{ .description = "enough", .closed = I915_GEM_CLOSED_MAX, .retired = 1 },
	{ .description = "enough, and one is retired", .closed = I915_GEM_CLOSED_MAX,
	  .retired = 1, .retire_helps = true },
};

KUNIT_ARRAY_PARAM_DESC(closed_limit, closed_limits, description);

static void count_retire(struct intel_gt *gt)
{
	struct kunit *test = kunit_get_current_test();
	struct mock_device *mock = test->priv;
	const struct closed_limit *limit = test->param_value;

	mock->retired++;
	if (limit->retire_helps)
		atomic_dec(&mock->i915->gem.reclaim.closed);
}

/* An engine counts for its ring, its image and its share of the address space. */
static void pending_of_engine_is_exact(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct i915_address_space *vm;
	struct intel_context *ce;
	struct intel_ring *ring;
	struct i915_vma *state;

	vm = kunit_kzalloc(test, sizeof(*vm), GFP_KERNEL);
	ce = kunit_kzalloc(test, sizeof(*ce), GFP_KERNEL);
	ring = kunit_kzalloc(test, sizeof(*ring), GFP_KERNEL);
	state = kunit_kzalloc(test, sizeof(*state), GFP_KERNEL);
	KUNIT_ASSERT_TRUE(test, vm && ce && ring && state);

	kref_init(&vm->ref);
	ring->size = SZ_4K;
	state->size = 3 * SZ_4K;
	ce->engine = to_gt(mock->i915)->engine[RCS0];
	ce->vm = vm;
	ce->ring = ring;
	ce->state = state;

	/* The last user of the address space, as the context is gone, or one of two */
	mock->ops->engine_pending_add(ce, 100);
	KUNIT_EXPECT_EQ(test, ce->pending_kb, 1 + 4 + 12 + I915_GEM_PENDING_VM);
	mock->ops->pending_sub(mock->i915, ce->pending_kb);

	kref_get(&vm->ref);
	kref_get(&vm->ref);
	mock->ops->engine_pending_add(ce, SZ_1K);
	KUNIT_EXPECT_EQ(test, ce->pending_kb, 1 + 4 + 12 + I915_GEM_PENDING_VM / 2);
	mock->ops->pending_sub(mock->i915, ce->pending_kb);
}

/*
 * With too many closed contexts each creation of a context retires, and sleeps if that
 * does not help. Other creations do not.
 */
static void creation_retires_idle_timelines(struct kunit *test)
{
	const struct closed_limit *limit = test->param_value;
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	atomic_t *closed = &mock->i915->gem.reclaim.closed;
	const bool sleeps = limit->retired && !limit->retire_helps;
	const struct creation *creation;
	unsigned long slept;
	int i;

	KUNIT_ASSERT_EQ(test, atomic_read(closed), 0);
	kunit_activate_static_stub(test, mock->ops->retire_idle, count_retire);

	for (creation = creations; creation < creations + ARRAY_SIZE(creations); creation++) {
		atomic_set(closed, limit->closed);
		mock->retired = 0;
		slept = current->nvcsw;
		KUNIT_EXPECT_EQ(test, creation->create(client), 0);
		slept = current->nvcsw - slept;
		if (creation->of_context && sleeps)
			KUNIT_EXPECT_GT(test, slept, 0);
		KUNIT_EXPECT_EQ_MSG(test, mock->retired, creation->of_context ? limit->retired : 0,
				    "creation of %s", creation->description);
	}

	/* Some may sleep for a lock, but not all */
	for (i = 0, slept = 1; i < 20 && slept && !sleeps; i++) {
		atomic_set(closed, limit->closed);
		slept = current->nvcsw;
		KUNIT_EXPECT_EQ(test, creation_of_context(client), 0);
		slept = current->nvcsw - slept;
	}
	KUNIT_EXPECT_EQ(test, !!slept, sleeps);
	atomic_set(closed, 0);
}

/* The put of a context's last request */
static void put_by_retire(struct intel_gt *gt)
{
	struct mock_device *mock = kunit_get_current_test()->priv;

	tracked_context_destroy(list_first_entry(&mock->contexts, struct tracked_context, link));
}

/* What a creation retires, the same creation frees. */
static void retired_freed_by_creation(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	atomic_t *closed = &mock->i915->gem.reclaim.closed;
	const struct creation *creation;
	unsigned int retired = 0;

	tracked_contexts_create(test, ARRAY_SIZE(creations));
	kunit_activate_static_stub(test, mock->ops->retire_idle, put_by_retire);
	mock_device_block_queue(mock);

	atomic_set(closed, I915_GEM_CLOSED_MAX);
	for (creation = creations; creation < creations + ARRAY_SIZE(creations); creation++) {
		KUNIT_EXPECT_EQ(test, creation->create(client), 0);
		retired += creation->of_context;
		KUNIT_EXPECT_EQ_MSG(test, mock->freed, retired, "creation of %s",
				    creation->description);
	}
	atomic_set(closed, 0);
}

static void expect_perf_unlocked(struct intel_gt *gt)
{
	struct kunit *test = kunit_get_current_test();
	struct mock_device *mock = test->priv;

	mock->retired++;
	KUNIT_EXPECT_FALSE(test, mutex_is_locked(&gt->perf.lock));
}

/*
 * A perf stream that is the first to use a context creates it without the lock of the
 * streams, as that may take seconds, and keeps no reference if it cannot be opened.
 */
static void context_created_by_perf(struct kunit *test)
{
	static const struct i915_oa_format formats[I915_OA_FORMAT_MAX];
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct drm_i915_private *i915 = mock->i915;
	struct intel_gt *gt = to_gt(i915);
	struct drm_i915_perf_open_param param = { .num_properties = 1 };
	struct i915_perf_group group = {};
	struct i915_gem_context *ctx;
	u64 property[] = { DRM_I915_PERF_PROP_CTX_HANDLE, 0 };
	u32 id;

	param.properties_ptr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
					     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, param.properties_ptr, 0);
	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id), 0);
	property[1] = id;
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(param.properties_ptr), property,
					   sizeof(property)), 0);

	/* As far as a mock device needs to get: it has no metrics */
	i915->perf.i915 = i915;
	i915->perf.oa_formats = formats;
	gt->engine[RCS0]->oa_group = &group;
	mutex_init(&gt->perf.lock);
	kunit_activate_static_stub(test, mock->ops->retire_idle, expect_perf_unlocked);
	atomic_set(&i915->gem.reclaim.closed, I915_GEM_CLOSED_MAX);
	KUNIT_EXPECT_EQ(test, mock->ops->perf_open(&i915->drm, &param, client->file), -EINVAL);
	atomic_set(&i915->gem.reclaim.closed, 0);
	mutex_destroy(&gt->perf.lock);
	gt->engine[RCS0]->oa_group = NULL;
	i915->perf.i915 = NULL;

	KUNIT_EXPECT_EQ(test, mock->retired, 1);
	ctx = find_context(client, id);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	KUNIT_EXPECT_EQ(test, kref_read(&ctx->ref), 1);
}

/*
 * Without the stub: a creation retires the timelines that are idle, and sleeps for
 * about a jiffy.
 */
static void idle_timelines_retired_by_creation(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = client->mock;
	struct intel_engine_cs *engine = to_gt(mock->i915)->engine[RCS0];
	atomic_t *closed = &mock->i915->gem.reclaim.closed;
	unsigned long start, least = ULONG_MAX;
	int i;

	/* Leave it to the creations */
	disable_work_sync(&engine->retire_work);
	mock->ops->add_retire(engine, engine->kernel_context->timeline);
	KUNIT_EXPECT_NOT_NULL(test, READ_ONCE(engine->retire));

	atomic_add(I915_GEM_CLOSED_MAX, closed);
	/* A busy machine may delay some of them, but not all */
	for (i = 0; i < 20; i++) {
		start = jiffies;
		KUNIT_EXPECT_EQ(test, creation_of_context(client), 0);
		least = min(least, jiffies - start);
	}
	atomic_sub(I915_GEM_CLOSED_MAX, closed);
	KUNIT_EXPECT_NULL(test, READ_ONCE(engine->retire));
	KUNIT_EXPECT_GE(test, least, 1);
	KUNIT_EXPECT_LE(test, least, HZ / 10);

	/* The work finds nothing left */
	enable_work(&engine->retire_work);
	queue_work(mock->i915->unordered_wq, &engine->retire_work);
	flush_work(&engine->retire_work);
}

/* Objects of user memory need has_llc */
static const struct intel_device_info reclaim_info = MOCK_CLIENT_INFO(12, .has_llc = 1);

static int reclaim_init(struct kunit *test)
{
	struct mock_device *mock;
	int err;

	err = mock_client_test_init(test, &reclaim_info);
	if (err)
		return err;

	mock = test->priv;
	INIT_LIST_HEAD(&mock->vms);
	/* So that watched_cleanup() finds it */
	mock->i915->drm.dev->platform_data = mock;

	return 0;
}

static struct kunit_case reclaim_cases[] = {
	KUNIT_CASE(limits_are_small),
	KUNIT_CASE(vms_bounded_by_creations),
	KUNIT_CASE_PARAM(vms_backlog_shrinks, creation_gen_params),
	KUNIT_CASE_PARAM(worker_due_after_a_jiffy, dead_gen_params),
	KUNIT_CASE_PARAM(worker_not_postponed, dead_gen_params),
	KUNIT_CASE_PARAM(worker_runs_again, dead_gen_params),
	KUNIT_CASE(worker_requeued_while_it_runs),
	KUNIT_CASE(worker_gone_after_drain),
	KUNIT_CASE(objects_flushed_by_creation),
	KUNIT_CASE(objects_flushed_by_userptr),
	KUNIT_CASE(objects_freed_by_worker),
	KUNIT_CASE_PARAM(vm_put_frees_nothing, vm_put_gen_params),
	KUNIT_CASE(vm_with_pending_unbind_is_skipped),
	KUNIT_CASE(vm_with_active_vma_is_skipped),
	KUNIT_CASE(vma_freed_after_it_is_retired),
	KUNIT_CASE_PARAM(flush_waits_for_unbind, flush_gen_params),
	KUNIT_CASE_PARAM(flush_waits_for_worker, flush_gen_params),
	KUNIT_CASE_PARAM(flush_waits_for_creation, flush_gen_params),
	KUNIT_CASE_PARAM(creation_never_waits_for_flush, creation_gen_params),
	KUNIT_CASE_PARAM(flush_empties_each_list, flush_gen_params),
	KUNIT_CASE(flush_waits_for_virtual_engine),
	KUNIT_CASE(flush_does_not_drain_ttm),
	KUNIT_CASE_PARAM(creation_throttled, creation_gen_params),
	KUNIT_CASE_PARAM(creation_throttled_can_be_killed, creation_gen_params),
	KUNIT_CASE_PARAM(creation_not_throttled, creation_gen_params),
	KUNIT_CASE_SLOW(creation_not_throttled_for_good),
	KUNIT_CASE(pending_is_exact),
	KUNIT_CASE(pending_of_engine_is_exact),
	KUNIT_CASE(closed_is_exact),
	KUNIT_CASE_PARAM(creation_retires_idle_timelines, closed_limit_gen_params),
	KUNIT_CASE(retired_freed_by_creation),
	KUNIT_CASE(idle_timelines_retired_by_creation),
	KUNIT_CASE(context_created_by_perf),
	{}
};

static struct kunit_suite reclaim_suite = {
	.name = "i915_gem_reclaim",
	.init = reclaim_init,
	.exit = mock_client_test_exit,
	.test_cases = reclaim_cases,
};

kunit_test_suites(&reclaim_suite);
