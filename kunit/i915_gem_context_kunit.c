// SPDX-License-Identifier: MIT
/*
 * How released GEM contexts get freed, on a mock device.
 */

#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/workqueue.h>

#include <drm/drm_syncobj.h>

#include "gem/i915_gem_context_types.h"
#include "gem/selftests/mock_context.h"
#include "i915_drv.h"

struct context_test {
	const struct i915_gem_context_test_ops *ops;
	struct drm_i915_private *i915;
};

/* A context, and a reference of its own to what the context gives back last. */
struct tracked_context {
	struct i915_gem_context *ctx;
	struct drm_syncobj *syncobj;
};

/* A work item that occupies the ordered workqueue until it is told to end. */
struct blocker {
	struct work_struct work;
	struct completion end;
};

/* A work item that lets others have their turn, but never leaves the queue. */
struct requeuer {
	struct work_struct work;
	struct workqueue_struct *wq;
	bool end;
};

/* A call of i915_gem_flush_workqueue() in a thread of its own. */
struct flusher {
	struct context_test *ct;
	struct completion done;
};

static void put_syncobj(void *syncobj)
{
	drm_syncobj_put(syncobj);
}

/* What counts the contexts that are not freed: each holds a reference. */
static struct drm_syncobj *counter_create(struct kunit *test)
{
	struct drm_syncobj *counter;

	KUNIT_ASSERT_EQ(test, drm_syncobj_create(&counter, 0, NULL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_syncobj, counter), 0);

	return counter;
}

static unsigned int counter_read(const struct drm_syncobj *counter)
{
	return kref_read(&counter->refcount) - 1;
}

static struct i915_gem_context *
counted_context_create(struct kunit *test, struct drm_syncobj *counter)
{
	struct context_test *ct = test->priv;
	struct i915_gem_context *ctx;

	ctx = ct->ops->create(ct->i915);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ctx);

	drm_syncobj_get(counter);
	ctx->syncobj = counter;

	return ctx;
}

static void tracked_context_create(struct kunit *test, struct tracked_context *t)
{
	t->syncobj = counter_create(test);
	t->ctx = counted_context_create(test, t->syncobj);
}

static bool tracked_context_is_freed(const struct tracked_context *t)
{
	return !counter_read(t->syncobj);
}

static void blocker_fn(struct work_struct *work)
{
	struct blocker *b = container_of(work, typeof(*b), work);

	wait_for_completion(&b->end);
}

static void blocker_end(void *blocker)
{
	struct blocker *b = blocker;

	complete(&b->end);
	flush_work(&b->work);
}

static struct blocker *blocker_start(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct blocker *b;

	b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, b);

	init_completion(&b->end);
	INIT_WORK(&b->work, blocker_fn);
	queue_work(ct->i915->wq, &b->work);

	/* Also if an assertion ends the test before blocker_stop() */
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, blocker_end, b), 0);

	return b;
}

static void blocker_stop(struct kunit *test, struct blocker *b)
{
	kunit_release_action(test, blocker_end, b);
}

static void requeuer_fn(struct work_struct *work)
{
	struct requeuer *r = container_of(work, typeof(*r), work);

	fsleep(1000);
	if (!READ_ONCE(r->end))
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
	struct context_test *ct = test->priv;
	struct requeuer *r;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);

	r->wq = ct->i915->wq;
	INIT_WORK(&r->work, requeuer_fn);
	queue_work(r->wq, &r->work);

	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, requeuer_end, r), 0);

	return r;
}

static void requeuer_stop(struct kunit *test, struct requeuer *r)
{
	kunit_release_action(test, requeuer_end, r);
}

static int flusher_fn(void *flusher)
{
	struct flusher *f = flusher;

	f->ct->ops->flush(f->ct->i915);
	complete_all(&f->done);

	return 0;
}

static void flusher_wait(void *flusher)
{
	struct flusher *f = flusher;

	wait_for_completion(&f->done);
}

static struct flusher *flusher_start(struct kunit *test)
{
	struct task_struct *task;
	struct flusher *f;

	f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f);

	f->ct = test->priv;
	init_completion(&f->done);
	task = kthread_run(flusher_fn, f, "i915-flusher");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, flusher_wait, f), 0);

	return f;
}

static void destroy_device(void *context_test)
{
	struct context_test *ct = context_test;

	ct->ops->destroy_device(ct->i915);
}

static int context_test_init(struct kunit *test)
{
	struct context_test *ct;

	ct = kunit_kzalloc(test, sizeof(*ct), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ct);

	ct->ops = &i915_gem_context_test_ops;
	ct->i915 = ct->ops->create_device();
	KUNIT_ASSERT_NOT_NULL(test, ct->i915);
	test->priv = ct;

	return kunit_add_action_or_reset(test, destroy_device, ct);
}

/* The last put leaves the context to the worker, and the worker frees it. */
static void context_freed_by_worker(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct tracked_context t;
	struct blocker *b;

	tracked_context_create(test, &t);

	b = blocker_start(test);
	ct->ops->close(t.ctx);
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(&t));
	blocker_stop(test, b);

	flush_workqueue(ct->i915->wq);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t));
}

/* The last put may come with interrupts off and a spinlock held. */
static void context_put_in_atomic(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct i915_gem_contexts *gc = &ct->i915->gem.contexts;
	struct tracked_context t;
	unsigned long flags;
	bool freed;

	tracked_context_create(test, &t);
	kref_get(&t.ctx->ref);
	ct->ops->close(t.ctx);

	spin_lock_irqsave(&gc->lock, flags);
	kref_put(&t.ctx->ref, ct->ops->release);
	freed = tracked_context_is_freed(&t);
	spin_unlock_irqrestore(&gc->lock, flags);
	KUNIT_EXPECT_FALSE(test, freed);

	flush_workqueue(ct->i915->wq);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t));
}

/* One run of the worker frees all that was released before it came to run. */
static void context_one_worker_run_per_batch(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct i915_gem_contexts *gc = &ct->i915->gem.contexts;
	struct tracked_context t[16];
	struct blocker *b;
	long runs;
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		tracked_context_create(test, &t[i]);

	flush_workqueue(ct->i915->wq);
	runs = atomic_long_read(&gc->worker_runs);

	b = blocker_start(test);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		ct->ops->close(t[i].ctx);
	blocker_stop(test, b);
	flush_workqueue(ct->i915->wq);

	for (i = 0; i < ARRAY_SIZE(t); i++)
		KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t[i]));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&gc->worker_runs) - runs, 1);
}

/* With the workqueue blocked, each creation frees the two oldest contexts. */
static void context_reaped_by_creation(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct tracked_context t[7], fresh[4];
	struct blocker *b;
	int i, n;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		tracked_context_create(test, &t[i]);

	b = blocker_start(test);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		ct->ops->close(t[i].ctx);

	for (n = 0; n < ARRAY_SIZE(fresh); n++) {
		for (i = 0; i < ARRAY_SIZE(t); i++)
			KUNIT_EXPECT_EQ_MSG(test, tracked_context_is_freed(&t[i]), i < 2 * n,
					    "context %d after %d creations", i, n);

		tracked_context_create(test, &fresh[n]);
	}
	for (i = 0; i < ARRAY_SIZE(t); i++)
		KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t[i]));

	blocker_stop(test, b);
	for (n = 0; n < ARRAY_SIZE(fresh); n++)
		ct->ops->close(fresh[n].ctx);
}

/* The drain before teardown frees contexts even if their worker was dropped. */
static void context_freed_by_drain(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct tracked_context t;
	struct blocker *b;
	bool cancelled;

	tracked_context_create(test, &t);

	b = blocker_start(test);
	/* As the last put frees nothing, ctx is still there */
	ct->ops->close(t.ctx);
	cancelled = ct->ops->cancel_worker(t.ctx);
	blocker_stop(test, b);

	KUNIT_EXPECT_TRUE(test, cancelled);
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(&t));

	ct->ops->drain(ct->i915);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&t));
}

/*
 * A backlog that is turned round and freed in many parts goes oldest first,
 * whether creations free it or a worker that lets others have their turn.
 */
static void context_backlog_freed_in_order(struct kunit *test)
{
	const unsigned int backlog = 1000, creations = 100;
	struct context_test *ct = test->priv;
	struct i915_gem_contexts *gc = &ct->i915->gem.contexts;
	struct tracked_context *t, fresh;
	unsigned int freed = 0, i;
	struct blocker *b;
	long runs;

	t = kunit_kcalloc(test, backlog, sizeof(*t), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t);
	for (i = 0; i < backlog; i++)
		tracked_context_create(test, &t[i]);

	flush_workqueue(ct->i915->wq);
	runs = atomic_long_read(&gc->worker_runs);

	b = blocker_start(test);
	for (i = 0; i < backlog; i++)
		ct->ops->close(t[i].ctx);

	for (i = 0; i < creations; i++) {
		tracked_context_create(test, &fresh);
		ct->ops->close(fresh.ctx);
	}
	while (freed < backlog && tracked_context_is_freed(&t[freed]))
		freed++;
	for (i = freed; i < backlog; i++)
		KUNIT_ASSERT_FALSE_MSG(test, tracked_context_is_freed(&t[i]),
				       "context %u before %u", i, freed);
	KUNIT_EXPECT_GT(test, freed, creations);
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(&fresh));

	/* Each of these waits for one more run of the worker */
	blocker_stop(test, b);
	for (i = 0; i < 8; i++)
		flush_workqueue(ct->i915->wq);
	for (i = 0; i < backlog; i++)
		KUNIT_ASSERT_TRUE_MSG(test, tracked_context_is_freed(&t[i]), "context %u", i);
	KUNIT_EXPECT_TRUE(test, tracked_context_is_freed(&fresh));

	runs = atomic_long_read(&gc->worker_runs) - runs;
	KUNIT_EXPECT_GT(test, runs, 1);
	KUNIT_EXPECT_LE(test, runs, 8);
}

/* With the workqueue blocked, contexts that come and go leave no backlog. */
static void context_spam_on_blocked_queue(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct drm_syncobj *counter = counter_create(test);
	unsigned int most = 0;
	struct blocker *b;
	int i;

	b = blocker_start(test);
	for (i = 0; i < 10000; i++) {
		ct->ops->close(counted_context_create(test, counter));
		most = max(most, counter_read(counter));
	}
	blocker_stop(test, b);

	/* Each creation frees what the close before it has left */
	KUNIT_EXPECT_EQ(test, most, 1);

	flush_workqueue(ct->i915->wq);
	KUNIT_EXPECT_EQ(test, counter_read(counter), 0);
}

/* The flush of a removal, with files open, ends though the queue never empties. */
static void context_closed_during_flush(struct kunit *test)
{
	struct context_test *ct = test->priv;
	struct drm_syncobj *counter = counter_create(test);
	unsigned long timeout = jiffies + 5 * HZ;
	struct requeuer *r;
	struct flusher *f;
	bool done;

	/* As actions are undone in reverse, the end of the one lets the other end */
	f = flusher_start(test);
	r = requeuer_start(test);
	do {
		ct->ops->close(counted_context_create(test, counter));
		done = wait_for_completion_timeout(&f->done, 1);
	} while (!done && time_before(jiffies, timeout));
	KUNIT_EXPECT_TRUE_MSG(test, done, "the flush waits for works that come after it");

	requeuer_stop(test, r);
	flusher_wait(f);

	flush_workqueue(ct->i915->wq);
	KUNIT_EXPECT_EQ_MSG(test, counter_read(counter), 0, "contexts are lost");
}

static struct kunit_case context_cases[] = {
	KUNIT_CASE(context_freed_by_worker),
	KUNIT_CASE(context_put_in_atomic),
	KUNIT_CASE(context_one_worker_run_per_batch),
	KUNIT_CASE(context_reaped_by_creation),
	KUNIT_CASE(context_backlog_freed_in_order),
	KUNIT_CASE(context_spam_on_blocked_queue),
	KUNIT_CASE(context_freed_by_drain),
	KUNIT_CASE(context_closed_during_flush),
	{}
};

static struct kunit_suite context_suite = {
	.name = "i915_gem_context",
	.init = context_test_init,
	.test_cases = context_cases,
};

kunit_test_suites(&context_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

MODULE_LICENSE("GPL and additional rights");
MODULE_DESCRIPTION("i915 GEM context KUnit tests");
