// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the context and vm ioctls with input that the uAPI header forbids, and expects
 * the errors that it promises. Then calls them with random input from several threads,
 * and expects only known errors, ids that stay in their file, and nothing left behind.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "../../../kselftest_harness.h"
#include "i915_census.h"

#define NO_ID		0x12345678
#define CHAIN_MAX	512	/* extensions, more are refused */
#define SLOTS_MAX	64	/* of an engine map */

/* Names that leave room for what follows them */
#define extension	i915_user_extension
#define setparam	drm_i915_gem_context_create_ext_setparam

struct call {
	const char *what;
	int err;
	unsigned long request;
	union {
		struct drm_i915_gem_context_create_ext create;
		struct drm_i915_gem_context_destroy destroy;
		struct drm_i915_gem_context_param param;
		struct drm_i915_gem_vm_control vm;
		struct drm_i915_reset_stats stats;
	};
};

#define CREATE		.request = DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, .create
#define DESTROY		.request = DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, .destroy
#define GETPARAM	.request = DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, .param
#define SETPARAM	.request = DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, .param
#define VM_CREATE	.request = DRM_IOCTL_I915_GEM_VM_CREATE, .vm
#define VM_DESTROY	.request = DRM_IOCTL_I915_GEM_VM_DESTROY, .vm
#define RESET_STATS	.request = DRM_IOCTL_I915_GET_RESET_STATS, .stats

#define EXTENDED(ext_) { \
	.flags = I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS, \
	.extensions = (uintptr_t)(ext_), \
}

FIXTURE(input) {
	struct i915_node node;
	struct i915_census before;
	int fd, other_fd;
};

FIXTURE_SETUP(input)
{
	const int err = i915_first_census(&self->node, &self->before);

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	self->fd = open(self->node.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->other_fd = open(self->node.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->other_fd);
}

FIXTURE_TEARDOWN(input)
{
	close(self->fd);
	close(self->other_fd);
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

static void make_calls(struct __test_metadata *_metadata, int fd,
		       const struct call *calls, int count)
{
	struct call call;
	int i, err;

	for (i = 0; i < count; i++) {
		call = calls[i];
		err = ioctl(fd, call.request, &call.create) ? -errno : 0;
		EXPECT_EQ(calls[i].err, err) {
			TH_LOG("%s", calls[i].what);
		}
		if (!err && call.request == DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT)
			i915_context_destroy(fd, call.create.ctx_id);
	}
}

TEST_F_TIMEOUT(input, ids, 120)
{
	unsigned int gone = 0, kept = 0, foreign = 0;
	unsigned int gone_vm = 0, kept_vm = 0, foreign_vm = 0;
	unsigned int i;

	ASSERT_EQ(0, i915_context_create(self->fd, &kept));
	ASSERT_EQ(0, i915_context_create(self->fd, &gone));
	ASSERT_EQ(0, i915_context_destroy(self->fd, gone));
	ASSERT_EQ(0, i915_vm_create(self->fd, &kept_vm));
	ASSERT_EQ(0, i915_vm_create(self->fd, &gone_vm));
	ASSERT_EQ(0, i915_vm_destroy(self->fd, gone_vm));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, i915_context_create(self->other_fd, &foreign));
		ASSERT_EQ(0, i915_vm_create(self->other_fd, &foreign_vm));
	}

	struct setparam no_vm = { .param.param = I915_CONTEXT_PARAM_VM, .param.value = NO_ID };
	struct setparam vm_zero = { .param.param = I915_CONTEXT_PARAM_VM };
	struct setparam vm_gone = { .param.param = I915_CONTEXT_PARAM_VM, .param.value = gone_vm };
	struct setparam vm_foreign = { .param.param = I915_CONTEXT_PARAM_VM,
				  .param.value = foreign_vm };
	struct setparam vm_wide = { .param.param = I915_CONTEXT_PARAM_VM,
			       .param.value = 1ull << 32 };
	const struct call calls[] = {
		{ "destroy 0", -ENOENT, DESTROY = { 0 } },
		{ "destroy an unknown id", -ENOENT, DESTROY = { .ctx_id = NO_ID } },
		{ "destroy the highest id", -ENOENT, DESTROY = { .ctx_id = UINT_MAX } },
		{ "destroy a destroyed id", -ENOENT, DESTROY = { .ctx_id = gone } },
		{ "destroy the id of another file", -ENOENT, DESTROY = { .ctx_id = foreign } },
		{ "destroy with pad", -EINVAL, DESTROY = { .ctx_id = gone, .pad = 1 } },

		{ "get of an unknown id", -ENOENT,
		  GETPARAM = { .ctx_id = NO_ID, .param = I915_CONTEXT_PARAM_PRIORITY } },
		{ "get of a destroyed id", -ENOENT,
		  GETPARAM = { .ctx_id = gone, .param = I915_CONTEXT_PARAM_PRIORITY } },
		{ "get of another file", -ENOENT,
		  GETPARAM = { .ctx_id = foreign, .param = I915_CONTEXT_PARAM_PRIORITY } },
		{ "set of an unknown id", -ENOENT,
		  SETPARAM = { .ctx_id = NO_ID, .param = I915_CONTEXT_PARAM_RECOVERABLE } },
		{ "set of a destroyed id", -ENOENT,
		  SETPARAM = { .ctx_id = gone, .param = I915_CONTEXT_PARAM_RECOVERABLE } },
		{ "set of another file", -ENOENT,
		  SETPARAM = { .ctx_id = foreign, .param = I915_CONTEXT_PARAM_RECOVERABLE } },
		{ "stats of an unknown id", -ENOENT, RESET_STATS = { .ctx_id = NO_ID } },
		{ "stats of a destroyed id", -ENOENT, RESET_STATS = { .ctx_id = gone } },
		{ "stats of another file", -ENOENT, RESET_STATS = { .ctx_id = foreign } },

		{ "destroy vm 0", -ENOENT, VM_DESTROY = { 0 } },
		{ "destroy an unknown vm", -ENOENT, VM_DESTROY = { .vm_id = NO_ID } },
		{ "destroy a destroyed vm", -ENOENT, VM_DESTROY = { .vm_id = gone_vm } },
		{ "destroy the vm of another file", -ENOENT,
		  VM_DESTROY = { .vm_id = foreign_vm } },
		{ "create with vm 0", -ENOENT, CREATE = EXTENDED(&vm_zero) },
		{ "create with an unknown vm", -ENOENT, CREATE = EXTENDED(&no_vm) },
		{ "create with a destroyed vm", -ENOENT, CREATE = EXTENDED(&vm_gone) },
		{ "create with the vm of another file", -ENOENT, CREATE = EXTENDED(&vm_foreign) },
		{ "create with a vm id of 33 bits", -ENOENT, CREATE = EXTENDED(&vm_wide) },
	};

	make_calls(_metadata, self->fd, calls, ARRAY_SIZE(calls));

	/* To destroy 0, which is no id, did not make it one */
	EXPECT_EQ(0, i915_context_create(self->fd, &gone));
	EXPECT_EQ(kept + 1, gone);
	EXPECT_EQ(0, i915_vm_create(self->fd, &gone_vm));
	EXPECT_EQ(kept_vm + 1, gone_vm);

	/* What others tried here is still there */
	EXPECT_EQ(0, i915_context_destroy(self->other_fd, foreign));
	EXPECT_EQ(0, i915_vm_destroy(self->other_fd, foreign_vm));
}

TEST_F_TIMEOUT(input, flags_and_parameters, 120)
{
	struct setparam set_id = { .param.ctx_id = 1,
				   .param.param = I915_CONTEXT_PARAM_RECOVERABLE };
	struct setparam unknown = { .param.param = NO_ID };
	struct setparam sized = { .param.param = I915_CONTEXT_PARAM_RECOVERABLE, .param.size = 8 };
	struct setparam sized_vm = { .param.param = I915_CONTEXT_PARAM_VM, .param.size = 8 };
	struct setparam sized_priority = { .param.param = I915_CONTEXT_PARAM_PRIORITY,
				      .param.size = 8 };
	struct setparam removed[] = {
		{ .param.param = I915_CONTEXT_PARAM_NO_ZEROMAP },
		{ .param.param = I915_CONTEXT_PARAM_BAN_PERIOD },
		{ .param.param = I915_CONTEXT_PARAM_RINGSIZE },
	};
	const struct call calls[] = {
		{ "create with an unknown flag", -EINVAL, CREATE = { .flags = 1 << 2 } },
		{ "create with all flags", -EINVAL, CREATE = { .flags = -1 } },
		{ "create with the highest flag", -EINVAL, CREATE = { .flags = 1u << 31 } },
		{ "create setting another context", -EINVAL, CREATE = EXTENDED(&set_id) },
		{ "create with an unknown parameter", -EINVAL, CREATE = EXTENDED(&unknown) },
		{ "create with a sized flag", -EINVAL, CREATE = EXTENDED(&sized) },
		{ "create with a sized vm", -EINVAL, CREATE = EXTENDED(&sized_vm) },
		{ "create with a sized priority", -EINVAL, CREATE = EXTENDED(&sized_priority) },
		{ "create with NO_ZEROMAP", -EINVAL, CREATE = EXTENDED(&removed[0]) },
		{ "create with BAN_PERIOD", -EINVAL, CREATE = EXTENDED(&removed[1]) },
		{ "create with RINGSIZE", -EINVAL, CREATE = EXTENDED(&removed[2]) },

		{ "get of an unknown parameter", -EINVAL, GETPARAM = { .param = NO_ID } },
		{ "get of ENGINES", -EINVAL, GETPARAM = { .param = I915_CONTEXT_PARAM_ENGINES } },
		{ "get of RINGSIZE", -EINVAL,
		  GETPARAM = { .param = I915_CONTEXT_PARAM_RINGSIZE } },
		{ "get of a short SSEU", -EINVAL,
		  GETPARAM = { .param = I915_CONTEXT_PARAM_SSEU, .size = 1 } },
		{ "get of an unmapped SSEU", -EFAULT,
		  GETPARAM = { .param = I915_CONTEXT_PARAM_SSEU, .size = 1024, .value = 8 } },
		{ "set of an unknown parameter", -EINVAL, SETPARAM = { .param = NO_ID } },
		{ "set of VM on a context", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_VM } },
		{ "set of ENGINES on a context", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_ENGINES } },
		{ "set of PROTECTED_CONTENT on a context", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_PROTECTED_CONTENT, .value = 1 } },
		{ "set of a sized flag", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_RECOVERABLE, .size = 4 } },
		{ "set of a sized priority", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_PRIORITY, .size = 4 } },
		{ "set of a sized persistence", -EINVAL,
		  SETPARAM = { .param = I915_CONTEXT_PARAM_PERSISTENCE, .size = 4 } },

		{ "stats with flags", -EINVAL, RESET_STATS = { .flags = 1 } },
		{ "stats with pad", -EINVAL, RESET_STATS = { .pad = 1 } },
		{ "vm create with flags", -EINVAL, VM_CREATE = { .flags = 1 } },
		{ "vm destroy with flags", -EINVAL, VM_DESTROY = { .vm_id = 1, .flags = 1 } },
		{ "vm destroy with an extension", -EINVAL,
		  VM_DESTROY = { .vm_id = 1, .extensions = (uintptr_t)&unknown } },
	};

	make_calls(_metadata, self->fd, calls, ARRAY_SIZE(calls));
}

/* A chain of extensions that each set a flag, its last one followed by @next. */
static void link_chain(struct setparam *chain, unsigned int count, const void *next)
{
	unsigned int i;

	memset(chain, 0, count * sizeof(*chain));
	for (i = 0; i < count; i++) {
		chain[i].base.next_extension = (uintptr_t)(i + 1 < count ? &chain[i + 1] : next);
		chain[i].param.param = I915_CONTEXT_PARAM_RECOVERABLE;
	}
}

TEST_F_TIMEOUT(input, extension_chains, 120)
{
	static struct setparam longest[CHAIN_MAX], longer[CHAIN_MAX + 1], cycle[3], unmapped[2];
	struct extension clone = { .name = I915_CONTEXT_CREATE_EXT_CLONE };
	struct extension name = { .name = NO_ID };
	struct extension flags = { .flags = 1 }, reserved = { .rsvd = { [3] = 1 } };
	/* Of a chain's last page only the first half of an extension is mapped */
	const long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, munmap(pages + page, page));
	link_chain(longest, CHAIN_MAX, NULL);
	link_chain(longer, CHAIN_MAX + 1, NULL);
	link_chain(cycle, 3, cycle);
	link_chain(unmapped, 2, (void *)8);

	const struct call calls[] = {
		{ "an unknown extension", -EINVAL, CREATE = EXTENDED(&name) },
		{ "the removed extension", -EINVAL, CREATE = EXTENDED(&clone) },
		{ "an extension with flags", -EINVAL, CREATE = EXTENDED(&flags) },
		{ "an extension with reserved fields", -EINVAL, CREATE = EXTENDED(&reserved) },
		{ "the longest chain", 0, CREATE = EXTENDED(longest) },
		{ "a longer chain", -E2BIG, CREATE = EXTENDED(longer) },
		{ "a cycle", -E2BIG, CREATE = EXTENDED(cycle) },
		{ "a chain into the unmapped", -EFAULT, CREATE = EXTENDED(unmapped) },
		{ "an unmapped extension", -EFAULT, CREATE = EXTENDED(8) },
		{ "a half mapped extension", -EFAULT, CREATE = EXTENDED(pages + page - 48) },
		{ "an extension of the kernel", -EFAULT, CREATE = EXTENDED(~0ul - 4095) },
		{ "vm: any extension", -EINVAL, VM_CREATE = { .extensions = (uintptr_t)&name } },
		{ "vm: an unmapped extension", -EFAULT, VM_CREATE = { .extensions = 8 } },
	};

	make_calls(_metadata, self->fd, calls, ARRAY_SIZE(calls));
	munmap(pages, page);
}

static struct setparam set_map(const void *map, size_t size)
{
	return (struct setparam){
		.param.param = I915_CONTEXT_PARAM_ENGINES,
		.param.value = (uintptr_t)map,
		.param.size = size,
	};
}

TEST_F_TIMEOUT(input, engine_maps, 120)
{
	static struct {
		struct i915_context_param_engines head;
		struct i915_engine_class_instance engines[SLOTS_MAX + 1];
	} map, strange;
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(balance, 2) = {
		.base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE,
		.engine_index = SLOTS_MAX,
		.num_siblings = 2,
	};
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(occupied, 2) = {
		.base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE,
		.num_siblings = 2,
	};
	struct extension name = { .name = NO_ID };
	struct i915_context_param_engines unknown = { .extensions = (uintptr_t)&name };
	struct i915_context_param_engines unmapped = { .extensions = 8 };
	struct i915_context_param_engines out_of_range = { .extensions = (uintptr_t)&balance };
	I915_DEFINE_CONTEXT_PARAM_ENGINES(twice, 1) = { .extensions = (uintptr_t)&occupied };
	const size_t slot = sizeof(map.engines[0]);
	int i;

	strange.engines[0].engine_class = 0x77;
	struct setparam maps[] = {
		set_map(&map, sizeof(map.head) + SLOTS_MAX * slot),
		set_map(&map, sizeof(map.head) + (SLOTS_MAX + 1) * slot),
		set_map(&map, sizeof(map.head) + 1),
		set_map(&map, sizeof(map.head) - 1),
		set_map(&map, -slot),
		set_map((void *)8, sizeof(map.head) + slot),
		set_map((void *)8, sizeof(map.head)),
		set_map(&strange, sizeof(map.head) + slot),
		set_map(&unknown, sizeof(unknown)),
		set_map(&unmapped, sizeof(unmapped)),
		set_map(&out_of_range, sizeof(out_of_range)),
		set_map(&twice, sizeof(twice)),
	};
	struct setparam set_twice[2] = { maps[0], maps[0] };

	set_twice[0].base.next_extension = (uintptr_t)&set_twice[1];
	for (i = 0; i < SLOTS_MAX + 1; i++)
		map.engines[i].engine_class = I915_ENGINE_CLASS_RENDER;

	const struct call calls[] = {
		{ "a full map", 0, CREATE = EXTENDED(&maps[0]) },
		{ "a map of one slot too many", -EINVAL, CREATE = EXTENDED(&maps[1]) },
		{ "a map of a slot and a bit", -EINVAL, CREATE = EXTENDED(&maps[2]) },
		{ "a map without a head", -EINVAL, CREATE = EXTENDED(&maps[3]) },
		{ "a map of 4 GB", -EINVAL, CREATE = EXTENDED(&maps[4]) },
		{ "an unmapped map", -EFAULT, CREATE = EXTENDED(&maps[5]) },
		{ "an unmapped head", -EFAULT, CREATE = EXTENDED(&maps[6]) },
		{ "an unknown engine", -ENOENT, CREATE = EXTENDED(&maps[7]) },
		{ "a map with an unknown extension", -EINVAL, CREATE = EXTENDED(&maps[8]) },
		{ "a map with an unmapped extension", -EFAULT, CREATE = EXTENDED(&maps[9]) },
		{ "balancing of no slot", -EINVAL, CREATE = EXTENDED(&maps[10]) },
		{ "balancing of a slot in use", -EEXIST, CREATE = EXTENDED(&maps[11]) },
		{ "two maps", -EINVAL, CREATE = EXTENDED(set_twice) },
	};

	make_calls(_metadata, self->fd, calls, ARRAY_SIZE(calls));
}

/* Threads that call anything, on files of their own and on those of others. */
#define WALKERS		4
#define FILES		2
#define STEPS		4000

struct walk_file {
	int fd;
	atomic_long contexts, vms;	/* created and not destroyed */
};

struct walker {
	struct walk_file *file;
	unsigned int state;
	int unexpected;			/* a negative errno, of which call: */
	const char *call;
};

static unsigned int rnd(struct walker *w, unsigned int below)
{
	return rand_r(&w->state) % below;
}

/* One in eight has nothing to do with what is there. */
static unsigned int rnd_id(struct walker *w)
{
	return rnd(w, 8) ? rnd(w, 12) : rand_r(&w->state);
}

static unsigned int rnd_rarely(struct walker *w)
{
	return rnd(w, 16) ? 0 : 1u << rnd(w, 32);
}

static const unsigned int walk_params[] = {
	I915_CONTEXT_PARAM_BAN_PERIOD, I915_CONTEXT_PARAM_NO_ZEROMAP,
	I915_CONTEXT_PARAM_GTT_SIZE, I915_CONTEXT_PARAM_NO_ERROR_CAPTURE,
	I915_CONTEXT_PARAM_BANNABLE, I915_CONTEXT_PARAM_PRIORITY, I915_CONTEXT_PARAM_SSEU,
	I915_CONTEXT_PARAM_RECOVERABLE, I915_CONTEXT_PARAM_VM, I915_CONTEXT_PARAM_ENGINES,
	I915_CONTEXT_PARAM_PERSISTENCE, I915_CONTEXT_PARAM_RINGSIZE, 0x0e, 0x0f, NO_ID,
};

struct walk_memory {
	struct setparam chain[3];
	struct {
		struct i915_context_param_engines head;
		struct i915_engine_class_instance engines[4];
	} map;
	struct {
		struct i915_context_engines_load_balance head;
		struct i915_engine_class_instance engines[2];
	} balance;
};

static void rnd_param(struct walker *w, struct walk_memory *m,
		      struct drm_i915_gem_context_param *param)
{
	memset(param, 0, sizeof(*param));
	param->param = walk_params[rnd(w, ARRAY_SIZE(walk_params))];
	switch (param->param) {
	case I915_CONTEXT_PARAM_ENGINES:
		param->size = rnd(w, 4) ? sizeof(m->map.head) + 4 * rnd(w, 5) : rnd(w, 100);
		param->value = rnd(w, 16) ? (uintptr_t)&m->map : rnd(w, 100);
		break;
	case I915_CONTEXT_PARAM_VM:
		param->value = rnd_id(w);
		break;
	default:
		param->value = rnd(w, 2) ? rnd(w, 3) : (unsigned long long)rand_r(&w->state);
	}
	param->size ^= rnd_rarely(w);
}

static void rnd_memory(struct walker *w, struct walk_memory *m)
{
	unsigned int i, next;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < 3; i++) {
		rnd_param(w, m, &m->chain[i].param);
		m->chain[i].base.name = rnd_rarely(w);
		m->chain[i].base.flags = rnd_rarely(w);
		m->chain[i].param.ctx_id = rnd_rarely(w);
		/* Now and then a cycle, or a step into nowhere */
		next = rnd(w, 16);
		if (next < 3)
			m->chain[i].base.next_extension = (uintptr_t)&m->chain[next];
		else if (next == 3)
			m->chain[i].base.next_extension = rand_r(&w->state);
		else if (next < 10 && i < 2)
			m->chain[i].base.next_extension = (uintptr_t)&m->chain[i + 1];
	}
	for (i = 0; i < 4; i++) {
		m->map.engines[i].engine_class = rnd(w, 4) ? 0 : I915_ENGINE_CLASS_INVALID;
		m->map.engines[i].engine_instance = rnd(w, 8) ? 0 : rnd(w, 4);
		if (m->map.engines[i].engine_class)
			m->map.engines[i].engine_instance = I915_ENGINE_CLASS_INVALID_NONE;
	}
	if (!rnd(w, 3)) {
		m->map.head.extensions = (uintptr_t)&m->balance;
		m->balance.head.base.name = rnd(w, 3);
		m->balance.head.engine_index = rnd(w, 5);
		m->balance.head.num_siblings = rnd(w, 3);
		m->balance.head.base.next_extension =
			rnd(w, 4) ? 0 : (uintptr_t)&m->balance;
	}
}

static bool is_expected(int err)
{
	switch (err) {
	case 0:
	case -EINVAL: case -ENOENT: case -EFAULT: case -E2BIG:
	case -EEXIST: case -ENODEV: case -EPERM:
		return true;
	default:
		return false;
	}
}

static const char *walk_step(struct walker *w, struct walk_memory *m, int *err)
{
	struct walk_file *file = w->file;
	unsigned int call = rnd(w, 100);
	struct call c = {};

	rnd_memory(w, m);
	if (call < 30) {
		c.request = DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT;
		c.create.flags = rnd(w, 4) ^ rnd_rarely(w);
		c.create.extensions = rnd(w, 16) ? (uintptr_t)m->chain : rand_r(&w->state);
		*err = ioctl(file->fd, c.request, &c.create) ? -errno : 0;
		if (!*err)
			file->contexts++;
		return "create";
	}
	if (call < 60) {
		c.destroy.ctx_id = rnd_id(w);
		c.destroy.pad = rnd_rarely(w);
		*err = ioctl(file->fd, DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, &c.destroy) ?
			-errno : 0;
		if (!*err)
			file->contexts--;
		return "destroy";
	}
	if (call < 70) {
		rnd_param(w, m, &c.param);
		c.param.ctx_id = rnd_id(w);
		*err = ioctl(file->fd, DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &c.param) ?
			-errno : 0;
		if (!*err && c.param.param == I915_CONTEXT_PARAM_VM)
			file->vms++;
		return "getparam";
	}
	if (call < 80) {
		rnd_param(w, m, &c.param);
		c.param.ctx_id = rnd_id(w);
		*err = ioctl(file->fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &c.param) ?
			-errno : 0;
		return "setparam";
	}
	if (call < 85) {
		c.stats.ctx_id = rnd_id(w);
		c.stats.flags = rnd_rarely(w);
		c.stats.pad = rnd_rarely(w);
		*err = ioctl(file->fd, DRM_IOCTL_I915_GET_RESET_STATS, &c.stats) ? -errno : 0;
		return "reset stats";
	}

	c.vm.flags = rnd_rarely(w);
	if (call < 92) {
		c.vm.extensions = rnd(w, 8) ? 0 : (uintptr_t)m->chain;
		*err = ioctl(file->fd, DRM_IOCTL_I915_GEM_VM_CREATE, &c.vm) ? -errno : 0;
		if (!*err)
			file->vms++;
		return "vm create";
	}
	c.vm.vm_id = rnd_id(w);
	*err = ioctl(file->fd, DRM_IOCTL_I915_GEM_VM_DESTROY, &c.vm) ? -errno : 0;
	if (!*err)
		file->vms--;
	return "vm destroy";
}

static void *walk(void *arg)
{
	struct walker *w = arg;
	struct walk_memory m;
	const char *call;
	int i, err;

	for (i = 0; i < STEPS; i++) {
		call = walk_step(w, &m, &err);
		if (!is_expected(err) && !w->unexpected) {
			w->unexpected = err;
			w->call = call;
		}
	}

	return NULL;
}

/* Destroys all, and returns how many there were. */
static long destroy_contexts(int fd)
{
	unsigned int id;
	long count = 0;

	for (id = 1; id < WALKERS * STEPS; id++)
		count += !i915_context_destroy(fd, id);

	return count;
}

static long destroy_vms(int fd)
{
	unsigned int id;
	long count = 0;

	for (id = 1; id < WALKERS * STEPS; id++)
		count += !i915_vm_destroy(fd, id);

	return count;
}

TEST_F_TIMEOUT(input, random_walk, 300)
{
	const char *env = getenv("I915_SEED");
	const unsigned int seed = env ? strtoul(env, NULL, 0) : time(NULL);
	struct walk_file files[FILES] = {
		{ .fd = self->fd }, { .fd = self->other_fd },
	};
	struct walker walkers[WALKERS];
	pthread_t threads[WALKERS];
	int i;

	TH_LOG("I915_SEED=%u has each thread make the same calls again", seed);
	for (i = 0; i < WALKERS; i++) {
		walkers[i] = (struct walker){
			.file = &files[i % FILES],
			.state = seed + i,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, walk, &walkers[i]));
	}
	for (i = 0; i < WALKERS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, walkers[i].unexpected) {
			TH_LOG("%s: %s", walkers[i].call, strerror(-walkers[i].unexpected));
		}
	}

	/* Of each file as many are left as its own calls have left */
	for (i = 0; i < FILES; i++) {
		EXPECT_EQ(atomic_load(&files[i].contexts), destroy_contexts(files[i].fd));
		EXPECT_EQ(atomic_load(&files[i].vms), destroy_vms(files[i].fd));
	}
}

int main(int argc, char *argv[])
{
	const char *reason = i915_no_census();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	return test_harness_run(argc, argv);
}
