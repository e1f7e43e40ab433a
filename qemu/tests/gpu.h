/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the GPU model share: finding the engines of the i915 node, and
 * objects, contexts and batches on it. A batch is written by emit() and its like, which
 * also note the objects that it uses. All objects have fixed addresses and belong to
 * one open file: close_node() gives up everything.
 */
#ifndef INTEL_GPU_TESTS_GPU_H
#define INTEL_GPU_TESTS_GPU_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/i915_drm.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096u
#define SECOND		1000000000ll
#define NODE		"/dev/dri/renderD128"
#define SYSFS		"/sys/class/drm/card0/"

#define MI(op, length)	((op) << 23 | (length))
#define MI_ARB_CHECK	MI(0x05u, 0)
#define MI_BATCH_END	MI(0x0au, 0)
#define MI_PREDICATE	MI(0x0cu, 0)
#define MI_MATH(n)	MI(0x1au, (n) - 1)
#define MI_SEMA_WAIT	(MI(0x1cu, 2) | 1 << 15)	/* that polls */
#define MI_STORE	MI(0x20u, 2)
#define MI_STORE_QWORD	(MI(0x20u, 3) | 1 << 21)
#define MI_GGTT		(1 << 22)
#define MI_LRI(n)	MI(0x22u, 2 * (n) - 1)
#define MI_LRI_CS_MMIO	(1 << 19)
#define MI_SRM		MI(0x24u, 2)
#define MI_FLUSH_DW	MI(0x26u, 3)
#define MI_LRM		MI(0x29u, 2)
#define MI_LRR		MI(0x2au, 1)
#define MI_COPY_MEM	MI(0x2eu, 3)
#define MI_ATOMIC	MI(0x2fu, 1)
#define   ATOMIC_QWORD	(1 << 19)
#define   ATOMIC_INLINE	(1 << 18 | 8)	/* operands, and 8 more dwords for them */
#define MI_BATCH_START	(MI(0x31u, 1) | MI_BB_PPGTT)
#define MI_BB_PPGTT	(1 << 8)
#define MI_BB_PREDICATE	(1 << 15)
#define MI_COND_END	(MI(0x36u, 2) | 1 << 21)
#define PIPE_CONTROL	0x7a000004

#define PREDICATE_RESULT	0x418
#define PREDICATE_RESULT_1	0x41c
#define TIMESTAMP		0x358
#define GPR(n)			(0x600 + (n) * 8)
#define BCS_SWCTRL		0x22200

struct engine {
	struct i915_engine_class_instance id;
	uint32_t base;
	char name[8];
};

struct bo {
	uint32_t handle;
	uint64_t size, addr;
	uint32_t *map;
	uint32_t *want;		/* what it should hold, once bo_fill() was called */
};

/* A batch under construction, and the objects that it uses */
struct batch {
	struct bo *bo, *refs[16];
	unsigned int nrefs;
	uint32_t *cs;
	uint64_t flags;
	int fence;		/* out fence, if asked for in flags */
};

static struct engine engines[16];
static unsigned int nengines;
static const struct engine *engine;	/* that is tested */
static int fd, gen;

static struct bo bos[512];
static unsigned int nbos;
static uint64_t next_addr;

static unsigned int errors, test_number;
static jmp_buf give_up;

__attribute__((format(printf, 2, 3)))
static inline bool check(bool ok, const char *format, ...)
{
	va_list args;

	if (ok || ++errors > 8)
		return ok;
	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	return ok;
}

/* For what the rest of a test cannot do without */
#define must(condition) do {						\
	if (!check(condition, "line %d: %s: %s", __LINE__, #condition,	\
		   strerror(errno)))					\
		longjmp(give_up, 1);					\
} while (0)

static inline long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static inline uint64_t canonical(uint64_t addr)
{
	return (int64_t)(addr << 16) >> 16;
}

/* The kernel parses the batches of this one, and refuses more than the hardware would. */
static inline bool is_parsed(const struct engine *e)
{
	return gen == 9 && e->id.engine_class == I915_ENGINE_CLASS_COPY;
}

static inline int getparam(int param)
{
	int value = 0;
	struct drm_i915_getparam get = { .param = param, .value = &value };

	must(!ioctl(fd, DRM_IOCTL_I915_GETPARAM, &get));
	return value;
}

static inline void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC), length = strlen(text);

	check(file >= 0 && write(file, text, length) == length, "%s: %s", path, strerror(errno));
	close(file);
}

static inline void set_engine(const struct engine *e, const char *name, int value)
{
	char path[128], text[16];

	snprintf(text, sizeof(text), "%d", value);
	snprintf(path, sizeof(path), SYSFS "engine/%s/%s", e->name, name);
	write_file(path, text);
}

/* Long enough for a slow host not to see hangs where there are none */
static inline void reset_timeouts(void)
{
	unsigned int i;

	for (i = 0; i < nengines; i++) {
		set_engine(&engines[i], "preempt_timeout_ms", 5000);
		set_engine(&engines[i], "heartbeat_interval_ms", 5000);
	}
}

/* Objects */

static inline void *bo_mmap(struct bo *bo, unsigned int how)
{
	struct drm_i915_gem_mmap_offset arg = { .handle = bo->handle, .flags = how };
	void *map;

	must(!ioctl(fd, DRM_IOCTL_I915_GEM_MMAP_OFFSET, &arg));
	map = mmap(NULL, bo->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, arg.offset);
	must(map != MAP_FAILED);
	return map;
}

static inline struct bo *bo_new(void)
{
	must(nbos < ARRAY_SIZE(bos));
	memset(&bos[nbos], 0, sizeof(bos[nbos]));
	return &bos[nbos++];
}

static inline struct bo *bo_create_at(uint64_t size, uint64_t addr)
{
	struct drm_i915_gem_create create = { .size = size };
	struct bo *bo = bo_new();

	must(!ioctl(fd, DRM_IOCTL_I915_GEM_CREATE, &create));
	bo->handle = create.handle;
	bo->size = create.size;
	bo->addr = addr;
	bo->map = bo_mmap(bo, I915_MMAP_OFFSET_WB);
	return bo;
}

static inline struct bo *bo_create(uint64_t size)
{
	uint64_t addr = next_addr;

	/* In pages of their own page table now and then */
	next_addr += (size + 0x1fffff) & ~0xfffffull;
	return bo_create_at(size, addr);
}

static inline void bo_fill(struct bo *bo, uint32_t seed)
{
	uint32_t i;

	bo->want = malloc(bo->size);
	must(bo->want);
	for (i = 0; i < bo->size / 4; i++)
		bo->want[i] = (i + seed) * 2654435761u;
	memcpy(bo->map, bo->want, bo->size);
}

static inline void check_bo(const struct bo *bo, const char *what)
{
	uint32_t i, n = bo->size / 4;

	for (i = 0; i < n && bo->map[i] == bo->want[i]; i++)
		;
	check(i == n, "%s: %08x in place of %08x in dword %x at %llx", what,
	      i < n ? bo->map[i] : 0, i < n ? bo->want[i] : 0, i, (unsigned long long)bo->addr);
}

static inline int bo_wait(const struct bo *bo, int ms)
{
	struct drm_i915_gem_wait wait = { .bo_handle = bo->handle, .timeout_ns = ms * 1000000ll };

	return ioctl(fd, DRM_IOCTL_I915_GEM_WAIT, &wait) ? -errno : 0;
}

/* Waits for what a batch is to write, as gem_wait() waits for its end only */
static inline bool memory_is(const uint32_t *at, uint32_t value)
{
	long long end = now() + 10 * SECOND;

	while (__atomic_load_n(at, __ATOMIC_SEQ_CST) != value && now() < end)
		usleep(1000);
	return __atomic_load_n(at, __ATOMIC_SEQ_CST) == value;
}

static inline void close_node(void)
{
	for (; nbos; nbos--) {
		free(bos[nbos - 1].want);
		munmap(bos[nbos - 1].map, bos[nbos - 1].size);
	}
	close(fd);
}

/* Contexts */

static inline uint32_t vm_create(void)
{
	struct drm_i915_gem_vm_control vm = {};

	must(!ioctl(fd, DRM_IOCTL_I915_GEM_VM_CREATE, &vm));
	return vm.vm_id;
}

static inline uint32_t ctx_create(const struct engine *e, uint32_t vm, int priority)
{
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, 1) = { .engines = { e->id } };
	struct drm_i915_gem_context_create_ext_setparam set[4] = {
		{ .param = { .param = I915_CONTEXT_PARAM_ENGINES, .size = sizeof(map),
			     .value = (uintptr_t)&map } },
		{ .param = { .param = I915_CONTEXT_PARAM_PERSISTENCE } },
		{ .param = { .param = I915_CONTEXT_PARAM_PRIORITY, .value = priority } },
		{ .param = { .param = I915_CONTEXT_PARAM_VM, .value = vm } },
	};
	struct drm_i915_gem_context_create_ext create = {
		.flags = I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS,
		.extensions = (uintptr_t)&set[0],
	};
	unsigned int i, n = vm ? 4 : 3;

	for (i = 0; i < n; i++) {
		set[i].base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
		if (i + 1 < n)
			set[i].base.next_extension = (uintptr_t)&set[i + 1];
	}
	must(!ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create));
	return create.ctx_id;
}

static inline unsigned int guilty_of(uint32_t ctx)
{
	struct drm_i915_reset_stats stats = { .ctx_id = ctx };

	must(!ioctl(fd, DRM_IOCTL_I915_GET_RESET_STATS, &stats));
	return stats.batch_active;
}

/* Batches */

static inline struct batch batch_create(void)
{
	struct batch b = { .bo = bo_create(PAGE), .fence = -1 };

	b.cs = b.bo->map;
	return b;
}

static inline void emit(struct batch *b, uint32_t dword)
{
	*b->cs++ = dword;
}

static inline void emit_addr(struct batch *b, uint64_t addr)
{
	emit(b, canonical(addr));
	emit(b, canonical(addr) >> 32);
}

static inline void use(struct batch *b, struct bo *bo)
{
	unsigned int i;

	for (i = 0; i < b->nrefs; i++)
		if (b->refs[i] == bo)
			return;
	must(i < ARRAY_SIZE(b->refs));
	b->refs[b->nrefs++] = bo;
}

static inline void emit_ref(struct batch *b, struct bo *bo, uint32_t dword)
{
	use(b, bo);
	emit_addr(b, bo->addr + dword * 4ull);
}

static inline void emit_store(struct batch *b, struct bo *bo, uint32_t dword, uint32_t value)
{
	emit(b, MI_STORE);
	emit_ref(b, bo, dword);
	emit(b, value);
	if (bo->want)
		bo->want[dword] = value;
}

static inline void emit_lri(struct batch *b, uint32_t reg, uint32_t value)
{
	emit(b, MI_LRI(1));
	emit(b, reg);
	emit(b, value);
}

static inline void emit_lri64(struct batch *b, uint32_t reg, uint64_t value)
{
	emit_lri(b, reg, value);
	emit_lri(b, reg + 4, value >> 32);
}

static inline void emit_reg_mem(struct batch *b, uint32_t op, uint32_t reg, struct bo *bo,
				uint32_t dword)
{
	emit(b, op);
	emit(b, reg);
	emit_ref(b, bo, dword);
}

static inline void emit_lrr(struct batch *b, uint32_t from, uint32_t to)
{
	emit(b, MI_LRR);
	emit(b, from);
	emit(b, to);
}

static inline void emit_sema(struct batch *b, unsigned int op, struct bo *bo, uint32_t dword,
			     uint32_t value)
{
	emit(b, MI_SEMA_WAIT | op << 12);
	emit(b, value);
	emit_ref(b, bo, dword);
}

static inline void emit_jump(struct batch *b, uint32_t flags, const uint32_t *to)
{
	emit(b, MI_BATCH_START | flags);
	emit_addr(b, b->bo->addr + (to - b->bo->map) * 4);
}

/* Returns 0, or the errno with which the kernel refused the batch. */
static inline int submit(struct batch *b, uint32_t ctx)
{
	struct drm_i915_gem_exec_object2 objects[ARRAY_SIZE(b->refs) + 1] = {};
	struct drm_i915_gem_execbuffer2 exec = {
		.buffers_ptr = (uintptr_t)objects,
		.buffer_count = b->nrefs + 1,
		.flags = I915_EXEC_NO_RELOC | b->flags,
		.rsvd1 = ctx,
	};
	unsigned int i;

	for (i = 0; i <= b->nrefs; i++) {
		const struct bo *bo = i < b->nrefs ? b->refs[i] : b->bo;

		objects[i].handle = bo->handle;
		objects[i].offset = canonical(bo->addr);
		objects[i].flags = EXEC_OBJECT_PINNED | EXEC_OBJECT_SUPPORTS_48B_ADDRESS |
				   EXEC_OBJECT_ASYNC;
	}
	if (ioctl(fd, DRM_IOCTL_I915_GEM_EXECBUFFER2_WR, &exec))
		return errno;
	b->fence = exec.rsvd2 >> 32;
	return 0;
}

static inline int run(struct batch *b, uint32_t ctx)
{
	int err;

	emit(b, MI_BATCH_END);
	err = submit(b, ctx);
	if (!err)
		check(!bo_wait(b->bo, 10000), "%s: a batch does not end", engine->name);
	return err;
}

/* To see that an engine still works */
static inline void check_works(const struct engine *e)
{
	struct batch b = batch_create();
	struct bo *data = bo_create(PAGE);

	emit_store(&b, data, 1, 0xcafe);
	check(!run(&b, ctx_create(e, 0, 0)) && data->map[1] == 0xcafe, "%s is broken", e->name);
}

/*
 * Waits until the GPU is idle and what it held is freed. The driver gives up its last
 * reference for runtime PM a tenth of a second later, by a work that nothing flushes if
 * there is no display, and warns if the guest reboots before.
 */
static inline void settle(void)
{
	/* DROP_RETIRE, DROP_ACTIVE, DROP_FREED, DROP_IDLE */
	write_file("/sys/kernel/debug/dri/128/i915_gem_drop_caches", "0x5c");
	usleep(500000);
}

static inline void find_engine(const struct i915_engine_class_instance *id)
{
	static const char * const names[] = { "rcs", "bcs", "vcs", "vecs", "ccs" };
	struct engine *e = &engines[nengines];
	char path[96];
	FILE *file;

	must(id->engine_class < ARRAY_SIZE(names) && nengines < ARRAY_SIZE(engines));
	e->id = *id;
	snprintf(e->name, sizeof(e->name), "%s%u", names[id->engine_class],
		 id->engine_instance & 7);
	snprintf(path, sizeof(path), SYSFS "engine/%s/mmio_base", e->name);
	file = fopen(path, "r");
	must(file && fscanf(file, "%x", &e->base) == 1);
	fclose(file);
	nengines++;
}

/* Prints what the programs begin with. */
static inline bool find_engines(void)
{
	static union {
		struct drm_i915_query_engine_info info;
		char space[4096];
	} buffer;
	struct drm_i915_query_item item = { .query_id = DRM_I915_QUERY_ENGINE_INFO,
					    .length = sizeof(buffer),
					    .data_ptr = (uintptr_t)&buffer };
	struct drm_i915_query arg = { .num_items = 1, .items_ptr = (uintptr_t)&item };
	unsigned int i, chip;

	setlinebuf(stdout);
	printf("TAP version 13\n");
	if (setjmp(give_up)) {
		printf("Bail out! no GPU to be tested\n");
		return false;
	}
	fd = open(NODE, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	must(!ioctl(fd, DRM_IOCTL_I915_QUERY, &arg) && item.length > 0);
	for (i = 0; i < buffer.info.num_engines; i++)
		find_engine(&buffer.info.engines[i].engine);
	chip = getparam(I915_PARAM_CHIPSET_ID);
	gen = chip >> 8 == 0x19 ? 9 : chip >> 8 == 0x8a ? 11 : 12;
	printf("# device %04x, generation %d, %u engines\n", chip, gen, nengines);
	must(nengines > 1);
	close(fd);
	return true;
}

enum { ANY_CLASS = -1 };

struct test {
	const char *name;
	void (*run)(void);
	int class;		/* of the engines that it is for */
	const char *needs;	/* a file */
};

/* Ends a test. */
__attribute__((format(printf, 1, 2)))
static inline bool report(const char *format, ...)
{
	bool ok = !errors;
	va_list args;

	printf("%sok %u ", ok ? "" : "not ", ++test_number);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	errors = 0;
	return ok;
}

static inline bool run_test(const struct test *test)
{
	next_addr = 0x10000000;
	fd = open(NODE, O_RDWR | O_CLOEXEC);
	if (!setjmp(give_up)) {
		must(fd >= 0);
		reset_timeouts();
		test->run();
	}
	close_node();
	return report("%s.%s", engine->name, test->name);
}

/* All tests on all engines, or those tests whose name contains that; returns a status. */
static inline int run_tests(const struct test *tests, unsigned int n, const char *name)
{
	unsigned int failed = 0, i, k;

	if (!find_engines())
		return 1;
	for (i = 0; i < nengines; i++) {
		engine = &engines[i];
		for (k = 0; k < n; k++) {
			if (tests[k].class >= 0 && tests[k].class != engine->id.engine_class)
				continue;
			if (name && !strstr(tests[k].name, name))
				continue;
			if (tests[k].needs && access(tests[k].needs, F_OK))
				printf("# %s is not run: no %s\n", tests[k].name, tests[k].needs);
			else if (!run_test(&tests[k]))
				failed++;
		}
	}
	settle();
	printf("1..%u\n", test_number);
	return failed || !test_number;
}

#endif
