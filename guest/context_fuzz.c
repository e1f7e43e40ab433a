// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the context, vm and execbuf ioctls of i915 at random, guided by KCOV: a program
 * that reaches code that none before it has reached is kept, and changed further.
 *
 * A program is a list of calls. A call is twelve bytes: which one, which of its
 * allocations fails, and arguments, which choose from tables and slots: any bytes make
 * sense. In some programs a second thread makes the later calls, at the same time.
 * Each program is written to the kernel log as a line "run ...", before it runs, and those
 * kept to the output. A file of such lines can be given to run first: for 0 seconds, these
 * are all.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include <linux/kcov.h>

#include "../../../kselftest.h"
#include "i915_batch.h"
#include "i915_census.h"

#define FILES		3
#define SLOTS		4	/* contexts, vms, fences, ... of all files */
#define CALLS_MAX	24
#define CORPUS_MAX	8192
#define HISTORY		4096	/* programs since nothing was left behind */
#define COVER_SIZE	(512 << 10)
#define PCS_MAX		(32 << 20)
#define EDGES_MAX	(4 << 20)
#define CENSUS_SECONDS	60
#define SLOW_MS		400	/* for a program: then what it waits for is ended */
#define STUCK_MS	100000
#define MAPS_MAX	(CALLS_MAX * (SLOTS + 1))

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"

/* Names that leave room for what follows them */
#define setparam_ext	drm_i915_gem_context_create_ext_setparam
#define param_arg	drm_i915_gem_context_param

struct call {
	uint8_t op, fail, a[10];
};

struct program {
	uint8_t count, split;	/* @split calls are made by the first thread */
	struct call calls[CALLS_MAX];
};

/* What the extensions of a context point to. */
struct memory {
	struct setparam_ext chain[3];
	struct drm_i915_gem_context_param_sseu sseu;
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, I915_SLOTS_MAX);
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(balance, 4);
	I915_DEFINE_CONTEXT_ENGINES_BOND(bond, 4);
	I915_DEFINE_CONTEXT_ENGINES_PARALLEL_SUBMIT(parallel, 4);
};

static struct i915_node node;
static struct i915_engine engines[I915_ENGINES_MAX], pair[2];
static int engine_count;
static bool verbose;

/* What calls make; a slot of 0, or of -1 if it is a file, is empty */
static atomic_int files[FILES], fences[SLOTS], timelines[SLOTS];
static atomic_uint contexts[SLOTS], vms[SLOTS], objects[SLOTS], syncobjs[SLOTS];
static struct i915_batch maps[MAPS_MAX];	/* that may spin */
static atomic_uint maps_count;
static pthread_mutex_t release_lock = PTHREAD_MUTEX_INITIALIZER;
static void *user_pages;

static struct program corpus[CORPUS_MAX], history[HISTORY];
static unsigned int corpus_count, history_count;
static atomic_uint executed, slow;	/* programs */
static uint8_t seen_pcs[PCS_MAX / 8], seen_edges[EDGES_MAX / 8];
static unsigned int pcs_count, edges_count;
static unsigned long text;		/* where i915 is */
static unsigned long *covers[2];
static int cover_fds[2], kmsg = -1;
static __thread sigjmp_buf fault;
static uint64_t rnd_state;

#define PICK(table, n)	((table)[(n) % ARRAY_SIZE(table)])

static const uint32_t odd_values[] = { 0, 1, 2, 8, 0x40, 1023, -1023, 1024, 4096, 1u << 31, -1 };

static int call_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

static int get_file(uint8_t n)
{
	atomic_int *slot = &files[n % FILES];
	int fd = *slot, none = -1;

	if (fd >= 0)
		return fd;
	fd = i915_open(&node);
	if (!atomic_compare_exchange_strong(slot, &none, fd)) {
		close(fd);
		fd = none;
	}

	return fd;
}

static void replace_fd(atomic_int *slot, int fd)
{
	fd = atomic_exchange(slot, fd);
	if (fd >= 0)
		close(fd);
}

static int do_close(const uint8_t *a)
{
	replace_fd(&files[a[0] % FILES], -1);
	return 0;
}

/* To be unmapped in the end, and if it has an address, to be ended. */
static void add_map(const struct i915_batch *batch)
{
	struct i915_batch *map = &maps[maps_count++];

	map->map = batch->map;
	/* The watcher looks at this first */
	__atomic_store_n(&map->address, batch->address, __ATOMIC_RELEASE);
}

/* A batch that ends at once, stores, spins, hangs, or is garbage. */
static int do_object(const uint8_t *a)
{
	static const uint64_t sizes[] = {
		4096, 4096, 4096, 65536, 2 << 20, 12288, 64 << 20, 0, -1,
	};
	struct drm_i915_gem_create create = { .size = PICK(sizes, a[2]) };
	struct drm_i915_gem_userptr userptr = {
		.user_ptr = (uintptr_t)user_pages,
		.user_size = 65536,
		.flags = a[4] & 3,
	};
	struct i915_batch batch = { .fd = get_file(a[0]) };
	unsigned int i;
	int err;

	if (a[3] % 8 == 7) {
		err = call_ioctl(batch.fd, DRM_IOCTL_I915_GEM_USERPTR, &userptr);
		if (!err)
			objects[a[1] % SLOTS] = userptr.handle;
		return err;
	}
	err = call_ioctl(batch.fd, DRM_IOCTL_I915_GEM_CREATE, &create);
	if (err)
		return err;
	objects[a[1] % SLOTS] = create.handle;

	batch.handle = create.handle;
	batch.address = batch.handle * (2ULL << 20);
	batch.map = i915_object_map(batch.fd, batch.handle);
	if (batch.map == MAP_FAILED)
		return -errno;
	add_map(&batch);
	switch (a[3] % 8) {
	case 0:
		i915_batch_write(&batch, 0, MI_BATCH_BUFFER_END);
		break;
	case 1:
	case 2:
		i915_batch_spin(&batch, &engines[0], 1);
		break;
	case 3:
		if (a[4] % 4)
			i915_batch_store(&batch, 1);
		else
			i915_batch_hang(&batch);
		break;
	case 4:
		for (i = 0; i < 16; i++)
			i915_batch_write(&batch, i, a[4 + i % 6] << (i % 4 * 8));
		break;
	default:
		i915_batch_store(&batch, 1);
	}

	return 0;
}

static unsigned int get_object(const uint8_t *a, unsigned int n)
{
	const uint8_t args[10] = { a[0], n };

	if (!objects[n % SLOTS])
		do_object(args);
	return n & 0x80 ? n : objects[n % SLOTS];
}

static struct i915_engine_class_instance pick_engine(uint8_t n)
{
	struct i915_engine_class_instance odd = { I915_ENGINE_CLASS_INVALID, n & 0x40 ? n : -1 };

	return n & 0x80 ? odd : engines[n % engine_count].id;
}

static void fill_engines(struct memory *m, struct param_arg *param, uint8_t how, const uint8_t *a)
{
	const unsigned int count = how & 0x40 ? I915_SLOTS_MAX : 1 + (how >> 3) % 4;
	unsigned int i;

	param->value = (uintptr_t)&m->map;
	param->size = sizeof(uint64_t) + count * sizeof(m->map.engines[0]);
	for (i = 0; i < count; i++)
		m->map.engines[i] = pick_engine(how % 8 < 2 ? a[7] + i : 0x80);
	m->balance.base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE;
	m->balance.engine_index = a[7] & 0x10 ? a[7] : 0;
	m->balance.num_siblings = 1 + a[8] % 4;
	m->bond.base.name = I915_CONTEXT_ENGINES_EXT_BOND;
	m->bond.virtual_index = a[8] & 0x10 ? a[8] : 0;
	m->bond.num_bonds = 1 + a[7] % 4;
	m->bond.master = pick_engine(a[8]);
	m->parallel.base.name = I915_CONTEXT_ENGINES_EXT_PARALLEL_SUBMIT;
	m->parallel.engine_index = a[7] & 0x10 ? a[7] : 0;
	m->parallel.width = PICK(((uint8_t[]){ 2, 2, 1, 4, 0, 255 }), a[7]);
	m->parallel.num_siblings = PICK(((uint8_t[]){ 1, 1, 2, 0, 255 }), a[8]);
	for (i = 0; i < 4; i++) {
		m->balance.engines[i] = a[9] & 0x80 ? pick_engine(a[9] + i) : pair[i % 2].id;
		m->bond.engines[i] = m->balance.engines[i];
		m->parallel.engines[i] = m->balance.engines[i];
	}
	switch (how % 8) {
	case 1:
		param->size -= a[9];
		break;
	case 2:
	case 3:
		m->map.extensions = (uintptr_t)&m->balance;
		break;
	case 4:
		m->map.extensions = (uintptr_t)&m->balance;
		m->balance.base.next_extension = (uintptr_t)&m->bond;
		break;
	case 5:
	case 6:
		m->map.extensions = (uintptr_t)&m->parallel;
		break;
	case 7:
		m->map.extensions = (uintptr_t)&m->bond;
		break;
	}
}

static void fill_param(struct memory *m, struct param_arg *param, uint8_t which, uint8_t how,
		       const uint8_t *a)
{
	static const uint8_t params[] = {
		I915_CONTEXT_PARAM_RECOVERABLE, I915_CONTEXT_PARAM_ENGINES,
		I915_CONTEXT_PARAM_VM, I915_CONTEXT_PARAM_PERSISTENCE,
		I915_CONTEXT_PARAM_ENGINES, I915_CONTEXT_PARAM_SSEU, I915_CONTEXT_PARAM_PRIORITY,
		I915_CONTEXT_PARAM_BANNABLE, I915_CONTEXT_PARAM_ENGINES,
		I915_CONTEXT_PARAM_PROTECTED_CONTENT, I915_CONTEXT_PARAM_NO_ERROR_CAPTURE,
		I915_CONTEXT_PARAM_GTT_SIZE, I915_CONTEXT_PARAM_LOW_LATENCY,
		I915_CONTEXT_PARAM_CONTEXT_IMAGE, I915_CONTEXT_PARAM_RINGSIZE,
		I915_CONTEXT_PARAM_BAN_PERIOD, I915_CONTEXT_PARAM_NO_ZEROMAP, 0, 0x10,
	};

	param->param = PICK(params, which);
	switch (param->param) {
	case I915_CONTEXT_PARAM_ENGINES:
		fill_engines(m, param, how, a);
		break;
	case I915_CONTEXT_PARAM_SSEU:
		m->sseu.engine = engines[how % 8 < 4 ? 0 : how % engine_count].id;
		m->sseu.flags = how & 0x10 ? I915_CONTEXT_SSEU_FLAG_ENGINE_INDEX : 0;
		m->sseu.slice_mask = 1;
		m->sseu.subslice_mask = PICK(((uint8_t[]){ 1, 3, 0xff, 0x0f, 0 }), a[7]);
		m->sseu.min_eus_per_subslice = a[8] % 12;
		m->sseu.max_eus_per_subslice = PICK(((uint8_t[]){ 8, 8, 16, 0, 4 }), a[9]);
		param->value = (uintptr_t)&m->sseu;
		param->size = how & 0x20 ? how : sizeof(m->sseu);
		break;
	case I915_CONTEXT_PARAM_VM:
		if (!vms[how % SLOTS]) {
			struct drm_i915_gem_vm_control vm = {};

			if (!call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_VM_CREATE, &vm))
				vms[how % SLOTS] = vm.vm_id;
		}
		param->value = vms[how % SLOTS];
		break;
	default:
		param->value = how < 64 ? how % 2 : (int)PICK(odd_values, how);
		param->size = how > 250 ? 8 : 0;
	}
}

static int do_create(const uint8_t *a)
{
	struct drm_i915_gem_context_create_ext create = { .flags = a[2] & 7 };
	struct memory m = {};
	unsigned int i;
	int err;

	/* Most of them can do without the flag for a single timeline, and need the other */
	create.flags ^= I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS;
	create.extensions = (uintptr_t)&m.chain;
	for (i = 0; i < 3; i++) {
		m.chain[i].base.name = a[2] & 0x80 ? a[2] & 3 : I915_CONTEXT_CREATE_EXT_SETPARAM;
		if (i < (a[2] >> 3) % 4)
			m.chain[i].base.next_extension = (uintptr_t)&m.chain[(i + 1) % 3];
		fill_param(&m, &m.chain[i].param, a[3 + i], a[5 + i % 2], a);
	}
	err = call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create);
	if (!err)
		contexts[a[1] % SLOTS] = create.ctx_id;

	return err;
}

static unsigned int pick_context(uint8_t n)
{
	return n & 0x80 ? n & 0x7f : contexts[n % SLOTS];
}

static int do_destroy(const uint8_t *a)
{
	return i915_context_destroy(get_file(a[0]), pick_context(a[1]));
}

static int do_getparam(const uint8_t *a)
{
	struct memory m = {};
	struct param_arg param = { .ctx_id = pick_context(a[1]) };
	int err;

	fill_param(&m, &param, a[2], a[3], a);
	err = call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &param);
	if (!err && param.param == I915_CONTEXT_PARAM_VM)
		vms[a[3] % SLOTS] = param.value;

	return err;
}

static int do_setparam(const uint8_t *a)
{
	struct memory m = {};
	struct param_arg param = { .ctx_id = pick_context(a[1]) };

	fill_param(&m, &param, a[2], a[3], a);
	return call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &param);
}

static int do_reset_stats(const uint8_t *a)
{
	struct drm_i915_reset_stats stats = { .ctx_id = pick_context(a[1]), .flags = a[2] / 128 };

	return call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GET_RESET_STATS, &stats);
}

static int do_vm_create(const uint8_t *a)
{
	struct drm_i915_gem_vm_control vm = { .flags = a[2] / 128, .extensions = a[3] / 128 };
	int err = call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_VM_CREATE, &vm);

	if (!err)
		vms[a[1] % SLOTS] = vm.vm_id;
	return err;
}

static int do_vm_destroy(const uint8_t *a)
{
	struct drm_i915_gem_vm_control vm = {
		.vm_id = a[1] & 0x80 ? a[1] & 0x7f : vms[a[1] % SLOTS],
		.flags = a[2] / 128,
	};

	return call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_VM_DESTROY, &vm);
}

static int do_object_close(const uint8_t *a)
{
	return i915_object_close(get_file(a[0]), atomic_exchange(&objects[a[1] % SLOTS], 0));
}

static int do_exec(const uint8_t *a)
{
	static const uint64_t addresses[] = { 0, 0, 8, 1ull << 47, 1ull << 32, -4096, 4ull << 20 };
	static const uint32_t flags[] = {
		I915_EXEC_FENCE_IN, I915_EXEC_FENCE_OUT, I915_EXEC_FENCE_ARRAY,
		I915_EXEC_HANDLE_LUT, I915_EXEC_USE_EXTENSIONS, I915_EXEC_FENCE_SUBMIT,
	};
	static const uint32_t odd_flags[] = {
		0, 0, 0, 0, I915_EXEC_SECURE, I915_EXEC_IS_PINNED, I915_EXEC_GEN7_SOL_RESET,
		I915_EXEC_BSD_RING1, I915_EXEC_BSD_RING2, I915_EXEC_RESOURCE_STREAMER, 1u << 31,
	};
	const int fd = get_file(a[0]);
	struct drm_i915_gem_exec_object2 object[SLOTS] = {};
	struct drm_i915_gem_relocation_entry reloc[2] = {};
	struct drm_i915_gem_exec_fence array[2] = {};
	uint64_t points[2] = { a[9] / 16, a[9] % 16 };
	struct drm_i915_gem_execbuffer_ext_timeline_fences timeline = {
		.base.name = DRM_I915_GEM_EXECBUFFER_EXT_TIMELINE_FENCES,
		.fence_count = 1 + a[9] % 2,
		.handles_ptr = (uintptr_t)array,
		.values_ptr = (uintptr_t)points,
	};
	struct drm_i915_gem_execbuffer2 exec = {
		.buffers_ptr = (uintptr_t)object,
		.buffer_count = 1 + (a[4] >> 4) % SLOTS,
		.batch_start_offset = a[8] % 16 < 12 ? 0 : (a[8] % 16 - 12) * 8 + (a[8] & 1),
		.batch_len = PICK(odd_values, (a[8] >> 5)),
		.flags = a[2] & 32 ? a[2] % 64 : a[2] % 5,
		.rsvd1 = pick_context(a[1]),
		.rsvd2 = (uint32_t)fences[a[9] % SLOTS],
	};
	unsigned int i;
	int err;

	exec.flags |= PICK(odd_flags, (a[2] >> 6) * 4 + (a[5] >> 6));
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		exec.flags |= a[5] & 1 << i ? flags[i] : 0;
	exec.flags |= a[7] & 8 ? 0 : I915_EXEC_NO_RELOC;
	exec.flags |= a[7] & 16 ? 0 : I915_EXEC_BATCH_FIRST;
	for (i = 0; i < SLOTS; i++) {
		object[i].handle = get_object(a, a[3] + i * (1 + a[4] % 16));
		object[i].flags = a[6] ^ (EXEC_OBJECT_PINNED | EXEC_OBJECT_SUPPORTS_48B_ADDRESS);
		object[i].offset = (2ull << 20) * object[i].handle + PICK(addresses, a[7] % 8);
		object[i].alignment = a[7] & 32 ? 1ull << (a[8] % 32) : 0;
		object[i].pad_to_size = a[6] & EXEC_OBJECT_PAD_TO_SIZE ? a[8] << 12 : 0;
	}
	if (exec.flags & I915_EXEC_HANDLE_LUT)
		for (i = 0; i < 2; i++)
			reloc[i].target_handle = (a[4] + i) % exec.buffer_count;
	else
		for (i = 0; i < 2; i++)
			reloc[i].target_handle = object[i].handle;
	for (i = 0; i < 2; i++) {
		reloc[i].offset = PICK(((unsigned int[]){ 24, 24, 1024, 4092, 4096, 3 }), a[8] + i);
		reloc[i].delta = BATCH_LOOP * 4;
		reloc[i].presumed_offset = a[7] & 64 ? -1 : object[i].offset;
		reloc[i].read_domains = a[6] & 1 ? a[8] : I915_GEM_DOMAIN_RENDER;
		reloc[i].write_domain = a[6] & 4 ? I915_GEM_DOMAIN_RENDER : 0;
		array[i].handle = syncobjs[(a[9] + i) % SLOTS];
		array[i].flags = (a[9] >> (2 * i + 2)) & 7;
	}
	if (a[7] & 8) {
		object[0].relocs_ptr = a[8] == 0xff ? 4096 : (uintptr_t)reloc;
		object[0].relocation_count = 1 + a[8] % 2;
	}
	if (exec.flags & I915_EXEC_USE_EXTENSIONS) {
		exec.cliprects_ptr = (uintptr_t)&timeline;
	} else if (exec.flags & I915_EXEC_FENCE_ARRAY) {
		exec.cliprects_ptr = (uintptr_t)array;
		exec.num_cliprects = 1 + a[9] % 2;
	}

	err = call_ioctl(fd, DRM_IOCTL_I915_GEM_EXECBUFFER2_WR, &exec);
	if (!err && exec.flags & I915_EXEC_FENCE_OUT)
		replace_fd(&fences[a[9] % SLOTS], exec.rsvd2 >> 32);

	return err;
}

static int do_wait(const uint8_t *a)
{
	struct drm_i915_gem_wait wait = {
		.bo_handle = get_object(a, a[1]),
		.timeout_ns = (a[2] % 4) * 5000000ll,
		.flags = a[2] / 128,
	};

	return call_ioctl(get_file(a[0]), DRM_IOCTL_I915_GEM_WAIT, &wait);
}

static int do_object_state(const uint8_t *a)
{
	const int fd = get_file(a[0]);
	const unsigned int handle = get_object(a, a[1]);
	struct drm_i915_gem_busy busy = { .handle = handle };
	struct drm_i915_gem_madvise madvise = { .handle = handle, .madv = a[3] % 3 };
	struct drm_i915_gem_caching caching = { .handle = handle, .caching = a[3] % 4 };
	struct drm_i915_gem_set_domain domain = {
		.handle = handle,
		.read_domains = a[3],
		.write_domain = a[3] & a[4],
	};
	struct drm_i915_gem_set_tiling tiling = {
		.handle = handle,
		.tiling_mode = a[3] % 4,
		.stride = a[4] * 128,
	};

	switch (a[2] % 5) {
	case 0:
		return call_ioctl(fd, DRM_IOCTL_I915_GEM_BUSY, &busy);
	case 1:
		return call_ioctl(fd, DRM_IOCTL_I915_GEM_MADVISE, &madvise);
	case 2:
		return call_ioctl(fd, DRM_IOCTL_I915_GEM_SET_CACHING, &caching);
	case 3:
		return call_ioctl(fd, DRM_IOCTL_I915_GEM_SET_TILING, &tiling);
	default:
		return call_ioctl(fd, DRM_IOCTL_I915_GEM_SET_DOMAIN, &domain);
	}
}

/* Reads or writes the object by the CPU, by a new map. */
static int do_touch(const uint8_t *a)
{
	const int fd = get_file(a[0]);
	struct drm_i915_gem_mmap_offset offset = {
		.handle = get_object(a, a[1]),
		.flags = a[2] % 5,
	};
	struct i915_batch batch = {};
	int err = call_ioctl(fd, DRM_IOCTL_I915_GEM_MMAP_OFFSET, &offset);

	if (err)
		return err;
	batch.map = mmap(NULL, I915_BATCH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 offset.offset);
	if (batch.map == MAP_FAILED)
		return -errno;
	/* A fault that fails leaves the map to the end of the program */
	add_map(&batch);
	i915_batch_write(&batch, BATCH_RESULT, i915_batch_read(&batch, BATCH_STARTED) + a[3]);

	return 0;
}

/* Gives an object to another file. */
static int do_share(const uint8_t *a)
{
	struct drm_prime_handle prime = { .handle = get_object(a, a[1]), .flags = DRM_CLOEXEC };
	int err = call_ioctl(get_file(a[0]), DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime);

	if (err)
		return err;
	err = call_ioctl(get_file(a[2]), DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);
	if (!err)
		objects[a[3] % SLOTS] = prime.handle;
	close(prime.fd);

	return err;
}

static int do_syncobj(const uint8_t *a)
{
	struct drm_syncobj_create create = { .flags = a[2] & 1 };
	struct drm_syncobj_destroy destroy = {};
	int err;

	if (a[2] & 2) {
		destroy.handle = atomic_exchange(&syncobjs[a[1] % SLOTS], 0);
		return call_ioctl(get_file(a[0]), DRM_IOCTL_SYNCOBJ_DESTROY, &destroy);
	}
	err = call_ioctl(get_file(a[0]), DRM_IOCTL_SYNCOBJ_CREATE, &create);
	if (!err)
		syncobjs[a[1] % SLOTS] = create.handle;

	return err;
}

static int do_fence(const uint8_t *a)
{
	int fence = -1;

	switch (a[2] % 3) {
	case 0:
		replace_fd(&timelines[a[1] % SLOTS], sw_sync_create(&fence));
		replace_fd(&fences[a[1] % SLOTS], fence);
		return 0;
	case 1:
		return sw_sync_signal(timelines[a[1] % SLOTS]);
	default:
		return fence_wait(fences[a[1] % SLOTS], (a[3] % 4) * 0.005);
	}
}

static int do_end_spin(const uint8_t *a)
{
	const unsigned int i = a[0] % MAPS_MAX;

	if (i < maps_count && maps[i].address)
		i915_batch_end_spin(&maps[i]);
	return 0;
}

/* Unbound, bound, both, retire, freed, all, RCU, reset what is active. */
static int do_drop(const uint8_t *a)
{
	static const char * const drops[] = {
		"0x1", "0x2", "0x3", "0x4", "0x10", "0x20", "0x200", "0x80",
	};
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches", node.card);
	return write_file(path, PICK(drops, a[0]));
}

/* The more of them the more often */
static const struct op {
	const char *name;
	int (*call)(const uint8_t *a);
} ops[] = {
	{ "create", do_create }, { "exec", do_exec }, { "object", do_object },
	{ "create", do_create }, { "exec", do_exec }, { "destroy", do_destroy },
	{ "create", do_create }, { "exec", do_exec }, { "setparam", do_setparam },
	{ "getparam", do_getparam }, { "vm_create", do_vm_create },
	{ "vm_destroy", do_vm_destroy }, { "object_close", do_object_close },
	{ "object_state", do_object_state }, { "touch", do_touch }, { "share", do_share },
	{ "reset_stats", do_reset_stats }, { "wait", do_wait }, { "syncobj", do_syncobj },
	{ "fence", do_fence }, { "end_spin", do_end_spin }, { "drop", do_drop },
	{ "close", do_close },
};

static void on_sigbus(int signal)
{
	siglongjmp(fault, 1);
}

static void set_fail_nth(int fd, unsigned int nth)
{
	char number[16];

	if (pwrite(fd, number, sprintf(number, "%u", nth), 0) < 0 && nth)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
}

/* An object that was purged, or for which there is no memory, has no pages. */
static int try_call(const struct op *op, const uint8_t *a)
{
	if (sigsetjmp(fault, 1))
		return -EFAULT;

	return op->call(a);
}

static void run_calls(const struct program *p, unsigned int from, unsigned int to)
{
	const int nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	unsigned int i;
	int err;

	for (i = from; i < to; i++) {
		const struct call *call = &p->calls[i];
		const struct op *op = &PICK(ops, call->op);

		if (call->fail)
			set_fail_nth(nth, call->fail);
		err = try_call(op, call->a);
		if (call->fail)
			set_fail_nth(nth, 0);
		if (verbose)
			ksft_print_msg("%s%u %s: %s\n", from ? "        " : "", i, op->name,
				       strerror(-err));
	}
	close(nth);
}

static void cover_start(unsigned int n)
{
	if (ioctl(cover_fds[n], KCOV_ENABLE, KCOV_TRACE_PC))
		ksft_exit_fail_msg("KCOV_ENABLE: %s\n", strerror(errno));
	__atomic_store_n(&covers[n][0], 0, __ATOMIC_RELAXED);
}

static void *run_second_half(void *arg)
{
	const struct program *p = arg;

	cover_start(1);
	run_calls(p, p->split, p->count);
	ioctl(cover_fds[1], KCOV_DISABLE, 0);

	return NULL;
}

static void end_spin(const struct i915_batch *map)
{
	if (map->address && !sigsetjmp(fault, 1))
		i915_batch_end_spin(map);
}

/* Ends what spins, and signals what is waited for. */
static void release(void)
{
	unsigned int i;

	for (i = 0; i < maps_count; i++)
		end_spin(&maps[i]);
	for (i = 0; i < SLOTS; i++)
		replace_fd(&timelines[i], -1);
}

static void clean_up(void)
{
	unsigned int i;

	pthread_mutex_lock(&release_lock);
	release();
	for (i = 0; i < maps_count; i++)
		munmap(maps[i].map, I915_BATCH_SIZE);
	memset(maps, 0, sizeof(maps));
	maps_count = 0;
	pthread_mutex_unlock(&release_lock);
	for (i = 0; i < SLOTS; i++) {
		replace_fd(&fences[i], -1);
		contexts[i] = 0;
		vms[i] = 0;
		objects[i] = 0;
		syncobjs[i] = 0;
	}
	for (i = 0; i < FILES; i++)
		replace_fd(&files[i], -1);
}

#define LOGGED	"<7>context_fuzz: "

static const char *to_line(const struct program *p)
{
	const uint8_t *bytes = (const uint8_t *)p->calls;
	static char line[sizeof(*p) * 2 + 32];
	unsigned int i, at;

	at = sprintf(line, LOGGED "run %u ", p->split);
	for (i = 0; i < p->count * sizeof(struct call); i++)
		at += sprintf(line + at, "%02x", bytes[i]);

	return line + strlen(LOGGED);
}

static bool from_line(const char *line, struct program *p)
{
	uint8_t *bytes = (uint8_t *)p->calls;
	unsigned int i = 0;
	int at = 0;

	line = strstr(line, "run ");
	if (!line || sscanf(line, "run %hhu %n", &p->split, &at) < 1)
		return false;
	while (i < sizeof(p->calls) && sscanf(line + at + 2 * i, "%2hhx", &bytes[i]) == 1)
		i++;
	p->count = i / sizeof(struct call);

	return p->count && p->split <= p->count;
}

static bool test_and_set(uint8_t *bits, unsigned long n)
{
	const bool was = bits[n / 8] & 1 << n % 8;

	bits[n / 8] |= 1 << n % 8;
	return was;
}

/* Returns how many steps from one place to another are new. */
static unsigned int take_cover(const unsigned long *cover)
{
	const unsigned long count = cover[0];
	unsigned long i, pc, last = 0;
	unsigned int new = 0;

	for (i = 1; i <= count; i++) {
		pc = cover[i] - text;
		if (pc >= PCS_MAX)
			continue;
		if (!test_and_set(seen_pcs, pc))
			pcs_count++;
		if (!test_and_set(seen_edges, (last * 0x9e3779b1 ^ pc) % EDGES_MAX))
			new++;
		last = pc;
	}
	edges_count += new;

	return new;
}

static unsigned int run(struct program *p)
{
	const char *line = to_line(p) - strlen(LOGGED);
	pthread_t thread;
	unsigned int new;

	if (write(kmsg, line, strlen(line)) < 0)
		ksft_exit_fail_msg("/dev/kmsg: %s\n", strerror(errno));
	history[history_count++] = *p;
	covers[1][0] = 0;
	cover_start(0);
	if (p->split && p->split < p->count) {
		if (pthread_create(&thread, NULL, run_second_half, p))
			ksft_exit_fail_msg("no thread: %s\n", strerror(errno));
		run_calls(p, 0, p->split);
		pthread_join(thread, NULL);
	} else {
		run_calls(p, 0, p->count);
	}
	clean_up();
	ioctl(cover_fds[0], KCOV_DISABLE, 0);
	executed++;
	new = take_cover(covers[0]);

	return new + take_cover(covers[1]);
}

/* Programs may wait for what only they themselves would end. */
static void *watch(void *arg)
{
	unsigned int last = -1, ms = 0;

	for (;;) {
		usleep(100 * 1000);
		ms = executed == last ? ms + 100 : 0;
		last = executed;
		if (ms > STUCK_MS)
			ksft_exit_fail_msg("stuck: %s\n",
					   to_line(&history[history_count - 1]));
		if (ms > SLOW_MS) {
			slow += ms == SLOW_MS + 100;
			pthread_mutex_lock(&release_lock);
			release();
			pthread_mutex_unlock(&release_lock);
		}
	}

	return NULL;
}

static unsigned int rnd(unsigned int below)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;

	return (rnd_state >> 16) % below;
}

/* What is usual is 0, or at least small. */
static uint8_t rnd_byte(void)
{
	return rnd(3) ? 0 : rnd(PICK(((unsigned int[]){ 4, 16, 64, 256 }), rnd(4)));
}

static void rnd_call(struct call *call)
{
	unsigned int i;

	call->op = rnd(ARRAY_SIZE(ops));
	call->fail = rnd(12) ? 0 : 1 + rnd_byte();
	for (i = 0; i < sizeof(call->a); i++)
		call->a[i] = rnd_byte();
	/* What is in one file is not in another */
	if (rnd(8))
		call->a[0] = 0;
}

static void mutate(struct program *p)
{
	const struct program *other = &corpus[rnd(corpus_count)];
	unsigned int at = rnd(p->count), n;

	switch (rnd(8)) {
	case 0:
	case 1:
		if (p->count == CALLS_MAX)
			break;
		memmove(&p->calls[at + 1], &p->calls[at], (p->count++ - at) * sizeof(*p->calls));
		rnd_call(&p->calls[at]);
		break;
	case 2:
		if (p->count > 1)
			memmove(&p->calls[at], &p->calls[at + 1],
				(--p->count - at) * sizeof(*p->calls));
		break;
	case 3:
		n = 1 + rnd(other->count);
		n = at + n > CALLS_MAX ? CALLS_MAX - at : n;
		memcpy(&p->calls[at], other->calls, n * sizeof(*p->calls));
		p->count = at + n > p->count ? at + n : p->count;
		break;
	case 4:
		p->split = rnd(2) ? rnd(p->count) : 0;
		break;
	case 5:
		n = p->calls[at].fail;
		p->calls[at].fail = !n ? 1 + rnd_byte() : n + 1;
		break;
	default:
		p->calls[at].a[rnd(sizeof(p->calls[at].a))] = rnd_byte();
	}
	if (p->split > p->count)
		p->split = 0;
}

static void next_program(struct program *p)
{
	unsigned int i;

	if (!corpus_count || !rnd(8)) {
		memset(p, 0, sizeof(*p));
		p->count = 1 + rnd(CALLS_MAX - 1);
		for (i = 0; i < p->count; i++)
			rnd_call(&p->calls[i]);
		p->split = rnd(4) ? 0 : rnd(p->count);
		return;
	}
	/* What was found last has been tried the least */
	i = rnd(2) ? rnd(corpus_count) : corpus_count - 1 - rnd(1 + corpus_count / 8);
	*p = corpus[i];
	for (i = 1 + rnd(4); i; i--)
		mutate(p);
}

static void set_up(void)
{
	static const char * const knobs[][2] = {
		{ FAILSLAB "ignore-gfp-wait", "N" }, { FAILSLAB "verbose", "0" },
		{ FAIL_PAGE_ALLOC "ignore-gfp-wait", "N" }, { FAIL_PAGE_ALLOC "verbose", "0" },
		{ FAIL_PAGE_ALLOC "min-order", "0" },
	};
	struct sigaction action = { .sa_handler = on_sigbus };
	pthread_t watcher;
	char path[128];
	FILE *file;
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		if (write_file(knobs[i][0], knobs[i][1]))
			ksft_exit_fail_msg("%s: %s\n", knobs[i][0], strerror(errno));
	}
	for (i = 0; i < 2; i++) {
		cover_fds[i] = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
		if (cover_fds[i] < 0 || ioctl(cover_fds[i], KCOV_INIT_TRACE, COVER_SIZE))
			ksft_exit_skip("no KCOV: %s\n", strerror(errno));
		covers[i] = mmap(NULL, COVER_SIZE * sizeof(long), PROT_READ | PROT_WRITE,
				 MAP_SHARED, cover_fds[i], 0);
	}
	file = fopen("/sys/module/i915/sections/.text", "r");
	if (!file || fscanf(file, "%lx", &text) != 1)
		ksft_exit_skip("i915 is not a module\n");
	fclose(file);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	user_pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* All empty */
	memset(fences, -1, sizeof(fences));
	memset(timelines, -1, sizeof(timelines));
	memset(files, -1, sizeof(files));

	fd = i915_open(&node);
	engine_count = i915_list_engines(fd, engines);
	close(fd);
	if (engine_count <= 0)
		ksft_exit_skip("no engines\n");
	if (i915_find_pair(engines, engine_count, pair))
		memcpy(pair, engines, sizeof(pair));
	/* What hangs is to be found soon */
	for (i = 0; i < engine_count; i++) {
		snprintf(path, sizeof(path), "/sys/class/drm/card0/engine/%s/heartbeat_interval_ms",
			 engines[i].name);
		write_file(path, "300");
		snprintf(path, sizeof(path), "/sys/class/drm/card0/engine/%s/preempt_timeout_ms",
			 engines[i].name);
		write_file(path, "100");
	}
	sigaction(SIGBUS, &action, NULL);
	pthread_create(&watcher, NULL, watch, NULL);
}

/* Nothing may be left of what ran; if it is, what ran is printed. */
static void check_left_behind(const struct i915_census *before)
{
	const char *left;
	char path[64];
	unsigned int i;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches", node.card);
	write_file(path, DROP_IDLE);
	left = i915_left_behind(&node, before);
	if (left[0]) {
		for (i = 0; i < history_count; i++)
			ksft_print_msg("one of %s\n", to_line(&history[i]));
		ksft_exit_fail_msg("left behind: %s\n", left);
	}
	history_count = 0;
}

static const char *counts(void)
{
	static char string[128];

	snprintf(string, sizeof(string), "%u programs, %u kept, %u places, %u steps", executed,
		 corpus_count, pcs_count, edges_count);

	return string;
}

static void try_program(struct program *p)
{
	if (run(p) && corpus_count < CORPUS_MAX) {
		corpus[corpus_count++] = *p;
		if (!verbose)
			ksft_print_msg("new %s\n", to_line(p));
	}
}

static void replay(const char *path, const struct i915_census *before)
{
	FILE *file = fopen(path, "r");
	struct program p;
	char line[2048];

	if (!file)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		memset(&p, 0, sizeof(p));
		if (!from_line(line, &p))
			continue;
		if (verbose)
			ksft_print_msg("%s\n", to_line(&p));
		try_program(&p);
		if (history_count == HISTORY)
			check_left_behind(before);
	}
	fclose(file);
}

static void fuzz(double seconds, const struct i915_census *before)
{
	const double start = now();
	double report = start, census = start;
	struct program p;

	while (now() - start < seconds) {
		next_program(&p);
		try_program(&p);
		if (now() - report >= 10) {
			report = now();
			ksft_print_msg("%.0f s: %u slow, %s\n", report - start, slow, counts());
		}
		if (now() - census >= CENSUS_SECONDS || history_count == HISTORY) {
			check_left_behind(before);
			census = now();
		}
	}
}

int main(int argc, char *argv[])
{
	unsigned long seed = time(NULL), i;
	double seconds = 600;
	const char *file = NULL;
	struct i915_census before;
	int opt, err;

	while ((opt = getopt(argc, argv, "r:s:t:v")) != -1) {
		switch (opt) {
		case 'r':
			file = optarg;
			break;
		case 's':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 't':
			seconds = strtod(optarg, NULL);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			printf("usage: %s [-s seed] [-t seconds] [-r file] [-v]\n", argv[0]);
			return KSFT_FAIL;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	ksft_set_plan(1);
	err = i915_first_census(&node, &before);
	if (err)
		ksft_exit_skip("no node that is idle: %s\n", strerror(-err));
	set_up();
	rnd_state = seed * 0x9e3779b97f4a7c15 + 1;
	ksft_print_msg("seed %lu\n", seed);
	if (file)
		replay(file, &before);
	fuzz(seconds, &before);
	check_left_behind(&before);
	for (i = 0; i < PCS_MAX; i++) {
		if (seen_pcs[i / 8] & 1 << i % 8)
			printf("# pc %lx\n", i);
	}
	ksft_test_result_pass("%s\n", counts());
	ksft_finished();
}
