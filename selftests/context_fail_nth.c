// SPDX-License-Identifier: GPL-2.0
/*
 * Makes every allocation of the context and vm ioctls fail in turn, alone and with
 * all slab allocations that follow. The call must return ENOMEM, or succeed without
 * that memory. It must leave nothing behind, and the next call must work.
 */
#define _GNU_SOURCE
#include "../../../kselftest_harness.h"
#include "i915_census.h"

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"

#define NO_FAULTS \
	"no fault injection: be root, mount debugfs, and build with " \
	"CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC"

#define POINTS_MAX	2000	/* far more than any call has */
#define SPACE_STEP	64	/* bytes */
#define SPACE_MAX	1000000
#define WORKS_IN_A_ROW	16	/* more than what is allocated where it may fail */

/* Allocations that may sleep, and single pages, can fail, and say nothing. */
static const struct knob {
	const char *path, *value;
} knobs[] = {
	{ FAILSLAB "probability", "0" },
	{ FAILSLAB "task-filter", "Y" },
	{ FAILSLAB "interval", "1" },
	{ FAILSLAB "times", "-1" },
	{ FAILSLAB "space", "0" },
	{ FAILSLAB "ignore-gfp-wait", "N" },
	{ FAILSLAB "cache-filter", "N" },
	{ FAILSLAB "verbose", "0" },
	{ FAIL_PAGE_ALLOC "probability", "0" },
	{ FAIL_PAGE_ALLOC "times", "-1" },
	{ FAIL_PAGE_ALLOC "ignore-gfp-wait", "N" },
	{ FAIL_PAGE_ALLOC "ignore-gfp-highmem", "N" },
	{ FAIL_PAGE_ALLOC "min-order", "0" },
	{ FAIL_PAGE_ALLOC "verbose", "0" },
};

static int set_up_faults(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(knobs) && !err; i++)
		err = write_file(knobs[i].path, knobs[i].value);

	return err;
}

static void save_faults(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		save_file(knobs[i].path);
}

struct parameters {
	struct drm_i915_gem_context_create_ext_setparam engines, vm;
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, 4);
};

/* What the calls need and make. */
struct attempt {
	const struct i915_node *node;
	struct parameters parameters;
	unsigned int id, vm_id, made_vm_id, handle;
	int fd, opened_fd;
};

FIXTURE(memory) {
	struct i915_node node;
	struct i915_census before;
	struct attempt attempt;
	int nth_fd, make_it_fail_fd;
};

FIXTURE_SETUP(memory)
{
	struct attempt *m = &self->attempt;
	struct parameters *p = &m->parameters;
	const int err = i915_first_census(&self->node, &self->before);

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);
	self->nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	self->make_it_fail_fd = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (self->nth_fd < 0 || self->make_it_fail_fd < 0 || set_up_faults())
		SKIP(return, NO_FAULTS);

	m->node = &self->node;
	m->fd = open(self->node.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, m->fd);
	ASSERT_EQ(0, i915_vm_create(m->fd, &m->vm_id));

	p->engines.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->engines.base.next_extension = (uintptr_t)&p->vm;
	p->engines.param.param = I915_CONTEXT_PARAM_ENGINES;
	p->engines.param.size = sizeof(p->map);
	p->engines.param.value = (uintptr_t)&p->map;
	p->vm.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->vm.param.param = I915_CONTEXT_PARAM_VM;
	p->vm.param.value = m->vm_id;
}

FIXTURE_TEARDOWN(memory)
{
	/* First of all, as what follows needs memory */
	EXPECT_EQ(1, pwrite(self->make_it_fail_fd, "0", 1, 0));
	EXPECT_EQ(0, write_file(FAILSLAB "probability", "0"));
	close(self->nth_fd);
	close(self->make_it_fail_fd);
	close(self->attempt.fd);
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

static int create(struct attempt *m)
{
	return i915_context_create(m->fd, &m->id);
}

static int create_with_parameters(struct attempt *m)
{
	return i915_context_create_ext(m->fd, I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE,
				       &m->parameters, &m->id);
}

static int use(struct attempt *m)
{
	return i915_context_use(m->fd, m->id);
}

static int create_and_use(struct attempt *m)
{
	return create(m) ?: use(m);
}

static int set_engines(struct attempt *m)
{
	struct drm_i915_gem_context_param param = m->parameters.engines.param;

	param.ctx_id = m->id;
	return ioctl(m->fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &param) ? -errno : 0;
}

static int set_persistence(struct attempt *m)
{
	return i915_context_set(m->fd, m->id, I915_CONTEXT_PARAM_PERSISTENCE, 1);
}

static int get_vm(struct attempt *m)
{
	struct drm_i915_gem_context_param param = {
		.ctx_id = m->id,
		.param = I915_CONTEXT_PARAM_VM,
	};

	if (ioctl(m->fd, DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &param))
		return -errno;

	m->made_vm_id = param.value;
	return 0;
}

static int execute(struct attempt *m)
{
	return i915_execute(m->fd, m->id, m->handle, -1);
}

static int create_and_execute(struct attempt *m)
{
	return create(m) ?: execute(m);
}

static int destroy(struct attempt *m)
{
	return i915_context_destroy(m->fd, m->id);
}

static int create_vm(struct attempt *m)
{
	return i915_vm_create(m->fd, &m->made_vm_id);
}

static int destroy_vm(struct attempt *m)
{
	return i915_vm_destroy(m->fd, m->made_vm_id);
}

static int destroy_both(struct attempt *m)
{
	return destroy_vm(m) ?: destroy(m);
}

static int open_file(struct attempt *m)
{
	m->opened_fd = open(m->node->path, O_RDWR | O_CLOEXEC);

	return m->opened_fd < 0 ? -errno : 0;
}

static int close_file(struct attempt *m)
{
	return close(m->opened_fd) ? -errno : 0;
}

static int nothing(struct attempt *m)
{
	return 0;
}

/* The call that fails, what it needs to be done before, and what undoes it. */
static const struct step {
	const char *name;
	int (*prepare)(struct attempt *m);
	int (*call)(struct attempt *m);
	int (*undo)(struct attempt *m);
	bool needs_memory;	/* so it must fail at one point at least */
} steps[] = {
	{ "open a file", nothing, open_file, close_file, .needs_memory = true },
	{ "create", nothing, create, destroy, .needs_memory = true },
	{ "create with parameters", nothing, create_with_parameters, destroy,
	  .needs_memory = true },
	{ "first use", create, use, destroy, .needs_memory = true },
	{ "first use with parameters", create_with_parameters, use, destroy,
	  .needs_memory = true },
	{ "set engines", create, set_engines, destroy, .needs_memory = true },
	{ "set persistence", create, set_persistence, destroy },
	{ "get the vm", create_and_use, get_vm, destroy_both },
	{ "execute", create, execute, destroy, .needs_memory = true },
	{ "destroy unused", create, destroy, nothing },
	{ "destroy", create_and_use, destroy, nothing },
	{ "destroy in flight", create_and_execute, destroy, nothing },
	{ "create a vm", nothing, create_vm, destroy_vm, .needs_memory = true },
	{ "destroy a vm", create_vm, destroy_vm, nothing },
};

#define STEPS ARRAY_SIZE(steps)

/*
 * Without failures, before a census. The object keeps the last requests that executed
 * it, so it does not exist while anything is counted.
 */
static int run_once(struct attempt *m, const struct step *step)
{
	return i915_object_create(m->fd, &m->handle) ?:
	       step->prepare(m) ?: step->call(m) ?: step->undo(m) ?:
	       i915_object_close(m->fd, m->handle);
}

/* shmem, which holds the state of a context, has ENOSPC for an inode. */
static bool is_no_memory(int err)
{
	return err == -ENOMEM || err == -ENOSPC;
}

/* Checks what must hold after each call, whether or not something failed in it. */
static void check_call(struct __test_metadata *_metadata, struct attempt *m,
		       const struct step *step, unsigned int point, int err, bool hit)
{
	EXPECT_TRUE(!err || (hit && is_no_memory(err))) {
		TH_LOG("%s, point %u: %s", step->name, point, strerror(-err));
	}
	/* The next call works */
	if (err) {
		EXPECT_EQ(0, step->call(m)) {
			TH_LOG("%s, after point %u", step->name, point);
		}
	}
	EXPECT_EQ(0, step->undo(m)) {
		TH_LOG("%s, undone after point %u", step->name, point);
	}
}

static void check_rest(struct __test_metadata *_metadata, struct attempt *m,
		       const struct i915_census *before, const struct step *step)
{
	EXPECT_STREQ("", i915_left_behind(m->node, before)) {
		TH_LOG("%s", step->name);
	}
}

TEST_F_TIMEOUT(memory, fails_once, 600)
{
	unsigned int n, total = 0, failed;
	struct i915_census before;
	char text[16];
	size_t i;

	for (i = 0; i < STEPS; i++) {
		const struct step *step = &steps[i];
		bool hit = true;
		int err;

		ASSERT_EQ(0, run_once(&self->attempt, step));
		ASSERT_EQ(0, i915_settled_census(&self->node, &before));
		ASSERT_EQ(0, i915_object_create(self->attempt.fd, &self->attempt.handle));

		for (n = 1, failed = 0; hit && n < POINTS_MAX; n++) {
			ASSERT_EQ(0, step->prepare(&self->attempt));
			snprintf(text, sizeof(text), "%u", n);
			ASSERT_LT(0, pwrite(self->nth_fd, text, strlen(text), 0));
			err = step->call(&self->attempt);
			ASSERT_LT(0, pread(self->nth_fd, text, sizeof(text), 0));
			hit = atoi(text) == 0;
			ASSERT_LT(0, pwrite(self->nth_fd, "0", 1, 0));

			failed += !!err;
			check_call(_metadata, &self->attempt, step, n, err, hit);
		}
		EXPECT_GT(POINTS_MAX, n);
		if (step->needs_memory)
			EXPECT_LT(0, failed);
		ASSERT_EQ(0, i915_object_close(self->attempt.fd, self->attempt.handle));
		check_rest(_metadata, &self->attempt, &before, step);
		TH_LOG("%s: %u points, %u of them fail the call", step->name, n - 2, failed);
		total += n - 2;
	}
	TH_LOG("%u points in all", total);
}

/* An allocation that is tried again, as an xarray does, fails again. */
TEST_F_TIMEOUT(memory, ends, 600)
{
	unsigned int space, total = 0, failed;
	struct i915_census before;
	char text[16];
	size_t i;

	for (i = 0; i < STEPS; i++) {
		const struct step *step = &steps[i];
		unsigned int after = 0;
		int err;

		ASSERT_EQ(0, run_once(&self->attempt, step));
		ASSERT_EQ(0, i915_settled_census(&self->node, &before));
		ASSERT_EQ(0, i915_object_create(self->attempt.fd, &self->attempt.handle));

		/* From more and more bytes, until it works some times in a row */
		for (space = 0, failed = 0; after < WORKS_IN_A_ROW && space < SPACE_MAX;
		     space += SPACE_STEP) {
			ASSERT_EQ(0, step->prepare(&self->attempt));
			snprintf(text, sizeof(text), "%u", space);
			ASSERT_EQ(0, write_file(FAILSLAB "space", text));
			ASSERT_EQ(0, write_file(FAILSLAB "probability", "100"));
			ASSERT_EQ(1, pwrite(self->make_it_fail_fd, "1", 1, 0));
			err = step->call(&self->attempt);
			ASSERT_EQ(1, pwrite(self->make_it_fail_fd, "0", 1, 0));
			ASSERT_EQ(0, write_file(FAILSLAB "probability", "0"));

			failed += !!err;
			after = err ? 0 : after + 1;
			check_call(_metadata, &self->attempt, step, space, err, true);
			total++;
		}
		EXPECT_GT(SPACE_MAX, space);
		if (step->needs_memory)
			EXPECT_LT(0, failed);
		ASSERT_EQ(0, i915_object_close(self->attempt.fd, self->attempt.handle));
		check_rest(_metadata, &self->attempt, &before, step);
		TH_LOG("%s: memory ends at %u points in %u bytes, %u fail the call", step->name,
		       space / SPACE_STEP, space, failed);
	}
	TH_LOG("%u points in all", total);
}

int main(int argc, char *argv[])
{
	const char *reason = i915_no_census();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	save_faults();

	return test_harness_run(argc, argv);
}
