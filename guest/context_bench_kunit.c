// SPDX-License-Identifier: MIT
/*
 * What it costs to create, put and free GEM contexts, on a mock device. scripts/kernel
 * builds this as a module of its own, with the mock device of the series.
 *
 * Costs are differences of the TSC: cycles on hardware, and on the one CPU that
 * QEMU has with -icount shift=0 instructions, the same ones in each run. They are
 * printed as "bench: name value". What is held against a limit are counts, and
 * ratios of instructions.
 */

#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sort.h>

#include <asm/msr.h>

#include "gem/i915_gem_context_types.h"

#include "i915_gem_context_mock.h"

/*
 * The limits, and what was measured with a list and one worker, and with a work
 * item for each context. The first leaves room for what another compiler makes.
 */
#define PUT_MAX		170 /* percent of an empty put and a llist_add(): 153, was 800 */
#define CREATION_MAX	105 /* percent of one with none waiting: 102 with 1000000 */
#define WAITING_MAX	4 /* contexts, for one thread on one CPU: 1, was all of them */

static unsigned int contexts = 1000;
module_param(contexts, uint, 0444);
MODULE_PARM_DESC(contexts, "how many wait in the largest benchmark, of some others a tenth (default: 1000)");

static const struct intel_device_info device = MOCK_CLIENT_INFO(12);

/* How many of a kind are measured, for a median */
#define SAMPLES	32

static u64 overhead; /* of a measurement */
static bool instructions; /* is what is counted */

/* i915_gem_context_release(): a jump to it takes one instruction, as in the driver */
static void (*release)(struct kref *ref);

static __always_inline u64 cost_since(u64 tsc)
{
	return rdtsc_ordered() - tsc - overhead;
}

#define COST(statement) ({ \
	u64 cost_from = rdtsc_ordered(); \
	statement; \
	cost_since(cost_from); \
})

static void print_figure(struct kunit *test, const char *name, u64 value)
{
	kunit_info(test, "bench: %s %llu\n", name, value);
}

static void print_figure_for(struct kunit *test, const char *name, unsigned int count, u64 value)
{
	kunit_info(test, "bench: %s_%u %llu\n", name, count, value);
}

static int compare_u64(const void *a, const void *b)
{
	return cmp_int(*(const u64 *)a, *(const u64 *)b);
}

static u64 median(u64 *values, unsigned int count)
{
	sort(values, count, sizeof(*values), compare_u64, NULL);

	return values[count / 2];
}

/* Two instructions each time round, and on hardware one cycle, or less. */
static u64 cost_of_loop(unsigned long count)
{
	return COST(asm volatile("1: dec %0\n\tjnz 1b" : "+r" (count)));
}

static void calibrate(void)
{
	u64 least = U64_MAX;
	unsigned long flags;
	int i;

	overhead = 0;
	local_irq_save(flags);
	for (i = 0; i < SAMPLES; i++)
		least = min(least, COST(barrier()));
	overhead = least;
	instructions = cost_of_loop(2000) - cost_of_loop(1000) == 2000 &&
		       cost_of_loop(4000) - cost_of_loop(1000) == 6000;
	local_irq_restore(flags);
}

static int bench_init(struct kunit *test)
{
	calibrate();
	release = i915_gem_context_test_ops.release;

	return mock_client_test_init(test, &device);
}

/* A context with the vm of that id, or if that is 0 one of its own. */
static u32 create(struct kunit *test, struct mock_client *client, u32 vm_id)
{
	struct drm_i915_gem_context_param set_vm = {
		.param = I915_CONTEXT_PARAM_VM,
		.value = vm_id,
	};
	struct drm_i915_gem_context_create_ext args = {};

	KUNIT_ASSERT_EQ(test, client->mock->ops->context_create(&client->mock->i915->drm,
								&args, client->file), 0);
	set_vm.ctx_id = args.ctx_id;
	if (vm_id)
		KUNIT_ASSERT_EQ(test, context_setparam(client, &set_vm), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, args.ctx_id), 0);

	return args.ctx_id;
}

/* As small as they get, with one vm for all. Returns the first of consecutive ids. */
static u32 create_many(struct kunit *test, struct mock_client *client, u32 vm_id,
		       unsigned int count)
{
	u32 first = 0, last = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		last = create(test, client, vm_id);
		if (!i)
			first = last;
	}
	if (count)
		KUNIT_ASSERT_EQ(test, last, first + count - 1);

	return first;
}

static void destroy_many(struct kunit *test, struct mock_client *client, u32 first,
			 unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, first + i), 0);
}

/* As i915_gem_context_put() does */
static noinline void put_context(struct kref *ref)
{
	kref_put(ref, release);
}

static noinline void empty_release(struct kref *ref)
{
	/* For the compiler not to leave out the call */
	barrier();
}

static noinline void put_empty(struct kref *ref)
{
	kref_put(ref, empty_release);
}

static noinline bool add_to_list(struct llist_node *node, struct llist_head *list)
{
	return llist_add(node, list);
}

/* The last put, with interrupts off, and what it cannot do without. */
static void context_cost_of_put(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	u64 put[SAMPLES], empty[SAMPLES], add[SAMPLES], first, needed;
	struct {
		struct i915_gem_context *ctx;
		struct kref *ctx_ref, ref;
		struct llist_node node;
	} *s;
	struct llist_head list;
	unsigned long flags;
	int i;

	/* With KASAN, too large for the stack */
	s = kunit_kcalloc(test, SAMPLES, sizeof(*s), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	init_llist_head(&list);
	for (i = 0; i < SAMPLES; i++) {
		s[i].ctx = mock->ops->create(mock->i915);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, s[i].ctx);
		s[i].ctx_ref = &s[i].ctx->ref;
		kref_get(s[i].ctx_ref);
		mock->ops->close(s[i].ctx);
		kref_init(&s[i].ref);
	}
	mock->ops->flush(mock->i915);

	local_irq_save(flags);
	for (i = 0; i < SAMPLES; i++) {
		put[i] = COST(put_context(s[i].ctx_ref));
		empty[i] = COST(put_empty(&s[i].ref));
		add[i] = COST(add_to_list(&s[i].node, &list));
	}
	local_irq_restore(flags);

	first = put[0];
	put[0] = median(put + 1, SAMPLES - 1);
	empty[0] = median(empty, SAMPLES);
	add[0] = median(add + 1, SAMPLES - 1);
	needed = empty[0] + add[0];

	print_figure(test, "put", put[0]);
	print_figure(test, "put_most", put[SAMPLES - 1]);
	print_figure(test, "put_first", first);
	print_figure(test, "put_empty", empty[0]);
	print_figure(test, "llist_add", add[0]);
	print_figure(test, "size", sizeof(*s->ctx));
	if (instructions)
		KUNIT_EXPECT_LE(test, 100 * put[0], PUT_MAX * needed);
}

struct puts {
	struct irq_work work;
	struct i915_gem_context *ctx[16];
	unsigned int count;
	u64 cost;
};

static void put_all(struct irq_work *work)
{
	struct puts *puts = container_of(work, typeof(*puts), work);
	static DEFINE_RAW_SPINLOCK(lock);
	u64 begin = rdtsc_ordered();
	unsigned int i;

	for (i = 0; i < puts->count; i++) {
		raw_spin_lock(&lock);
		put_context(&puts->ctx[i]->ref);
		raw_spin_unlock(&lock);
	}
	puts->cost = cost_since(begin);
}

static void cost_in_hardirq(struct kunit *test, unsigned int count)
{
	struct mock_device *mock = test->priv;
	struct puts puts = {
		.work = IRQ_WORK_INIT_HARD(put_all),
		.count = count,
	};
	unsigned int i;

	for (i = 0; i < count; i++) {
		puts.ctx[i] = mock->ops->create(mock->i915);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, puts.ctx[i]);
		kref_get(&puts.ctx[i]->ref);
		mock->ops->close(puts.ctx[i]);
	}
	mock->ops->flush(mock->i915);

	irq_work_queue(&puts.work);
	irq_work_sync(&puts.work);
	print_figure_for(test, "hardirq", count, puts.cost);
	mock->ops->flush(mock->i915);
}

/*
 * Last puts as where requests are signaled: in a hardirq, each under a lock. How long
 * interrupts are off, with the first, which queues the worker, and those that follow.
 */
static void context_cost_in_hardirq(struct kunit *test)
{
	cost_in_hardirq(test, 1);
	cost_in_hardirq(test, 16);
}

/* From when the worker can run until it has freed so many contexts. */
static u64 cost_of_frees(struct kunit *test, struct mock_client *client, u32 vm_id,
			 unsigned int count)
{
	struct mock_device *mock = test->priv;
	u32 first = create_many(test, client, vm_id, count);
	u64 begin;

	mock->ops->flush(mock->i915);
	mock_device_block_queue(mock);
	destroy_many(test, client, first, count);
	KUNIT_ASSERT_EQ(test, waiting(client), count);
	/* The time of the worker has come then, so that it is queued behind the blocker */
	schedule_timeout_uninterruptible(2);

	begin = rdtsc_ordered();
	mock_device_unblock_queue(mock);
	while (waiting(client))
		flush_workqueue(mock->i915->wq);

	return cost_since(begin);
}

/* The free by the worker, as what 100 more of them take. */
static void context_cost_of_free(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const unsigned int count = clamp(contexts / 10, 1, 1000);
	const u32 vm_id = create_vm(test, client);
	u64 few = U64_MAX, many = U64_MAX;
	int i;

	/* The least is without what interrupts */
	for (i = 0; i < 3; i++) {
		few = min(few, cost_of_frees(test, client, vm_id, count));
		many = min(many, cost_of_frees(test, client, vm_id, 2 * count));
	}
	print_figure_for(test, "free", 100, 100 * (many - few) / count);
}

/* Creation and first use while others wait to be freed and the worker is held up. */
static u64 cost_of_creation(struct kunit *test, unsigned int backlog)
{
	struct mock_client *client = mock_client_open(test);
	const u32 vm_id = create_vm(test, client);
	struct mock_device *mock = test->priv;
	u32 first = create_many(test, client, vm_id, backlog);
	u64 cost[SAMPLES];
	unsigned int i;
	u32 id;

	mock->ops->flush(mock->i915);
	mock_device_block_queue(mock);
	destroy_many(test, client, first, backlog);
	KUNIT_ASSERT_EQ(test, waiting(client), backlog);

	for (i = 0; i < SAMPLES; i++) {
		cost[i] = COST(id = create(test, client, 0));
		destroy_many(test, client, id, 1);
	}

	mock_device_unblock_queue(mock);
	mock_client_close(client);
	mock->ops->flush(mock->i915);

	cost[0] = median(cost, SAMPLES);
	print_figure_for(test, "creation", backlog, cost[0]);

	return cost[0];
}

/* What others have left behind is not charged to who makes a context. */
static void context_cost_of_creation(struct kunit *test)
{
	const u64 none = cost_of_creation(test, 0);
	const u64 some = cost_of_creation(test, contexts / 1000);
	const u64 most = cost_of_creation(test, contexts);

	if (instructions) {
		KUNIT_EXPECT_LE(test, 100 * some, CREATION_MAX * none);
		KUNIT_EXPECT_LE(test, 100 * most, CREATION_MAX * none);
	}
}

static void spam(struct kunit *test, const char *name)
{
	struct mock_client *client = mock_client_open(test);
	const u32 vm_id = create_vm(test, client);
	struct mock_device *mock = test->priv;
	unsigned long *most = &mock->i915->gem.contexts.stats.max_waiting;
	const unsigned int count = contexts / 10;
	unsigned int i;

	*most = 0;
	for (i = 0; i < count; i++)
		destroy_many(test, client, create(test, client, vm_id), 1);
	print_figure(test, name, *most);
	/* With more CPUs, the host of a guest may stop the one that frees */
	KUNIT_EXPECT_LE(test, *most, num_online_cpus() > 1 ? count / 2 : WAITING_MAX);
}

/* While the worker cannot run, creation frees what is destroyed. */
static void context_most_waiting(struct kunit *test)
{
	struct mock_device *mock = test->priv;

	mock_device_block_queue(mock);
	spam(test, "waiting_blocked");
	mock_device_unblock_queue(mock);
	mock->ops->flush(mock->i915);

	/* On one CPU, it leaves none to the worker */
	sched_set_fifo(current);
	spam(test, "waiting_starved");
	sched_set_normal(current, 0);
}

static void cost_of_file(struct kunit *test, unsigned int count)
{
	struct mock_client *client = mock_client_open(test), *other = mock_client_open(test);
	struct mock_device *mock = test->priv;
	atomic_long_t *worker_runs = &mock->i915->gem.contexts.worker_runs;
	u64 begin, closed, gone;
	long runs;

	create_many(test, client, create_vm(test, client), count);
	mock->ops->flush(mock->i915);
	runs = atomic_long_read(worker_runs);
	begin = rdtsc_ordered();
	mock_client_close(client);
	closed = cost_since(begin);
	/* Which does not wait for a worker that is to come later */
	while (waiting(other))
		flush_workqueue(mock->i915->wq);
	gone = cost_since(begin);
	/* Those that come later, to find nothing, are counted too */
	msleep(50);
	runs = atomic_long_read(worker_runs) - runs;
	mock_client_close(other);

	print_figure_for(test, "close", count, closed);
	print_figure_for(test, "gone", count, gone);
	print_figure_for(test, "close_runs", count, runs);
}

/* The close of a file with contexts, and the time until all of them are freed. */
static void context_cost_of_file(struct kunit *test)
{
	cost_of_file(test, 1);
	cost_of_file(test, contexts / 1000);
	cost_of_file(test, contexts / 20);
	cost_of_file(test, contexts / 10);
}

static struct kunit_case bench_cases[] = {
	KUNIT_CASE(context_cost_of_put),
	KUNIT_CASE(context_cost_in_hardirq),
	KUNIT_CASE(context_cost_of_free),
	KUNIT_CASE(context_cost_of_creation),
	KUNIT_CASE(context_most_waiting),
	KUNIT_CASE(context_cost_of_file),
	{}
};

static struct kunit_suite bench_suite = {
	.name = "i915_gem_context_bench",
	.init = bench_init,
	.exit = mock_client_test_exit,
	.test_cases = bench_cases,
};

kunit_test_suites(&bench_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

MODULE_LICENSE("GPL and additional rights");
MODULE_DESCRIPTION("i915 GEM context benchmarks");
