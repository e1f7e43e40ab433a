// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a GPU away from i915, by unbinding it, removing it from the PCI bus and
 * unloading the module, while files are open, contexts exist, batches spin and others
 * are being made. Files must fail with ENODEV from then on, and what they held must
 * go with them: the kernel warns if a context is left when the device is released,
 * and the tests count its warnings.
 *
 * As whoever uses that GPU loses it, it has to be named: I915_SELFTESTS_BDF=0000:00:02.0
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

#define BDF_VARIABLE	"I915_SELFTESTS_BDF"
#define DRIVER_DIR	"/sys/bus/pci/drivers/i915"
#define DEVICE_DIR	"/sys/bus/pci/devices"
#define SYSFS_NODES	"kernfs_node_cache"

#define SECONDS		20	/* until a batch starts or ends, at most */
#define VALUE		0xc0ffee00
#define SPAMMERS	4
#define SYSFS_ROUNDS	10
#define MODULE_USERS	"/sys/module/i915/refcnt"

static const char *bdf;
static long module_users;	/* before all tests */

static bool is_bound(void)
{
	char path[128];

	snprintf(path, sizeof(path), DRIVER_DIR "/%s", bdf);
	return !access(path, F_OK);
}

static int unbind_device(void)
{
	return write_file(DRIVER_DIR "/unbind", bdf);
}

static int bind_device(void)
{
	return write_file(DRIVER_DIR "/bind", bdf);
}

static int remove_device(void)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICE_DIR "/%s/remove", bdf);
	return write_file(path, "1");
}

static int rescan_bus(void)
{
	return write_file("/sys/bus/pci/rescan", "1");
}

/* Modules that i915 needs stay loaded, so that no modprobe is needed either. */
static int load_module(void)
{
	char path[256];
	struct utsname uts;
	int fd, err;

	if (!access("/sbin/modprobe", X_OK))
		return system("/sbin/modprobe i915") ? -EINVAL : 0;

	uname(&uts);
	snprintf(path, sizeof(path), "/lib/modules/%s/kernel/drivers/gpu/drm/i915/i915.ko",
		 uts.release);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);

	return err;
}

static int unload_module(void)
{
	return syscall(SYS_delete_module, "i915", O_NONBLOCK) ? -errno : 0;
}

/* Why the module cannot be unloaded and loaded again, or NULL. */
static const char *module_in_use(void)
{
	if (access("/sys/module/i915/initstate", F_OK))
		return "i915 is built in";
	if (module_users > 0)
		return "the module i915 is in use, by other modules or by other nodes";

	return NULL;
}

/* Where the node of the device is now, which changes while old files are open. */
static int find_node(struct i915_node *node)
{
	struct i915_node nodes[I915_NODES_MAX];
	int i, count = i915_find_nodes(nodes);

	for (i = 0; i < count; i++) {
		if (!strcmp(nodes[i].name, bdf)) {
			*node = nodes[i];
			return 0;
		}
	}

	return -ENOENT;
}

static int open_device(void)
{
	struct i915_node node;

	return find_node(&node) ? -1 : i915_open(&node);
}

static int create_many(int fd, unsigned int count)
{
	unsigned int id = 0;
	int err = 0;

	while (count-- && !err)
		err = i915_context_create(fd, &id) ?: i915_context_use(fd, id);

	return err;
}

/* A context that executes @batch, and is destroyed when that has stored its value. */
static int execute_and_destroy(int fd, const struct i915_batch *batch)
{
	unsigned int id = 0;
	int err;

	i915_batch_store(batch, VALUE);
	err = i915_context_create(fd, &id);
	err = err ?: i915_batch_submit(batch, id, I915_EXEC_DEFAULT, -1, NULL);
	err = err ?: i915_batch_wait(batch, SECONDS);
	err = err ?: i915_context_destroy(fd, id);
	if (!err && i915_batch_result(batch) != VALUE)
		err = -EBADMSG;

	return err;
}

/* Returns 0 if a new file of the device works. */
static int try_device(void)
{
	struct i915_batch batch;
	int fd = open_device();
	int err;

	if (fd < 0)
		return -ENOENT;
	err = i915_batch_create(fd, &batch);
	if (!err) {
		err = execute_and_destroy(fd, &batch);
		i915_batch_destroy(&batch);
	}
	close(fd);

	return err;
}

struct spinners {
	struct i915_engine engines[I915_ENGINES_MAX];
	struct i915_batch batches[I915_ENGINES_MAX];
	int fences[I915_ENGINES_MAX];
	int count;
};

/* Has a context of its own spin on each engine, which nobody is going to end. */
static int spin(int fd, struct spinners *s)
{
	unsigned int id = 0;
	int i, err = 0;

	s->count = i915_list_engines(fd, s->engines);
	for (i = 0; i < s->count && !err; i++) {
		err = i915_context_create_engines(fd, &s->engines[i], 1, 0, 0, &id);
		err = err ?: i915_batch_create(fd, &s->batches[i]);
		if (err)
			break;
		i915_batch_spin(&s->batches[i], &s->engines[i], VALUE);
		err = i915_batch_submit(&s->batches[i], id, 0, -1, &s->fences[i]);
		err = err ?: i915_batch_wait_started(&s->batches[i], SECONDS);
	}

	return s->count < 0 ? s->count : err;
}

static void free_spinners(struct spinners *s)
{
	int i;

	for (i = 0; i < s->count; i++) {
		close(s->fences[i]);
		i915_batch_destroy(&s->batches[i]);
	}
}

FIXTURE(unplug) {
	struct i915_census before;
	long warnings;
};

FIXTURE_VARIANT(unplug) {
	int (*unplug)(void);
	int (*plug)(void);
};

FIXTURE_VARIANT_ADD(unplug, unbind) {
	.unplug = unbind_device,
	.plug = bind_device,
};

FIXTURE_VARIANT_ADD(unplug, remove) {
	.unplug = remove_device,
	.plug = rescan_bus,
};

FIXTURE_SETUP(unplug)
{
	struct i915_node node;

	self->warnings = kernel_warnings();
	ASSERT_LE(0, self->warnings);
	/* A test that took too long may have left it so */
	if (!is_bound())
		ASSERT_EQ(0, variant->plug());
	ASSERT_EQ(0, find_node(&node));
	ASSERT_EQ(0, try_device());
	ASSERT_EQ(0, i915_settled_census(&node, &self->before));
}

FIXTURE_TEARDOWN(unplug)
{
	struct i915_node node;

	if (!is_bound())
		EXPECT_EQ(0, variant->plug());
	EXPECT_EQ(0, try_device());
	EXPECT_EQ(self->warnings, kernel_warnings());
	ASSERT_EQ(0, find_node(&node));
	EXPECT_STREQ("", i915_left_behind(&node, &self->before));
}

TEST_F_TIMEOUT(unplug, idle, 600)
{
	ASSERT_EQ(0, variant->unplug());
	EXPECT_FALSE(is_bound());
	EXPECT_EQ(-1, open_device());

	ASSERT_EQ(0, variant->plug());
	EXPECT_TRUE(is_bound());
	EXPECT_EQ(0, try_device());
}

/* A folder that is lost costs at least one node each time. */
TEST_F_TIMEOUT(unplug, nothing_left_in_sysfs, 900)
{
	long before, after;
	int i;

	/* The first time may leave what the next one finds */
	ASSERT_EQ(0, variant->unplug());
	ASSERT_EQ(0, variant->plug());
	usleep(100 * 1000);
	before = i915_count_objects(SYSFS_NODES);
	if (before < 0)
		SKIP(return, "no count of sysfs nodes: boot with slab_nomerge");

	for (i = 0; i < SYSFS_ROUNDS; i++) {
		ASSERT_EQ(0, variant->unplug());
		ASSERT_EQ(0, variant->plug());
	}

	/* They are freed after a grace period */
	for (i = 0; i < 100; i++) {
		after = i915_count_objects(SYSFS_NODES);
		if (after < before + SYSFS_ROUNDS)
			break;
		usleep(100 * 1000);
	}
	EXPECT_LT(after, before + SYSFS_ROUNDS);
}

TEST_F_TIMEOUT(unplug, open_file_with_contexts, 600)
{
	unsigned int id = 0;
	int fd;

	fd = open_device();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, create_many(fd, 100));

	ASSERT_EQ(0, variant->unplug());
	EXPECT_EQ(-ENODEV, i915_context_create(fd, &id));
	EXPECT_EQ(-ENODEV, i915_context_use(fd, 1));
	EXPECT_EQ(-ENODEV, i915_context_destroy(fd, 1));
	close(fd);
}

/* The GPU is at work for an open file and for one that is closed. */
TEST_F_TIMEOUT(unplug, spinning_batches, 600)
{
	struct spinners open, closed;
	int i, fd, old;

	old = open_device();
	ASSERT_LE(0, old);
	ASSERT_EQ(0, spin(old, &closed));
	fd = open_device();
	ASSERT_LE(0, fd);
	/* These come to run when those of the other file are preempted */
	ASSERT_EQ(0, spin(fd, &open));
	close(old);

	ASSERT_EQ(0, variant->unplug());
	for (i = 0; i < open.count; i++) {
		EXPECT_EQ(-EIO, fence_wait(open.fences[i], SECONDS));
		EXPECT_EQ(-EIO, fence_wait(closed.fences[i], SECONDS));
		EXPECT_EQ(-ENODEV, i915_batch_wait(&open.batches[i], 0));
	}
	EXPECT_EQ(-ENODEV, i915_batch_submit(&open.batches[0], 0, I915_EXEC_DEFAULT, -1, NULL));
	free_spinners(&closed);

	/* The new device does not care who still has something of the old one */
	ASSERT_EQ(0, variant->plug());
	EXPECT_EQ(0, try_device());
	free_spinners(&open);
	close(fd);
}

TEST_F_TIMEOUT(unplug, old_file_across_the_next_bind, 600)
{
	struct i915_batch old, new;
	int old_fd, new_fd;

	old_fd = open_device();
	ASSERT_LE(0, old_fd);
	ASSERT_EQ(0, create_many(old_fd, 10));
	ASSERT_EQ(0, i915_batch_create(old_fd, &old));
	EXPECT_EQ(0, execute_and_destroy(old_fd, &old));

	ASSERT_EQ(0, variant->unplug());
	ASSERT_EQ(0, variant->plug());
	EXPECT_EQ(-ENODEV, execute_and_destroy(old_fd, &old));

	new_fd = open_device();
	ASSERT_LE(0, new_fd);
	ASSERT_EQ(0, i915_batch_create(new_fd, &new));
	EXPECT_EQ(0, execute_and_destroy(new_fd, &new));
	i915_batch_destroy(&old);
	close(old_fd);
	EXPECT_EQ(0, execute_and_destroy(new_fd, &new));
	i915_batch_destroy(&new);
	close(new_fd);
}

/* Executes batches until the device is taken away, and returns how that is told. */
static int spam_until_unplugged(int started)
{
	struct i915_batch batch;
	int fd = open_device();
	int err;

	err = fd < 0 ? -ENOENT : i915_batch_create(fd, &batch);
	err = err ?: create_many(fd, 10);
	if (!err && write(started, "", 1) != 1)
		err = -EPIPE;
	while (!err)
		err = execute_and_destroy(fd, &batch);

	/* What the GPU had no time for, as it was wedged, is no value */
	if (err == -EIO || err == -EBADMSG || err == -ETIME) {
		sleep(1);
		err = execute_and_destroy(fd, &batch);
	}

	return err;
}

TEST_F_TIMEOUT(unplug, running_spammers, 600)
{
	int round, i, status, started[2];
	pid_t pids[SPAMMERS];
	char byte;

	ASSERT_EQ(0, pipe(started));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < SPAMMERS; i++) {
			pids[i] = fork_child();
			ASSERT_LE(0, pids[i]);
			if (!pids[i])
				_exit(-spam_until_unplugged(started[1]));
		}

		for (i = 0; i < SPAMMERS; i++)
			ASSERT_EQ(1, read(started[0], &byte, 1));
		usleep(200 * 1000);
		ASSERT_EQ(0, variant->unplug());
		for (i = 0; i < SPAMMERS; i++) {
			ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
			EXPECT_TRUE(WIFEXITED(status));
			EXPECT_EQ(ENODEV, WEXITSTATUS(status));
		}
		ASSERT_EQ(0, variant->plug());
	}
	close(started[0]);
	close(started[1]);
}

FIXTURE(module) {
	long warnings;
};

FIXTURE_SETUP(module)
{
	const char *reason = module_in_use();

	if (reason)
		SKIP(return, "%s", reason);
	/* Those before must not have left a reference */
	ASSERT_EQ(0, read_number(MODULE_USERS));
	self->warnings = kernel_warnings();
	ASSERT_LE(0, self->warnings);
}

FIXTURE_TEARDOWN(module)
{
	if (access("/sys/module/i915", F_OK))
		EXPECT_EQ(0, load_module());
	EXPECT_EQ(0, try_device());
	EXPECT_EQ(self->warnings, kernel_warnings());
}

/* An open file holds the module, unbound or not. */
TEST_F_TIMEOUT(module, open_file, 600)
{
	int fd, round;

	for (round = 0; round < 3; round++) {
		fd = open_device();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, create_many(fd, 100));

		EXPECT_EQ(-EWOULDBLOCK, unload_module());
		if (round) {
			ASSERT_EQ(0, unbind_device());
			EXPECT_EQ(-EWOULDBLOCK, unload_module());
		}
		close(fd);

		ASSERT_EQ(0, unload_module());
		EXPECT_FALSE(is_bound());
		ASSERT_EQ(0, load_module());
		EXPECT_TRUE(is_bound());
	}
}

/* With no file left, but batches that go on. */
TEST_F_TIMEOUT(module, spinning_batches, 600)
{
	struct spinners spinners;
	int fd, round;

	for (round = 0; round < 3; round++) {
		fd = open_device();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, spin(fd, &spinners));
		free_spinners(&spinners);
		close(fd);

		ASSERT_EQ(0, unload_module());
		ASSERT_EQ(0, load_module());
		EXPECT_EQ(0, try_device());
	}
}

/* Opens and closes files whose contexts execute batches until @stop is set. */
static int spam_files(const atomic_bool *stop)
{
	unsigned int seed = getpid();
	int err = 0;

	while (!*stop && !err) {
		err = try_device();
		/* There is none while the module is away, and then there was one */
		if (err == -ENOENT || err == -ENODEV || err == -EIO)
			err = 0;
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
		pids[i] = fork_child();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(-spam_files(stop));
	}

	for (round = 0; round < 5; round++) {
		end = time(NULL) + 30;
		while ((err = unload_module()) == -EWOULDBLOCK && time(NULL) < end) {
			refused++;
			usleep(100);
		}
		ASSERT_EQ(0, err);
		ASSERT_EQ(0, load_module());
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

/* The id of a process that has a file of the node, or 0. */
static pid_t user_of(const struct i915_node *node)
{
	const struct dirent *process, *entry;
	char path[600], target[PATH_MAX], card[32];
	pid_t pid = 0;
	DIR *proc, *fds;
	ssize_t len;

	snprintf(card, sizeof(card), "/dev/dri/card%d", node->card);
	proc = opendir("/proc");
	while (proc && !pid && (process = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/fd", process->d_name);
		fds = atoi(process->d_name) ? opendir(path) : NULL;
		while (fds && (entry = readdir(fds))) {
			snprintf(path, sizeof(path), "/proc/%s/fd/%s", process->d_name,
				 entry->d_name);
			len = readlink(path, target, sizeof(target) - 1);
			if (len < 0)
				continue;
			target[len] = '\0';
			if (!strcmp(target, node->path) || !strcmp(target, card))
				pid = atoi(process->d_name);
		}
		if (fds)
			closedir(fds);
	}
	if (proc)
		closedir(proc);

	return pid;
}

/* Whether a monitor is lit, or a framebuffer is there for a console to be on. */
static bool has_display(const struct i915_node *node)
{
	char path[400], text[16];
	const struct dirent *entry;
	bool found;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), DEVICE_DIR "/%s/graphics", bdf);
	found = !access(path, F_OK);

	snprintf(path, sizeof(path), DEVICE_DIR "/%s/drm/card%d", bdf, node->card);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "card", 4))
			continue;
		snprintf(path, sizeof(path), DEVICE_DIR "/%s/drm/card%d/%s/enabled", bdf,
			 node->card, entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		found = fscanf(file, "%15s", text) == 1 && !strcmp(text, "enabled");
		fclose(file);
	}
	if (dir)
		closedir(dir);

	return found;
}

/* Why there is nothing to test, or NULL. */
static const char *why_not(void)
{
	static char reason[128];
	struct i915_node node;
	const char *batches;
	pid_t user;
	int fd;

	if (!bdf)
		return "takes a GPU away from those who use it: name one that may be, as in "
		       BDF_VARIABLE "=0000:00:02.0";
	if (!is_bound() || find_node(&node)) {
		snprintf(reason, sizeof(reason), BDF_VARIABLE "=%s is no device of i915", bdf);
		return reason;
	}
	if (access(DRIVER_DIR "/unbind", W_OK))
		return "cannot unbind devices: be root";
	if (has_display(&node))
		return "the GPU drives a display";
	user = user_of(&node);
	if (user) {
		snprintf(reason, sizeof(reason), "process %d uses the GPU", user);
		return reason;
	}

	fd = i915_open(&node);
	if (fd < 0)
		return "cannot open the node";
	batches = i915_no_batches(fd);
	close(fd);

	return batches ?: i915_no_census();
}

int main(int argc, char *argv[])
{
	const char *reason;

	bdf = getenv(BDF_VARIABLE);
	module_users = read_number(MODULE_USERS);
	reason = why_not();
	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	return test_harness_run(argc, argv);
}
