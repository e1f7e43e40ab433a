// SPDX-License-Identifier: GPL-2.0
/*
 * Takes the mock i915 devices away, by unbinding them and by unloading the
 * module, while files are open, contexts exist and others are being made. Files
 * must fail with ENODEV from then on, and what they held must go with them: the
 * kernel warns if a context is left when the device is released, and the tests
 * count its warnings.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "../../../kselftest_harness.h"
#include "i915_node.h"

#define DRIVER_DIR "/sys/bus/platform/drivers/i915-mock"

static int write_file(const char *path, const char *text)
{
	int fd, err;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);

	return err;
}

static long kernel_warnings(void)
{
	FILE *file = fopen("/sys/kernel/warn_count", "r");
	long count = -1;

	if (file) {
		if (fscanf(file, "%ld", &count) != 1)
			count = -1;
		fclose(file);
	}

	return count;
}

#define SYSFS_NODES "/sys/kernel/slab/kernfs_node_cache"

/* How many files and folders sysfs has, or keeps for somebody who refers to them. */
static long sysfs_nodes(void)
{
	FILE *file;
	long count = -1;
	struct stat st;

	/* It is a link if the caches of others may be merged with it */
	if (lstat(SYSFS_NODES, &st) || !S_ISDIR(st.st_mode))
		return -1;

	/* What was freed, and is kept on each CPU or by KASAN, counts as in use */
	write_file(SYSFS_NODES "/shrink", "1");

	file = fopen(SYSFS_NODES "/objects", "r");
	if (file) {
		if (fscanf(file, "%ld", &count) != 1)
			count = -1;
		fclose(file);
	}

	return count;
}

static bool is_bound(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), DRIVER_DIR "/%s", name);
	return !access(path, F_OK);
}

static int mock_unbind(const char *name)
{
	return write_file(DRIVER_DIR "/unbind", name);
}

static int mock_bind(const char *name)
{
	return write_file(DRIVER_DIR "/bind", name);
}

/* A new file of the mock device @name, wherever its node is now. */
static int open_node(const char *name)
{
	struct i915_node nodes[I915_NODES_MAX];
	int i, count = i915_find_nodes(nodes);

	for (i = 0; i < count; i++) {
		if (!strcmp(nodes[i].name, name))
			return open(nodes[i].path, O_RDWR | O_CLOEXEC);
	}

	return -1;
}

static int create_and_destroy(int fd)
{
	unsigned int id = 0;
	int err;

	err = i915_context_create(fd, &id);
	if (!err)
		err = i915_context_use(fd, id);
	if (!err)
		err = i915_context_destroy(fd, id);

	return err;
}

static int create_many(int fd, unsigned int count)
{
	unsigned int id = 0;
	int err = 0;

	while (count-- && !err) {
		err = i915_context_create(fd, &id);
		if (!err)
			err = i915_context_use(fd, id);
	}

	return err;
}

FIXTURE(unplug) {
	const char *name;
	long warnings;
};

FIXTURE_VARIANT(unplug) {
	const char *name;
};

FIXTURE_VARIANT_ADD(unplug, gfx12) {
	.name = "i915-mock.12",
};

FIXTURE_VARIANT_ADD(unplug, gfx13) {
	.name = "i915-mock.13",
};

FIXTURE_SETUP(unplug)
{
	self->name = variant->name;
	ASSERT_TRUE(is_bound(self->name));
	self->warnings = kernel_warnings();
	ASSERT_LE(0, self->warnings);
}

FIXTURE_TEARDOWN(unplug)
{
	EXPECT_EQ(self->warnings, kernel_warnings());
	if (!is_bound(self->name))
		mock_bind(self->name);
}

TEST_F_TIMEOUT(unplug, idle, 120)
{
	int fd;

	ASSERT_EQ(0, mock_unbind(self->name));
	EXPECT_EQ(-1, open_node(self->name));

	ASSERT_EQ(0, mock_bind(self->name));
	fd = open_node(self->name);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, create_and_destroy(fd));
	close(fd);
}

/* A folder that is lost costs at least one each time. */
TEST_F_TIMEOUT(unplug, nothing_left_in_sysfs, 120)
{
	const int rounds = 100;
	long before, after;
	int i;

	before = sysfs_nodes();
	if (before < 0)
		SKIP(return, "no count of sysfs nodes: for want of SLUB_DEBUG or slab_nomerge");

	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, mock_unbind(self->name));
		ASSERT_EQ(0, mock_bind(self->name));
	}

	/* They are freed after a grace period */
	for (i = 0; i < 100; i++) {
		after = sysfs_nodes();
		if (after < before + rounds)
			break;
		usleep(100 * 1000);
	}
	EXPECT_LT(after, before + rounds);
}

TEST_F_TIMEOUT(unplug, open_file_with_contexts, 120)
{
	unsigned int id = 0;
	int fd;

	fd = open_node(self->name);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, create_many(fd, 100));

	ASSERT_EQ(0, mock_unbind(self->name));
	EXPECT_EQ(-ENODEV, i915_context_create(fd, &id));
	EXPECT_EQ(-ENODEV, i915_context_use(fd, 1));
	EXPECT_EQ(-ENODEV, i915_context_destroy(fd, 1));
	close(fd);
}

TEST_F_TIMEOUT(unplug, bind_while_old_file_is_open, 120)
{
	int old, new;

	old = open_node(self->name);
	ASSERT_LE(0, old);
	ASSERT_EQ(0, create_many(old, 10));

	ASSERT_EQ(0, mock_unbind(self->name));
	ASSERT_EQ(0, mock_bind(self->name));
	EXPECT_EQ(-ENODEV, create_and_destroy(old));

	new = open_node(self->name);
	ASSERT_LE(0, new);
	EXPECT_EQ(0, create_and_destroy(new));
	close(old);
	EXPECT_EQ(0, create_and_destroy(new));
	close(new);
}

TEST_F_TIMEOUT(unplug, running_spammers, 120)
{
	int round, i, status, started[2];
	pid_t pids[4];
	char byte;

	ASSERT_EQ(0, pipe(started));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 4; i++) {
			pids[i] = fork();
			ASSERT_LE(0, pids[i]);
			if (!pids[i]) {
				int fd = open_node(self->name);
				int err = fd < 0 ? -errno : create_many(fd, 10);

				/* Not to go on for ever if an assertion fails. */
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				if (write(started[1], "", 1) != 1)
					err = -EIO;
				while (!err)
					err = create_and_destroy(fd);
				_exit(err == -ENODEV ? 0 : -err);
			}
		}

		for (i = 0; i < 4; i++)
			ASSERT_EQ(1, read(started[0], &byte, 1));
		usleep(200 * 1000);
		ASSERT_EQ(0, mock_unbind(self->name));
		for (i = 0; i < 4; i++) {
			ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
			EXPECT_TRUE(WIFEXITED(status));
			EXPECT_EQ(0, WEXITSTATUS(status));
		}
		ASSERT_EQ(0, mock_bind(self->name));
	}
	close(started[0]);
	close(started[1]);
}

FIXTURE(module) {
	long warnings;
};

FIXTURE_SETUP(module)
{
	const char *in_use = i915_module_in_use();

	if (in_use)
		SKIP(return, "%s", in_use);
	self->warnings = kernel_warnings();
	ASSERT_LE(0, self->warnings);
}

FIXTURE_TEARDOWN(module)
{
	EXPECT_EQ(self->warnings, kernel_warnings());
}

TEST_F_TIMEOUT(module, open_file, 120)
{
	int fd, round;

	for (round = 0; round < 3; round++) {
		fd = open_node("i915-mock.12");
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, create_many(fd, 100));

		/* An open file holds the module, unbound or not. */
		EXPECT_EQ(-EWOULDBLOCK, i915_unload_module());
		ASSERT_EQ(0, mock_unbind("i915-mock.12"));
		EXPECT_EQ(-EWOULDBLOCK, i915_unload_module());
		close(fd);

		ASSERT_EQ(0, i915_unload_module());
		EXPECT_FALSE(is_bound("i915-mock.13"));
		ASSERT_EQ(0, i915_load_module(""));
	}
}

/* Opens and closes files with contexts in them until @stop is set. */
static int spam_files(const char *name, const atomic_bool *stop)
{
	unsigned int seed = getpid();
	int fd, err = 0;

	while (!*stop && !err) {
		/* There is none while the module is away */
		fd = open_node(name);
		if (fd >= 0) {
			err = create_many(fd, 2);
			if (err == -ENODEV)
				err = 0;
			close(fd);
		}
		/* For the module to have its moment, that nobody has a file */
		usleep(rand_r(&seed) % 20000);
	}

	return err;
}

/* The module goes whenever no file happens to be open, and comes back. */
TEST_F_TIMEOUT(module, files_that_come_and_go, 300)
{
	int round, i, err, status, refused = 0;
	atomic_bool *stop;
	pid_t pids[2];
	time_t end;

	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stop);
	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(-spam_files(i ? "i915-mock.13" : "i915-mock.12", stop));
		}
	}

	for (round = 0; round < 5; round++) {
		end = time(NULL) + 30;
		while ((err = i915_unload_module()) == -EWOULDBLOCK && time(NULL) < end)
			refused++;
		ASSERT_EQ(0, err);
		ASSERT_EQ(0, i915_load_module(""));
		usleep(100 * 1000);
	}

	*stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	munmap(stop, sizeof(*stop));
	TH_LOG("unloaded %d times, refused %d times", round, refused);
}

/* Or NULL. */
static const char *why_not(void)
{
	if (access(DRIVER_DIR "/unbind", F_OK))
		return "no mock device: build i915 with CONFIG_DRM_I915_MOCK_NODE=y and load it";
	if (access(DRIVER_DIR "/unbind", W_OK))
		return "cannot unbind devices: be root";

	return NULL;
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
