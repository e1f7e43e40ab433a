// SPDX-License-Identifier: GPL-2.0
/*
 * Floods the driver with what user space can create and give up again: contexts,
 * address spaces, files and objects. However many are created, and however little CPU
 * time the threads leave to the kernel's workers and to RCU, free memory must not drop
 * by more than a constant, and all of it must come back in the end.
 *
 * Without arguments this is a short test for CI. "-n COUNT" has each flood create COUNT,
 * and adds variants with 1, 2 and 8 threads. Further arguments go to the harness:
 *
 *	context_flood -n 10000000 -r flood.4_threads_fifo.contexts
 *
 * On a kernel without debugfs i915_gem_contexts only memory is measured.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/param.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

/*
 * The most that free memory may drop: some 500 contexts, of 96 kB if their address space
 * has a scratch page of 64 kB. Four threads took up to 404 MB by 100 000 contexts from a
 * driver that bounds nothing, and 403 MB by the first 4200 as SCHED_FIFO.
 */
#define DROP_MAX_KB	(48 * 1024)

/* More for contexts that ran: 64, of some 200 kB, may wait for their request to be retired */
#define DROP_USED_MAX_KB	(72 * 1024)

/* The flood ends at this drop, so that a machine of 1 GB survives and reports it. */
#define GIVE_UP_KB	(8 * DROP_MAX_KB)

/*
 * What may be missing in the end: slabs of general caches that a few objects keep, 9 MB
 * after a drop of 397 MB. Objects of the driver's own caches are counted instead, and
 * none may be left.
 */
#define NOISE_KB	(16 * 1024)

#define FLOOD_SAMPLE_MS	50	/* in which memory drops by 50 MB if nothing is freed */
#define STALL_SECONDS	60	/* without progress */
#define REST_SECONDS	2	/* for work to be done, on a kernel that does not count it */
#define WARM_UP		10	/* fills caches with a tenth of the short form, beforehand */
#define THREADS_MAX	16
#define LATE_IDS	400	/* of two threads, 77 MB once their contexts are created */
#define FLOOD_TIMEOUT	(7 * 24 * 3600)	/* a flood without progress ends after STALL_SECONDS */

static unsigned long count;	/* of what each flood creates, 0 in the short form */

struct memory {
	unsigned long free_kb;	/* MemFree */
	unsigned long all_kb;	/* and pages that CPUs keep */
};

struct flooder {
	struct flood *flood;
	pthread_t thread;
	int fd;
	struct i915_batch batch;
	unsigned int ids[LATE_IDS];	/* of contexts that were not used yet */
	unsigned int id_count;
};

struct flood {
	unsigned int threads;
	bool fifo;
	cpu_set_t cpus;			/* that this program may run on */
	struct i915_node node;
	struct i915_engine engines[I915_ENGINES_MAX];
	int engine_count;
	struct i915_engine pair[2];	/* of a balanced or a parallel engine */
	const char *no_batches;		/* why none can be executed, or NULL */
	bool counted;			/* contexts, by the kernel */
	struct i915_census census;	/* before the flood */

	/* Creates one and gives it up; @n is from 0 on */
	int (*create_one)(struct flooder *flooder, unsigned long n);
	unsigned long count;
	double seconds;
	struct memory before, lowest;
	long objects[I915_CACHES];	/* when memory was lowest */
	double longest_gap;		/* between samples */
	struct flooder flooders[THREADS_MAX];
	pthread_barrier_t ready;
	atomic_ulong started, done;
	atomic_uint running;		/* threads */
	atomic_bool stop;
	atomic_int err;
};

FIXTURE(flood) {
	struct flood flood;
};

FIXTURE_VARIANT(flood) {
	unsigned int threads;
	bool fifo;
};

FIXTURE_VARIANT_ADD(flood, 1_thread) { .threads = 1 };
FIXTURE_VARIANT_ADD(flood, 2_threads) { .threads = 2 };
FIXTURE_VARIANT_ADD(flood, 4_threads) { .threads = 4 };
FIXTURE_VARIANT_ADD(flood, 8_threads) { .threads = 8 };
FIXTURE_VARIANT_ADD(flood, 16_threads) { .threads = 16 };
FIXTURE_VARIANT_ADD(flood, 2_threads_fifo) { .threads = 2, .fifo = true };
FIXTURE_VARIANT_ADD(flood, 4_threads_fifo) { .threads = 4, .fifo = true };
FIXTURE_VARIANT_ADD(flood, 8_threads_fifo) { .threads = 8, .fifo = true };
FIXTURE_VARIANT_ADD(flood, 16_threads_fifo) { .threads = 16, .fifo = true };

static int unused_context(struct flooder *flooder, unsigned long n)
{
	unsigned int id = 0;

	return i915_context_create(flooder->fd, &id) ?:
	       i915_context_use(flooder->fd, id) ?:
	       i915_context_destroy(flooder->fd, id);
}

/*
 * Up to graphics version 12, the first use creates the context. The creation of many ids
 * must not be all that frees.
 */
static int late_context(struct flooder *flooder, unsigned long n)
{
	unsigned int id;
	int err = 0;

	if (!flooder->id_count)
		while (!err && flooder->id_count < LATE_IDS)
			err = i915_context_create(flooder->fd,
						  &flooder->ids[flooder->id_count++]);
	id = flooder->ids[--flooder->id_count];

	return err ?: i915_context_use(flooder->fd, id) ?:
	       i915_context_destroy(flooder->fd, id);
}

static int execute(struct flooder *flooder, unsigned long n, bool wait)
{
	const struct flood *flood = flooder->flood;
	unsigned int id = 0;
	int err;

	err = i915_context_create_engines(flooder->fd, &flood->engines[n % flood->engine_count],
					  1, 0, 0, &id);
	err = err ?: i915_batch_submit(&flooder->batch, id, 0, -1, NULL);
	if (!err && wait)
		err = i915_batch_wait(&flooder->batch, STALL_SECONDS);

	return err ?: i915_context_destroy(flooder->fd, id);
}

static int used_context(struct flooder *flooder, unsigned long n)
{
	return execute(flooder, n, true);
}

static int busy_context(struct flooder *flooder, unsigned long n)
{
	return execute(flooder, n, false);
}

static int large_context(struct flooder *flooder, unsigned long n)
{
	const struct flood *flood = flooder->flood;
	struct i915_engine engines[I915_SLOTS_MAX];
	unsigned int id = 0, i;

	for (i = 0; i < I915_SLOTS_MAX; i++)
		engines[i] = flood->engines[i % flood->engine_count];

	return i915_context_create_engines(flooder->fd, engines, I915_SLOTS_MAX, 0, 0, &id) ?:
	       i915_context_use(flooder->fd, id) ?:
	       i915_context_destroy(flooder->fd, id);
}

static int balanced_context(struct flooder *flooder, unsigned long n)
{
	unsigned int id = 0;

	return i915_context_create_balanced(flooder->fd, flooder->flood->pair, I915_SLOTS_MAX,
					    &id) ?:
	       i915_context_use(flooder->fd, id) ?:
	       i915_context_destroy(flooder->fd, id);
}

static int parallel_context(struct flooder *flooder, unsigned long n)
{
	unsigned int id = 0;

	return i915_context_create_parallel(flooder->fd, flooder->flood->pair, &id) ?:
	       i915_context_use(flooder->fd, id) ?:
	       i915_context_destroy(flooder->fd, id);
}

static int address_space(struct flooder *flooder, unsigned long n)
{
	unsigned int id = 0;

	return i915_vm_create(flooder->fd, &id) ?: i915_vm_destroy(flooder->fd, id);
}

/* Each has a default context. */
static int open_file(struct flooder *flooder, unsigned long n)
{
	const int fd = i915_open(&flooder->flood->node);

	return fd < 0 || close(fd) ? -errno : 0;
}

static int object(struct flooder *flooder, unsigned long n)
{
	unsigned int handle = 0;

	return i915_object_create(flooder->fd, &handle) ?:
	       i915_object_close(flooder->fd, handle);
}

/* It is the close of the dma-buf that gives the object up. */
static int exported_object(struct flooder *flooder, unsigned long n)
{
	struct drm_prime_handle prime = { .flags = DRM_CLOEXEC };
	int err;

	err = i915_object_create(flooder->fd, &prime.handle);
	if (err)
		return err;
	if (i915_ioctl(flooder->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		return -errno;
	err = i915_object_close(flooder->fd, prime.handle);

	return close(prime.fd) ? -errno : err;
}

static void *flood_thread(void *arg)
{
	struct flooder *flooder = arg;
	struct flood *flood = flooder->flood;
	unsigned long n;
	int err = 0;

	if (flood->fifo)
		err = pin_to_cpu(&flood->cpus, flooder - flood->flooders) ?: set_fifo(1);
	if (!err && !flood->no_batches) {
		err = i915_batch_create(flooder->fd, &flooder->batch);
		if (!err)
			i915_batch_store(&flooder->batch, 1);
	}

	/* A thread that maps memory may sleep with the mmap lock, which the sampling needs */
	pthread_barrier_wait(&flood->ready);
	while (!err && !flood->stop) {
		n = flood->started++;
		if (n >= flood->count)
			break;
		err = flood->create_one(flooder, n);
		if (!err)
			flood->done++;
	}
	if (err) {
		flood->err = err;
		flood->stop = true;
	}

	if (flooder->batch.map)
		i915_batch_destroy(&flooder->batch);
	flood->running--;

	return NULL;
}

/*
 * The kernel keeps pages on each CPU for the next allocation, on busy CPUs an eighth of
 * all memory. MemFree does not count them, but they are free.
 */
static struct memory read_memory(void)
{
	unsigned long pages, free = 0, kept = 0;
	const long page_kb = sysconf(_SC_PAGESIZE) / 1024;
	FILE *file = fopen("/proc/zoneinfo", "r");
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " nr_free_pages %lu", &pages) == 1)
			free += pages;
		else if (sscanf(line, " count: %lu", &pages) == 1)
			kept += pages;
	}
	if (file)
		fclose(file);

	return (struct memory){ free * page_kb, (free + kept) * page_kb };
}

/* Samples memory until all threads have ended. Returns false if they do not get ahead. */
static bool watch(struct flood *flood)
{
	double last_sample = now(), last_progress = last_sample;
	unsigned long last_done = 0;
	unsigned int i;

	flood->longest_gap = 0;
	while (flood->running && !usleep(FLOOD_SAMPLE_MS * 1000)) {
		const struct memory memory = read_memory();

		flood->lowest.free_kb = MIN(flood->lowest.free_kb, memory.free_kb);
		if (memory.all_kb < flood->lowest.all_kb) {
			flood->lowest.all_kb = memory.all_kb;
			for (i = 0; i < I915_CACHES; i++)
				flood->objects[i] = i915_peek_objects(i915_caches[i]);
		}
		if (memory.all_kb + GIVE_UP_KB < flood->before.all_kb)
			flood->stop = true;

		flood->longest_gap = MAX(flood->longest_gap, now() - last_sample);
		last_sample = now();
		if (flood->done != last_done)
			last_progress = last_sample;
		if (last_sample - last_progress > STALL_SECONDS)
			return false;
		last_done = flood->done;
	}

	return true;
}

/* Two threads each share a file, to contend for its locks and for those of the driver. */
static int run_flood(struct flood *flood, unsigned long count)
{
	const double start = now();
	unsigned int i;
	int fd = -1;

	flood->count = count;
	flood->started = 0;
	flood->done = 0;
	flood->stop = false;
	flood->running = flood->threads;
	pthread_barrier_init(&flood->ready, NULL, flood->threads + 1);
	flood->before = read_memory();
	flood->lowest = flood->before;
	for (i = 0; i < flood->threads; i++) {
		struct flooder *flooder = &flood->flooders[i];

		if (i % 2 == 0)
			fd = i915_open(&flood->node);
		*flooder = (struct flooder){ .flood = flood, .fd = fd };
		if (fd < 0 || pthread_create(&flooder->thread, NULL, flood_thread, flooder))
			return -EAGAIN;
	}
	pthread_barrier_wait(&flood->ready);
	if (!watch(flood))
		return -ETIMEDOUT;

	while (i--) {
		pthread_join(flood->flooders[i].thread, NULL);
		if (i % 2 == 0)
			close(flood->flooders[i].fd);
	}
	flood->seconds = now() - start;

	return flood->err;
}

/* Returns "" once contexts, objects and memory are back, and what is not if it takes long. */
static const char *wait_until_back(struct flood *flood)
{
	const double end = now() + SETTLE_SECONDS;
	const char *left = "";

	if (flood->counted)
		left = i915_left_behind(&flood->node, &flood->census);
	while (!*left && read_memory().all_kb + NOISE_KB < flood->before.all_kb) {
		usleep(FLOOD_SAMPLE_MS * 1000);
		if (now() > end)
			left = "free memory";
	}

	return left;
}

FIXTURE_SETUP(flood)
{
	struct i915_node nodes[I915_NODES_MAX];
	const int nodes_found = i915_find_nodes(nodes);
	struct flood *flood = &self->flood;
	struct i915_stats stats = {};
	int i, fd;

	for (i = 0; i < nodes_found; i++) {
		flood->counted = !i915_read_stats(&nodes[i], &stats);
		if (!stats.alive)
			break;
	}
	if (i == nodes_found)
		SKIP(return, I915_IN_USE);
	flood->node = nodes[i];

	fd = i915_open(&flood->node);
	ASSERT_LE(0, fd);
	flood->no_batches = i915_no_batches(fd);
	flood->engine_count = i915_list_engines(fd, flood->engines);
	close(fd);
	ASSERT_LT(0, flood->engine_count);
	flood->threads = variant->threads;
	flood->fifo = variant->fifo;
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(flood->cpus), &flood->cpus));
	ASSERT_NE(0, read_memory().all_kb);
	/* Above the flood, to sample it in time */
	if (flood->fifo && set_fifo(2))
		SKIP(return, "SCHED_FIFO is not permitted: be root");
}

FIXTURE_TEARDOWN(flood) {}

static void print_flood(const struct flood *flood, const char *name, double seconds)
{
	struct i915_stats stats = {};
	unsigned int i;

	i915_read_stats(&flood->node, &stats);
	printf("# flood: %u_thread%s%s.%s: %lu pairs in %.1f s, drop %lu kB, ",
	       flood->threads, flood->threads > 1 ? "s" : "", flood->fifo ? "_fifo" : "", name,
	       flood->done, flood->seconds,
	       flood->before.all_kb - flood->lowest.all_kb);
	printf("pairs per second until all memory is back %.0f\n", flood->done / seconds);
	printf("#   MemFree %lu kB, samples %.2f s apart, %lu contexts waiting; at the lowest",
	       flood->before.free_kb - flood->lowest.free_kb, flood->longest_gap,
	       stats.max_waiting);
	for (i = 0; i < I915_CACHES; i++)
		printf(" %s %ld", i915_caches[i], flood->objects[i]);
	printf("\n");
}

static void check_flood(struct __test_metadata *_metadata, struct flood *flood,
			unsigned long short_count,
			int (*create_one)(struct flooder *flooder, unsigned long n))
{
	/* A context whose request runs is not dead. It is charged, not bounded. */
	const long most = create_one == busy_context ? GIVE_UP_KB :
			  create_one == used_context ? DROP_USED_MAX_KB : DROP_MAX_KB;
	const char *left;
	double start;

	flood->create_one = create_one;
	ASSERT_EQ(0, run_flood(flood, short_count / WARM_UP));
	if (flood->counted) {
		ASSERT_EQ(0, i915_settled_census(&flood->node, &flood->census));
		i915_reset_max_waiting(&flood->node);
	} else {
		sleep(REST_SECONDS);
	}

	start = now();
	ASSERT_EQ(0, run_flood(flood, count ?: short_count));
	left = wait_until_back(flood);
	print_flood(flood, _metadata->name, now() - start);

	EXPECT_STREQ("", left);
	EXPECT_GE(most, (long)(flood->before.all_kb - flood->lowest.all_kb));
}

TEST_F_TIMEOUT(flood, contexts, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 3000, unused_context);
}

TEST_F_TIMEOUT(flood, late_contexts, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 3000, late_context);
}

TEST_F_TIMEOUT(flood, used_contexts, FLOOD_TIMEOUT)
{
	if (self->flood.no_batches)
		SKIP(return, "%s", self->flood.no_batches);
	check_flood(_metadata, &self->flood, 600, used_context);
}

TEST_F_TIMEOUT(flood, busy_contexts, FLOOD_TIMEOUT)
{
	if (self->flood.no_batches)
		SKIP(return, "%s", self->flood.no_batches);
	check_flood(_metadata, &self->flood, 600, busy_context);
}

TEST_F_TIMEOUT(flood, large_contexts, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 1000, large_context);
}

TEST_F_TIMEOUT(flood, balanced_contexts, FLOOD_TIMEOUT)
{
	if (i915_find_pair(self->flood.engines, self->flood.engine_count, self->flood.pair))
		SKIP(return, I915_NO_PAIR);
	check_flood(_metadata, &self->flood, 1500, balanced_context);
}

TEST_F_TIMEOUT(flood, parallel_contexts, FLOOD_TIMEOUT)
{
	struct flood *flood = &self->flood;
	unsigned int id = 0;
	int fd, err;

	if (i915_find_pair(flood->engines, flood->engine_count, flood->pair))
		SKIP(return, I915_NO_PAIR);
	fd = i915_open(&flood->node);
	err = i915_context_create_parallel(fd, flood->pair, &id);
	close(fd);
	if (err == -ENODEV)
		SKIP(return, "no parallel engines");
	ASSERT_EQ(0, err);
	check_flood(_metadata, flood, 1500, parallel_context);
}

TEST_F_TIMEOUT(flood, vms, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 3000, address_space);
}

TEST_F_TIMEOUT(flood, files, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 2000, open_file);
}

/*
 * As SCHED_FIFO, a driver that does not throttle these drops 39 to 52 MB of 100 000
 * objects, and 45 to 68 MB if they are exported, which the limit may allow. KUnit tests
 * the throttle.
 */
TEST_F_TIMEOUT(flood, objects, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 5000, object);
}

TEST_F_TIMEOUT(flood, exports, FLOOD_TIMEOUT)
{
	check_flood(_metadata, &self->flood, 5000, exported_object);
}

int main(int argc, char *argv[])
{
	char *short_form[11] = { argv[0], "-V", "1_thread", "-V", "2_threads",
				 "-V", "8_threads", "-V", "2_threads_fifo",
				 "-V", "8_threads_fifo" };
	struct i915_node nodes[I915_NODES_MAX];

	if (!i915_find_nodes(nodes)) {
		ksft_print_header();
		ksft_exit_skip(I915_NO_NODE "\n");
	}

	if (argc == 1)
		return test_harness_run(ARRAY_SIZE(short_form), short_form);
	if (argc > 2 && !strcmp(argv[1], "-n")) {
		count = strtoul(argv[2], NULL, 10);
		if (!count)
			ksft_exit_fail_msg("not a count: %s\n", argv[2]);
		argc -= 2;
		argv += 2;
	}

	return test_harness_run(argc, argv);
}
