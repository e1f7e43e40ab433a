// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the KUnit suites of GEM contexts from their module, twice: loads it, prints
 * the results, expects that no case failed, and unloads it.
 */
#define _GNU_SOURCE
#include "../../../kselftest_harness.h"
#include "i915_node.h"

#define MODULE		"i915_gem_context_tests"
#define MODULE_PATH	"drivers/gpu/drm/i915/gem/tests/" MODULE ".ko"
#define RESULTS		"/sys/kernel/debug/kunit/%s/results"

static const char * const suites[] = { "i915_gem_context_free", "i915_gem_context" };

struct counts {
	int passed, failed, skipped;
};

static bool kunit_is_off(void)
{
	FILE *file = fopen("/sys/module/kunit/parameters/enable", "r");
	bool off = file && fgetc(file) == 'N';

	if (file)
		fclose(file);

	return off;
}

FIXTURE(context_kunit) {
};

FIXTURE_SETUP(context_kunit)
{
	int err;

	if (geteuid())
		SKIP(return, "cannot load modules: be root");
	if (!access("/sys/module/" MODULE, F_OK))
		SKIP(return, MODULE " is built in or loaded");

	if (kunit_is_off())
		SKIP(return, "KUnit is off: load it, or boot, with kunit.enable=1");

	err = load_module(MODULE, MODULE_PATH, "");
	if (err == -ENOENT)
		SKIP(return, "no module " MODULE ": build with CONFIG_DRM_I915_KUNIT_TEST=m");
	ASSERT_EQ(0, err);
}

FIXTURE_TEARDOWN(context_kunit)
{
	unload_module(MODULE);
}

/* Prints the results of a suite and adds them up. */
static int read_results(const char *suite, struct counts *counts)
{
	char path[128], line[512];
	FILE *file;

	snprintf(path, sizeof(path), RESULTS, suite);
	file = fopen(path, "r");
	if (!file)
		return -errno;

	while (fgets(line, sizeof(line), file)) {
		char *text = line + strspn(line, " ");

		ksft_print_msg("%s", line);
		if (!strncmp(text, "not ok ", 7))
			counts->failed++;
		else if (strstr(text, "# SKIP"))
			counts->skipped++;
		else if (!strncmp(text, "ok ", 3))
			counts->passed++;
	}
	fclose(file);

	return 0;
}

/* Half a minute in an emulated guest, and far more on a debug kernel. */
TEST_F_TIMEOUT(context_kunit, all, 900)
{
	struct counts counts = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(suites); i++)
		ASSERT_EQ(0, read_results(suites[i], &counts));

	/* And once more, as it leaves nothing behind */
	ASSERT_EQ(0, unload_module(MODULE));
	ASSERT_EQ(0, load_module(MODULE, MODULE_PATH, ""));
	for (i = 0; i < ARRAY_SIZE(suites); i++)
		ASSERT_EQ(0, read_results(suites[i], &counts));

	EXPECT_EQ(0, counts.failed);
	EXPECT_LT(0, counts.passed);
	if (counts.skipped)
		SKIP(return, "%d cases were skipped, for the reasons above", counts.skipped);
}

TEST_HARNESS_MAIN
