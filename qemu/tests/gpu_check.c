// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Checks the modelled GPU from inside the guest, through the i915 node: what each
 * engine does with memory, registers and semaphores, how it preempts, hangs and is
 * reset. The expected results come from the hardware's documentation and from the driver,
 * never from the model.
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

/* Runs of MI_NOOP, across pages, too: what follows each is executed. */
static void test_noops(void)
{
	static const unsigned int runs[] = { 1, 2, 1000, 1024, 5000, 1, 10000, 3 };
	struct batch b = { .bo = bo_create(32 * PAGE), .fence = -1 };
	struct bo *data = bo_create(PAGE);
	unsigned int i;

	b.cs = b.bo->map;
	bo_fill(data, 6);
	for (i = 0; i < ARRAY_SIZE(runs); i++) {
		b.cs += runs[i];
		emit_store(&b, data, i, i);
	}
	check(!run(&b, ctx_create(engine, 0, 0)), "refused");
	check_bo(data, "noops");
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

/* Copies, and what flushes write when they are done */
static void test_other_stores(void)
{
	struct bo *data = bo_create(PAGE);
	struct batch b = batch_create();
	unsigned int op;

	bo_fill(data, 5);
	emit(&b, MI_COPY_MEM);
	emit_ref(&b, data, 101);
	emit_ref(&b, data, 7);
	data->want[101] = data->want[7];
	for (op = 1; op <= 3; op += 2) {	/* a value, a timestamp */
		if (engine->id.engine_class == I915_ENGINE_CLASS_RENDER) {
			emit(&b, PIPE_CONTROL);
			emit(&b, op << 14 | 1 << 20);
		} else {
			emit(&b, MI_FLUSH_DW | op << 14);
		}
		emit_ref(&b, data, 200 + 10 * op);
		emit(&b, data->want[210] = 0x11111111);
		emit(&b, data->want[211] = 0x22222222);
	}
	check(!run(&b, ctx_create(engine, 0, 0)), "refused");
	check(data->map[230] != data->want[230], "no timestamp");
	memcpy(&data->want[230], &data->map[230], 8);
	check_bo(data, "other stores");
}

/* MI_ATOMIC with operands in the command, or in GPR 0 and 1 */
static void test_atomics(void)
{
	static const struct { unsigned int op; uint64_t old, a, b, want; } cases[] = {
		{ 0x01, 0xff00ff00, 0x0ff00ff0, 0, 0x0f000f00 },	/* and */
		{ 0x02, 0xff00ff00, 0x0ff00ff0, 0, 0xfff0fff0 },	/* or */
		{ 0x03, 0xff00ff00, 0x0ff00ff0, 0, 0xf0f0f0f0 },	/* xor */
		{ 0x04, 1, 2, 0, 2 },					/* move */
		{ 0x05, 0xffffffff, 0, 0, 0 },				/* increment */
		{ 0x06, 0, 0, 0, 0xffffffff },				/* decrement */
		{ 0x07, 10, 3, 0, 13 },					/* add */
		{ 0x08, 10, 3, 0, 7 },					/* subtract */
		{ 0x0e, 10, 10, 3, 3 },					/* compare and write */
		{ 0x0e, 10, 11, 3, 10 },
		{ 0x25, 0xffffffff, 0, 0, 1ull << 32 },			/* of 64 bits */
		{ 0x27, 0xffffffff, 1ull << 40 | 1, 0, 1ull << 40 | 1ull << 32 },
	};
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases) * 2; i++) {
		unsigned int k = i / 2, header = MI_ATOMIC | cases[k].op << 8;
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();

		memcpy(data->map, &cases[k].old, 8);
		emit_lri64(&b, engine->base + GPR(0), cases[k].a);
		emit_lri64(&b, engine->base + GPR(1), cases[k].b);
		if (cases[k].op & 0x20)
			header |= ATOMIC_QWORD;
		if (i % 2)
			header |= ATOMIC_INLINE;
		emit(&b, header);
		emit_ref(&b, data, 0);
		if (i % 2) {
			emit(&b, cases[k].a);
			emit(&b, cases[k].b);
			emit(&b, cases[k].a >> 32);
			emit(&b, cases[k].b >> 32);
			emit_addr(&b, 0);
			emit_addr(&b, 0);
		}
		check(!run(&b, ctx), "refused");
		check(!memcmp(data->map, &cases[k].want, 8), "operation %x: %x_%08x",
		      cases[k].op, data->map[1], data->map[0]);
	}
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

/* MI_PREDICATE of the render engine, after one that left the result of "5 equals 5" */
static void test_predicate(void)
{
	enum { LOAD = 2 << 6, LOADINV = 3 << 6, AND = 1 << 3, OR = 2 << 3, XOR = 3 << 3 };
	enum { TRUE, FALSE, EQUAL };
	static const struct { uint32_t command, a, b, want; } cases[] = {
		{ LOAD | EQUAL, 5, 5, 1 },
		{ LOAD | EQUAL, 5, 6, 0 },
		{ LOADINV | EQUAL, 5, 5, 0 },
		{ LOADINV | EQUAL, 5, 6, 1 },
		{ LOAD | TRUE, 5, 6, 1 },
		{ LOAD | FALSE, 5, 5, 0 },
		{ LOAD | AND | EQUAL, 5, 5, 1 },
		{ LOAD | AND | EQUAL, 5, 6, 0 },
		{ LOAD | OR | EQUAL, 5, 6, 1 },
		{ LOAD | XOR | EQUAL, 5, 5, 0 },
		{ LOADINV | XOR | EQUAL, 5, 5, 1 },
		{ EQUAL, 5, 6, 1 },				/* keep */
	};
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bo *data = bo_create(PAGE);
		struct batch b = batch_create();

		emit_lri64(&b, engine->base + 0x400, 5);
		emit_lri64(&b, engine->base + 0x408, 5);
		emit(&b, MI_PREDICATE | LOAD | EQUAL);
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
		fd = open(NODE, O_RDWR | O_CLOEXEC);
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

static volatile uint32_t *map_bar(const char *path, size_t size)
{
	int file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	void *map;

	must(file >= 0);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	must(map != MAP_FAILED);
	return map;
}

/* Ways to write a register; the last one asks for the privileges of the global GTT. */
static const char * const ways[] = { "LRI", "LRM", "LRR", "LRI after a jump" };

static void emit_write(struct batch *b, unsigned int way, uint32_t reg, struct bo *data)
{
	emit_lri(b, engine->base + GPR(0), data->map[0]);
	switch (way) {
	case 1:
		emit_reg_mem(b, MI_LRM, reg, data, 0);
		return;
	case 2:
		emit_lrr(b, engine->base + GPR(0), reg);
		return;
	case 3:
		emit(b, MI_BATCH_START & ~MI_BB_PPGTT);
		emit_addr(b, b->bo->addr + (b->cs + 2 - b->bo->map) * 4);
	}
	emit_lri(b, reg, data->map[0]);
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
	const volatile uint32_t *mmio = map_bar(SYSFS "device/resource0", 8 << 20);
	struct bo *data = bo_create(PAGE);
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(regs) * ARRAY_SIZE(ways); i++) {
		uint32_t reg = regs[i / ARRAY_SIZE(ways)], way = i % ARRAY_SIZE(ways);
		uint32_t before = mmio[reg / 4], after;
		struct batch b = batch_create();

		data->map[0] = before ^ 0x00a5a500;
		emit_write(&b, way, reg, data);
		emit_store(&b, data, 1, i + 1);
		if (run(&b, ctx))
			check(is_parsed(engine), "%x: refused by the kernel", reg);
		else
			check(data->map[1] == i + 1, "%x: the batch did not go on", reg);
		after = mmio[reg / 4];
		check(after == before, "%x: %x was written over %x with %s", reg, after, before,
		      ways[way]);
	}
	munmap((void *)mmio, 8 << 20);
	check_works(engine);
}

/*
 * Older drivers turn on the power wells of the display although it is fused off, and wait
 * until each is on: the bit below that of the request, and the fuses of a power gate.
 */
static void test_power_wells(void)
{
	static const uint32_t controls[] = { 0x45404, 0x45444, 0x45454 };	/* main, AUX, DDI */
	volatile uint32_t *mmio = map_bar(SYSFS "device/resource0", 8 << 20);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		volatile uint32_t *control = &mmio[controls[i] / 4];
		uint32_t before = *control;

		*control = 2 << 6;
		check(*control == 3 << 6, "%x: the well does not turn on: %x", controls[i], *control);
		*control = 1 << 6;
		check(!*control, "%x: the well does not turn off: %x", controls[i], *control);
		*control = before;
	}
	check((mmio[0x42000 / 4] & 0x0fc00000) == 0x0fc00000, "fuses: %x", mmio[0x42000 / 4]);
	munmap((void *)mmio, 8 << 20);
}

/* Where the first page of an object is in the aperture, which is part of the global GTT */
static uint32_t find_in_aperture(struct bo *bo)
{
	const size_t size = 256 << 20;
	const volatile uint32_t *aperture = map_bar(SYSFS "device/resource2", size);
	volatile uint32_t *gtt = bo_mmap(bo, I915_MMAP_OFFSET_GTT);
	uint32_t at;

	bo->want[0] = 0x5ec4e700 + engine->base;
	gtt[0] = bo->want[0];		/* binds it */
	for (at = 0; at < size && aperture[at / 4] != bo->want[0]; at += PAGE)
		;
	munmap((void *)gtt, bo->size);
	munmap((void *)aperture, size);
	must(at < size);
	return at;
}

/* A user's batch reaches its own memory at an address, not that of the global GTT. */
static void test_global_gtt(void)
{
	struct bo *secret = bo_create(PAGE), *data = bo_create(PAGE), *own;
	struct batch b = batch_create();

	bo_fill(secret, 11);
	own = bo_create_at(PAGE, find_in_aperture(secret));
	emit_reg_mem(&b, MI_LRM | MI_GGTT, engine->base + GPR(1), own, 0);
	emit_reg_mem(&b, MI_SRM, engine->base + GPR(1), data, 0);
	emit(&b, MI_STORE | MI_GGTT);
	emit_ref(&b, own, 1);
	emit(&b, 0xbad);
	emit_reg_mem(&b, MI_SRM | MI_GGTT, engine->base + GPR(1), own, 2);
	check(!run(&b, ctx_create(engine, 0, 0)), "refused");
	check(data->map[0] != secret->want[0], "it was read");
	check_bo(secret, "object in the global GTT");
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

/* No engine knows this one. The kernel's parser takes it for two dwords. */
static void test_bad_command(void)
{
	struct batch b = batch_create();
	uint32_t ctx = ctx_create(engine, 0, 0);

	set_engine(engine, "preempt_timeout_ms", 300);
	set_engine(engine, "heartbeat_interval_ms", 200);
	emit(&b, MI(0x3fu, 0));
	emit(&b, 0);
	check(!run(&b, ctx), "refused");
	check(guilty_of(ctx) == 1, "it is no hang");
	check_works(engine);
}

/*
 * Only a user interrupt tells the end of a batch at once if another one of its context
 * follows: else a context switch does so, too, and the driver itself looks once a second.
 */
static long long interrupt_latency(uint32_t ctx)
{
	struct bo *data = bo_create(PAGE);
	struct batch b[2];
	struct pollfd p = { .events = POLLIN };
	long long start;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		b[i] = batch_create();
		emit_sema(&b[i], 4, data, i, 1);
		emit(&b[i], MI_BATCH_END);
		b[i].flags = i ? 0 : I915_EXEC_FENCE_OUT;
		must(!submit(&b[i], ctx));
	}
	p.fd = b[0].fence;
	check(poll(&p, 1, 10) == 0, "the fence is signalled too early");
	start = now();
	__atomic_store_n(&data->map[0], 1, __ATOMIC_SEQ_CST);
	check(poll(&p, 1, 10000) == 1, "the fence is never signalled");
	start = now() - start;
	close(p.fd);
	__atomic_store_n(&data->map[1], 1, __ATOMIC_SEQ_CST);
	check(!bo_wait(b[1].bo, 10000), "the second batch does not end");
	return start;
}

static void test_user_interrupt(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0);
	long long spent = 0;
	unsigned int i;

	for (i = 0; i < 20; i++)
		spent += interrupt_latency(ctx);
	check(spent < 4 * SECOND, "20 interrupts took %lld ms", spent / 1000000);
}

/* Comes a page at a time, and some time after the reset. Returns the part of the engine. */
static const char *read_error_state(void)
{
	static char text[1 << 17], title[32];
	long long end = now() + 5 * SECOND;
	const char *at = NULL;

	snprintf(title, sizeof(title), "%s command stream:", engine->name);
	while (!at && now() < end) {
		int file = open(SYSFS "error", O_RDONLY | O_CLOEXEC);
		ssize_t n, size = 0;

		must(file >= 0);
		do {
			n = read(file, text + size, sizeof(text) - 1 - size);
			size += n > 0 ? n : 0;
		} while (n > 0);
		close(file);
		text[size] = '\0';
		at = strstr(text, title);
		usleep(10000);
	}
	must(at);
	return at;
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
	unsigned long long acthd, bbaddr, ipehr;
	const char *state;
	struct spinner s;

	settle();		/* what other tests left to be captured */
	write_file(SYSFS "error", "1");
	s = spin(engine, false, -500);
	set_engine(engine, "preempt_timeout_ms", 200);
	check_works(engine);
	must(guilty_of(s.ctx) == 1);
	state = read_error_state();
	acthd = field(state, "ACTHD:");
	bbaddr = field(state, "BBADDR:") & ~7ull;
	ipehr = field(state, "IPEHR:");
	/* The parser lets a copy of the batch run, somewhere else. */
	check(is_parsed(engine) || acthd - s.batch.bo->addr < PAGE,
	      "ACTHD is %llx, the batch at %llx", acthd, (long long)s.batch.bo->addr);
	check(is_parsed(engine) || bbaddr - s.batch.bo->addr < PAGE,
	      "BBADDR is %llx, the batch at %llx", bbaddr, (long long)s.batch.bo->addr);
	check(ipehr == MI_STORE || ipehr == MI_SRM || ipehr == MI_COND_END ||
	      ipehr == MI_BATCH_START, "IPEHR is %llx", ipehr);
	check(field(state, "START:"), "START is 0");
	check(field(state, "HWS:"), "HWS is 0");
	check(field(state, "PDP0:"), "PDP0 is 0");
	check(field(state, "CTL:") & 1, "the ring is not enabled");
	check(!(field(state, "TAIL:") & 7), "TAIL is not aligned");
}

#define LONG_LOOP	(128 << 10)	/* bytes, more than what the model takes for a wait */

/* With all engines at work, the CPUs still reach the device, within 10 us as a rule. */
static void test_busy_engines(void)
{
	struct drm_i915_reg_read timestamp = { .offset = 0x2358 };
	struct bo *loops[ARRAY_SIZE(engines)];
	unsigned int i, n = 0;
	long long start;

	for (i = 0; i < nengines; i++) {
		struct batch b = { .bo = bo_create(LONG_LOOP + PAGE) };

		if (is_parsed(&engines[i]))
			continue;
		loops[n++] = b.bo;
		b.cs = b.bo->map + LONG_LOOP / 4;
		emit_jump(&b, 0, b.bo->map);
		must(!submit(&b, ctx_create(&engines[i], 0, 0)));
	}
	start = now();
	for (i = 0; i < 1000; i++)
		must(!ioctl(fd, DRM_IOCTL_I915_REG_READ, &timestamp));
	check(now() - start < SECOND, "1000 reads take %lld ms", (now() - start) / 1000000);
	for (i = 0; i < n; i++)
		loops[i]->map[0] = MI_BATCH_END;
	for (i = 0; i < n; i++)
		check(!bo_wait(loops[i], 10000), "a loop does not end");
}

static const struct test tests[] = {
	{ "stores", test_stores, ANY_CLASS },
	{ "noops", test_noops, ANY_CLASS },
	{ "large_object", test_large_object, ANY_CLASS },
	{ "other_stores", test_other_stores, ANY_CLASS },
	{ "atomics", test_atomics, ANY_CLASS },
	{ "isolation", test_isolation, ANY_CLASS },
	{ "read_only", test_read_only, ANY_CLASS },
	{ "semaphores", test_semaphores, ANY_CLASS },
	{ "signal", test_signal, ANY_CLASS },
	{ "conditional_end", test_conditional_end, ANY_CLASS },
	{ "predicated_jump", test_predicated_jump, ANY_CLASS },
	{ "predicate", test_predicate, I915_ENGINE_CLASS_RENDER },
	{ "math", test_math, ANY_CLASS },
	{ "registers", test_registers, ANY_CLASS },
	{ "privileged_registers", test_privileged_registers, ANY_CLASS },
	{ "power_wells", test_power_wells, I915_ENGINE_CLASS_RENDER },
	{ "global_gtt", test_global_gtt, ANY_CLASS },
	{ "context_registers", test_context_registers, ANY_CLASS },
	{ "many_contexts", test_many_contexts, ANY_CLASS },
	{ "timestamp", test_timestamp, ANY_CLASS },
	{ "user_interrupt", test_user_interrupt, ANY_CLASS },
	{ "preemption", test_preemption, ANY_CLASS },
	{ "no_preemption", test_no_preemption, ANY_CLASS },
	{ "busy_engines", test_busy_engines, I915_ENGINE_CLASS_RENDER },
	{ "hang", test_hang, ANY_CLASS },
	{ "bad_command", test_bad_command, ANY_CLASS },
	/* There with CONFIG_DRM_I915_CAPTURE_ERROR */
	{ "error_state", test_error_state, ANY_CLASS, SYSFS "error" },
};

/* gpu_check [name]: runs all tests, or those whose name contains this */
int main(int argc, char **argv)
{
	return run_tests(tests, ARRAY_SIZE(tests), argc > 1 ? argv[1] : NULL);
}
