// SPDX-License-Identifier: GPL-2.0
/*
 * Suspends the machine, as far as it can, while contexts are at work and others wait
 * to be freed. Afterwards each request must have completed, if with an error where
 * the driver had to cancel it, contexts and their objects must work, and what was
 * given up must have been freed.
 *
 * pm_test stops before the machine sleeps; where it does sleep an alarm wakes it.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

#define PM_TEST		"/sys/power/pm_test"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"
#define MEM_SLEEP	"/sys/power/mem_sleep"
#define STATE		"/sys/power/state"
#define SUCCESS		"/sys/power/suspend_stats/success"

#define SECONDS		20	/* until a batch starts or ends, at most */
#define ALARMS		5	/* one after the other, as the first may come too early */
#define ALARM_SECONDS	7	/* between two of them */
#define VALUE		0xc0ffee00
#define DEAD		100	/* contexts that wait to be freed */
#define SPAMMERS	2

FIXTURE(suspend) {
	struct i915_node node;
	struct i915_census before;
	struct i915_engine engines[I915_ENGINES_MAX];
	long warnings;
	int alarms[ALARMS];	/* -1 if the machine does not sleep */
	int count;
	int fd;
};

FIXTURE_VARIANT(suspend) {
	const char *state;
	const char *mem_sleep;	/* or NULL */
	const char *test;
};

FIXTURE_VARIANT_ADD(suspend, freeze_test_devices) {
	.state = "freeze",
	.test = "devices",
};

/* Suspend-to-idle never gets as far as "core". */
FIXTURE_VARIANT_ADD(suspend, mem_test_core) {
	.state = "mem",
	.mem_sleep = "deep",
	.test = "core",
};

FIXTURE_VARIANT_ADD(suspend, freeze) {
	.state = "freeze",
	.test = "none",
};

FIXTURE_VARIANT_ADD(suspend, mem) {
	.state = "mem",
	.mem_sleep = "deep",
	.test = "none",
};

/* Whether a file offers a setting, which is in brackets if it is set. */
static bool file_has(const char *path, const char *word)
{
	FILE *file = fopen(path, "r");
	char text[128] = "", *token;
	bool found = false;

	if (!file)
		return false;
	if (fgets(text, sizeof(text), file)) {
		for (token = strtok(text, " []\n"); token && !found; token = strtok(NULL, " []\n"))
			found = !strcmp(token, word);
	}
	fclose(file);

	return found;
}

/*
 * QEMU's RTC wakes a guest that QEMU has suspended, but one that is idle, as it is in
 * suspend-to-idle, never sees the event of ACPI that this would take.
 */
static bool is_guest(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	bool found = false;
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return false;
	while (!found && getline(&line, &size, file) > 0)
		found = !strncmp(line, "flags", 5) && strstr(line, " hypervisor");
	free(line);
	fclose(file);

	return found;
}

FIXTURE_SETUP(suspend)
{
	const bool sleeps = !strcmp(variant->test, "none");
	const char *reason;
	struct timespec res;
	int err, i;

	self->fd = -1;
	for (i = 0; i < ALARMS; i++)
		self->alarms[i] = -1;
	if (!file_has(STATE, variant->state))
		SKIP(return, "no %s in " STATE, variant->state);
	if (variant->mem_sleep && !file_has(MEM_SLEEP, variant->mem_sleep))
		SKIP(return, "no %s in " MEM_SLEEP, variant->mem_sleep);
	if (!sleeps && !file_has(PM_TEST, variant->test))
		SKIP(return, "no %s in " PM_TEST ": build with CONFIG_PM_DEBUG", variant->test);
	if (sleeps) {
		/* Refused without an RTC that can wake the machine */
		if (clock_getres(CLOCK_BOOTTIME_ALARM, &res))
			SKIP(return, "no RTC that wakes the machine");
		if (!strcmp(variant->state, "freeze") && is_guest())
			SKIP(return, "a guest in suspend-to-idle may have nothing that wakes it");
		for (i = 0; i < ALARMS; i++) {
			self->alarms[i] = timerfd_create(CLOCK_BOOTTIME_ALARM, TFD_CLOEXEC);
			if (self->alarms[i] < 0)
				SKIP(return, "no alarm: %s", strerror(errno));
		}
	}

	err = i915_first_census(&self->node, &self->before);
	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);
	self->warnings = kernel_warnings();

	self->fd = i915_open(&self->node);
	ASSERT_LE(0, self->fd);
	reason = i915_no_batches(self->fd);
	if (reason)
		SKIP(return, "%s", reason);
	self->count = i915_list_engines(self->fd, self->engines);
	ASSERT_LT(0, self->count);

	if (variant->mem_sleep)
		ASSERT_EQ(0, write_file(MEM_SLEEP, variant->mem_sleep));
	if (!access(PM_TEST, F_OK))
		ASSERT_EQ(0, write_file(PM_TEST, variant->test));
	write_file(PM_TEST_DELAY, "1");
}

FIXTURE_TEARDOWN(suspend)
{
	int i;

	if (self->fd >= 0)
		close(self->fd);
	for (i = 0; i < ALARMS && self->alarms[i] >= 0; i++)
		close(self->alarms[i]);
	restore_files();
	EXPECT_EQ(self->warnings, kernel_warnings());
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

/* Has something wake the machine, if it sleeps. */
static int set_alarms(const int *alarms)
{
	int i;

	for (i = 0; i < ALARMS && alarms[i] >= 0; i++) {
		const struct itimerspec in = { .it_value.tv_sec = (i + 1) * ALARM_SECONDS };

		if (timerfd_settime(alarms[i], 0, &in, NULL))
			return -errno;
	}

	return 0;
}

/* Returns when the machine is back. */
static int suspend(const char *state, const int *alarms)
{
	const long before = read_number(SUCCESS);
	int err;

	err = set_alarms(alarms);
	if (err)
		return err;
	/* The kernel refuses to sleep if the next alarm is too near */
	err = write_file(STATE, state);
	if (err == -EBUSY) {
		sleep(3);
		err = write_file(STATE, state);
	}
	if (!err && before >= 0 && read_number(SUCCESS) != before + 1)
		err = -EAGAIN;

	return err;
}

/* Returns 0 if the context executes a batch on each of its @count engines. */
static int try_context(const struct i915_batch *batch, unsigned int id, unsigned int count)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < count && !err; i++) {
		i915_batch_store(batch, VALUE + i);
		err = i915_batch_submit(batch, id, i, -1, NULL);
		err = err ?: i915_batch_wait(batch, SECONDS);
		if (!err && i915_batch_result(batch) != VALUE + i)
			err = -EBADMSG;
	}

	return err;
}

/* Contexts that have executed something, and keep their state meanwhile. */
TEST_F_TIMEOUT(suspend, idle_contexts, 120)
{
	struct i915_batch batch;
	unsigned int old = 0, new = 0;

	ASSERT_EQ(0, i915_batch_create(self->fd, &batch));
	ASSERT_EQ(0, i915_context_create_engines(self->fd, self->engines, self->count, 0, 0,
						 &old));
	EXPECT_EQ(0, try_context(&batch, old, self->count));

	ASSERT_EQ(0, suspend(variant->state, self->alarms));
	EXPECT_EQ(VALUE + self->count - 1, i915_batch_result(&batch));
	EXPECT_EQ(0, try_context(&batch, old, self->count));
	ASSERT_EQ(0, i915_context_create_engines(self->fd, self->engines, self->count, 0, 0,
						 &new));
	EXPECT_EQ(0, try_context(&batch, new, self->count));
	EXPECT_EQ(0, i915_context_destroy(self->fd, old));
	i915_batch_destroy(&batch);
}

/* Those that nobody has any more are gone after the machine was suspended. */
TEST_F_TIMEOUT(suspend, dead_contexts, 120)
{
	struct i915_batch batch;
	struct i915_stats stats;
	unsigned int ids[DEAD], i;

	ASSERT_EQ(0, i915_batch_create(self->fd, &batch));
	i915_batch_store(&batch, VALUE);
	for (i = 0; i < DEAD; i++) {
		ASSERT_EQ(0, i915_context_create_engines(self->fd, self->engines, self->count, 0,
							 0, &ids[i]));
		ASSERT_EQ(0, i915_batch_submit(&batch, ids[i], i % self->count, -1, NULL));
	}
	for (i = 0; i < DEAD; i++)
		EXPECT_EQ(0, i915_context_destroy(self->fd, ids[i]));

	ASSERT_EQ(0, suspend(variant->state, self->alarms));
	ASSERT_EQ(0, i915_read_stats(&self->node, &stats));
	EXPECT_EQ(0, stats.waiting);
	EXPECT_EQ(VALUE, i915_batch_result(&batch));
	i915_batch_destroy(&batch);
}

/*
 * Half of the contexts are destroyed while they spin. The driver waits for a moment,
 * and cancels what does not end.
 */
TEST_F_TIMEOUT(suspend, spinning_contexts, 120)
{
	struct i915_batch batches[I915_ENGINES_MAX];
	int fences[I915_ENGINES_MAX], i, err;
	unsigned int ids[I915_ENGINES_MAX];

	for (i = 0; i < self->count; i++) {
		ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i]));
		ASSERT_EQ(0, i915_context_create_engines(self->fd, &self->engines[i], 1, 0, 0,
							 &ids[i]));
		i915_batch_spin(&batches[i], &self->engines[i], VALUE + i);
		ASSERT_EQ(0, i915_batch_submit(&batches[i], ids[i], 0, -1, &fences[i]));
		EXPECT_EQ(0, i915_batch_wait_started(&batches[i], SECONDS));
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, ids[i]));
	}

	ASSERT_EQ(0, suspend(variant->state, self->alarms));
	for (i = 0; i < self->count; i++)
		i915_batch_end_spin(&batches[i]);
	for (i = 0; i < self->count; i++) {
		err = fence_wait(fences[i], SECONDS);
		EXPECT_EQ(err ? -EIO : 0, err);
		EXPECT_EQ(err ? 0 : VALUE + i, i915_batch_result(&batches[i]));
		close(fences[i]);
	}
	for (i = 0; i < self->count; i += 2)
		EXPECT_EQ(0, try_context(&batches[i], ids[i], 1));
	for (i = 0; i < self->count; i++)
		i915_batch_destroy(&batches[i]);
}

/*
 * The fence signals afterwards, which nobody in the kernel can know: the driver waits
 * for as long as it waits for any fence of others, 10 seconds by default.
 */
TEST_F_TIMEOUT(suspend, queued_behind_a_fence, 120)
{
	struct i915_batch batches[I915_ENGINES_MAX];
	int timeline, fence, fences[I915_ENGINES_MAX], i, err;
	unsigned int ids[I915_ENGINES_MAX];

	timeline = sw_sync_create(&fence);
	if (timeline < 0)
		SKIP(return, NO_SW_SYNC);

	for (i = 0; i < self->count; i++) {
		ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i]));
		ASSERT_EQ(0, i915_context_create_engines(self->fd, &self->engines[i], 1, 0, 0,
							 &ids[i]));
		i915_batch_store(&batches[i], VALUE + i);
		ASSERT_EQ(0, i915_batch_submit(&batches[i], ids[i], 0, fence, &fences[i]));
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, ids[i]));
	}

	ASSERT_EQ(0, suspend(variant->state, self->alarms));
	EXPECT_EQ(0, sw_sync_signal(timeline));
	for (i = 0; i < self->count; i++) {
		err = fence_wait(fences[i], SECONDS);
		EXPECT_EQ(err ? -EIO : 0, err);
		EXPECT_EQ(err ? 0 : VALUE + i, i915_batch_result(&batches[i]));
		close(fences[i]);
	}
	for (i = 0; i < self->count; i += 2)
		EXPECT_EQ(0, try_context(&batches[i], ids[i], 1));
	for (i = 0; i < self->count; i++)
		i915_batch_destroy(&batches[i]);
	close(fence);
	close(timeline);
}

/*
 * The kernel refuses to sleep as an alarm is near, which it finds out when the driver
 * has prepared for it: no harm must have been done.
 */
TEST_F_TIMEOUT(suspend, refused_while_spinning, 120)
{
	const struct timespec near = { .tv_sec = 1, .tv_nsec = 500000000 };
	const struct itimerspec soon = { .it_value = near, .it_interval = near };
	const int alarm = timerfd_create(CLOCK_BOOTTIME_ALARM, TFD_CLOEXEC);
	struct i915_batch batch;
	unsigned int id = 0;
	struct timespec res;
	int fence, err;

	if (alarm < 0 || clock_getres(CLOCK_BOOTTIME_ALARM, &res))
		SKIP(return, "no RTC that wakes the machine");

	ASSERT_EQ(0, i915_batch_create(self->fd, &batch));
	ASSERT_EQ(0, i915_context_create_engines(self->fd, self->engines, self->count, 0, 0,
						 &id));
	i915_batch_spin(&batch, &self->engines[0], VALUE);
	ASSERT_EQ(0, i915_batch_submit(&batch, id, 0, -1, &fence));
	ASSERT_EQ(0, i915_batch_wait_started(&batch, SECONDS));

	/* In case the kernel sleeps nevertheless */
	ASSERT_EQ(0, set_alarms(self->alarms));
	/* Which the suspend would do first */
	sync();
	ASSERT_EQ(0, timerfd_settime(alarm, 0, &soon, NULL));
	EXPECT_EQ(-EBUSY, write_file(STATE, variant->state));
	i915_batch_end_spin(&batch);
	err = fence_wait(fence, SECONDS);
	EXPECT_EQ(err ? -EIO : 0, err);
	EXPECT_EQ(0, try_context(&batch, id, self->count));
	i915_batch_destroy(&batch);
	close(fence);
	close(alarm);
}

struct spam_shared {
	atomic_bool stop;
	atomic_uint executed;
};

/* Contexts in a row that execute a batch each, which only a suspend may cancel. */
static int spam(const struct i915_node *node, struct spam_shared *shared)
{
	const struct i915_engine render = { .id.engine_class = I915_ENGINE_CLASS_RENDER };
	unsigned int id = 0, cancelled = 0;
	struct i915_batch batch;
	int fd = i915_open(node);
	int err;

	err = fd < 0 ? -errno : i915_batch_create(fd, &batch);
	while (!err && !shared->stop) {
		err = i915_context_create_engines(fd, &render, 1, 0, 0, &id);
		if (err)
			break;
		err = try_context(&batch, id, 1);
		if ((err == -EIO || err == -EBADMSG) && !cancelled++)
			err = 0;
		err = err ?: i915_context_destroy(fd, id);
		shared->executed++;
	}

	return err;
}

static bool wait_executed(const struct spam_shared *shared, unsigned int count)
{
	const double end = now() + SECONDS;

	while (shared->executed < count && now() < end)
		usleep(1000);

	return shared->executed >= count;
}

TEST_F_TIMEOUT(suspend, spammers, 120)
{
	struct spam_shared *shared;
	pid_t pids[SPAMMERS];
	int i, status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	for (i = 0; i < SPAMMERS; i++) {
		pids[i] = fork_child();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(-spam(&self->node, shared));
	}
	ASSERT_TRUE(wait_executed(shared, 1));

	ASSERT_EQ(0, suspend(variant->state, self->alarms));
	/* One each may have been under way */
	EXPECT_TRUE(wait_executed(shared, shared->executed + SPAMMERS + 1));

	shared->stop = true;
	for (i = 0; i < SPAMMERS; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	munmap(shared, sizeof(*shared));
}

/* Why there is nothing to test, or NULL. */
static const char *why_not(void)
{
	if (access(STATE, F_OK))
		return "no " STATE ": build with CONFIG_SUSPEND";
	if (access(STATE, W_OK))
		return "cannot suspend the machine: be root";

	return i915_no_census();
}

int main(int argc, char *argv[])
{
	const char *reason = why_not();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}
	save_file(MEM_SLEEP);
	save_file(PM_TEST);
	save_file(PM_TEST_DELAY);

	return test_harness_run(argc, argv);
}
