// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Checks the modelled GPU from inside the guest, through the i915 node: what each
 * engine does with memory, registers and semaphores, how it preempts, hangs and is
 * reset, and what the blitter and the fences make of tiled surfaces. The expected
 * results come from the hardware's documentation and from the driver, never from the
 * model.
 *
 * Each test opens the node anew, so whatever it leaves behind goes with its file.
 */
#include "gpu.h"

/*
 * A batch that loops until dword 0 of its data is cleared. It sets dword 1 each time
 * round, and copies GPR 0 to dword 2.
 */
struct spinner {
	struct batch batch;
	struct bo *data;
	uint32_t ctx;
};

static struct spinner spin(const struct engine *e, bool arbitrates, int priority)
{
	struct spinner s = { .batch = batch_create(), .data = bo_create(PAGE),
			     .ctx = ctx_create(e, 0, priority) };
	uint32_t *loop;

	s.data->map[0] = 1;
	emit_lri(&s.batch, e->base + GPR(0), 0xfeed);
	loop = s.batch.cs;
	if (arbitrates)
		emit(&s.batch, MI_ARB_CHECK);
	emit_store(&s.batch, s.data, 1, 1);
	emit_reg_mem(&s.batch, MI_SRM, e->base + GPR(0), s.data, 2);
	emit(&s.batch, MI_COND_END);
	emit(&s.batch, 0);
	emit_ref(&s.batch, s.data, 0);
	emit_jump(&s.batch, 0, loop);
	must(!submit(&s.batch, s.ctx));
	must(memory_is(&s.data->map[1], 1));
	return s;
}

static void check_spins(struct spinner *s, const char *name)
{
	s->data->map[1] = 0;
	s->data->map[2] = 0;
	check(memory_is(&s->data->map[1], 1) && memory_is(&s->data->map[2], 0xfeed),
	      "%s: the spinner does not go on, or lost its register", name);
	__atomic_store_n(&s->data->map[0], 0, __ATOMIC_SEQ_CST);
	check(!bo_wait(s->batch.bo, 10000), "%s: the spinner does not end", name);
	check(!guilty_of(s->ctx), "%s: the spinner was reset", name);
}

/* The tests: memory */

static void test_stores(void)
{
	static const uint64_t at[] = {
		0x1000000, 0xfffff000, 0x100001000, 0x5ffe000, (1ull << 30) - PAGE,
		(1ull << 39) - PAGE, (1ull << 47) - PAGE, 1ull << 47 | 0x123456000,
		(1ull << 48) - 0x10000,
	};
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		struct bo *bo = bo_create_at(4 * PAGE, at[i]);
		struct batch b = batch_create();

		bo_fill(bo, i);
		emit_store(&b, bo, 1024, i);
		emit_store(&b, bo, 2047, ~i);
		emit_store(&b, bo, 3001, 0x1000 + i);
		emit(&b, MI_STORE_QWORD);
		emit_ref(&b, bo, 1026);
		emit(&b, bo->want[1026] = 0x11111111);
		emit(&b, bo->want[1027] = 0x22222222);
		check(!run(&b, ctx), "refused");
		check_bo(bo, "stores");
	}
}

/* Enough for the driver to use pages of 64K or 2M, if the memory comes so */
static void test_large_object(void)
{
	struct bo *bo = bo_create_at(4 << 20, 0x240000000);
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int page, n = bo->size / PAGE;

	bo_fill(bo, 99);
	for (page = 0; page < n;) {
		struct batch b = batch_create();
		unsigned int i;

		for (i = 0; i < 128 && page < n; i++, page++)
			emit_store(&b, bo, page * 1024 + page % 1024, page);
		check(!run(&b, ctx), "refused");
	}
	check_bo(bo, "large object");
}

static void test_isolation(void)
{
	uint32_t vm[2] = { vm_create(), vm_create() }, i;
	uint32_t ctx[2] = { ctx_create(engine, vm[0], 0), ctx_create(engine, vm[1], 0) };
	struct bo *own[2], *secret = bo_create(PAGE), *result = bo_create(PAGE);
	struct batch b;

	for (i = 0; i < 2; i++) {
		own[i] = bo_create_at(PAGE, 0x77770000);
		bo_fill(own[i], 1000 * i);
	}
	bo_fill(secret, 7);
	for (i = 0; i < 4; i++) {
		b = batch_create();
		emit_store(&b, own[i % 2], i, i);
		/* Bound in the first vm only */
		if (i % 2 == 0)
			use(&b, secret);
		check(!run(&b, ctx[i % 2]), "refused");
	}
	check_bo(own[0], "own object of the first vm");
	check_bo(own[1], "own object of the second vm");

	b = batch_create();
	emit_reg_mem(&b, MI_LRM, engine->base + GPR(1), secret, 5);
	emit_reg_mem(&b, MI_SRM, engine->base + GPR(1), result, 0);
	emit(&b, MI_STORE);
	emit_ref(&b, secret, 6);
	emit(&b, 0xbad);
	b.nrefs = 0;		/* does not bind the secret */
	use(&b, result);
	check(!run(&b, ctx[1]), "refused");
	check(result->map[0] != secret->want[5], "memory of another vm was read");
	check_bo(secret, "object of another vm");
}

/* Generation 9 has pages that the GPU may only read; on 11 and 12 the driver refuses. */
static void test_read_only(void)
{
	uint32_t *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	struct drm_i915_gem_userptr user = { .user_ptr = (uintptr_t)memory, .user_size = 4 * PAGE,
					     .flags = I915_USERPTR_READ_ONLY };
	struct bo *bo = bo_new(), *data = bo_create(PAGE);
	struct batch b = batch_create();
	int err;

	must(memory != MAP_FAILED);
	bo->map = memory;
	bo->size = 4 * PAGE;
	bo->addr = 0x300000000;
	bo_fill(bo, 3);
	err = ioctl(fd, DRM_IOCTL_I915_GEM_USERPTR, &user) ? errno : 0;
	if (!check(err == (gen == 9 ? 0 : ENODEV), "userptr: %s", strerror(err)) || err)
		return;
	bo->handle = user.handle;
	emit_reg_mem(&b, MI_LRM, engine->base + GPR(1), bo, 1);
	emit_reg_mem(&b, MI_SRM, engine->base + GPR(1), data, 0);
	emit(&b, MI_STORE);
	emit_ref(&b, bo, 1);
	emit(&b, 0xbad);
	emit_store(&b, data, 1, 0xcafe);
	emit_reg_mem(&b, MI_SRM, engine->base + TIMESTAMP, bo, 2048);
	check(!run(&b, ctx_create(engine, 0, 0)), "refused");
	check(data->map[0] == bo->want[1], "read-only memory cannot be read");
	check(data->map[1] == 0xcafe, "a store after one to read-only memory is lost");
	check_bo(bo, "read-only memory");
}

/* The tests: semaphores and conditions */

static bool compare(unsigned int op, uint32_t memory, uint32_t value)
{
	switch (op) {
	case 0: return memory > value;
	case 1: return memory >= value;
	case 2: return memory < value;
	case 3: return memory <= value;
	case 4: return memory == value;
	default: return memory != value;
	}
}

static const uint32_t compared[] = { 0, 99, 100, 101, 0x80000000, 0xffffffff };

/* Let through what the comparison holds for, hold up the rest until it does. */
static void test_semaphores(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0), good = 0;
	unsigned int op, i;

	for (op = 0; op < 6; op++) {
		for (i = 0; i < ARRAY_SIZE(compared); i++)
			if (compare(op, compared[i], 100))
				good = compared[i];
		for (i = 0; i < ARRAY_SIZE(compared); i++) {
			struct bo *data = bo_create(PAGE);
			struct batch b = batch_create();
			bool passes = compare(op, compared[i], 100);

			data->map[0] = compared[i];
			emit_sema(&b, op, data, 0, 100);
			emit_store(&b, data, 1, 1);
			emit(&b, MI_BATCH_END);
			must(!submit(&b, ctx));
			if (!passes) {
				usleep(2000);
				check(!data->map[1], "operation %u: %x lets through", op,
				      compared[i]);
				__atomic_store_n(&data->map[0], good, __ATOMIC_SEQ_CST);
			}
			check(!bo_wait(b.bo, 5000) && data->map[1] == 1,
			      "operation %u: %x is in the way", op, passes ? compared[i] : good);
			data->map[0] = good;
		}
	}
}

static void test_signal(void)
{
	unsigned int i;

	for (i = 0; i < nengines; i++) {
		struct batch waiter = batch_create(), signaller = batch_create();
		struct bo *data = bo_create(PAGE);

		emit_sema(&waiter, 4, data, 0, 0x600d);
		emit_store(&waiter, data, 1, 1);
		emit(&waiter, MI_BATCH_END);
		must(!submit(&waiter, ctx_create(engine, 0, 0)));
		emit_store(&signaller, data, 0, 0x600d);
		check(!run(&signaller, ctx_create(&engines[i], 0, 0)), "refused");
		check(!bo_wait(waiter.bo, 10000) && data->map[1] == 1, "no signal from %s",
		      engines[i].name);
		data->map[0] = 0x600d;
	}
}

/* MI_CONDITIONAL_BATCH_BUFFER_END goes on if the memory is greater than the value. */
static void test_conditional_end(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(compared); i++) {
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();

		data->map[4] = compared[i];
		emit_store(&b, data, 0, 1);
		emit(&b, MI_COND_END);
		emit(&b, 100);
		emit_ref(&b, data, 4);
		emit_store(&b, data, 1, 1);
		check(!run(&b, ctx), "refused");
		check(data->map[0] == 1 && data->map[1] == (compared[i] > 100),
		      "%x: %s", compared[i], data->map[1] ? "goes on" : "ends");
	}
}

/* A jump is taken if bit 0 of MI_PREDICATE_RESULT_1 is set. */
static void test_predicated_jump(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0), value;

	for (value = 0; value < 2; value++) {
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();
		uint32_t *to = b.bo->map + 512, *next;
		int err;

		emit_lri(&b, engine->base + PREDICATE_RESULT_1, value);
		emit_jump(&b, MI_BB_PREDICATE, to);
		emit_store(&b, data, 0, 1);
		emit(&b, MI_BATCH_END);
		next = b.cs;
		b.cs = to;
		emit_store(&b, data, 1, 1);
		err = run(&b, ctx);
		if (is_parsed(engine)) {
			check(err == EACCES, "the parser lets a predicated jump through");
			continue;
		}
		check(next <= to && !err, "refused");
		check(data->map[0] == !value && data->map[1] == value,
		      "with %u the jump is %staken", value, data->map[1] ? "" : "not ");
	}
}

/* MI_PREDICATE of the render engine: of 2 operations on the result and 2 comparisons */
static void test_predicate(void)
{
	static const struct { uint32_t command, a, b, want; } cases[] = {
		{ 2 << 6 | 2, 5, 5, 1 },	/* load: the sources are equal */
		{ 2 << 6 | 2, 5, 6, 0 },
		{ 3 << 6 | 2, 5, 5, 0 },	/* load the inverse */
		{ 3 << 6 | 2, 5, 6, 1 },
		{ 2 << 6 | 0, 5, 6, 1 },	/* true */
		{ 2 << 6 | 1, 5, 5, 0 },	/* false */
	};
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();

		emit_lri64(&b, engine->base + 0x400, cases[i].a);
		emit_lri64(&b, engine->base + 0x408, cases[i].b);
		emit(&b, MI_PREDICATE | cases[i].command);
		emit_reg_mem(&b, MI_SRM, engine->base + PREDICATE_RESULT, data, 0);
		check(!run(&b, ctx), "refused");
		check((data->map[0] & 1) == cases[i].want, "%02x of %u and %u is %x",
		      cases[i].command, cases[i].a, cases[i].b, data->map[0]);
	}
}

/* The tests: registers */

#define ALU(op, a, b)	((op) << 20 | (a) << 10 | (b))
#define ALU_LOAD	0x080
#define ALU_LOADINV	0x480
#define ALU_LOAD0	0x081
#define ALU_LOAD1	0x481
#define ALU_STORE	0x180
#define ALU_STOREINV	0x580
#define SRCA		0x20
#define SRCB		0x21
#define ACCU		0x31
#define ZF		0x32
#define CF		0x33

static uint64_t calculate(unsigned int op, uint64_t a, uint64_t b, bool *carry)
{
	*carry = (op == 0x100 && a + b < a) || (op == 0x101 && a < b);
	switch (op) {
	case 0x100: return a + b;
	case 0x101: return a - b;
	case 0x102: return a & b;
	case 0x103: return a | b;
	default: return a ^ b;
	}
}

/* r2 = a op b, r3 = zero flag, r4 = ~(a op b), r5 = carry, r6 = ~a + 0, r7 = a + ~0 */
static void emit_math(struct batch *b, unsigned int op)
{
	const uint32_t alu[] = {
		ALU(ALU_LOAD, SRCA, 0), ALU(ALU_LOAD, SRCB, 1), ALU(op, 0, 0),
		ALU(ALU_STORE, 2, ACCU), ALU(ALU_STORE, 3, ZF), ALU(ALU_STOREINV, 4, ACCU),
		ALU(ALU_STORE, 5, CF),
		ALU(ALU_LOADINV, SRCA, 0), ALU(ALU_LOAD0, SRCB, 0), ALU(0x100, 0, 0),
		ALU(ALU_STORE, 6, ACCU),
		ALU(ALU_LOAD, SRCA, 0), ALU(ALU_LOAD1, SRCB, 0), ALU(0x100, 0, 0),
		ALU(ALU_STORE, 7, ACCU),
	};
	unsigned int i;

	emit(b, MI_MATH(ARRAY_SIZE(alu)));
	for (i = 0; i < ARRAY_SIZE(alu); i++)
		emit(b, alu[i]);
}

static void check_math(unsigned int op, uint64_t a, uint64_t b, const uint64_t *got)
{
	bool carry;
	uint64_t r = calculate(op, a, b, &carry);
	/* Of the flags bit 0 is what software uses. */
	const uint64_t want[] = { r, !r, ~r, carry, ~a, a - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		uint64_t mask = i == 1 || i == 3 ? 1 : ~0ull;

		check((got[i] & mask) == want[i], "%x of %llx and %llx: r%u is %llx, not %llx",
		      op, (long long)a, (long long)b, i + 2, (long long)got[i],
		      (long long)want[i]);
	}
}

static void test_math(void)
{
	static const uint64_t values[] = { 0, 1, 0xffffffff, 1ull << 63 | 5, ~0ull };
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int op, i, k;

	for (op = 0x100; op <= 0x104; op++) {
		for (i = 0; i < 25; i++) {
			uint64_t a = values[i % 5], c = values[i / 5];
			struct bo *data = bo_create(PAGE);
			struct batch b = batch_create();

			emit_lri64(&b, engine->base + GPR(0), a);
			emit_lri64(&b, engine->base + GPR(1), c);
			emit_math(&b, op);
			for (k = 0; k < 12; k++)
				emit_reg_mem(&b, MI_SRM, engine->base + GPR(2) + 4 * k, data, k);
			must(!run(&b, ctx));
			check_math(op, a, c, (uint64_t *)data->map);
		}
		close_node();
		fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
		ctx = ctx_create(engine, 0, 0);
	}
}

static void test_registers(void)
{
	uint32_t reg = engine->base + GPR(0);
	struct bo *data = bo_create(PAGE);
	struct batch b = batch_create();

	data->map[0] = 0x12345678;
	emit(&b, MI_LRI(3));		/* several at once */
	emit(&b, reg);
	emit(&b, 1);
	emit(&b, reg + 4);
	emit(&b, 2);
	emit(&b, reg + 12);
	emit(&b, 3);
	emit_reg_mem(&b, MI_LRM, reg + 8, data, 0);
	emit_lrr(&b, reg + 8, reg + 16);
	emit_reg_mem(&b, MI_SRM, reg, data, 4);
	emit_reg_mem(&b, MI_SRM, reg + 4, data, 5);
	emit_reg_mem(&b, MI_SRM, reg + 8, data, 6);
	emit_reg_mem(&b, MI_SRM, reg + 12, data, 7);
	emit_reg_mem(&b, MI_SRM, reg + 16, data, 8);
	if (gen >= 11) {		/* of the engine that executes it */
		emit(&b, MI_LRI(1) | MI_LRI_CS_MMIO);
		emit(&b, GPR(4));
		emit(&b, 5);
		emit_reg_mem(&b, MI_SRM, reg + 32, data, 9);
	}
	check(!run(&b, ctx_create(engine, 0, 0)), "refused");
	check(data->map[4] == 1 && data->map[5] == 2 && data->map[7] == 3, "MI_LOAD_REGISTER_IMM");
	check(data->map[6] == 0x12345678, "MI_LOAD_REGISTER_MEM");
	check(data->map[8] == 0x12345678, "MI_LOAD_REGISTER_REG");
	check(gen < 11 || data->map[9] == 5, "a register relative to the engine");
}

static const volatile uint32_t *map_registers(void)
{
	int file = open(SYSFS "device/resource0", O_RDWR | O_SYNC | O_CLOEXEC);
	void *map;

	must(file >= 0);
	map = mmap(NULL, 8 << 20, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	must(map != MAP_FAILED);
	return map;
}

/* A user's batch must not write what the kernel relies on, whatever command it uses. */
static void test_privileged_registers(void)
{
	const struct engine *other = &engines[engine == &engines[0]];
	const uint32_t regs[] = {
		engine->base + 0x98,	/* HWSTAM */
		engine->base + 0xb4,	/* EMR */
		engine->base + 0x4fc,	/* FORCE_TO_NONPRIV, the last */
		other->base + 0x98,
	};
	const volatile uint32_t *mmio = map_registers();
	struct bo *data = bo_create(PAGE);
	uint32_t before, after, ctx = ctx_create(engine, 0, 0), how;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(regs) * 3; i++) {
		uint32_t reg = regs[i / 3], bad;
		struct batch b = batch_create();

		how = i % 3;
		before = mmio[reg / 4];
		bad = before ^ 0x00a5a500;
		data->map[0] = bad;
		emit_lri(&b, engine->base + GPR(0), bad);
		if (how == 0)
			emit_lri(&b, reg, bad);
		else if (how == 1)
			emit_reg_mem(&b, MI_LRM, reg, data, 0);
		else
			emit_lrr(&b, engine->base + GPR(0), reg);
		emit_store(&b, data, 1, i + 1);
		if (run(&b, ctx))
			check(is_parsed(engine), "%x: refused by the kernel", reg);
		else
			check(data->map[1] == i + 1, "%x: the batch did not go on", reg);
		after = mmio[reg / 4];
		check(after == before, "%x: %x was written over %x with %s", reg, after, before,
		      how == 0 ? "LRI" : how == 1 ? "LRM" : "LRR");
	}
	munmap((void *)mmio, 8 << 20);
	check_works(engine);
}

static const struct { int16_t class; uint16_t offset, count; } context_regs[] = {
	{ -1, GPR(0), 32 },
	{ I915_ENGINE_CLASS_RENDER, 0x400, 4 },		/* MI_PREDICATE_SRC0 and SRC1 */
	{ I915_ENGINE_CLASS_RENDER, 0x430, 4 },		/* 3DPRIM_START_VERTEX and others */
	{ I915_ENGINE_CLASS_RENDER, 0x500, 3 },		/* GPGPU_DISPATCHDIM */
};

/* Writes @value and up to all the registers of a context, or reads them to @data. */
static void context_regs_batch(struct batch *b, struct bo *data, uint32_t value, uint32_t dword)
{
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(context_regs); i++) {
		if (context_regs[i].class >= 0 &&
		    context_regs[i].class != engine->id.engine_class)
			continue;
		for (k = 0; k < context_regs[i].count; k++) {
			uint32_t reg = engine->base + context_regs[i].offset + 4 * k;

			if (value)
				emit_lri(b, reg, value++);
			else
				emit_reg_mem(b, MI_SRM, reg, data, dword++);
		}
	}
}

/* Two contexts write their registers in turns, and read back what they wrote. */
static void test_context_registers(void)
{
	uint32_t ctx[3], got, want;
	struct bo *data = bo_create(4 * PAGE);
	unsigned int i, k;

	for (i = 0; i < 3; i++)
		ctx[i] = ctx_create(engine, 0, 0);
	for (i = 0; i < 5; i++) {	/* A writes, B writes, A reads, B reads, C reads */
		struct batch b = batch_create();

		context_regs_batch(&b, data, i < 2 ? 0x100 << i : 0, i * 512);
		check(!run(&b, ctx[i < 4 ? i % 2 : 2]), "refused");
	}
	for (i = 2; i < 5; i++) {
		for (k = 0; k < 43; k++) {
			if (k >= 32 && engine->id.engine_class != I915_ENGINE_CLASS_RENDER)
				break;
			got = data->map[i * 512 + k];
			want = (0x100u << (i - 2)) + k;
			if (i < 4)
				check(got == want, "register %u of context %u is %x, not %x", k,
				      i - 2, got, want);
			else
				check(got < 0x100 || got > 0x22a,
				      "register %u of a new context holds another's %x", k, got);
		}
	}
}

/* Many contexts count in a register, in turns. */
static void test_many_contexts(void)
{
	struct bo *data = bo_create(PAGE);
	struct batch b[16];
	uint32_t ctx[16], gpr = engine->base;
	unsigned int i, round;

	for (i = 0; i < 16; i++) {
		struct batch first = batch_create();

		ctx[i] = ctx_create(engine, 0, 0);
		emit_lri64(&first, gpr + GPR(0), i * 1000);
		check(!run(&first, ctx[i]), "refused");
		b[i] = batch_create();
		emit_lri64(&b[i], gpr + GPR(1), 1);
		emit(&b[i], MI_MATH(4));
		emit(&b[i], ALU(ALU_LOAD, SRCA, 0));
		emit(&b[i], ALU(ALU_LOAD, SRCB, 1));
		emit(&b[i], ALU(0x100, 0, 0));
		emit(&b[i], ALU(ALU_STORE, 0, ACCU));
		emit_reg_mem(&b[i], MI_SRM, gpr + GPR(0), data, i);
		emit(&b[i], MI_BATCH_END);
	}
	for (round = 0; round < 20; round++)
		for (i = 0; i < 16; i++)
			must(!submit(&b[i], ctx[i]));
	for (i = 0; i < 16; i++)
		check(!bo_wait(b[i].bo, 20000) && data->map[i] == i * 1000 + 20,
		      "context %u counted to %u", i, data->map[i]);
}

static uint32_t read_timestamp(uint32_t ctx, struct bo *data)
{
	struct batch b = batch_create();

	emit_reg_mem(&b, MI_SRM, engine->base + TIMESTAMP, data, 0);
	must(!run(&b, ctx));
	return data->map[0];
}

static bool compare_clocks(long long hz)
{
	uint32_t ctx = ctx_create(engine, 0, 0), ticks[2], i;
	long long before[2], after[2], ns;
	struct bo *data = bo_create(PAGE);

	for (i = 0; i < 2; i++) {
		before[i] = now();
		ticks[i] = read_timestamp(ctx, data);
		after[i] = now();
		usleep(300000);
	}
	ns = (long long)(ticks[1] - ticks[0]) * SECOND / hz;
	if (ns > (before[1] - after[0]) * 95 / 100 && ns < (after[1] - before[0]) * 105 / 100)
		return true;
	printf("# %lld ns by the GPU, %lld to %lld by the CPU\n", ns, before[1] - after[0],
	       after[1] - before[0]);
	return false;
}

/* A guest on a busy host may lose ticks: a wrong frequency is wrong each time. */
static void test_timestamp(void)
{
	long long hz = getparam(I915_PARAM_CS_TIMESTAMP_FREQUENCY);
	unsigned int tries = 0;

	must(hz);
	while (!compare_clocks(hz) && tries < 5)
		tries++;
	check(tries < 5, "the frequency is not %lld Hz", hz);
}

/* The tests: preemption, hangs, interrupts */

static void test_preemption(void)
{
	struct spinner low = spin(engine, true, -500);
	struct batch b = batch_create();
	struct bo *data = bo_create(PAGE);

	/* The register must come to be that of the spinner again. */
	emit_lri(&b, engine->base + GPR(0), 0xbad);
	emit_store(&b, data, 0, 1);
	check(!run(&b, ctx_create(engine, 0, 500)) && data->map[0], "not preempted");
	check(bo_wait(low.batch.bo, 0) == -ETIME, "the preempted batch has ended");
	check_spins(&low, engine->name);
}

static void test_no_preemption(void)
{
	struct spinner low = spin(engine, false, -500);
	uint32_t ctx = ctx_create(engine, 0, 500);
	struct batch b = batch_create();
	struct bo *data = bo_create(PAGE);
	long long start = now();

	set_engine(engine, "preempt_timeout_ms", 400);
	emit_store(&b, data, 0, 1);
	check(!run(&b, ctx) && data->map[0], "it was not reset");
	check(now() - start > 300 * 1000000ll, "preempted without a point of arbitration");
	check(guilty_of(low.ctx) == 1 && !guilty_of(ctx), "guilty: %u and %u of 1 and 0",
	      guilty_of(low.ctx), guilty_of(ctx));
	check_works(engine);
}

static void test_hang(void)
{
	const struct engine *other = &engines[engine == &engines[0]];
	struct spinner bystander = spin(other, true, 0), hung = spin(engine, false, 0);
	struct bo *data = bo_create(PAGE);
	struct batch b[6];
	uint32_t ctx[6];
	unsigned int i;

	for (i = 0; i < 6; i++) {
		b[i] = batch_create();
		ctx[i] = ctx_create(engine, 0, 0);
		emit_store(&b[i], data, i, 1);
		emit(&b[i], MI_BATCH_END);
		must(!submit(&b[i], ctx[i]));
	}
	set_engine(engine, "preempt_timeout_ms", 300);
	set_engine(engine, "heartbeat_interval_ms", 200);
	for (i = 0; i < 6; i++)
		check(!bo_wait(b[i].bo, 10000) && data->map[i] && !guilty_of(ctx[i]),
		      "context %u, queued behind the hang, is lost", i);
	check(guilty_of(hung.ctx) == 1, "the context that hangs is not found guilty");
	check_spins(&bystander, other->name);
	check_works(engine);
}

/* A read of the timeline, or its retirement once a second, would also find the end. */
static void test_user_interrupt(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0);
	long long spent = 0;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();
		struct pollfd p = { .events = POLLIN };
		long long start;

		emit_sema(&b, 4, data, 0, 1);
		emit(&b, MI_BATCH_END);
		b.flags = I915_EXEC_FENCE_OUT;
		must(!submit(&b, ctx));
		p.fd = b.fence;
		check(poll(&p, 1, 10) == 0, "the fence is signalled too early");
		start = now();
		__atomic_store_n(&data->map[0], 1, __ATOMIC_SEQ_CST);
		check(poll(&p, 1, 10000) == 1, "the fence is never signalled");
		spent += now() - start;
		close(b.fence);
	}
	check(spent < 5 * SECOND, "20 interrupts took %lld ms", spent / 1000000);
}

static unsigned long long field(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	unsigned int hi, lo = 0;
	int n;

	if (!check(at, "no %s in the error state", name))
		return 0;
	n = sscanf(at + strlen(name), " 0x%x%*1[ _]%x", &hi, &lo);
	return n == 2 ? (unsigned long long)hi << 32 | lo : hi;
}

/* What the driver read from the engine as it hung must be of the batch that hung. */
static void test_error_state(void)
{
	static char text[1 << 16];
	struct spinner s;
	unsigned long long acthd, ipehr;
	int file = open(SYSFS "error", O_RDWR | O_CLOEXEC);
	char *at;

	must(file >= 0 && write(file, "1", 1) == 1);
	s = spin(engine, false, -500);
	set_engine(engine, "preempt_timeout_ms", 200);
	check_works(engine);
	must(guilty_of(s.ctx) == 1);
	must(pread(file, text, sizeof(text) - 1, 0) > 0);
	close(file);
	strcat(strcpy(text + sizeof(text) - 64, engine->name), " command stream:");
	at = strstr(text, text + sizeof(text) - 64);
	must(at && at < text + sizeof(text) - 64);
	acthd = field(at, "ACTHD:");
	check(is_parsed(engine) || acthd - s.batch.bo->addr < PAGE,
	      "ACTHD is %llx, the batch at %llx", acthd, (long long)s.batch.bo->addr);
	ipehr = field(at, "IPEHR:");
	check(ipehr == MI_STORE || ipehr == MI_SRM || ipehr == MI_COND_END ||
	      ipehr == MI_BATCH_START, "IPEHR is %llx", ipehr);
	check(is_parsed(engine) || (field(at, "BBADDR:") & ~7ull) - s.batch.bo->addr < PAGE,
	      "BBADDR is %llx", field(at, "BBADDR:"));
	check(field(at, "START:") && field(at, "HWS:") && field(at, "PDP0:"), "a base is 0");
	check(field(at, "CTL:") & 1, "the ring is not enabled");
	check(!(field(at, "TAIL:") & 7), "TAIL is not aligned");
}

/* The tests: tiled surfaces */

#define PITCH	1536u
#define HEIGHT	96u

struct surface {
	struct bo *bo;
	unsigned int tiling;	/* I915_TILING_ */
};

/* Where a byte of a surface is: tiles are 512 bytes by 8 rows, or 128 by 32, of 16-byte columns */
static uint32_t tiled(unsigned int tiling, uint32_t x, uint32_t y)
{
	switch (tiling) {
	case I915_TILING_X:
		return (y / 8 * (PITCH / 512) + x / 512) * PAGE + y % 8 * 512 + x % 512;
	case I915_TILING_Y:
		return (y / 32 * (PITCH / 128) + x / 128) * PAGE + x % 128 / 16 * 512 +
		       y % 32 * 16 + x % 16;
	default:
		return y * PITCH + x;
	}
}

static struct surface surface(unsigned int tiling, uint32_t seed)
{
	struct surface s = { .bo = bo_create(PITCH * HEIGHT), .tiling = tiling };

	bo_fill(s.bo, seed);
	return s;
}

enum { XY_COLOR_BLT = 0x50, XY_SRC_COPY_BLT = 0x53, XY_FAST_COPY_BLT = 0x42 };

struct blit {
	unsigned int op, bytes;		/* of a pixel */
	struct surface dst, src;
	uint32_t x, y, w, h, sx, sy, color;
};

static uint32_t blit_pitch(const struct surface *s)
{
	return s->tiling ? PITCH / 4 : PITCH;
}

static uint32_t blit_header(const struct blit *t)
{
	uint32_t header = 2u << 29 | t->op << 22 | (t->op == XY_COLOR_BLT ? 5 : 8);

	if (t->op == XY_FAST_COPY_BLT)
		return header | t->src.tiling << 20 | t->dst.tiling << 13;
	return header | 3 << 20 | (t->src.tiling ? 1 << 15 : 0) | (t->dst.tiling ? 1 << 11 : 0);
}

static void emit_blit(struct batch *b, const struct blit *t)
{
	uint32_t depth = (t->bytes == 4 ? 3 : t->bytes - 1) << 24;
	uint32_t rop = t->op == XY_COLOR_BLT ? 0xf0 : t->op == XY_SRC_COPY_BLT ? 0xcc : 0;

	emit_lri(b, BCS_SWCTRL, 3 << 16 | (t->src.tiling == I915_TILING_Y) |
		 (t->dst.tiling == I915_TILING_Y) << 1);
	emit(b, blit_header(t));
	emit(b, depth | rop << 16 | blit_pitch(&t->dst));
	emit(b, t->y << 16 | t->x);
	emit(b, (t->y + t->h) << 16 | (t->x + t->w));
	emit_ref(b, t->dst.bo, 0);
	if (t->op == XY_COLOR_BLT) {
		emit(b, t->color);
	} else {
		emit(b, t->sy << 16 | t->sx);
		emit(b, blit_pitch(&t->src));
		emit_ref(b, t->src.bo, 0);
	}
	emit(b, MI_FLUSH_DW);
	emit_addr(b, 0);
	emit_addr(b, 0);
}

/* The same, by the CPU */
static void expect_blit(const struct blit *t)
{
	uint8_t *dst = (void *)t->dst.bo->want;
	uint32_t x, y;

	for (y = 0; y < t->h; y++) {
		for (x = 0; x < t->w * t->bytes; x++) {
			uint32_t to = tiled(t->dst.tiling, t->x * t->bytes + x, t->y + y);

			if (t->op == XY_COLOR_BLT)
				dst[to] = t->color >> x % t->bytes * 8;
			else
				dst[to] = ((uint8_t *)t->src.bo->want)
					[tiled(t->src.tiling, t->sx * t->bytes + x, t->sy + y)];
		}
	}
}

static void run_blit(struct blit *t, uint32_t ctx)
{
	struct batch b = batch_create();
	char what[64];

	emit_blit(&b, t);
	expect_blit(t);
	check(!run(&b, ctx), "refused");
	snprintf(what, sizeof(what), "blit %x, tiling %u to %u, %u bytes", t->op, t->src.tiling,
		 t->dst.tiling, t->bytes);
	check_bo(t->dst.bo, what);
}

static void test_blits(void)
{
	static const unsigned int ops[] = { XY_COLOR_BLT, XY_SRC_COPY_BLT, XY_FAST_COPY_BLT };
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < 81; i++) {
		struct blit t = { .op = ops[i / 27], .bytes = 1 << i % 3 };
		unsigned int src = i / 3 % 3, dst = i / 9 % 3;

		/* Not of the fast copy of generation 12, see fastblit_supports_x_tiling() */
		if (t.op == XY_FAST_COPY_BLT && gen == 12 &&
		    (src == I915_TILING_X || dst == I915_TILING_X))
			continue;
		if (t.op == XY_COLOR_BLT && src)
			continue;
		t.dst = surface(dst, i);
		t.src = surface(src, 5000 + i);
		t.x = 5 + i;
		t.y = 3;
		t.w = 200 + i;
		t.h = 70;
		t.sx = 37;
		t.sy = 11;
		t.color = 0x89abcdef;
		run_blit(&t, ctx);
	}
}

static void set_domain(const struct bo *bo, uint32_t read, uint32_t write)
{
	struct drm_i915_gem_set_domain set = { .handle = bo->handle, .read_domains = read,
					       .write_domain = write };

	must(!ioctl(fd, DRM_IOCTL_I915_GEM_SET_DOMAIN, &set));
}

/* Through the aperture, where a fence register makes a tiled object look linear */
static void test_fences(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0), tiling, x, y;

	must(getparam(I915_PARAM_NUM_FENCES_AVAIL) > 0);
	for (tiling = I915_TILING_NONE; tiling <= I915_TILING_Y; tiling++) {
		struct surface s = surface(tiling, tiling);
		struct drm_i915_gem_set_tiling set = { .handle = s.bo->handle,
						       .tiling_mode = tiling, .stride = PITCH };
		struct blit t = { .op = XY_SRC_COPY_BLT, .bytes = 4, .dst = surface(0, 9),
				  .src = s, .w = PITCH / 4, .h = HEIGHT };
		uint32_t *gtt, bad = 0;

		must(!ioctl(fd, DRM_IOCTL_I915_GEM_SET_TILING, &set));
		must(set.swizzle_mode == I915_BIT_6_SWIZZLE_NONE);
		gtt = bo_mmap(s.bo, I915_MMAP_OFFSET_GTT);
		set_domain(s.bo, I915_GEM_DOMAIN_GTT, I915_GEM_DOMAIN_GTT);
		for (y = 0; y < HEIGHT; y++) {
			for (x = 0; x < PITCH / 4; x += 1 + (x + y) % 3) {
				uint32_t at = tiled(tiling, x * 4, y) / 4;

				bad += gtt[y * PITCH / 4 + x] != s.bo->want[at];
				s.bo->want[at] = y << 16 | x;
				gtt[y * PITCH / 4 + x] = y << 16 | x;
			}
		}
		set_domain(s.bo, I915_GEM_DOMAIN_CPU, 0);
		check(!bad, "tiling %u: %u dwords are misread through the fence", tiling, bad);
		check_bo(s.bo, "written through a fence");
		run_blit(&t, ctx);
		munmap(gtt, s.bo->size);
	}
}

enum { ANY = -1, ONCE = -2 };

static const struct test {
	const char *name;
	void (*run)(void);
	int class;
} tests[] = {
	{ "stores", test_stores, ANY },
	{ "large_object", test_large_object, ANY },
	{ "isolation", test_isolation, ANY },
	{ "read_only", test_read_only, ANY },
	{ "semaphores", test_semaphores, ANY },
	{ "signal", test_signal, ANY },
	{ "conditional_end", test_conditional_end, ANY },
	{ "predicated_jump", test_predicated_jump, ANY },
	{ "predicate", test_predicate, I915_ENGINE_CLASS_RENDER },
	{ "math", test_math, ANY },
	{ "registers", test_registers, ANY },
	{ "privileged_registers", test_privileged_registers, ANY },
	{ "context_registers", test_context_registers, ANY },
	{ "many_contexts", test_many_contexts, ANY },
	{ "timestamp", test_timestamp, ANY },
	{ "user_interrupt", test_user_interrupt, ANY },
	{ "preemption", test_preemption, ANY },
	{ "no_preemption", test_no_preemption, ANY },
	{ "hang", test_hang, ANY },
	{ "error_state", test_error_state, ANY },
	{ "blits", test_blits, I915_ENGINE_CLASS_COPY },
	{ "fences", test_fences, I915_ENGINE_CLASS_COPY },
};

static unsigned int failed_tests;

static void run_test(const struct test *test)
{
	if (test->class >= 0 && test->class != engine->id.engine_class)
		return;
	if (test->run == test_error_state && access(SYSFS "error", F_OK)) {
		printf("# error_state: not run, needs CONFIG_DRM_I915_CAPTURE_ERROR\n");
		return;
	}

	errors = 0;
	next_addr = 0x10000000;
	fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
	if (!setjmp(give_up)) {
		must(fd >= 0);
		reset_timeouts();
		test->run();
	}
	close_node();
	failed_tests += errors > 0;
	printf("%sok %u %s.%s\n", errors ? "not " : "", ++test_number, engine->name, test->name);
}

/* gpu_check [name]: runs all tests, or those whose name contains this */
int main(int argc, char **argv)
{
	unsigned int i, k;

	setlinebuf(stdout);
	printf("TAP version 13\n");
	if (setjmp(give_up)) {
		printf("Bail out! no GPU to be tested\n");
		return 1;
	}
	query();
	for (i = 0; i < nengines; i++) {
		engine = &engines[i];
		for (k = 0; k < ARRAY_SIZE(tests); k++)
			if (argc < 2 || strstr(tests[k].name, argv[1]))
				run_test(&tests[k]);
	}
	settle();
	printf("1..%u\n", test_number);
	return failed_tests || !test_number;
}
