/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the i915 selftests share: finding the DRM nodes of the driver, mock or
 * hardware, calling its context ioctls, reading its context counters, loading
 * and unloading modules.
 */
#ifndef I915_NODE_H
#define I915_NODE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/i915_drm.h>

#define I915_NODES_MAX	8

#define I915_NO_NODE \
	"no i915 node: load i915, on a machine without Intel graphics built with " \
	"CONFIG_DRM_I915_MOCK_NODE=y"

struct i915_node {
	char path[64];		/* /dev/dri/renderD128 */
	char name[64];		/* of the device, as in sysfs */
	int minor;		/* the directory in debugfs */
	bool mock;
};

/* Counters of debugfs i915_gem_contexts, in the order of the file. */
struct i915_stats {
	unsigned long created, freed, alive, waiting, max_waiting, worker_runs;
};

static inline bool i915_is_node(const char *path)
{
	struct drm_version version = {};
	char name[8] = "";
	int fd, err;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;

	version.name = name;
	version.name_len = sizeof(name) - 1;
	err = ioctl(fd, DRM_IOCTL_VERSION, &version);
	close(fd);

	return !err && !strcmp(name, "i915");
}

/* Fills @nodes in the order of their minors and returns how many there are. */
static inline int i915_find_nodes(struct i915_node nodes[I915_NODES_MAX])
{
	int minor, count = 0;

	for (minor = 128; minor < 192 && count < I915_NODES_MAX; minor++) {
		struct i915_node *node = &nodes[count];
		char link[64], target[PATH_MAX], *name;

		snprintf(node->path, sizeof(node->path), "/dev/dri/renderD%d", minor);
		if (!i915_is_node(node->path))
			continue;

		snprintf(link, sizeof(link), "/sys/class/drm/renderD%d/device", minor);
		if (!realpath(link, target))
			continue;

		/* .../platform/i915-mock.12/mock.1, but .../0000:00:02.0 */
		name = strstr(target, "i915-mock.");
		node->mock = name;
		if (name)
			name[strcspn(name, "/")] = '\0';
		else
			name = strrchr(target, '/') + 1;
		snprintf(node->name, sizeof(node->name), "%s", name);

		node->minor = minor;
		count++;
	}

	return count;
}

static inline int i915_read_stats(const struct i915_node *node, struct i915_stats *stats)
{
	char path[64];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_contexts", node->minor);
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

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_contexts", node->minor);
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

	if (ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE, &create))
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

	if (ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create))
		return -errno;

	*id = create.ctx_id;
	return 0;
}

/* Up to graphics version 12 the first use makes the context: this is one. */
static inline int i915_context_use(int fd, unsigned int id)
{
	struct drm_i915_gem_context_param param = {
		.ctx_id = id,
		.param = I915_CONTEXT_PARAM_PERSISTENCE,
	};

	return ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &param) ? -errno : 0;
}

static inline int i915_context_destroy(int fd, unsigned int id)
{
	struct drm_i915_gem_context_destroy destroy = { .ctx_id = id };

	return ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, &destroy) ? -errno : 0;
}

static inline int i915_context_set(int fd, unsigned int id, unsigned long long param,
				   unsigned long long value)
{
	struct drm_i915_gem_context_param arg = {
		.ctx_id = id,
		.param = param,
		.value = value,
	};

	return ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &arg) ? -errno : 0;
}

static inline int i915_vm_create(int fd, unsigned int *id)
{
	struct drm_i915_gem_vm_control vm = {};

	if (ioctl(fd, DRM_IOCTL_I915_GEM_VM_CREATE, &vm))
		return -errno;

	*id = vm.vm_id;
	return 0;
}

static inline int i915_vm_destroy(int fd, unsigned int id)
{
	struct drm_i915_gem_vm_control vm = { .vm_id = id };

	return ioctl(fd, DRM_IOCTL_I915_GEM_VM_DESTROY, &vm) ? -errno : 0;
}

static inline int i915_object_create(int fd, unsigned int *handle)
{
	struct drm_i915_gem_create create = { .size = 4096 };

	if (ioctl(fd, DRM_IOCTL_I915_GEM_CREATE, &create))
		return -errno;

	*handle = create.handle;
	return 0;
}

/* Has the context execute the object, if @fence is not -1 after that is signaled. */
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

	return ioctl(fd, DRM_IOCTL_I915_GEM_EXECBUFFER2, &exec) ? -errno : 0;
}

/* Where the module lies if there is no modprobe, as in the guest of vmtest.sh. */
static inline void module_file(char *buf, size_t size, const char *path)
{
	struct utsname uts;

	uname(&uts);
	snprintf(buf, size, "/lib/modules/%s/kernel/%s", uts.release, path);
}

static inline bool has_modprobe(void)
{
	return !access("/sbin/modprobe", X_OK);
}

/* @path is where the module lies among those of the kernel. */
static inline bool module_exists(const char *name, const char *path)
{
	char buf[256];

	if (has_modprobe()) {
		snprintf(buf, sizeof(buf), "/sbin/modprobe -n -q %s", name);
		return !system(buf);
	}

	module_file(buf, sizeof(buf), path);
	return !access(buf, R_OK);
}

static inline int load_module(const char *name, const char *path, const char *params)
{
	char buf[256];
	int fd, err;

	if (has_modprobe()) {
		snprintf(buf, sizeof(buf), "/sbin/modprobe %s %s", name, params);
		return system(buf) ? -EINVAL : 0;
	}

	/* What the module needs is loaded */
	module_file(buf, sizeof(buf), path);
	fd = open(buf, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);

	return err;
}

static inline int unload_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

static inline int i915_load_module(const char *params)
{
	return load_module("i915", "drivers/gpu/drm/i915/i915.ko", params);
}

static inline int i915_unload_module(void)
{
	return unload_module("i915");
}

/* Why i915 cannot be unloaded and loaded again for a test, or NULL. */
static inline const char *i915_module_in_use(void)
{
	const struct dirent *entry;
	bool hardware = false;
	FILE *file;
	int users;
	DIR *dir;

	if (access("/sys/module/i915", F_OK))
		return "i915 is not loaded";
	if (access("/sys/module/i915/initstate", F_OK))
		return "i915 is built in";
	if (geteuid())
		return "cannot unload i915: be root";

	/* Devices are linked there, such as 0000:00:02.0 */
	dir = opendir("/sys/bus/pci/drivers/i915");
	while (dir && (entry = readdir(dir)))
		hardware |= !!strchr(entry->d_name, ':');
	if (dir)
		closedir(dir);
	if (hardware)
		return "i915 drives hardware: leaving it loaded";

	file = fopen("/sys/module/i915/refcnt", "r");
	if (file) {
		if (fscanf(file, "%d", &users) != 1)
			users = 0;
		fclose(file);
		if (users)
			return "i915 is in use: leaving it loaded";
	}

	return NULL;
}

#endif /* I915_NODE_H */
