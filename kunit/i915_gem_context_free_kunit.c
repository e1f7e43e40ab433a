// SPDX-License-Identifier: MIT
/*
 * How released GEM contexts get freed: when, by whom, in which order and under
 * which lock, on a mock device.
 */

#include <kunit/static_stub.h>

#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/tracepoint.h>

#include "gem/i915_gem_context_types.h"
#include "i915_drv.h"

#include "i915_gem_context_mock.h"

static unsigned int seed;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "for the choices of context_stress (default: 0, a random one, which it prints)");

/* For worker_waits(): virt_spin_lock() does not show that a CPU waits. */
static void need_contended_lock(struct kunit *test)
{
	need_two_cpus(test);
	if (IS_ENABLED(CONFIG_PARAVIRT) && boot_cpu_has(X86_FEATURE_HYPERVISOR))
		kunit_skip(test, "needs spinlocks that show who waits, not a guest's");
}

/*
 * Spins until the worker waits for the lock, which the caller holds, or has freed the
 * context without it. Returns true if it waits.
 */
static bool worker_waits(struct tracked_context *t, spinlock_t *lock)
{
	const unsigned long end = jiffies + PATIENCE;

	while (!spin_is_contended(lock) && !tracked_context_is_freed(t) &&
	       time_before(jiffies, end))
		cpu_relax();

	return spin_is_contended(lock);
}

/* Drops the last reference. Returns true if that was done in the intended context. */
struct last_put {
	const char *description;
	bool (*put)(struct tracked_context *t);
};

static bool put_in_process(struct tracked_context *t)
{
	tracked_context_put(t);

	return true;
}

struct put_work {
	struct irq_work irq_work;
	struct work_struct bh_work;
	struct tracked_context *t;
	bool there;
};

static void put_bh_work(struct work_struct *work)
{
	struct put_work *w = container_of(work, typeof(*w), bh_work);

	w->there = in_serving_softirq();
	tracked_context_put(w->t);
}

static bool put_in_softirq(struct tracked_context *t)
{
	struct put_work w = { .t = t };

	INIT_WORK_ONSTACK(&w.bh_work, put_bh_work);
	queue_work(system_bh_wq, &w.bh_work);
	flush_work(&w.bh_work);
	destroy_work_on_stack(&w.bh_work);

	return w.there;
}

static void put_irq_work(struct irq_work *work)
{
	struct put_work *w = container_of(work, typeof(*w), irq_work);

	w->there = in_hardirq();
	tracked_context_put(w->t);
}

static bool put_in_hardirq(struct tracked_context *t)
{
	struct put_work w = { .irq_work = IRQ_WORK_INIT_HARD(put_irq_work), .t = t };

	irq_work_queue(&w.irq_work);
	irq_work_sync(&w.irq_work);

	return w.there;
}

static bool put_with_irqs_off(struct tracked_context *t)
{
	unsigned long flags;
	spinlock_t lock; /* only for its interrupts off */

	spin_lock_init(&lock);
	spin_lock_irqsave(&lock, flags);
	tracked_context_put(t);
	spin_unlock_irqrestore(&lock, flags);

	return true;
}

static bool put_under_contexts_lock(struct tracked_context *t)
{
	spinlock_t *lock = &t->mock->i915->gem.contexts.lock;
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	tracked_context_put(t);
	spin_unlock_irqrestore(lock, flags);

	return true;
}

static bool put_under_struct_mutex(struct tracked_context *t)
{
	struct mock_device *mock = t->mock;

	spin_lock(&mock->struct_mutex);
	tracked_context_put(t);
	spin_unlock(&mock->struct_mutex);

	return true;
}

static const struct last_put last_puts[] = {
	{ .description = "process", .put = put_in_process },
	{ .description = "softirq", .put = put_in_softirq },
	{ .description = "hardirq", .put = put_in_hardirq },
	{ .description = "spinlock, interrupts off", .put = put_with_irqs_off },
	{ .description = "gem.contexts.lock, interrupts off", .put = put_under_contexts_lock },
	{ .description = "struct_mutex", .put = put_under_struct_mutex },
};

KUNIT_ARRAY_PARAM_DESC(last_put, last_puts, description);

/* The last put may be done in any context. It frees nothing: the worker does. */
static void context_put_frees_nothing(struct kunit *test)
{
	const struct last_put *last_put = test->param_value;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 1);

	tracked_context_close(t);
	mock_device_block_queue(mock);
	KUNIT_EXPECT_TRUE(test, last_put->put(t));
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(t));
	mock_device_unblock_queue(mock);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(t));
}

static void put_next(struct tracked_context *t)
{
	tracked_context_put(t->next);
}

/* The free of a context may drop the last reference to another one. */
static void context_put_by_a_free(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 2);

	t[0].next = &t[1];
	t[0].free_fn = put_next;
	tracked_context_close(&t[1]);
	tracked_context_destroy(&t[0]);

	mock->ops->run_worker(mock->i915);
	mock->ops->run_worker(mock->i915);
	/* In this order, as the put freed nothing */
	KUNIT_EXPECT_EQ(test, t[0].freed, 1);
	KUNIT_EXPECT_EQ(test, t[1].freed, 2);
}

/* Of the puts before the worker runs, only the first queues it. */
static void context_first_put_queues_worker(struct kunit *test)
{
	const unsigned int count = 16;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, count);
	unsigned int queued = 0, i;

	mock_device_block_queue(mock);
	for (i = 0; i < count; i++) {
		tracked_context_destroy(&t[i]);
		/* So that the next put would queue it again, if it did */
		queued += mock->ops->cancel_worker(t[i].ctx);
	}
	mock_device_unblock_queue(mock);
	KUNIT_EXPECT_EQ(test, queued, 1);

	mock->ops->free_contexts(mock->i915);
	KUNIT_EXPECT_EQ(test, mock->freed, count);
}

/* One run of the worker frees all contexts that were released before. */
static void context_one_worker_run_per_batch(struct kunit *test)
{
	const unsigned int count = 16;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, count);
	unsigned int i;
	long runs;

	mock->ops->run_worker(mock->i915);
	runs = worker_runs(mock);

	mock_device_block_queue(mock);
	for (i = 0; i < count; i++)
		tracked_context_destroy(&t[i]);
	mock_device_unblock_queue(mock);
	mock->ops->run_worker(mock->i915);

	KUNIT_EXPECT_EQ(test, mock->freed, count);
	KUNIT_EXPECT_EQ(test, worker_runs(mock) - runs, 1);
}

/* While the free lock is held, the put returns, and the worker waits for it. */
static void context_free_waits_for_free_lock(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	spinlock_t *lock = mock->ops->free_lock(mock->i915);
	struct tracked_context *t;
	bool waits, freed;

	need_contended_lock(test);

	t = tracked_contexts_create(test, 1);
	tracked_context_close(t);
	mock->ops->run_worker(mock->i915);

	spin_lock(lock);
	tracked_context_put(t);
	waits = worker_waits(t, lock);
	freed = tracked_context_is_freed(t);
	spin_unlock(lock);

	KUNIT_EXPECT_TRUE_MSG(test, waits, "the worker does not wait for the lock");
	KUNIT_EXPECT_FALSE(test, freed);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(t));
}

/* A flush waits for every consumer: the worker, a creation or another flush. */
static void context_freed_where_flush_waits(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 3), *fresh;

	tracked_context_destroy(&t[0]);
	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_TRUE_MSG(test, tracked_context_is_freed(&t[0]), "by the worker");

	mock_device_block_queue(mock);
	tracked_context_destroy(&t[1]);
	fresh = tracked_contexts_create(test, 1);
	KUNIT_EXPECT_TRUE_MSG(test, tracked_context_is_freed(&t[1]), "by a creation");

	tracked_context_destroy(&t[2]);
	mock->ops->cancel_worker(t[2].ctx);
	mock_device_unblock_queue(mock);
	mock->ops->free_contexts(mock->i915);
	KUNIT_EXPECT_TRUE_MSG(test, tracked_context_is_freed(&t[2]), "by a flush");

	tracked_context_destroy(fresh);
	KUNIT_EXPECT_EQ(test, mock->freed_unseen, 0);
}

/* A creation does not wait for a consumer that is freeing a context. It frees others. */
static void context_creation_never_waits(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t;

	need_two_cpus(test);

	t = tracked_contexts_create(test, 2);
	t[0].free_fn = tracked_context_hold;
	tracked_context_destroy(&t[0]);
	tracked_context_wait_being_freed(test, &t[0]);

	tracked_context_destroy(&t[1]);
	tracked_contexts_create(test, 1);
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(&t[0]));
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t[1]));

	tracked_context_let_go(&t[0]);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, mock->freed, 2);
}

static const unsigned int backlogs[] = { 0, 1, 2, 3, 4, 5, 8, 9, 1000 };

static void backlog_desc(const unsigned int *backlog, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u waiting", *backlog);
}

KUNIT_ARRAY_PARAM(backlog, backlogs, backlog_desc);

/* With the workqueue blocked, each creation frees a batch of contexts that have no vm. */
static void context_reaped_by_creation(struct kunit *test)
{
	const unsigned int backlog = *(const unsigned int *)test->param_value;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, backlog);
	unsigned int i;

	mock_device_block_queue(mock);
	for (i = 0; i < backlog; i++)
		tracked_context_destroy(&t[i]);
	KUNIT_EXPECT_EQ(test, mock->freed, 0);

	for (i = 0; i < backlog; i += I915_GEM_RECLAIM_BATCH) {
		tracked_contexts_create(test, 1);
		KUNIT_ASSERT_EQ(test, mock->freed, min(i + I915_GEM_RECLAIM_BATCH, backlog));
	}
}

/* The next context that is created gets the id of a stale one. */
static void context_ids_reused_on_blocked_queue(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 3), *fresh;

	mock_device_block_queue(mock);
	tracked_context_destroy(&t[1]);
	fresh = tracked_contexts_create(test, 1);
	KUNIT_EXPECT_EQ(test, fresh->hw_id, t[1].hw_id);
}

/* With the workqueue blocked, creating and destroying contexts leaves no backlog. */
static void context_spam_on_blocked_queue(struct kunit *test)
{
	const unsigned int count = 2000;
	struct mock_device *mock = test->priv;
	unsigned int most = 0, i;
	struct tracked_context *t;
	int highest_id = 0;

	t = kunit_kcalloc(test, count, sizeof(*t), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t);

	mock_device_block_queue(mock);
	for (i = 0; i < count; i++) {
		KUNIT_ASSERT_EQ(test, tracked_context_init(&t[i], mock), 0);
		highest_id = max(highest_id, t[i].hw_id);
		tracked_context_destroy(&t[i]);
		most = max(most, i + 1 - mock->freed);
	}
	mock_device_unblock_queue(mock);

	/* Each creation frees what the close before it has left */
	KUNIT_EXPECT_EQ(test, most, 1);
	KUNIT_EXPECT_EQ(test, highest_id, 0);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_EQ(test, mock->freed, count);
}

struct last_flush {
	const char *description;
	void (*flush)(struct mock_device *mock);
};

static void flush_for_removal(struct mock_device *mock)
{
	mock->ops->flush(mock->i915);
}

static void flush_by_drain(struct mock_device *mock)
{
	mock->ops->drain(mock->i915);
}

static void flush_for_suspend(struct mock_device *mock)
{
	mock->ops->suspend(mock->i915);
}

static void flush_for_late_suspend(struct mock_device *mock)
{
	mock->ops->suspend_late(mock->i915);
}

static void flush_by_driver_remove(struct mock_device *mock)
{
	mock->ops->driver_remove(mock->i915);
}

static void flush_by_driver_release(struct mock_device *mock)
{
	mock->ops->driver_release(mock->i915);
}

static const struct last_flush last_flushes[] = {
	{ .description = "removal", .flush = flush_for_removal },
	{ .description = "release", .flush = flush_by_drain },
	{ .description = "suspend", .flush = flush_for_suspend },
	{ .description = "late suspend", .flush = flush_for_late_suspend },
	{ .description = "driver remove", .flush = flush_by_driver_remove },
	{ .description = "driver release", .flush = flush_by_driver_release },
};

KUNIT_ARRAY_PARAM_DESC(last_flush, last_flushes, description);

/* Teardown and suspend free contexts even if the workqueue forgot the worker. */
static void context_flushed_without_worker(struct kunit *test)
{
	const struct last_flush *last_flush = test->param_value;
	const unsigned int count = 100;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, count);
	unsigned int i;

	mock_device_block_queue(mock);
	for (i = 0; i < count; i++) {
		tracked_context_destroy(&t[i]);
		mock->ops->cancel_worker(t[i].ctx);
	}
	mock_device_unblock_queue(mock);
	KUNIT_EXPECT_EQ(test, mock->freed, 0);

	mock_device_stub_gt(test);
	last_flush->flush(mock);
	KUNIT_EXPECT_EQ(test, mock->freed, count);
}

/* What ends the work of the GT, and the flush around it */
static const struct gt_end {
	void (*const *end)(struct intel_gt *gt);
	const char *description;
	void (*flush)(struct mock_device *mock);
	bool flushed_before;
} gt_ends[] = {
	{
		.description = "suspend",
		.end = &i915_gem_context_test_ops.gt_suspend_prepare,
		.flush = flush_for_suspend,
		.flushed_before = true,
	}, {
		.description = "late suspend",
		.end = &i915_gem_context_test_ops.gt_suspend_late,
		.flush = flush_for_late_suspend,
	}, {
		.description = "driver remove",
		.end = &i915_gem_context_test_ops.gt_driver_remove,
		.flush = flush_by_driver_remove,
		.flushed_before = true,
	}, {
		.description = "driver release",
		.end = &i915_gem_context_test_ops.gt_driver_release,
		.flush = flush_by_driver_release,
	},
};

KUNIT_ARRAY_PARAM_DESC(gt_end, gt_ends, description);

/* As requests do that end then. The worker is not queued. */
static void release_contexts(struct intel_gt *gt)
{
	struct kunit *test = kunit_get_current_test();
	struct mock_device *mock = test->priv;
	struct tracked_context *t, *tn;

	mock_device_block_queue(mock);
	list_for_each_entry_safe(t, tn, &mock->contexts, link) {
		tracked_context_destroy(t);
		mock->ops->cancel_worker(t->ctx);
	}
	mock_device_unblock_queue(mock);
}

/*
 * Suspend, driver remove and driver release also free what the end of the GT's work
 * releases. Suspend frees what waits before that, too, while the GuC still answers.
 */
static void context_released_with_gt(struct kunit *test)
{
	const struct gt_end *gt_end = test->param_value;
	const unsigned int count = 16;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, count);

	mock_device_block_queue(mock);
	tracked_context_destroy(&t[0]);
	mock->ops->cancel_worker(t[0].ctx);
	mock_device_unblock_queue(mock);

	kunit_activate_static_stub(test, *gt_end->end, release_contexts);
	gt_end->flush(mock);
	KUNIT_EXPECT_EQ(test, mock->freed, count);
	/* Otherwise last, as the newest is freed first */
	KUNIT_EXPECT_EQ(test, t[0].freed, gt_end->flushed_before ? 1 : count);
}

/* A flush also waits for a context that is just being freed. */
static void context_flush_waits_for_consumer(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t;
	struct call *f;
	int i;

	need_two_cpus(test);

	t = tracked_contexts_create(test, 3);
	/* The newest is taken first */
	t[2].free_fn = tracked_context_hold;
	mock_device_block_queue(mock);
	for (i = 0; i < 3; i++)
		tracked_context_destroy(&t[i]);
	mock_device_unblock_queue(mock);
	tracked_context_wait_being_freed(test, &t[2]);

	f = call_start_flush(test, mock->ops->free_contexts);
	KUNIT_EXPECT_FALSE(test, call_wait(f, HZ / 10));
	tracked_context_let_go(&t[2]);
	call_end(test, f);
	KUNIT_EXPECT_EQ(test, mock->freed, 3);
}

/* Takes a millisecond in the worker, in case that never lets the flush go first. */
static void free_slowly(struct tracked_context *t)
{
	if (current->flags & PF_WQ_WORKER) {
		mdelay(1);
		t->by_worker = true;
	}
}

/* A flush does not wait until the worker has freed all that wait. */
static void context_flush_goes_before_worker(struct kunit *test)
{
	const unsigned int count = 1000;
	struct mock_device *mock = test->priv;
	struct tracked_context *t;
	unsigned int by_worker = 0, i;
	unsigned long end;

	need_two_cpus(test);

	t = tracked_contexts_create(test, count);
	mock_device_block_queue(mock);
	for (i = 0; i < count; i++) {
		t[i].free_fn = free_slowly;
		tracked_context_destroy(&t[i]);
	}
	mock_device_unblock_queue(mock);
	/* The newest is taken first */
	end = jiffies + PATIENCE;
	while (!tracked_context_is_freed(&t[count - 1]) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);

	mock->ops->free_contexts(mock->i915);
	KUNIT_EXPECT_EQ(test, mock->freed, count);
	for (i = 0; i < count; i++)
		by_worker += t[i].by_worker;
	KUNIT_EXPECT_LT(test, by_worker, count);
}

/*
 * A work item that requeues itself, so that the queue is never empty. It gives up after
 * a while, as a drain at the end of the test would wait for it forever.
 */
struct requeuer {
	struct work_struct work;
	struct workqueue_struct *wq;
	unsigned long deadline;
	bool end;
};

static void requeuer_fn(struct work_struct *work)
{
	struct requeuer *r = container_of(work, typeof(*r), work);

	fsleep(1000);
	if (!READ_ONCE(r->end) && time_before(jiffies, r->deadline))
		queue_work(r->wq, &r->work);
}

static void requeuer_end(void *requeuer)
{
	struct requeuer *r = requeuer;

	WRITE_ONCE(r->end, true);
	cancel_work_sync(&r->work);
}

static struct requeuer *requeuer_start(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct requeuer *r;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);

	r->wq = mock->i915->wq;
	r->deadline = jiffies + 20 * HZ;
	INIT_WORK(&r->work, requeuer_fn);
	queue_work(r->wq, &r->work);

	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, requeuer_end, r), 0);

	return r;
}

static const struct open_flush {
	const char *description;
	bool remove;
} open_flushes[] = {
	{ .description = "flush" },
	{ .description = "driver remove", .remove = true },
};

KUNIT_ARRAY_PARAM_DESC(open_flush, open_flushes, description);

/*
 * With files open, a flush and driver remove return even if the queue never empties,
 * and no context that is closed meanwhile is lost.
 */
static void context_closed_during_flush(struct kunit *test)
{
	const struct open_flush *open_flush = test->param_value;
	struct mock_device *mock = test->priv;
	struct requeuer *r = requeuer_start(test);
	struct call *f;
	bool done;

	mock_device_stub_gt(test);
	f = call_start_flush(test, open_flush->remove ? mock->ops->driver_remove :
							mock->ops->flush);
	do {
		tracked_context_destroy(tracked_contexts_create(test, 1));
		done = call_wait(f, 1);
	} while (!done && time_before(jiffies, r->deadline));
	KUNIT_EXPECT_TRUE_MSG(test, done, "the flush waits for works that come after it");

	kunit_release_action(test, requeuer_end, r);
	call_end(test, f);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_EQ_MSG(test, mock->freed, mock->created, "contexts are lost");
}

/* Contexts are freed before their ids are destroyed. The reverse order warns. */
static void context_freed_before_ids_end(struct kunit *test)
{
	const unsigned int count = 4;
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 2 * count);
	unsigned int i;

	/* As driver release does: flush, check that nothing is left, destroy the ids */
	for (i = 0; i < count; i++)
		tracked_context_destroy(&t[i]);
	mock->ops->drain(mock->i915);
	for (i = 0; i < count; i++)
		KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t[i]));
	mock->ops->cleanup(mock->i915);

	mock_device_block_queue(mock);
	for (i = count; i < 2 * count; i++) {
		tracked_context_destroy(&t[i]);
		mock->ops->cancel_worker(t[i].ctx);
	}
	mock_device_unblock_queue(mock);

	kunit_warning_suppress(test) {
		mock->ops->cleanup(mock->i915);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	kunit_warning_suppress(test) {
		ida_destroy(&mock->hw_ida);
		mock->ops->free_contexts(mock->i915);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, count);
	}
}

struct free_probe {
	struct mock_device *mock;
	struct i915_gem_context *ctx;
	struct task_struct *task;
	unsigned int count;
	bool queued;
};

static void count_free(void *data, struct i915_gem_context *ctx)
{
	struct free_probe *probe = data;

	/* The tracepoint fires for contexts of all devices */
	if (ctx->i915 != probe->mock->i915)
		return;

	probe->ctx = ctx;
	probe->task = current;
	probe->count++;
	/* Once the worker is queued, ctx may be freed */
	probe->queued = probe->mock->ops->cancel_worker(ctx);
}

/* The tracepoint i915_context_free fires at the last put, not at the free. */
static void context_traced_at_last_put(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct tracked_context *t = tracked_contexts_create(test, 1);
	struct free_probe probe = { .mock = mock };

	if (mock->ops->probe_free(count_free, &probe))
		kunit_skip(test, "needs CONFIG_TRACEPOINTS");

	tracked_context_close(t);
	mock_device_block_queue(mock);
	KUNIT_EXPECT_EQ(test, probe.count, 0);
	tracked_context_put(t);
	KUNIT_EXPECT_EQ(test, probe.count, 1);
	KUNIT_EXPECT_PTR_EQ(test, probe.ctx, t->ctx);
	KUNIT_EXPECT_PTR_EQ(test, probe.task, current);
	KUNIT_EXPECT_FALSE(test, probe.queued);
	mock_device_unblock_queue(mock);

	mock->ops->run_worker(mock->i915);
	mock->ops->unprobe_free(count_free, &probe);
	tracepoint_synchronize_unregister();
	KUNIT_EXPECT_EQ(test, probe.count, 1);
}

/* The free waits for gem.contexts.lock, under which others walk the list. */
static void context_free_waits_for_contexts_lock(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct i915_gem_contexts *gc = &mock->i915->gem.contexts;
	struct tracked_context *t;
	bool waits, freed;

	need_contended_lock(test);

	t = tracked_contexts_create(test, 1);
	tracked_context_close(t);
	mock->ops->run_worker(mock->i915);

	spin_lock(&gc->lock);
	tracked_context_put(t);
	waits = worker_waits(t, &gc->lock);
	freed = tracked_context_is_freed(t);
	spin_unlock(&gc->lock);

	KUNIT_EXPECT_TRUE_MSG(test, waits, "the worker does not wait for the lock");
	KUNIT_EXPECT_FALSE(test, freed);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(t));
}

/*
 * A context that an RCU reader has found stays readable until the end of the critical
 * section, and so do its engines. Only SLUB_DEBUG_ON, which poisons freed memory, or
 * KASAN notice if they do not.
 */
static void context_readable_under_rcu(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	const struct i915_gem_engines *engines[2];
	const struct i915_gem_context *owner;
	struct drm_i915_private *i915;
	struct tracked_context *t;
	unsigned long end;
	int first, i;
	bool freed;

	/* Otherwise the worker cannot run while this spins */
	if (!IS_ENABLED(CONFIG_PREEMPT_RCU))
		need_two_cpus(test);

	t = tracked_contexts_create(test, 2);
	for (i = 0; i < 2; i++) {
		tracked_context_close(&t[i]);
		engines[i] = t[i].ctx->closed_engines;
	}

	end = jiffies + PATIENCE;
	rcu_read_lock();
	tracked_context_put(&t[0]);
	tracked_context_put(&t[1]);
	do {
		cpu_relax();
		freed = tracked_context_is_freed(&t[0]) && tracked_context_is_freed(&t[1]);
	} while (!freed && time_before(jiffies, end));
	/* The free of the first is over, that of the second may not be */
	first = t[0].freed == 1 ? 0 : 1;
	i915 = READ_ONCE(t[first].ctx->i915);
	owner = READ_ONCE(engines[first]->ctx);
	rcu_read_unlock();

	KUNIT_EXPECT_TRUE_MSG(test, freed, "the worker did not run");
	KUNIT_EXPECT_PTR_EQ(test, i915, mock->i915);
	KUNIT_EXPECT_PTR_EQ(test, owner, t[first].ctx);
}

struct stress {
	struct mock_device *mock;
	struct tracked_context *t;
	unsigned int count;
	unsigned int seed;
	bool *end;
	struct completion done;
};

static int stress_putter(void *stress)
{
	struct stress *s = stress;
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, s->seed);
	for (i = 0; i < s->count; i++) {
		const struct last_put *last_put =
			&last_puts[prandom_u32_state(&rnd) % ARRAY_SIZE(last_puts)];

		if (tracked_context_init(&s->t[i], s->mock))
			break;
		tracked_context_close(&s->t[i]);
		last_put->put(&s->t[i]);

		if (prandom_u32_state(&rnd) % 64 == 0)
			s->mock->ops->free_contexts(s->mock->i915);
	}
	s->count = i;
	kthread_complete_and_exit(&s->done, 0);
}

static int stress_flusher(void *stress)
{
	struct stress *s = stress;

	while (!READ_ONCE(*s->end))
		s->mock->ops->flush(s->mock->i915);
	kthread_complete_and_exit(&s->done, 0);
}

static void stress_start(struct stress *s, int (*fn)(void *stress), int cpu)
{
	struct task_struct *task;

	init_completion(&s->done);
	task = kthread_create(fn, s, "i915-stress/%d", cpu);
	if (IS_ERR(task)) {
		s->count = 0;
		complete(&s->done);
		return;
	}
	if (cpu >= 0)
		kthread_bind(task, cpu);
	wake_up_process(task);
}

/*
 * Threads on each CPU create contexts and drop the last references to them, in
 * processes and in interrupts, while another thread flushes all the time. Each context
 * is freed exactly once.
 */
static void context_stress(struct kunit *test)
{
	const unsigned int count = 500;
	unsigned int base = seed ?: get_random_u32(), total = 0;
	struct mock_device *mock = test->priv;
	struct stress *s, flusher = { .mock = mock };
	bool end = false;
	int cpu;

	kunit_info(test, "seed %u", base);

	s = kunit_kcalloc(test, nr_cpu_ids, sizeof(*s), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	for_each_possible_cpu(cpu) {
		s[cpu] = (struct stress) { .mock = mock, .count = count, .seed = base + cpu };
		s[cpu].t = kunit_kcalloc(test, count, sizeof(*s[cpu].t), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, s[cpu].t);
	}

	cpus_read_lock();
	flusher.end = &end;
	stress_start(&flusher, stress_flusher, -1);
	for_each_online_cpu(cpu)
		stress_start(&s[cpu], stress_putter, cpu);
	for_each_online_cpu(cpu) {
		wait_for_completion(&s[cpu].done);
		KUNIT_EXPECT_EQ(test, s[cpu].count, count);
		total += s[cpu].count;
	}
	cpus_read_unlock();
	WRITE_ONCE(end, true);
	wait_for_completion(&flusher.done);

	/* By the worker alone, before the flush */
	KUNIT_EXPECT_TRUE(test, mock_device_wait_freed(mock));
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, mock->freed, total);
}

static struct kunit_case context_free_cases[] = {
	KUNIT_CASE_PARAM(context_put_frees_nothing, last_put_gen_params),
	KUNIT_CASE(context_put_by_a_free),
	KUNIT_CASE(context_first_put_queues_worker),
	KUNIT_CASE(context_one_worker_run_per_batch),
	KUNIT_CASE(context_free_waits_for_free_lock),
	KUNIT_CASE(context_freed_where_flush_waits),
	KUNIT_CASE(context_creation_never_waits),
	KUNIT_CASE_PARAM(context_reaped_by_creation, backlog_gen_params),
	KUNIT_CASE(context_ids_reused_on_blocked_queue),
	KUNIT_CASE_SLOW(context_spam_on_blocked_queue),
	KUNIT_CASE_PARAM(context_flushed_without_worker, last_flush_gen_params),
	KUNIT_CASE_PARAM(context_released_with_gt, gt_end_gen_params),
	KUNIT_CASE(context_flush_waits_for_consumer),
	KUNIT_CASE(context_flush_goes_before_worker),
	KUNIT_CASE_PARAM(context_closed_during_flush, open_flush_gen_params),
	KUNIT_CASE(context_freed_before_ids_end),
	KUNIT_CASE(context_traced_at_last_put),
	KUNIT_CASE(context_free_waits_for_contexts_lock),
	KUNIT_CASE(context_readable_under_rcu),
	KUNIT_CASE_SLOW(context_stress),
	{}
};

static struct kunit_suite context_free_suite = {
	.name = "i915_gem_context_free",
	.init = mock_device_test_init,
	.exit = mock_device_test_exit,
	.test_cases = context_free_cases,
};

kunit_test_suites(&context_free_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

MODULE_LICENSE("GPL and additional rights");
MODULE_DESCRIPTION("i915 GEM context KUnit tests");
