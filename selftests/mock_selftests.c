// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the mock selftests that i915 has inside, which want no hardware: loads
 * the module with mock_selftests=-1, expects that all of them ran and passed,
 * and prints their names.
 */
#define _GNU_SOURCE
#include "../../../kselftest_harness.h"
#include "i915_node.h"

/* What i915_mock_selftests() leaves in the parameter when all went well. */
#define ALL_PASSED	(-ENOTTY)

static int read_result(int *result)
{
	FILE *file = fopen("/sys/module/i915/parameters/mock_selftests", "r");
	int n;

	if (!file)
		return -errno;

	n = fscanf(file, "%d", result);
	fclose(file);

	return n == 1 ? 0 : -EPROTO;
}

/* Prints what the selftests have said since @fd was opened, without the times. */
static int print_messages(int fd)
{
	char record[8192], *text;
	int count = 0;
	ssize_t len;

	for (;;) {
		len = read(fd, record, sizeof(record) - 1);
		/* Overwritten before it was read */
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			break;

		record[len] = '\0';
		text = strstr(record, ";i915: Running ");
		if (!text)
			text = strstr(record, ";i915/");
		if (!text)
			continue;

		ksft_print_msg("%.*s\n", (int)strcspn(text + 1, "\n"), text + 1);
		count++;
	}

	return count;
}

FIXTURE(mock_selftests) {
	int kmsg;
};

FIXTURE_SETUP(mock_selftests)
{
	self->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->kmsg);
	ASSERT_LE(0, lseek(self->kmsg, 0, SEEK_END));

	ASSERT_EQ(0, i915_unload_module());
}

FIXTURE_TEARDOWN(mock_selftests)
{
	i915_unload_module();
	EXPECT_EQ(0, i915_load_module(""));
	close(self->kmsg);
}

/* Half a minute in an emulated guest, and far more on a debug kernel. */
TEST_F_TIMEOUT(mock_selftests, all, 900)
{
	int result = 0;

	/* A failed selftest does not fail the load. */
	ASSERT_EQ(0, i915_load_module("mock_selftests=-1"));
	ASSERT_EQ(0, read_result(&result));

	EXPECT_LT(0, print_messages(self->kmsg));
	EXPECT_EQ(ALL_PASSED, result);
}

int main(int argc, char *argv[])
{
	const char *reason = i915_module_in_use();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	return test_harness_run(argc, argv);
}
