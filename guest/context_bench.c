// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what GEM contexts cost, and prints lines "bench: name value":
 *
 *  costs	the module i915_context_bench, a KUnit suite on a mock device of its own:
 *		in cycles, or in instructions in a guest of QEMU with -icount shift=0
 *  memory	the most contexts that wait to be freed, the runs of the worker, and the
 *		most slab, while one thread creates and destroys contexts, and while
 *		SCHED_FIFO threads on every CPU do, which starve the worker
 *
 * The only limits that are checked are the ratios in the KUnit suite, and how many
 * contexts wait at most.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "../../../kselftest.h"
#include "i915_census.h"

#define SUITE		"i915_gem_context_bench"
#define MODULE		"i915_context_bench"
#define RESULTS		"/sys/kernel/debug/kunit/" SUITE "/results"

/*
 * For each thread that creates and destroys. On one CPU no more than one waits, as in
 * the KUnit suite; with more, one may be stopped by the host while it frees.
 */
#define WAITING_MAX	4
#define WAITING_MORE	1000

#define THREADS_MAX	64
#define CACHES_MAX	512
#define SAMPLE_EVERY	200	/* contexts: the slab caches */

static unsigned long count = 10000;
static cpu_set_t cpus;		/* that this program may run on */

struct load {
	const char *name;
	unsigned int fraction;	/* of the count of contexts */
	bool starve;
};

static const struct load loads[] = {
	{ .name = "spam_10th",	.fraction = 10 },
	{ .name = "spam",	.fraction = 1 },
	/* Page tables wait, 100 kB for each, where the worker gets no CPU */
	{ .name = "starved",	.fraction = 10, .starve = true },
};

struct cache {
	char name[64];
	long before, peak, after; /* kB */
};

static struct cache caches[CACHES_MAX];
static unsigned int caches_found;

struct job {
	pthread_t thread;
	int fd;
	unsigned long pairs;
	bool starve;		/* run as SCHED_FIFO, on one CPU */
	unsigned int nth;	/* CPU */
	bool samples;		/* the slab caches, from time to time */
	int err;
};

static struct cache *find_cache(const char *name)
{
	unsigned int i;

	for (i = 0; i < caches_found; i++) {
		if (!strcmp(caches[i].name, name))
			return &caches[i];
	}
	if (i == CACHES_MAX)
		return NULL;

	caches_found++;
	snprintf(caches[i].name, sizeof(caches[i].name), "%s", name);
	return &caches[i];
}

enum when { BEFORE, MEANWHILE, AFTER };

static void sample_caches(enum when when)
{
	FILE *file = fopen("/proc/slabinfo", "r");
	unsigned long pages, slabs;
	char line[512], name[64];
	struct cache *cache;
	long kb;

	while (file && fgets(line, sizeof(line), file)) {
		/* The name, and after four other numbers the pages of each slab, ... */
		if (sscanf(line,
			   "%63s %*u %*u %*u %*u %lu : tunables %*u %*u %*u : slabdata %*u %lu",
			   name, &pages, &slabs) != 3)
			continue;
		cache = find_cache(name);
		if (!cache)
			break;
		kb = pages * slabs * (sysconf(_SC_PAGESIZE) / 1024);
		if (when == BEFORE)
			cache->before = kb;
		else if (when == AFTER)
			cache->after = kb;
		if (when == BEFORE || kb > cache->peak)
			cache->peak = kb;
	}
	if (file)
		fclose(file);
}

static void print_caches(const struct i915_node *node, const struct load *load)
{
	long peak = 0, after = 0;
	unsigned int i;

	for (i = 0; i < caches_found; i++) {
		const struct cache *cache = &caches[i];

		peak += cache->peak - cache->before;
		after += cache->after - cache->before;
		if (cache->peak - cache->before >= 256)
			ksft_print_msg("bench: slab_kB_%s_%s_%s %ld\n", node->name, load->name,
				       cache->name, cache->peak - cache->before);
	}
	ksft_print_msg("bench: slab_kB_%s_%s %ld\n", node->name, load->name, peak);
	ksft_print_msg("bench: slab_kB_left_%s_%s %ld\n", node->name, load->name, after);
}

static void *create_and_destroy(void *arg)
{
	struct job *job = arg;
	unsigned int id = 0;
	unsigned long n;

	if (job->starve)
		job->err = pin_to_cpu(&cpus, job->nth) ?: set_fifo(1);

	for (n = 0; n < job->pairs && !job->err; n++) {
		job->err = i915_context_create(job->fd, &id) ?:
			   i915_context_use(job->fd, id) ?:
			   i915_context_destroy(job->fd, id);
		if (job->samples && n % SAMPLE_EVERY == 0)
			sample_caches(MEANWHILE);
	}
	if (job->samples)
		sample_caches(MEANWHILE);

	return NULL;
}

/* Returns 0, or a negative errno. */
static int run_threads(const struct i915_node *node, const struct load *load,
		       unsigned int threads, unsigned long pairs)
{
	struct job jobs[THREADS_MAX] = {};
	unsigned int i, started;
	int fd, err = 0;

	fd = i915_open(node);
	if (fd < 0)
		return -errno;

	for (started = 0; started < threads; started++) {
		struct job *job = &jobs[started];

		job->fd = fd;
		job->pairs = pairs / threads;
		job->starve = load->starve;
		job->nth = started;
		job->samples = !started;
		if (pthread_create(&job->thread, NULL, create_and_destroy, job))
			break;
	}
	if (started < threads)
		err = -EAGAIN;
	for (i = 0; i < started; i++) {
		pthread_join(jobs[i].thread, NULL);
		err = err ?: jobs[i].err;
	}
	close(fd);

	return err;
}

/* Returns false, having said why, if the load could not be run or left something. */
static bool run_load(const struct i915_node *node, const struct load *load)
{
	const unsigned long pairs = count / load->fraction;
	unsigned int ncpus = CPU_COUNT(&cpus);
	unsigned int threads = load->starve ? ncpus : 1;
	struct i915_stats before, after;
	struct i915_census census;
	unsigned long most;
	const char *left;
	int err;

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	most = WAITING_MAX * threads + (ncpus > 1 ? WAITING_MORE : 0);

	/* What is left after the first is not left by those that follow */
	err = run_threads(node, load, threads, 1000);
	err = err ?: i915_settled_census(node, &census);
	if (err) {
		ksft_print_msg("%s %s: %s\n", node->name, load->name, strerror(-err));
		return false;
	}
	i915_reset_max_waiting(node);
	i915_read_stats(node, &before);
	sample_caches(BEFORE);

	err = run_threads(node, load, threads, pairs);

	left = i915_left_behind(node, &census);
	i915_read_stats(node, &after);
	ksft_print_msg("bench: runs_per_100000_%s_%s %lu\n", node->name, load->name,
		       (after.worker_runs - before.worker_runs) * 100000 / pairs);
	ksft_print_msg("bench: waiting_%s_%s %lu\n", node->name, load->name,
		       after.max_waiting);
	sample_caches(AFTER);
	print_caches(node, load);

	if (err)
		ksft_print_msg("%s %s: %s\n", node->name, load->name, strerror(-err));
	if (left[0])
		ksft_print_msg("%s %s: %s\n", node->name, load->name, left);
	if (after.max_waiting > most)
		ksft_print_msg("%s %s: %lu contexts waited, expected %lu at most\n",
			       node->name, load->name, after.max_waiting, most);

	return !err && !left[0] && after.max_waiting <= most;
}

static bool in_use(const struct i915_node *node)
{
	struct i915_stats stats;

	return !i915_read_stats(node, &stats) && stats.alive;
}

static void measure_memory(void)
{
	struct i915_node nodes[I915_NODES_MAX];
	int nnodes = i915_find_nodes(nodes), i;
	const char *reason = i915_no_census();
	bool ok = true, measured = false;
	unsigned int j;

	if (reason) {
		ksft_test_result_skip("memory: %s\n", reason);
		return;
	}
	for (i = 0; i < nnodes; i++) {
		if (in_use(&nodes[i]))
			continue;
		for (j = 0; j < ARRAY_SIZE(loads); j++)
			ok &= run_load(&nodes[i], &loads[j]);
		measured = true;
	}
	if (measured)
		ksft_test_result(ok, "memory\n");
	else
		ksft_test_result_skip("memory: " I915_IN_USE "\n");
}

static void measure_costs(void)
{
	char command[64], line[512];
	int failed = 0, passed = 0;
	FILE *file;

	/* The suite runs when its module is loaded */
	snprintf(command, sizeof(command), "modprobe -q " MODULE " contexts=%lu", count);
	if (!access(RESULTS, F_OK) || system(command)) {
		ksft_test_result_skip("costs: be root, with the module " MODULE ", which "
				      "scripts/kernel builds, not loaded\n");
		return;
	}

	file = fopen(RESULTS, "r");
	while (file && fgets(line, sizeof(line), file)) {
		char *figure = strstr(line, ": bench: ");

		ksft_print_msg("%s", figure ? figure + 2 : line);
		if (!strncmp(line, "    ok ", 7))
			passed++;
		else if (!strncmp(line, "    not ok ", 11))
			failed++;
	}
	if (file)
		fclose(file);

	if (system("rmmod " MODULE))
		failed++;

	ksft_test_result(passed && !failed, "costs\n");
}

static const struct {
	const char *name;
	void (*measure)(void);
} parts[] = {
	{ "costs", measure_costs },
	{ "memory", measure_memory },
};

static void print_usage(const char *name)
{
	printf("usage: %s [-n count] [costs|memory]...\n"
	       "  -n  contexts that are made, and for costs left waiting, in the largest of\n"
	       "      the measurements, 1000 to 10000000 (default %lu)\n", name, count);
}

int main(int argc, char *argv[])
{
	bool wanted[ARRAY_SIZE(parts)] = {};
	unsigned int i, nwanted = 0;
	int opt, arg;
	char *end;

	while ((opt = getopt(argc, argv, "hn:")) != -1) {
		if (opt == 'n')
			count = strtoul(optarg, &end, 10);
		if (opt == 'h' || opt == '?' || *end || count < 1000 || count > 10000000) {
			print_usage(argv[0]);
			return opt == 'h' ? KSFT_PASS : KSFT_FAIL;
		}
	}
	for (arg = optind; arg < argc; arg++) {
		for (i = 0; i < ARRAY_SIZE(parts) && strcmp(argv[arg], parts[i].name); i++)
			;
		if (i == ARRAY_SIZE(parts)) {
			print_usage(argv[0]);
			return KSFT_FAIL;
		}
		wanted[i] = true;
		nwanted++;
	}

	ksft_print_header();
	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		ksft_exit_fail_perror("sched_getaffinity");
	ksft_set_plan(nwanted ?: ARRAY_SIZE(parts));
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!nwanted || wanted[i])
			parts[i].measure();
	}

	ksft_finished();
}
