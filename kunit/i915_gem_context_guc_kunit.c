// SPDX-License-Identifier: MIT
/*
 * The ids by which GuC knows contexts. They are taken and given back by the driver,
 * on a mock device, which has no GuC.
 */

#include "gt/intel_context_types.h"
#include "gt/intel_gt.h"
#include "gt/uc/intel_guc_submission.h"
#include "i915_drv.h"

#include "i915_gem_context_mock.h"

/* A context without children and a parallel one get their ids from different allocators. */
static const unsigned int children[] = { 0, 3 };

static void children_desc(const unsigned int *count, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u children", *count);
}

KUNIT_ARRAY_PARAM(children, children, children_desc);

static void submission_fini(void *guc)
{
	intel_guc_test_ops.submission_fini(guc);
}

/* A context whose file is closed after the driver was unbound gives its ids back. */
static void context_guc_ids_outlive_submission(struct kunit *test)
{
	const unsigned int count = *(const unsigned int *)test->param_value;
	const unsigned int parallel = count ? count + 1 : 0;
	const struct intel_guc_test_ops *ops = &intel_guc_test_ops;
	struct mock_device *mock = test->priv;
	struct intel_guc *guc = &to_gt(mock->i915)->uc.guc;
	struct intel_context *parent;

	parent = kunit_kzalloc(test, sizeof(*parent), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, parent);
	INIT_LIST_HEAD(&parent->guc_id.link);
	parent->parallel.number_children = count;

	KUNIT_ASSERT_EQ(test, ops->submission_init(guc), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, submission_fini, guc), 0);
	KUNIT_ASSERT_EQ(test, ops->new_id(guc, parent), 0);
	KUNIT_EXPECT_EQ(test, ops->ids_in_use(guc), parallel);
	KUNIT_EXPECT_EQ(test, ida_is_empty(&guc->submission_state.guc_ids), !!count);

	kunit_release_action(test, submission_fini, guc);
	ops->driver_remove(guc);
	KUNIT_EXPECT_EQ(test, ops->ids_in_use(guc), parallel);
	KUNIT_EXPECT_EQ(test, ida_is_empty(&guc->submission_state.guc_ids), !!count);
	ops->release_id(guc, parent);
	KUNIT_EXPECT_EQ(test, ops->ids_in_use(guc), 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&guc->submission_state.guc_ids));
}

static const struct registered {
	const char *description;
	bool ready;
	unsigned int width; /* of a parallel engine, or 1 for a virtual one */
} registered[] = {
	{ .description = "GuC ready", .ready = true },
	{ .description = "GuC ready, virtual engine", .ready = true, .width = 1 },
	{ .description = "GuC ready, parallel engine", .ready = true, .width = 2 },
	{ .description = "GuC suspended" },
	{ .description = "GuC suspended, virtual engine", .width = 1 },
	{ .description = "GuC suspended, parallel engine", .width = 2 },
};

KUNIT_ARRAY_PARAM_DESC(registered, registered, description);

/*
 * A context that the GuC must deregister is counted as pending until it is freed. It is
 * not while the GuC is suspended, as creations would wait for somebody to wake it.
 */
static void context_guc_pending(struct kunit *test)
{
	const struct registered *param = test->param_value;
	const struct intel_guc_test_ops *ops = &intel_guc_test_ops;
	const unsigned int count = param->ready ? max(param->width, 1) : 0;
	struct mock_device *mock = test->priv;
	atomic_t *pending = &mock->i915->gem.reclaim.pending;
	struct intel_guc *guc = &to_gt(mock->i915)->uc.guc;
	unsigned int refs, vm_refs, kb;
	struct rcu_reader *reader;

	need_two_cpus(test);

	KUNIT_ASSERT_EQ(test, ops->submission_init(guc), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, submission_fini, guc), 0);
	refs = kref_read(&guc->sched_engine->ref);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, atomic_read(pending), 0);

	KUNIT_ASSERT_EQ(test, ops->destroy_registered(guc, param->ready, param->width, 16), 0);
	/* Each has a ring and a share of an address space that others use, too */
	vm_refs = kref_read(&to_gt(mock->i915)->vm->ref);
	kb = 16 + I915_GEM_PENDING_VM / (vm_refs - 1);
	if (param->width)
		kb += DIV_ROUND_UP(ops->virtual_size, SZ_1K);
	KUNIT_EXPECT_EQ(test, atomic_read(pending), count * kb);

	/* Then each waits for RCU, without its ring and address space */
	reader = rcu_reader_start(test);
	ops->flush_destroyed(guc);
	kb = param->width ? DIV_ROUND_UP(ops->virtual_size, SZ_1K) : 1;
	KUNIT_EXPECT_EQ(test, atomic_read(pending), max(param->width, 1) * kb);
	rcu_reader_end(test, reader);

	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, atomic_read(pending), 0);
	KUNIT_EXPECT_EQ(test, kref_read(&guc->sched_engine->ref), refs);
	KUNIT_EXPECT_EQ(test, ops->ids_in_use(guc), 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&guc->submission_state.guc_ids));
}

static struct kunit_case context_guc_cases[] = {
	KUNIT_CASE_PARAM(context_guc_ids_outlive_submission, children_gen_params),
	KUNIT_CASE_PARAM(context_guc_pending, registered_gen_params),
	{}
};

static struct kunit_suite context_guc_suite = {
	.name = "i915_gem_context_guc",
	.init = mock_device_test_init,
	.exit = mock_device_test_exit,
	.test_cases = context_guc_cases,
};

kunit_test_suites(&context_guc_suite);
