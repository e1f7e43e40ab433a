// SPDX-License-Identifier: MIT
/*
 * How released GEM contexts get freed, on a mock device.
 */

#include <kunit/test.h>

#include <linux/completion.h>
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

static void put_syncobj(void *syncobj)
{
	drm_syncobj_put(syncobj);
}

static void tracked_context_create(struct kunit *test, struct tracked_context *t)
{
	struct context_test *ct = test->priv;

	t->ctx = ct->ops->create(ct->i915);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->ctx);

	KUNIT_ASSERT_EQ(test, drm_syncobj_create(&t->syncobj, 0, NULL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_syncobj, t->syncobj), 0);
	drm_syncobj_get(t->syncobj);
	t->ctx->syncobj = t->syncobj;
}

static bool tracked_context_is_freed(const struct tracked_context *t)
{
	return kref_read(&t->syncobj->refcount) == 1;
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

	tracked_context_create(test, &t);
	kref_get(&t.ctx->ref);
	ct->ops->close(t.ctx);

	spin_lock_irqsave(&gc->lock, flags);
	kref_put(&t.ctx->ref, ct->ops->release);
	KUNIT_EXPECT_FALSE(test, tracked_context_is_freed(&t));
	spin_unlock_irqrestore(&gc->lock, flags);

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

static struct kunit_case context_cases[] = {
	KUNIT_CASE(context_freed_by_worker),
	KUNIT_CASE(context_put_in_atomic),
	KUNIT_CASE(context_one_worker_run_per_batch),
	KUNIT_CASE(context_reaped_by_creation),
	KUNIT_CASE(context_freed_by_drain),
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
