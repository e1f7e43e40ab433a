// SPDX-License-Identifier: GPL-2.0
/*
 * Creates, uses and destroys GEM contexts as fast as it can, on every i915
 * node there is, and holds the kernel's own counters against what must be true
 * afterwards: as many contexts freed as created, none waiting, every id given
 * back, never more than a fixed few dead contexts waiting to be freed, and no
 * more runs of the worker that frees them than there was time for.
 *
 * Each node is spammed twice: with the ordinary scheduler, and from SCHED_FIFO
 * threads on every CPU, which leave next to no time to the kernel's workers.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "../../../kselftest.h"
#include "i915_census.h"

/*
 * A thread closes one context at a time, and each creation frees more than
 * one: a few are left by whoever loses the race for the free lock. In a guest
 * the host may stop the CPU that holds the lock; the others go on for the few
 * milliseconds, which the constant allows for, some 10 us for a context with KVM.
 */
#define WAITING_MAX(threads)	(4 * (threads) + 1000)

/* The worker leaves contexts to creation for 10 ms, and files are opened and closed. */
#define RUNS_MAX(seconds, files) (200 * (seconds) + 10 * (files))

#define WARM_UP			1000	/* contexts, to fill the kernel's caches */
#define STALL_SECONDS		60	/* without progress */

static unsigned long count = 20000;
static unsigned int threads = 2;
static unsigned int procs = 2;
static bool starve = true;
static cpu_set_t cpus;		/* that this program may run on */

struct shared {
	atomic_ulong pairs;
	atomic_uint highest_id;
	atomic_int err;
};

static struct shared *shared;

struct job {
	int fd;
	unsigned long count;
	int cpu;		/* for SCHED_FIFO, -1 for the ordinary scheduler */
};

struct result {
	struct i915_stats before, after;
	unsigned long slab_before, slab_after;
	unsigned long free_before, free_after;
	unsigned long ids, highest_id;
	double seconds;
	bool skipped, failed;
};

#define COLUMNS_MAX	(2 * I915_NODES_MAX)

static struct column {
	const struct i915_node *node;
	bool starved;
	char title[80];
	struct result result;
} columns[COLUMNS_MAX];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static unsigned long meminfo_kb(const char *key)
{
	unsigned long value = 0;
	char line[128];
	FILE *file;

	file = fopen("/proc/meminfo", "r");
	if (!file)
		return 0;

	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, strlen(key))) {
			value = strtoul(line + strlen(key), NULL, 10);
			break;
		}
	}
	fclose(file);

	return value;
}

static int fifo(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	return sched_setscheduler(0, SCHED_FIFO, &param);
}

static void *spam(void *arg)
{
	struct job *job = arg;
	unsigned long n;

	if (job->cpu >= 0) {
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(job->cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) || fifo(1)) {
			shared->err = -errno;
			return NULL;
		}
	}

	for (n = 0; n < job->count && !shared->err; n++) {
		unsigned int id, highest;
		int err;

		err = i915_context_create(job->fd, &id);
		if (!err) {
			highest = shared->highest_id;
			while (id > highest &&
			       !atomic_compare_exchange_weak(&shared->highest_id, &highest, id))
				;

			err = i915_context_use(job->fd, id);
		}
		if (!err)
			err = i915_context_destroy(job->fd, id);
		if (err)
			shared->err = err;
		else
			shared->pairs++;
	}

	return NULL;
}

static int nth_cpu(unsigned int n)
{
	int cpu = 0;

	n %= CPU_COUNT(&cpus);
	while (!CPU_ISSET(cpu, &cpus) || n--)
		cpu++;

	return cpu;
}

/* One process: a file of its own, and @nthreads that share it. */
static void spam_process(const struct i915_node *node, unsigned int nthreads,
			 unsigned long nr, bool starved)
{
	pthread_t thread[nthreads];
	struct job job[nthreads];
	unsigned int i;
	int fd;

	fd = open(node->path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		shared->err = -errno;
		return;
	}

	for (i = 0; i < nthreads; i++) {
		job[i].fd = fd;
		job[i].count = nr / nthreads + (i < nr % nthreads);
		job[i].cpu = starved ? nth_cpu(i) : -1;
		if (pthread_create(&thread[i], NULL, spam, &job[i])) {
			shared->err = -EAGAIN;
			break;
		}
	}

	while (i--)
		pthread_join(thread[i], NULL);
	close(fd);
}

static bool wait_for(unsigned int children, unsigned long total, const char *title,
		     const struct i915_node *node)
{
	double report = now() + 1, stall = now() + STALL_SECONDS;
	unsigned long last = 0;
	struct i915_stats stats;

	while (children) {
		if (waitpid(-1, NULL, WNOHANG) > 0) {
			children--;
			continue;
		}

		usleep(10 * 1000);
		if (now() < report)
			continue;

		if (i915_read_stats(node, &stats))
			memset(&stats, 0, sizeof(stats));
		ksft_print_msg("%s: %lu of %lu contexts, %lu waiting to be freed\n",
			       title, shared->pairs, total, stats.waiting);
		report = now() + 1;

		if (shared->pairs != last) {
			last = shared->pairs;
			stall = now() + STALL_SECONDS;
		} else if (now() > stall) {
			shared->err = -ETIMEDOUT;
			return false;
		}
	}

	return true;
}

static bool run_processes(struct column *col, unsigned int nthreads, unsigned long total)
{
	pid_t pids[procs];
	unsigned int i;
	bool ok;

	memset(shared, 0, sizeof(*shared));

	for (i = 0; i < procs; i++) {
		pids[i] = fork();
		if (pids[i] < 0) {
			shared->err = -errno;
			break;
		}

		if (!pids[i]) {
			spam_process(col->node, nthreads,
				     total / procs + (i < total % procs),
				     col->starved);
			_exit(0);
		}
	}

	ok = wait_for(i, total, col->title, col->node);
	while (!ok && i--) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}

	if (shared->err)
		ksft_print_msg("%s: after %lu contexts: %s\n", col->title,
			       shared->pairs, strerror(-shared->err));

	return ok && !shared->err;
}

/* Until the kernel has freed what was closed and given the memory back. */
static void settle(struct column *col)
{
	struct result *res = &col->result;
	double end = now() + SETTLE_SECONDS;

	do {
		usleep(100 * 1000);
		if (i915_read_stats(col->node, &res->after))
			break;
		res->slab_after = meminfo_kb("SUnreclaim:");
		res->free_after = meminfo_kb("MemFree:");
	} while (now() < end &&
		 (res->after.waiting || res->after.alive > res->before.alive));
}

static void expect(struct column *col, bool ok, const char *what,
		   unsigned long got, unsigned long want)
{
	if (ok)
		return;

	ksft_print_msg("%s: %s: %lu, expected %lu\n", col->title, what, got, want);
	col->result.failed = true;
}

static void run(struct column *col)
{
	unsigned int ncpus = CPU_COUNT(&cpus);
	unsigned int nthreads = threads;
	struct result *res = &col->result;
	struct i915_census census;
	unsigned long bound;
	const char *left;
	double start;

	if (col->starved && nthreads < ncpus)
		nthreads = ncpus;
	bound = WAITING_MAX((unsigned long)nthreads * procs);

	/* Above the spam, so that its progress can be seen. */
	if (col->starved && fifo(2)) {
		ksft_print_msg("%s: SCHED_FIFO: %s\n", col->title, strerror(errno));
		res->skipped = true;
		return;
	}

	if (i915_read_stats(col->node, &res->before)) {
		ksft_print_msg("%s: no debugfs i915_gem_contexts (mount debugfs, be root)\n",
			       col->title);
		res->skipped = true;
		goto out;
	}
	if (res->before.alive) {
		ksft_print_msg("%s: in use with %lu contexts, which cannot be told from ours\n",
			       col->title, res->before.alive);
		res->skipped = true;
		goto out;
	}

	if (!run_processes(col, nthreads, WARM_UP)) {
		res->failed = true;
		goto out;
	}
	if (i915_settled_census(col->node, &census)) {
		ksft_print_msg("%s: the node does not come to rest\n", col->title);
		res->failed = true;
		goto out;
	}

	i915_reset_max_waiting(col->node);
	i915_read_stats(col->node, &res->before);
	res->slab_before = meminfo_kb("SUnreclaim:");
	res->free_before = meminfo_kb("MemFree:");

	start = now();
	res->failed = !run_processes(col, nthreads, count);
	res->seconds = now() - start;
	res->ids = shared->pairs;
	res->highest_id = shared->highest_id;

	/* First, as page tables go later than contexts */
	left = i915_left_behind(col->node, &census);
	settle(col);

	/* Each process brings the default context of its file. */
	expect(col, res->after.created - res->before.created == count + procs,
	       "contexts created", res->after.created - res->before.created, count + procs);
	expect(col, res->after.freed - res->before.freed == count + procs,
	       "contexts freed", res->after.freed - res->before.freed, count + procs);
	expect(col, res->after.alive == res->before.alive,
	       "contexts alive", res->after.alive, res->before.alive);
	expect(col, !res->after.waiting,
	       "contexts waiting to be freed", res->after.waiting, 0);
	expect(col, res->after.max_waiting <= bound,
	       "most contexts ever waiting, at most", res->after.max_waiting, bound);
	bound = RUNS_MAX(res->seconds, procs);
	expect(col, res->after.worker_runs - res->before.worker_runs <= bound,
	       "worker runs, at most", res->after.worker_runs - res->before.worker_runs, bound);
	expect(col, res->highest_id <= nthreads,
	       "highest id, at most", res->highest_id, nthreads);
	if (left[0]) {
		ksft_print_msg("%s: %s\n", col->title, left);
		res->failed = true;
	}

out:
	if (col->starved) {
		struct sched_param param = {};

		sched_setscheduler(0, SCHED_OTHER, &param);
	}
}

enum row {
	ROW_CREATED, ROW_FREED, ROW_ALIVE, ROW_WAITING, ROW_MAX_WAITING,
	ROW_IDS, ROW_HIGHEST_ID, ROW_SLAB_BEFORE, ROW_SLAB_AFTER,
	ROW_FREE_BEFORE, ROW_FREE_AFTER, ROW_WORKER_RUNS, ROW_RATE, ROWS
};

static const char *const row_labels[ROWS] = {
	[ROW_CREATED]		= "contexts created",
	[ROW_FREED]		= "contexts freed",
	[ROW_ALIVE]		= "still alive",
	[ROW_WAITING]		= "still to be freed",
	[ROW_MAX_WAITING]	= "most ever waiting",
	[ROW_IDS]		= "ids handed out",
	[ROW_HIGHEST_ID]	= "highest id",
	[ROW_SLAB_BEFORE]	= "slab before, kB",
	[ROW_SLAB_AFTER]	= "slab after, kB",
	[ROW_FREE_BEFORE]	= "free before, kB",
	[ROW_FREE_AFTER]	= "free after, kB",
	[ROW_WORKER_RUNS]	= "worker runs",
	[ROW_RATE]		= "contexts per second",
};

static unsigned long row_value(const struct result *res, enum row row)
{
	switch (row) {
	case ROW_CREATED:
		return res->after.created - res->before.created;
	case ROW_FREED:
		return res->after.freed - res->before.freed;
	case ROW_ALIVE:
		return res->after.alive - res->before.alive;
	case ROW_WAITING:
		return res->after.waiting;
	case ROW_MAX_WAITING:
		return res->after.max_waiting;
	case ROW_IDS:
		return res->ids;
	case ROW_HIGHEST_ID:
		return res->highest_id;
	case ROW_SLAB_BEFORE:
		return res->slab_before;
	case ROW_SLAB_AFTER:
		return res->slab_after;
	case ROW_FREE_BEFORE:
		return res->free_before;
	case ROW_FREE_AFTER:
		return res->free_after;
	case ROW_WORKER_RUNS:
		return res->after.worker_runs - res->before.worker_runs;
	case ROW_RATE:
		return res->seconds ? res->ids / res->seconds : 0;
	default:
		return 0;
	}
}

/* Two columns a line: with both runs, one node without and with SCHED_FIFO. */
static void print_table(const struct column *col, int ncols)
{
	enum row row;
	int i;

	for (; ncols > 0; col += 2, ncols -= 2) {
		ksft_print_msg("\n");
		ksft_print_msg("%-20s %28s %28s\n", "", col[0].title, col[1].title);
		for (row = 0; row < ROWS; row++) {
			char cell[2][24];

			for (i = 0; i < 2; i++) {
				const struct result *res = &col[i].result;

				if (i >= ncols || res->skipped)
					snprintf(cell[i], sizeof(cell[i]), "-");
				else
					snprintf(cell[i], sizeof(cell[i]), "%lu",
						 row_value(res, row));
			}
			ksft_print_msg("%-20s %28s %28s\n", row_labels[row],
				       cell[0], cell[1]);
		}
	}
	ksft_print_msg("\n");
}

static void print_usage(const char *name)
{
	printf("usage: %s [-n contexts] [-t threads] [-p processes] [-o]\n"
	       "  -n  contexts to create and destroy in each run, at least 1 (default %lu)\n"
	       "  -t  threads in each process, 1 to 64 (default %u)\n"
	       "  -p  processes, 1 to 64 (default %u)\n"
	       "  -o  only under the ordinary scheduler, not from SCHED_FIFO threads that\n"
	       "      starve the kernel's workers\n"
	       "The kernel's workers free the page tables of contexts, and nothing bounds what\n"
	       "waits for them: leave them a CPU if there are many, as with -o -p 1 -t 1.\n",
	       name, count, threads, procs);
}

static bool parse(const char *arg, unsigned long max, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(arg, &end, 10);

	return !errno && end != arg && !*end && *arg != '-' && *value && *value <= max;
}

static void parse_options(int argc, char *argv[])
{
	unsigned long value;
	int opt;

	while ((opt = getopt(argc, argv, "hn:t:p:o")) != -1) {
		if (opt == 'h') {
			print_usage(argv[0]);
			exit(KSFT_PASS);
		}
		if (opt == 'o') {
			starve = false;
			continue;
		}
		if (opt == '?' || !parse(optarg, opt == 'n' ? 1000000000 : 64, &value)) {
			print_usage(argv[0]);
			exit(KSFT_FAIL);
		}

		if (opt == 'n')
			count = value;
		else if (opt == 't')
			threads = value;
		else
			procs = value;
	}
}

int main(int argc, char *argv[])
{
	struct i915_node nodes[I915_NODES_MAX];
	int i, nodes_found, runs, ncols, ran = 0;

	parse_options(argc, argv);

	ksft_print_header();
	nodes_found = i915_find_nodes(nodes);
	if (!nodes_found)
		ksft_exit_skip(I915_NO_NODE "\n");

	runs = starve ? 2 : 1;
	ncols = runs * nodes_found;
	ksft_set_plan(ncols);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_perror("mmap");

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		ksft_exit_fail_perror("sched_getaffinity");

	ksft_print_msg("%lu contexts in each run, %u processes of %u threads, %d CPUs\n",
		       count, procs, threads, CPU_COUNT(&cpus));

	for (i = 0; i < ncols; i++) {
		struct column *col = &columns[i];

		col->node = &nodes[i / runs];
		col->starved = i % runs;
		snprintf(col->title, sizeof(col->title), "%s%s", col->node->name,
			 col->starved ? " SCHED_FIFO" : "");
		run(col);
	}

	print_table(columns, ncols);

	for (i = 0; i < ncols; i++) {
		const struct column *col = &columns[i];

		if (col->result.skipped)
			ksft_test_result_skip("%s\n", col->title);
		else
			ksft_test_result(!col->result.failed, "%s\n", col->title);
		ran += !col->result.skipped;
	}

	ksft_print_cnts();
	if (!ran)
		return KSFT_SKIP;
	return ksft_get_fail_cnt() ? KSFT_FAIL : KSFT_PASS;
}
