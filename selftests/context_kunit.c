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

static const char * const suites[] = {
	"i915_gem_context_bench", "i915_gem_context_free", "i915_gem_context_guc",
	"i915_gem_context",
};

struct counts {
	int planned, passed, failed, skipped, failed_suites;
};

static bool kunit_is_off(void)
{
	FILE *file = fopen("/sys/module/kunit/parameters/enable", "r");
	bool off = file && fgetc(file) == 'N';

	if (file)
		fclose(file);

	return off;
}

/* Or NULL. */
static const char *why_not(void)
{
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(suites); i++) {
		snprintf(path, sizeof(path), RESULTS, suites[i]);
		if (!access(path, F_OK))
			return MODULE " is built in or loaded";
	}
	if (!module_exists(MODULE, MODULE_PATH))
		return "no module " MODULE ": build with CONFIG_DRM_I915_KUNIT_TEST=m";
	if (geteuid())
		return "cannot load modules: be root";
	if (kunit_is_off())
		return "KUnit is off: load it, or boot, with kunit.enable=1";

	return NULL;
}

FIXTURE(context_kunit) {
};

FIXTURE_SETUP(context_kunit)
{
	ASSERT_EQ(0, load_module(MODULE, MODULE_PATH, ""));
}

FIXTURE_TEARDOWN(context_kunit)
{
	unload_module(MODULE);
}

/* Prints the results of a suite and adds those of its cases up. */
static int read_results(const char *suite, struct counts *counts)
{
	char path[128], line[512];
	FILE *file;
	int count;

	snprintf(path, sizeof(path), RESULTS, suite);
	file = fopen(path, "r");
	if (!file)
		return -errno;

	while (fgets(line, sizeof(line), file)) {
		char *text = line + strspn(line, " ");

		ksft_print_msg("%s", line);
		/* Of the suite, which may have failed before its first case */
		if (text == line && !strncmp(text, "not ok ", 7))
			counts->failed_suites++;
		/* What is further in are parameters of a case */
		if (text - line != 4)
			continue;
		if (sscanf(text, "1..%d", &count) == 1)
			counts->planned += count;
		else if (!strncmp(text, "not ok ", 7))
			counts->failed++;
		else if (strncmp(text, "ok ", 3))
			continue;
		else if (strstr(text, "# SKIP"))
			counts->skipped++;
		else
			counts->passed++;
	}
	fclose(file);

	return 0;
}

/* Half a minute in an emulated guest, and far more on a debug kernel. */
TEST_F_TIMEOUT(context_kunit, all, 900)
{
	struct counts counts[2] = {};
	unsigned int round, i;

	/* Twice, as it leaves nothing behind */
	for (round = 0; round < 2; round++) {
		if (round) {
			ASSERT_EQ(0, unload_module(MODULE));
			ASSERT_EQ(0, load_module(MODULE, MODULE_PATH, ""));
		}
		for (i = 0; i < ARRAY_SIZE(suites); i++)
			ASSERT_EQ(0, read_results(suites[i], &counts[round]));

		if (!counts[round].passed && !counts[round].failed_suites && !round)
			SKIP(return, "KUnit runs nothing: load it, or boot, with kunit.autorun=1");
		ASSERT_EQ(0, counts[round].failed_suites);
		ASSERT_EQ(0, counts[round].failed);
		ASSERT_EQ(counts[round].planned, counts[round].passed + counts[round].skipped);
	}
	ASSERT_EQ(counts[0].passed, counts[1].passed);

	if (counts[0].skipped)
		SKIP(return, "%d cases were skipped, for the reasons above", counts[0].skipped);
}

int main(int argc, char *argv[])
{
	const char *reason = why_not();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	return test_harness_run(argc, argv);
}
