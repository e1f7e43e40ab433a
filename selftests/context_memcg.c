// SPDX-License-Identifier: GPL-2.0
/*
 * Checks that what a client keeps is charged to its memory cgroup. The client is put
 * into a cgroup of its own with a limit, and creates contexts, vms or GEM objects that
 * it never destroys. There are two tests for each kind:
 *
 *  - "charged" exempts the client from the OOM killer, so that it fails with ENOMEM. It
 *    must do so before it has as many as a multiple of the limit would pay for, and the
 *    machine must not have lost more memory than the cgroup is charged, but for little.
 *  - "contained" lets the OOM killer of the cgroup kill the client as well. A client
 *    outside of the cgroup creates, uses and destroys contexts meanwhile, and must not
 *    see an error.
 *
 * After each, once the client is gone, its cgroup must be charged nothing.
 */
#define _GNU_SOURCE
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

#define LIMIT_KB	(32 * 1024L)

/* The client gives up once it has what so many times the limit would pay for. */
#define LIMITS_MAX	4

/* How much more than its charge a client may take from the machine, for all kinds */
#define NOT_CHARGED_KB	(LIMIT_KB / 20)

#define DROP_ALL	"0x50"	/* to debugfs i915_gem_drop_caches: idle, and freed */
#define STALL_SECONDS	60	/* for a batch */
#define WARM_UP		50	/* contexts of the client outside of the cgroup */

#define NO_MEMORY_CGROUP \
	"no memory controller of cgroup v2: be root, build with CONFIG_MEMCG, and do " \
	"not give it to cgroup v1"

/* What the processes of a test tell each other. */
struct shared {
	atomic_ulong created;	/* by the client */
	atomic_int error;	/* why it has stopped */
	atomic_bool stopped;
	atomic_ulong pairs;	/* created and destroyed by the other client */
	atomic_int other_error;
	atomic_bool finish;
};

struct client {
	int fd;
	struct i915_engine engines[I915_ENGINES_MAX];
	unsigned int engine_count;
	struct i915_batch batch;
	unsigned int vm_id;
	unsigned long created;
};

/* Reads the number that follows @key in a file of such lines, or -1. */
static long read_key(const char *path, const char *key)
{
	const size_t length = strlen(key);
	char line[128];
	long value = -1;
	FILE *file;

	file = fopen(path, "r");
	if (!file)
		return -1;

	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, length) && strchr(": ", line[length]))
			value = strtol(line + length + 1, NULL, 10);
	}
	fclose(file);

	return value;
}

/*
 * cgroup v2 is mounted on a folder of its own, wherever else it may be. In it are a
 * cgroup, which counts what is left of its children, and as one of these that of the
 * client.
 */
struct cgroups {
	char mount[64];
	char parent[128];
	char client[160];
	bool mounted, enabled;
};

static void cgroup_file(char path[256], const char *cgroup, const char *name)
{
	snprintf(path, 256, "%s/%s", cgroup, name);
}

static int cgroup_write(const char *cgroup, const char *name, const char *text)
{
	char path[256];

	cgroup_file(path, cgroup, name);
	return write_file(path, text);
}

static long cgroup_read(const char *cgroup, const char *name, const char *key)
{
	char path[256];

	cgroup_file(path, cgroup, name);
	return key ? read_key(path, key) : read_number(path);
}

static bool cgroup_enabled(const char *cgroup, const char *name, const char *word)
{
	char path[256], line[256] = "";
	FILE *file;

	cgroup_file(path, cgroup, name);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);

	return strstr(line, word);
}

static void cgroups_remove(struct cgroups *groups)
{
	if (groups->mounted) {
		cgroup_write(groups->client, "cgroup.kill", "1");
		rmdir(groups->client);
		rmdir(groups->parent);
		if (groups->enabled)
			cgroup_write(groups->mount, "cgroup.subtree_control", "-memory");
		umount2(groups->mount, MNT_DETACH);
	}
	if (groups->mount[0])
		rmdir(groups->mount);
	memset(groups, 0, sizeof(*groups));
}

static int cgroups_create(struct cgroups *groups)
{
	char limit[32];
	int err;

	memset(groups, 0, sizeof(*groups));
	snprintf(groups->mount, sizeof(groups->mount), "/tmp/i915_memcg.XXXXXX");
	if (!mkdtemp(groups->mount)) {
		groups->mount[0] = '\0';
		return -errno;
	}
	snprintf(groups->parent, sizeof(groups->parent), "%s/i915_memcg.%d",
		 groups->mount, getpid());
	snprintf(groups->client, sizeof(groups->client), "%s/client", groups->parent);

	if (mount("cgroup2", groups->mount, "cgroup2", 0, NULL)) {
		err = -errno;
		goto fail;
	}
	groups->mounted = true;

	err = -ENODEV;
	if (!cgroup_enabled(groups->mount, "cgroup.controllers", "memory"))
		goto fail;
	if (!cgroup_enabled(groups->mount, "cgroup.subtree_control", "memory")) {
		err = cgroup_write(groups->mount, "cgroup.subtree_control", "+memory");
		if (err)
			goto fail;
		groups->enabled = true;
	}

	if (mkdir(groups->parent, 0755)) {
		err = -errno;
		goto fail;
	}
	err = cgroup_write(groups->parent, "cgroup.subtree_control", "+memory");
	if (err)
		goto fail;
	if (mkdir(groups->client, 0755)) {
		err = -errno;
		goto fail;
	}

	snprintf(limit, sizeof(limit), "%ldK", LIMIT_KB);
	err = cgroup_write(groups->client, "memory.max", limit);
	if (err)
		goto fail;
	/* There is none without swap */
	cgroup_write(groups->client, "memory.swap.max", "0");

	return 0;

fail:
	cgroups_remove(groups);
	return err;
}

/* Has the cgroup charged for a file on @cpu, and for nothing any more afterwards. */
static int charge_on_cpu(const struct cgroups *groups, int cpu)
{
	int fd, leave, status;
	char path[256];
	cpu_set_t one;
	pid_t pid;

	pid = fork_child();
	if (pid < 0)
		return -errno;
	if (pid)
		return waitpid(pid, &status, 0) == pid && !status ? 0 : -EIO;

	/* All that is charged here is freed here again */
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		_exit(0);
	/* Before, as the inode stays */
	cgroup_file(path, groups->mount, "cgroup.procs");
	leave = open(path, O_WRONLY | O_CLOEXEC);
	if (leave < 0 || cgroup_write(groups->client, "cgroup.procs", "0"))
		_exit(1);
	fd = eventfd(0, EFD_CLOEXEC);
	close(fd);
	_exit(fd < 0 || write(leave, "0", 1) != 1);
}

/*
 * Small objects are charged by the byte. What an allocation does not need of the page
 * that it is charged for goes into a stock of its CPU, and so do the bytes of what is
 * freed there. It takes another charge on a CPU for what the stocks hold to be added up
 * to pages, which are no longer charged.
 */
static int charge_on_each_cpu(const struct cgroups *groups)
{
	cpu_set_t cpus;
	int cpu, err = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		return -errno;
	for (cpu = 0; cpu < CPU_SETSIZE && !err; cpu++) {
		if (CPU_ISSET(cpu, &cpus))
			err = charge_on_cpu(groups, cpu);
	}

	return err;
}

/*
 * Frees what the driver keeps for later, what kfree_rcu() was given, of which each CPU
 * keeps some dozens of objects of each cache, and pages of the page cache that each CPU
 * has yet to put on a list.
 */
static void drop_all(const struct i915_node *node)
{
	glob_t files;
	char drop[64];
	size_t i;

	snprintf(drop, sizeof(drop), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches", node->card);
	write_file(drop, DROP_ALL);
	write_file("/proc/sys/vm/drop_caches", "1");
	if (glob("/sys/kernel/slab/*/shrink", GLOB_NOSORT, NULL, &files))
		return;
	for (i = 0; i < files.gl_pathc; i++)
		write_file(files.gl_pathv[i], "1");
	globfree(&files);
}

/* What is free, with what each CPU keeps on lists of its own. */
static long free_kb(void)
{
	const long page_kb = sysconf(_SC_PAGESIZE) / 1024;
	long kb = read_key("/proc/meminfo", "MemFree"), pages;
	char line[128];
	FILE *file;

	file = fopen("/proc/zoneinfo", "r");
	if (!file)
		return kb;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " count: %ld", &pages) == 1)
			kb += pages * page_kb;
	}
	fclose(file);

	return kb;
}

/* What is free once nothing is being freed any more: once there is no more of it. */
static long wait_free_kb(const struct i915_node *node)
{
	const double end = now() + SETTLE_SECONDS;
	long kb, most_kb = 0;
	int same = 0;

	do {
		drop_all(node);
		usleep(SAMPLE_MS * 1000);
		kb = free_kb();
		same = kb > most_kb ? 0 : same + 1;
		if (kb > most_kb)
			most_kb = kb;
	} while (same < QUIET_SAMPLES && now() < end);

	return most_kb;
}

/*
 * Waits until nothing is charged to the cgroup of the client and returns what is, in
 * bytes, or a negative errno. Lowering memory.high returns what the CPUs have in stock,
 * so it is exactly zero that the charge must come to.
 */
static long wait_not_charged(const struct cgroups *groups, const struct i915_node *node)
{
	const double end = now() + SETTLE_SECONDS;
	long charged;
	int err, i;

	do {
		drop_all(node);
		err = cgroup_write(groups->client, "memory.high", "max");
		err = err ?: charge_on_each_cpu(groups);
		if (err)
			return err;
		/* This took memory, too. Then bytes are returned first, and pages after them */
		for (i = 0; i < 2; i++) {
			usleep(SAMPLE_MS * 1000);
			drop_all(node);
			err = cgroup_write(groups->client, "memory.high", "0");
			if (err)
				return err;
		}
		/* The other CPUs do that soon after */
		usleep(SAMPLE_MS * 1000);
		charged = cgroup_read(groups->client, "memory.current", NULL);
	} while (charged && now() < end);

	return charged;
}

/* Waits until removed cgroups are freed, which charges would prevent. */
static long wait_not_dying(const struct cgroups *groups)
{
	const double end = now() + SETTLE_SECONDS;
	long dying;

	do {
		dying = cgroup_read(groups->parent, "cgroup.stat", "nr_dying_descendants");
		if (!dying)
			break;
		usleep(50 * 1000);
	} while (now() < end);

	return dying;
}

static int create_context(struct client *client)
{
	unsigned int id = 0;

	return i915_context_create(client->fd, &id);
}

static int create_used_context(struct client *client)
{
	unsigned int id = 0;

	return i915_context_create(client->fd, &id) ?: i915_context_use(client->fd, id);
}

/* In a vm that all of them share, so that there is nothing else to a context. */
static int create_context_in_vm(struct client *client)
{
	unsigned int id = 0;
	int err = 0;

	if (!client->vm_id)
		err = i915_vm_create(client->fd, &client->vm_id);

	return err ?: i915_context_create_engines(client->fd, client->engines, 1, 0,
						  client->vm_id, &id) ?:
		      i915_context_use(client->fd, id);
}

/* With a map of as many engines as there may be, over and over the same ones. */
static int create_context_with_engines(struct client *client)
{
	struct i915_engine engines[I915_ENGINES_MAX];
	unsigned int id = 0, i;

	for (i = 0; i < I915_ENGINES_MAX; i++)
		engines[i] = client->engines[i % client->engine_count];

	return i915_context_create_engines(client->fd, engines, I915_ENGINES_MAX, 0, 0, &id) ?:
	       i915_context_use(client->fd, id);
}

static int create_context_with_virtual_engines(struct client *client)
{
	struct i915_engine pair[2];
	unsigned int id = 0;

	if (i915_find_pair(client->engines, client->engine_count, pair))
		return -ENODEV;

	return i915_context_create_balanced(client->fd, pair, I915_ENGINES_MAX, &id) ?:
	       i915_context_use(client->fd, id);
}

static int submit(struct client *client, const struct i915_batch *batch, unsigned int id,
		  unsigned int slot)
{
	const uint32_t value = client->created + 1;
	int err;

	i915_batch_store(batch, value);
	err = i915_batch_submit(batch, id, slot, -1, NULL);
	err = err ?: i915_batch_wait(batch, STALL_SECONDS);
	if (!err && i915_batch_result(batch) != value)
		err = -EBADMSG;

	return err;
}

/* Executes a batch on each of the engines, so that each has a ring and an image. */
static int create_executed_context(struct client *client)
{
	unsigned int id = 0, i;
	int err;

	err = i915_context_create_engines(client->fd, client->engines, client->engine_count,
					  0, 0, &id);
	for (i = 0; i < client->engine_count && !err; i++)
		err = submit(client, &client->batch, id, i);

	return err;
}

static int create_vm(struct client *client)
{
	unsigned int id = 0;

	return i915_vm_create(client->fd, &id);
}

/* Without pages: it is the object itself that is charged. */
static int create_object(struct client *client)
{
	struct drm_i915_gem_create create = { .size = 4096 };

	return ioctl(client->fd, DRM_IOCTL_I915_GEM_CREATE, &create) ? -errno : 0;
}

/* In the default context, each at an address that needs a page table of its own. */
static int create_executed_object(struct client *client)
{
	struct i915_batch batch;

	return i915_batch_create(client->fd, &batch) ?: submit(client, &batch, 0, 0);
}

static int client_open(struct client *client, const struct i915_node *node)
{
	int count;

	memset(client, 0, sizeof(*client));
	client->fd = i915_open(node);
	if (client->fd < 0)
		return -errno;

	count = i915_list_engines(client->fd, client->engines);
	if (count <= 0)
		return count ?: -ENODEV;
	client->engine_count = count;

	return i915_batch_create(client->fd, &client->batch);
}

/* Creates in the cgroup until it cannot, and keeps it all until it is killed. */
static void run_client(const struct cgroups *groups, const struct i915_node *node,
		       int (*create)(struct client *client), unsigned long most,
		       bool exempt, struct shared *shared)
{
	struct client client;
	int err = 0;

	if (exempt)
		err = write_file("/proc/self/oom_score_adj", "-1000");
	err = err ?: cgroup_write(groups->client, "cgroup.procs", "0");
	err = err ?: client_open(&client, node);
	while (!err && client.created < most) {
		err = create(&client);
		if (!err)
			shared->created = ++client.created;
	}
	/* What shmem returns if there is no memory for an inode */
	if (err == -ENOSPC)
		err = -ENOMEM;

	shared->error = err;
	shared->stopped = true;
	while (1)
		pause();
}

/* Not so fast that memory of the contexts that it destroys piles up. */
static void run_other(const struct i915_node *node, bool execute, struct shared *shared)
{
	struct client client;
	unsigned int id = 0;
	int err;

	err = client_open(&client, node);
	while (!err && !shared->finish) {
		client.created++;
		err = i915_context_create(client.fd, &id);
		if (err)
			break;
		err = execute ? submit(&client, &client.batch, id, 0) :
				i915_context_use(client.fd, id);
		err = err ?: i915_context_destroy(client.fd, id);
		if (!err)
			shared->pairs++;
		usleep(1000);
	}

	shared->other_error = err;
	_exit(err ? 1 : 0);
}

FIXTURE(memcg) {
	struct i915_node node;
	struct i915_census before;
	struct cgroups groups;
	struct shared *shared;
};

FIXTURE_VARIANT(memcg) {
	int (*create)(struct client *client);
	unsigned long bytes;	/* that each takes at the least */
	unsigned long uncharged; /* bytes of each: of DRM and dma-buf, or unused in slabs */
	bool siblings, execute;	/* what it needs */
};

FIXTURE_VARIANT_ADD(memcg, context) {
	.create = create_context,
	.bytes = 64,
};

FIXTURE_VARIANT_ADD(memcg, used_context) {
	.create = create_used_context,
	.bytes = 16 * 1024,
};

FIXTURE_VARIANT_ADD(memcg, context_in_vm) {
	.create = create_context_in_vm,
	.bytes = 1024,
	.uncharged = 64,
};

FIXTURE_VARIANT_ADD(memcg, context_with_engines) {
	.create = create_context_with_engines,
	.bytes = 32 * 1024,
};

FIXTURE_VARIANT_ADD(memcg, context_with_virtual_engines) {
	.create = create_context_with_virtual_engines,
	.bytes = 64 * 1024,
	.siblings = true,
};

FIXTURE_VARIANT_ADD(memcg, executed_context) {
	.create = create_executed_context,
	.bytes = 64 * 1024,
	.execute = true,
};

FIXTURE_VARIANT_ADD(memcg, vm) {
	.create = create_vm,
	.bytes = 16 * 1024,
};

FIXTURE_VARIANT_ADD(memcg, object) {
	.create = create_object,
	.bytes = 1024,
	.uncharged = 160,
};

FIXTURE_VARIANT_ADD(memcg, executed_object) {
	.create = create_executed_object,
	.bytes = 8 * 1024,
	.uncharged = 400,
	.execute = true,
};

FIXTURE_SETUP(memcg)
{
	struct i915_engine pair[2];
	struct client client = {};
	const char *reason;
	int err, count;

	err = i915_first_census(&self->node, &self->before);
	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	client.fd = i915_open(&self->node);
	ASSERT_LE(0, client.fd);
	reason = i915_no_batches(client.fd);
	count = i915_list_engines(client.fd, client.engines);
	close(client.fd);
	ASSERT_LT(0, count);
	client.engine_count = count;
	if (variant->execute && reason)
		SKIP(return, "%s", reason);
	if (variant->siblings && i915_find_pair(client.engines, count, pair))
		SKIP(return, I915_NO_PAIR);

	ASSERT_EQ(0, cgroups_create(&self->groups));
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
}

/* In the parent, so that no cgroup is left by a test that crashes. */
FIXTURE_TEARDOWN_PARENT(memcg)
{
	cgroups_remove(&self->groups);
}

/* Starts the client in its cgroup and waits until it stops or is killed. */
static int start_client(const struct cgroups *groups, const struct i915_node *node,
			int (*create)(struct client *client), unsigned long most,
			bool exempt, struct shared *shared, pid_t *pid, int *status)
{
	*pid = fork_child();
	if (*pid < 0)
		return -errno;
	if (!*pid)
		run_client(groups, node, create, most, exempt, shared);

	while (!shared->stopped) {
		if (waitpid(*pid, status, WNOHANG) == *pid) {
			*pid = -1;
			break;
		}
		usleep(1000);
	}

	return 0;
}

/* The end of each test: nothing is left of the client. */
static void expect_nothing_left(struct __test_metadata *const _metadata,
				const struct cgroups *groups, const struct i915_node *node,
				const struct i915_census *before)
{
	EXPECT_EQ(0, wait_not_charged(groups, node));
	EXPECT_EQ(0, rmdir(groups->client));
	EXPECT_EQ(0, wait_not_dying(groups));
	EXPECT_STREQ("", i915_left_behind(node, before));
}

TEST_F_TIMEOUT(memcg, charged, 300)
{
	const unsigned long most = LIMITS_MAX * LIMIT_KB * 1024 / variant->bytes;
	const struct cgroups *groups = &self->groups;
	long before_kb, lost_kb, charged_kb, uncharged_kb;
	int status = 0;
	pid_t client;

	before_kb = wait_free_kb(&self->node);
	ASSERT_EQ(0, start_client(groups, &self->node, variant->create, most, true,
				  self->shared, &client, &status));
	ASSERT_LT(0, client);
	lost_kb = before_kb - wait_free_kb(&self->node);
	charged_kb = cgroup_read(groups->client, "memory.current", NULL) / 1024;
	uncharged_kb = NOT_CHARGED_KB + self->shared->created * variant->uncharged / 1024;
	ksft_print_msg("%lu of %lu: lost %ld kB, charged %ld kB, %s\n",
		       self->shared->created, most, lost_kb, charged_kb,
		       strerror(-self->shared->error));

	EXPECT_EQ(-ENOMEM, atomic_load(&self->shared->error));
	/* It is the cgroup that has no memory, not the machine */
	EXPECT_LT(0, cgroup_read(groups->client, "memory.events", "max"));
	EXPECT_GT(most, atomic_load(&self->shared->created));
	EXPECT_GE(charged_kb + uncharged_kb, lost_kb);

	EXPECT_EQ(0, kill(client, SIGKILL));
	EXPECT_EQ(client, waitpid(client, &status, 0));
	expect_nothing_left(_metadata, groups, &self->node, &self->before);
}

TEST_F_TIMEOUT(memcg, contained, 300)
{
	const unsigned long most = LIMITS_MAX * LIMIT_KB * 1024 / variant->bytes;
	const struct cgroups *groups = &self->groups;
	struct shared *shared = self->shared;
	pid_t other, client;
	unsigned long pairs;
	long peak;
	int status = 0;

	other = fork_child();
	ASSERT_LE(0, other);
	if (!other)
		run_other(&self->node, variant->execute, shared);
	while (shared->pairs < WARM_UP && !shared->other_error)
		usleep(1000);
	pairs = shared->pairs;

	ASSERT_EQ(0, start_client(groups, &self->node, variant->create, most, false,
				  shared, &client, &status));
	if (client > 0) {
		EXPECT_EQ(-ENOMEM, atomic_load(&shared->error));
		EXPECT_LT(0, cgroup_read(groups->client, "memory.events", "max"));
		EXPECT_EQ(0, kill(client, SIGKILL));
		EXPECT_EQ(client, waitpid(client, &status, 0));
	} else {
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		EXPECT_LT(0, cgroup_read(groups->client, "memory.events", "oom_kill"));
	}
	EXPECT_GT(most, atomic_load(&shared->created));
	peak = cgroup_read(groups->client, "memory.peak", NULL);
	EXPECT_LT(0, peak);
	/* GFP_ATOMIC may exceed the limit */
	EXPECT_GE(LIMIT_KB + 256, peak / 1024);

	/* The other one went on, and still does */
	EXPECT_LT(pairs, atomic_load(&shared->pairs));
	pairs = shared->pairs;
	while (shared->pairs < pairs + WARM_UP && !shared->other_error)
		usleep(1000);
	shared->finish = true;
	EXPECT_EQ(other, waitpid(other, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, atomic_load(&shared->other_error));

	expect_nothing_left(_metadata, groups, &self->node, &self->before);
}

int main(int argc, char *argv[])
{
	const char *reason = i915_no_census();
	struct cgroups groups;

	if (!reason && cgroups_create(&groups))
		reason = NO_MEMORY_CGROUP;
	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}
	cgroups_remove(&groups);

	return test_harness_run(argc, argv);
}
