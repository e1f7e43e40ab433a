/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the i915 selftests share: finding the DRM nodes of the driver, calling its
 * context ioctls, and reading its context counters.
 */
#ifndef I915_NODE_H
#define I915_NODE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/i915_drm.h>

#define I915_NODES_MAX	8
#define I915_OBJECT_SIZE 4096

#define I915_NO_NODE \
	"no i915 node with contexts that can be opened: load i915 on a machine with Intel " \
	"graphics, be root or in the group of /dev/dri/renderD128"
#define I915_NO_STATS \
	"no debugfs i915_gem_contexts: build with CONFIG_DRM_I915_SELFTEST, mount " \
	"debugfs, be root"

struct i915_node {
	char path[64];		/* /dev/dri/renderD128 */
	char name[64];		/* of the device, as in sysfs */
	int minor;
	int card;		/* the directory in debugfs: older kernels have no other */
};

/* Counters of debugfs i915_gem_contexts, in the order of the file. */
struct i915_stats {
	unsigned long created, freed, alive, waiting, max_waiting, worker_runs;
};

static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static inline long read_number(const char *path)
{
	FILE *file = fopen(path, "r");
	long number = -1;

	if (file) {
		if (fscanf(file, "%ld", &number) != 1)
			number = -1;
		fclose(file);
	}

	return number;
}

static inline int write_file(const char *path, const char *text)
{
	int fd, err;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);

	return err;
}

#define SAVED_FILES_MAX	128

/* Settings of the kernel that a test changes, and the first process restores. */
static struct saved_file {
	char path[400];
	char value[32];
} saved_files[SAVED_FILES_MAX];
static int saved_files_count;
static pid_t saved_files_owner;

static inline void restore_files(void)
{
	int i;

	for (i = 0; i < saved_files_count; i++)
		write_file(saved_files[i].path, saved_files[i].value);
}

static inline void restore_files_at_exit(void)
{
	if (getpid() == saved_files_owner)
		restore_files();
}

static inline void exit_on_signal(int signal)
{
	exit(1);
}

/*
 * To be called by the process that outlives a test that fails or takes too long.
 * Files are restored in this order. Where there are several values in one it is the
 * one in brackets that is set.
 */
static inline int save_file(const char *path)
{
	struct saved_file *saved = &saved_files[saved_files_count];
	char line[128] = "", *start, *end;
	FILE *file;

	if (saved_files_count == SAVED_FILES_MAX)
		return -ENOSPC;
	file = fopen(path, "r");
	if (!file)
		return -errno;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);

	start = strchr(line, '[');
	start = start ? start + 1 : line;
	end = start + strcspn(start, "]\n");
	snprintf(saved->path, sizeof(saved->path), "%s", path);
	snprintf(saved->value, sizeof(saved->value), "%.*s", (int)(end - start), start);
	if (!saved_files_count++) {
		saved_files_owner = getpid();
		atexit(restore_files_at_exit);
		signal(SIGINT, exit_on_signal);
		signal(SIGTERM, exit_on_signal);
	}

	return 0;
}

/* Has the calling thread run before all that are not SCHED_FIFO of a higher priority. */
static inline int set_fifo(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	return sched_setscheduler(0, SCHED_FIFO, &param) ? -errno : 0;
}

/* Has the calling thread run on one of @cpus, each in its turn for @n from 0 on. */
static inline int pin_to_cpu(const cpu_set_t *cpus, unsigned int n)
{
	cpu_set_t one;
	int cpu = 0;

	n %= CPU_COUNT(cpus);
	while (!CPU_ISSET(cpu, cpus) || n--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);

	return sched_setaffinity(0, sizeof(one), &one) ? -errno : 0;
}

/* A child that cannot outlive an assertion of its parent. */
static inline pid_t fork_child(void)
{
	const pid_t parent = getpid(), pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}

	return pid;
}

/* Anew if it was interrupted, as by the freezer when the machine is suspended. */
static inline int i915_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret == -1 && (errno == EINTR || errno == EAGAIN));

	return ret;
}

/* The oldest hardware has no contexts. */
static inline bool i915_has_contexts(int fd)
{
	struct drm_i915_gem_context_create create = {};

	return !ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE, &create) || errno != ENODEV;
}

static inline bool i915_is_node(const char *path)
{
	struct drm_version version = {};
	char name[8] = "";
	bool found;
	int fd;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;

	version.name = name;
	version.name_len = sizeof(name) - 1;
	found = !ioctl(fd, DRM_IOCTL_VERSION, &version) && !strcmp(name, "i915") &&
		i915_has_contexts(fd);
	close(fd);

	return found;
}

/* Fills @nodes in the order of their minors and returns how many there are. */
static inline int i915_find_nodes(struct i915_node nodes[I915_NODES_MAX])
{
	int minor, count = 0;

	for (minor = 128; minor < 192 && count < I915_NODES_MAX; minor++) {
		struct i915_node *node = &nodes[count];
		char link[PATH_MAX + 32], target[PATH_MAX];

		snprintf(node->path, sizeof(node->path), "/dev/dri/renderD%d", minor);
		if (!i915_is_node(node->path))
			continue;

		snprintf(link, sizeof(link), "/sys/class/drm/renderD%d/device", minor);
		if (!realpath(link, target))
			continue;

		/* Such as 0000:00:02.0 */
		snprintf(node->name, sizeof(node->name), "%s", strrchr(target, '/') + 1);
		node->minor = minor;
		for (node->card = 0; node->card < 64; node->card++) {
			snprintf(link, sizeof(link), "%s/drm/card%d", target, node->card);
			if (!access(link, F_OK))
				break;
		}
		count++;
	}

	return count;
}

static inline int i915_open(const struct i915_node *node)
{
	return open(node->path, O_RDWR | O_CLOEXEC);
}

static inline int i915_read_stats(const struct i915_node *node, struct i915_stats *stats)
{
	char path[64];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_contexts", node->card);
	file = fopen(path, "r");
	if (!file)
		return -errno;

	n = fscanf(file,
		   "created: %lu freed: %lu alive: %lu waiting: %lu max waiting: %lu worker runs: %lu",
		   &stats->created, &stats->freed, &stats->alive, &stats->waiting,
		   &stats->max_waiting, &stats->worker_runs);
	fclose(file);

	return n == 6 ? 0 : -EPROTO;
}

/* Lets "max waiting" start again. */
static inline int i915_reset_max_waiting(const struct i915_node *node)
{
	char path[64];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_contexts", node->card);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;

	err = write(fd, "0", 1) == 1 ? 0 : -errno;
	close(fd);

	return err;
}

static inline int i915_context_create(int fd, unsigned int *id)
{
	struct drm_i915_gem_context_create create = {};

	if (i915_ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE, &create))
		return -errno;

	*id = create.ctx_id;
	return 0;
}

static inline int i915_context_create_ext(int fd, unsigned int flags, const void *extensions,
					  unsigned int *id)
{
	struct drm_i915_gem_context_create_ext create = {
		.flags = flags | (extensions ? I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS : 0),
		.extensions = (uintptr_t)extensions,
	};

	if (i915_ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create))
		return -errno;

	*id = create.ctx_id;
	return 0;
}

/* GEM_CONTEXT_CREATE reserves an id; its first use, such as this, creates the context. */
static inline int i915_context_use(int fd, unsigned int id)
{
	struct drm_i915_gem_context_param param = {
		.ctx_id = id,
		.param = I915_CONTEXT_PARAM_PERSISTENCE,
	};

	return i915_ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &param) ? -errno : 0;
}

static inline int i915_context_destroy(int fd, unsigned int id)
{
	struct drm_i915_gem_context_destroy destroy = { .ctx_id = id };

	return i915_ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, &destroy) ? -errno : 0;
}

static inline int i915_context_set(int fd, unsigned int id, unsigned long long param,
				   unsigned long long value)
{
	struct drm_i915_gem_context_param arg = {
		.ctx_id = id,
		.param = param,
		.value = value,
	};

	return i915_ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &arg) ? -errno : 0;
}

static inline int i915_vm_create(int fd, unsigned int *id)
{
	struct drm_i915_gem_vm_control vm = {};

	if (i915_ioctl(fd, DRM_IOCTL_I915_GEM_VM_CREATE, &vm))
		return -errno;

	*id = vm.vm_id;
	return 0;
}

static inline int i915_vm_destroy(int fd, unsigned int id)
{
	struct drm_i915_gem_vm_control vm = { .vm_id = id };

	return i915_ioctl(fd, DRM_IOCTL_I915_GEM_VM_DESTROY, &vm) ? -errno : 0;
}

static inline void *i915_object_map(int fd, unsigned int handle)
{
	int llc = 0;
	struct drm_i915_getparam getparam = { .param = I915_PARAM_HAS_LLC, .value = &llc };
	struct drm_i915_gem_mmap_offset offset = { .handle = handle };
	struct drm_i915_gem_set_domain domain = {
		.handle = handle,
		.read_domains = I915_GEM_DOMAIN_WC,
		.write_domain = I915_GEM_DOMAIN_WC,
	};

	if (ioctl(fd, DRM_IOCTL_I915_GETPARAM, &getparam))
		return MAP_FAILED;

	offset.flags = llc ? I915_MMAP_OFFSET_WB : I915_MMAP_OFFSET_WC;
	if (ioctl(fd, DRM_IOCTL_I915_GEM_MMAP_OFFSET, &offset)) {
		/* Memory of its own: the driver chooses */
		offset.flags = I915_MMAP_OFFSET_FIXED;
		if (ioctl(fd, DRM_IOCTL_I915_GEM_MMAP_OFFSET, &offset))
			return MAP_FAILED;
	} else if (!llc && ioctl(fd, DRM_IOCTL_I915_GEM_SET_DOMAIN, &domain)) {
		return MAP_FAILED;
	}

	return mmap(NULL, I915_OBJECT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset.offset);
}

/* An object that is a batch, which does nothing. */
static inline int i915_object_create(int fd, unsigned int *handle)
{
	static const uint32_t batch[] = { 0x05000000 /* MI_BATCH_BUFFER_END */, 0 };
	struct drm_i915_gem_create create = { .size = I915_OBJECT_SIZE };
	struct drm_i915_gem_pwrite pwrite = {
		.size = sizeof(batch),
		.data_ptr = (uintptr_t)batch,
	};
	void *map;

	if (i915_ioctl(fd, DRM_IOCTL_I915_GEM_CREATE, &create))
		return -errno;

	*handle = create.handle;
	pwrite.handle = create.handle;
	if (!ioctl(fd, DRM_IOCTL_I915_GEM_PWRITE, &pwrite))
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;

	/* There is no PWRITE from Rocket Lake on */
	map = i915_object_map(fd, create.handle);
	if (map == MAP_FAILED)
		return -errno;
	memcpy(map, batch, sizeof(batch));
	munmap(map, I915_OBJECT_SIZE);

	return 0;
}

static inline int i915_object_close(int fd, unsigned int handle)
{
	struct drm_gem_close close = { .handle = handle };

	return ioctl(fd, DRM_IOCTL_GEM_CLOSE, &close) ? -errno : 0;
}

/* Has the context execute the object, after @fence is signaled if that is not -1. */
static inline int i915_execute(int fd, unsigned int id, unsigned int handle, int fence)
{
	struct drm_i915_gem_exec_object2 object = { .handle = handle };
	struct drm_i915_gem_execbuffer2 exec = {
		.buffers_ptr = (uintptr_t)&object,
		.buffer_count = 1,
		.flags = I915_EXEC_RENDER,
		.rsvd1 = id,
	};

	if (fence != -1) {
		exec.flags |= I915_EXEC_FENCE_IN;
		exec.rsvd2 = fence;
	}

	return i915_ioctl(fd, DRM_IOCTL_I915_GEM_EXECBUFFER2, &exec) ? -errno : 0;
}

#endif /* I915_NODE_H */
