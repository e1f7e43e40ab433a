// SPDX-License-Identifier: GPL-2.0
/*
 * Creates, uses and destroys GEM contexts as fast as it can, on every idle i915
 * node, and then checks the kernel's own counters: as many contexts were freed as
 * were created, none waits to be freed, every id was given back, there were never
 * more than a fixed few dead contexts waiting, and the worker that frees them did
 * not run more often than there was time for.
 *
 * Each node is spammed in two ways: with contexts that are not used for anything, and
 * with contexts that execute a batch each, on one engine after the other, whose result
 * must be in memory before they are destroyed. Both are done with the ordinary
 * scheduler, and from SCHED_FIFO threads on every CPU, which leave next to no time to
 * the kernel's workers.
 *
 * On a kernel that does not count contexts in debugfs its tracepoints are counted
 * instead. What waits to be freed can only be sampled then, and is reported for
 * comparison, as such a kernel need not bound it. Contexts that were closed before the
 * test are counted if they are freed during it, so more may be freed than were created.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/perf_event.h>

#include "../../../kselftest.h"
#include "i915_batch.h"
#include "i915_census.h"

/*
 * Each thread closes one context at a time, and each creation frees more than
 * one, so only a few wait. The constant allows for a CPU of a guest that the
 * host stops for a few milliseconds while it frees contexts. Contexts that ran
 * also wait for their requests to be retired, up to 74 in this test, but fewer
 * are created in that time.
 */
#define WAITING_MAX(threads)		(4 * (threads) + 1000)
#define WAITING_USED_MAX(threads)	(4 * (threads) + 300)

/*
 * The worker runs once per jiffy at most, and HZ is 1000 at most. Files that are opened
 * and closed cause runs, too.
 */
#define RUNS_MAX(seconds, files) (1000 * (seconds) + 10 * (files))

#define WARM_UP			1000	/* contexts, to fill the kernel's caches */
#define WARM_UP_BATCHES		100
#define STALL_SECONDS		60	/* without progress */
#define TRACEPOINTS		"/sys/kernel/tracing/events/i915/"
#define CPUS_MAX		1024

static unsigned long count = 10000;
static unsigned long batches;		/* a tenth of the above by default */
static unsigned int threads = 2;
static unsigned int procs = 2;
static bool starve = true;
static cpu_set_t cpus;		/* that this program may run on */

struct shared {
	atomic_ulong pairs, batches;
	atomic_uint highest_id;
	atomic_int err;
};

static struct shared *shared;

struct job {
	int fd;
	unsigned long count;
	int cpu;		/* index into cpus, for SCHED_FIFO; -1: ordinary */
	bool execute;
};

struct result {
	struct i915_stats before, after;
	unsigned long slab_before, slab_after;
	unsigned long free_before, free_after, least_free;
	unsigned long most_sampled;
	unsigned long ids, highest_id, batches;
	double seconds;
	bool skipped, failed;
};

#define COLUMNS_MAX	(4 * I915_NODES_MAX)

static struct column {
	const struct i915_node *node;
	bool execute, starved;
	char title[80];
	struct result result;
} columns[COLUMNS_MAX];

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

enum { CREATED, FREED };

/* A counter of each tracepoint for each CPU, which is used if there is no debugfs file. */
static int counters[2][CPUS_MAX];
static bool traced;

static int open_counters(int *fds, const char *tracepoint)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
	};
	char path[128];
	int cpu, opened = 0;
	long id;

	snprintf(path, sizeof(path), TRACEPOINTS "%s/id", tracepoint);
	id = read_number(path);
	if (id < 0)
		return -ENOENT;

	attr.config = id;
	for (cpu = 0; cpu < CPUS_MAX; cpu++) {
		fds[cpu] = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
		opened += fds[cpu] >= 0;
	}

	return opened ? 0 : -errno;
}

static unsigned long read_counters(const int *fds)
{
	unsigned long long value, sum = 0;
	int cpu;

	for (cpu = 0; cpu < CPUS_MAX; cpu++) {
		if (fds[cpu] >= 0 && read(fds[cpu], &value, sizeof(value)) == sizeof(value))
			sum += value;
	}

	return sum;
}

/* From debugfs, or else from tracepoints, which cannot tell what is closed. */
static int read_stats(const struct i915_node *node, struct i915_stats *stats)
{
	if (!traced)
		return i915_read_stats(node, stats);

	memset(stats, 0, sizeof(*stats));
	/* In this order, or else more may seem to be freed than created */
	stats->freed = read_counters(counters[FREED]);
	stats->created = read_counters(counters[CREATED]);
	if (stats->created > stats->freed)
		stats->waiting = stats->created - stats->freed;

	return 0;
}

/* Why nothing can be counted, or NULL. */
static const char *find_counters(const struct i915_node *node)
{
	struct i915_stats stats;

	if (!i915_read_stats(node, &stats))
		return NULL;
	if (open_counters(counters[CREATED], "i915_context_create") ||
	    open_counters(counters[FREED], "i915_context_free"))
		return "neither debugfs i915_gem_contexts nor tracepoints: be root, mount them";
	traced = true;

	return NULL;
}

/* Has the context @id store @value, and waits until it is there. */
static int execute(const struct i915_batch *batch, unsigned int id, uint32_t value)
{
	int err;

	i915_batch_store(batch, value);
	err = i915_batch_submit(batch, id, 0, -1, NULL);
	err = err ?: i915_batch_wait(batch, STALL_SECONDS);
	if (!err && i915_batch_result(batch) != value)
		err = -EBADMSG;
	if (!err)
		shared->batches++;

	return err;
}

static void *spam(void *arg)
{
	struct i915_engine engines[I915_ENGINES_MAX];
	struct i915_batch batch = {};
	struct job *job = arg;
	int engine_count = 0;
	unsigned long n;

	if (job->cpu >= 0) {
		int err = pin_to_cpu(&cpus, job->cpu) ?: set_fifo(1);

		if (err) {
			shared->err = err;
			return NULL;
		}
	}

	if (job->execute) {
		int err = i915_batch_create(job->fd, &batch);

		engine_count = i915_list_engines(job->fd, engines);
		if (err || engine_count <= 0) {
			shared->err = err ?: -ENODEV;
			return NULL;
		}
	}

	for (n = 0; n < job->count && !shared->err; n++) {
		unsigned int id, highest;
		int err;

		err = job->execute ?
			i915_context_create_engines(job->fd, &engines[n % engine_count], 1, 0, 0,
						    &id) :
			i915_context_create(job->fd, &id);
		if (!err) {
			highest = shared->highest_id;
			while (id > highest &&
			       !atomic_compare_exchange_weak(&shared->highest_id, &highest, id))
				;

			err = job->execute ? execute(&batch, id, n + 1) :
					     i915_context_use(job->fd, id);
		}
		if (!err)
			err = i915_context_destroy(job->fd, id);
		if (err)
			shared->err = err;
		else
			shared->pairs++;
	}
	if (job->execute)
		i915_batch_destroy(&batch);

	return NULL;
}

static const char *why_no_batches(const struct i915_node *node)
{
	const char *reason;
	int fd = i915_open(node);

	if (fd < 0)
		return "cannot open the node";
	reason = i915_no_batches(fd);
	close(fd);

	return reason;
}

/* One process: a file of its own, and @nthreads that share it. */
static void spam_process(const struct column *col, unsigned int nthreads, unsigned long nr)
{
	pthread_t thread[nthreads];
	struct job job[nthreads];
	unsigned int i;
	int fd;

	fd = i915_open(col->node);
	if (fd < 0) {
		shared->err = -errno;
		return;
	}

	for (i = 0; i < nthreads; i++) {
		job[i].fd = fd;
		job[i].count = nr / nthreads + (i < nr % nthreads);
		job[i].cpu = col->starved ? (int)i : -1;
		job[i].execute = col->execute;
		if (pthread_create(&thread[i], NULL, spam, &job[i])) {
			shared->err = -EAGAIN;
			break;
		}
	}

	while (i--)
		pthread_join(thread[i], NULL);
	close(fd);
}

static void sample(struct column *col)
{
	struct result *res = &col->result;
	unsigned long free_kb = meminfo_kb("MemFree:");
	struct i915_stats stats;

	if (free_kb < res->least_free)
		res->least_free = free_kb;
	if (traced && !read_stats(col->node, &stats) && stats.waiting > res->most_sampled)
		res->most_sampled = stats.waiting;
}

static bool wait_for(unsigned int children, unsigned long total, struct column *col)
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
		sample(col);
		if (now() < report)
			continue;

		if (read_stats(col->node, &stats))
			memset(&stats, 0, sizeof(stats));
		ksft_print_msg("%s: %lu of %lu contexts, %lu waiting to be freed\n",
			       col->title, shared->pairs, total, stats.waiting);
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
			spam_process(col, nthreads, total / procs + (i < total % procs));
			_exit(0);
		}
	}

	ok = wait_for(i, total, col);
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
static bool settle(struct column *col)
{
	struct result *res = &col->result;
	double end = now() + SETTLE_SECONDS;

	do {
		usleep(100 * 1000);
		if (read_stats(col->node, &res->after))
			return false;
		res->slab_after = meminfo_kb("SUnreclaim:");
		res->free_after = meminfo_kb("MemFree:");
		/* By tracepoints, contexts of before the test may be freed, too */
		if ((long)(res->after.created - res->after.freed) <=
		    (long)(res->before.created - res->before.freed))
			return true;
	} while (now() < end);

	return false;
}

static void expect(struct column *col, bool ok, const char *what,
		   unsigned long got, unsigned long want)
{
	if (ok)
		return;

	ksft_print_msg("%s: %s: %lu, expected %lu\n", col->title, what, got, want);
	col->result.failed = true;
}

/* Holds the counters against what must be true. */
static void check(struct column *col, unsigned long total, unsigned int nthreads)
{
	const unsigned long all = (unsigned long)nthreads * procs;
	const unsigned long most = col->execute ? WAITING_USED_MAX(all) : WAITING_MAX(all);
	struct result *res = &col->result;
	const unsigned long runs = RUNS_MAX(res->seconds, procs);
	unsigned long freed;

	/* Each process brings the default context of its file. */
	expect(col, res->after.created - res->before.created == total + procs,
	       "contexts created", res->after.created - res->before.created, total + procs);
	freed = res->after.freed - res->before.freed;
	expect(col, traced ? freed >= total + procs : freed == total + procs,
	       "contexts freed", freed, total + procs);
	expect(col, res->highest_id <= nthreads,
	       "highest id, at most", res->highest_id, nthreads);
	if (col->execute)
		expect(col, res->batches == total, "batches executed", res->batches, total);
	if (traced)
		return;

	expect(col, res->after.alive == res->before.alive,
	       "contexts alive", res->after.alive, res->before.alive);
	expect(col, !res->after.waiting,
	       "contexts waiting to be freed", res->after.waiting, 0);
	expect(col, res->after.max_waiting <= most,
	       "most contexts ever waiting, at most", res->after.max_waiting, most);
	expect(col, res->after.worker_runs - res->before.worker_runs <= runs,
	       "worker runs, at most", res->after.worker_runs - res->before.worker_runs, runs);
}

static void run(struct column *col)
{
	const unsigned long total = col->execute ? batches : count;
	unsigned int ncpus = CPU_COUNT(&cpus);
	unsigned int nthreads = threads;
	struct result *res = &col->result;
	struct i915_census census;
	const char *left;
	double start;

	if (col->starved && nthreads < ncpus)
		nthreads = ncpus;

	/* Above the spam, so that its progress can be seen. */
	if (col->starved && set_fifo(2)) {
		ksft_print_msg("%s: SCHED_FIFO: %s\n", col->title, strerror(errno));
		res->skipped = true;
		return;
	}

	left = col->execute ? why_no_batches(col->node) : NULL;
	if (left) {
		ksft_print_msg("%s: %s\n", col->title, left);
		res->skipped = true;
		goto out;
	}
	read_stats(col->node, &res->before);
	if (res->before.alive) {
		ksft_print_msg("%s: in use with %lu contexts of others\n",
			       col->title, res->before.alive);
		res->skipped = true;
		goto out;
	}

	if (!run_processes(col, nthreads, col->execute ? WARM_UP_BATCHES : WARM_UP)) {
		res->failed = true;
		goto out;
	}
	if (!settle(col) || (!traced && i915_settled_census(col->node, &census))) {
		ksft_print_msg("%s: the node does not come to rest\n", col->title);
		res->failed = true;
		goto out;
	}

	i915_reset_max_waiting(col->node);
	read_stats(col->node, &res->before);
	res->slab_before = meminfo_kb("SUnreclaim:");
	res->free_before = meminfo_kb("MemFree:");
	res->least_free = res->free_before;
	res->most_sampled = 0;

	start = now();
	res->failed = !run_processes(col, nthreads, total);
	res->seconds = now() - start;
	res->ids = shared->pairs;
	res->batches = shared->batches;
	res->highest_id = shared->highest_id;

	/* First, as page tables go later than contexts */
	left = traced ? "" : i915_left_behind(col->node, &census);
	settle(col);
	check(col, total, nthreads);
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
	ROW_IDS, ROW_HIGHEST_ID, ROW_BATCHES, ROW_SLAB_BEFORE, ROW_SLAB_AFTER,
	ROW_FREE_BEFORE, ROW_LEAST_FREE, ROW_FREE_AFTER, ROW_WORKER_RUNS, ROW_RATE, ROWS
};

static const char *const row_labels[ROWS] = {
	[ROW_CREATED]		= "contexts created",
	[ROW_FREED]		= "contexts freed",
	[ROW_ALIVE]		= "still alive",
	[ROW_WAITING]		= "still to be freed",
	[ROW_MAX_WAITING]	= "most ever waiting",
	[ROW_IDS]		= "ids handed out",
	[ROW_HIGHEST_ID]	= "highest id",
	[ROW_BATCHES]		= "batches executed",
	[ROW_SLAB_BEFORE]	= "slab before, kB",
	[ROW_SLAB_AFTER]	= "slab after, kB",
	[ROW_FREE_BEFORE]	= "free before, kB",
	[ROW_LEAST_FREE]	= "least free, kB",
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
		return traced ? res->most_sampled : res->after.max_waiting;
	case ROW_IDS:
		return res->ids;
	case ROW_HIGHEST_ID:
		return res->highest_id;
	case ROW_BATCHES:
		return res->batches;
	case ROW_SLAB_BEFORE:
		return res->slab_before;
	case ROW_SLAB_AFTER:
		return res->slab_after;
	case ROW_FREE_BEFORE:
		return res->free_before;
	case ROW_LEAST_FREE:
		return res->least_free;
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

/* What tracepoints do not tell. */
static bool row_unknown(enum row row)
{
	return traced && (row == ROW_ALIVE || row == ROW_WORKER_RUNS);
}

/* A table for each node, with a column for each kind and scheduler. */
static void print_table(const struct column *col, int ncols)
{
	char line[128];
	enum row row;
	int i, len;

	ksft_print_msg("\n");
	ksft_print_msg("%s\n", col->node->name);
	len = snprintf(line, sizeof(line), "%-20s", "");
	for (i = 0; i < ncols; i++)
		len += snprintf(line + len, sizeof(line) - len, " %16s",
				col[i].title + strlen(col->node->name) + 1);
	ksft_print_msg("%s\n", line);

	for (row = 0; row < ROWS; row++) {
		len = snprintf(line, sizeof(line), "%-20s", row_labels[row]);
		for (i = 0; i < ncols; i++) {
			const struct result *res = &col[i].result;

			if (res->skipped || row_unknown(row))
				len += snprintf(line + len, sizeof(line) - len, " %16s", "-");
			else
				len += snprintf(line + len, sizeof(line) - len, " %16lu",
						row_value(res, row));
		}
		ksft_print_msg("%s\n", line);
	}
	ksft_print_msg("\n");
}

static void print_usage(const char *name)
{
	printf("usage: %s [-n contexts] [-b batches] [-t threads] [-p processes] [-o]\n"
	       "  -n  contexts to create and destroy in each run, at least 1 (default %lu)\n"
	       "  -b  contexts to execute a batch each (default a tenth of -n)\n"
	       "  -t  threads in each process, 1 to 64 (default %u)\n"
	       "  -p  processes, 1 to 64 (default %u)\n"
	       "  -o  only under the ordinary scheduler, not from SCHED_FIFO threads that\n"
	       "      starve the kernel's workers\n",
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
	unsigned long value, max;
	int opt;

	while ((opt = getopt(argc, argv, "hn:b:t:p:o")) != -1) {
		if (opt == 'h') {
			print_usage(argv[0]);
			exit(KSFT_PASS);
		}
		if (opt == 'o') {
			starve = false;
			continue;
		}
		max = opt == 'n' || opt == 'b' ? 1000000000 : 64;
		if (opt == '?' || !parse(optarg, max, &value)) {
			print_usage(argv[0]);
			exit(KSFT_FAIL);
		}

		if (opt == 'n')
			count = value;
		else if (opt == 'b')
			batches = value;
		else if (opt == 't')
			threads = value;
		else
			procs = value;
	}
	if (!batches)
		batches = (count + 9) / 10;
}

int main(int argc, char *argv[])
{
	struct i915_node nodes[I915_NODES_MAX];
	const char *reason;
	int i, nodes_found, runs, ncols, ran = 0;

	parse_options(argc, argv);

	ksft_print_header();
	nodes_found = i915_find_nodes(nodes);
	if (!nodes_found)
		ksft_exit_skip(I915_NO_NODE "\n");

	reason = find_counters(&nodes[0]);
	if (reason)
		ksft_exit_skip("%s\n", reason);

	runs = starve ? 4 : 2;
	ncols = runs * nodes_found;
	ksft_set_plan(ncols);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_perror("mmap");

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		ksft_exit_fail_perror("sched_getaffinity");

	ksft_print_msg("%lu contexts, %lu with batches, %u processes of %u threads, %d CPUs\n",
		       count, batches, procs, threads, CPU_COUNT(&cpus));

	for (i = 0; i < ncols; i++) {
		struct column *col = &columns[i];

		col->node = &nodes[i / runs];
		col->execute = i % runs >= runs / 2;
		col->starved = starve && i % 2;
		snprintf(col->title, sizeof(col->title), "%s %s%s", col->node->name,
			 col->execute ? "execute" : "create", col->starved ? " FIFO" : "");
		run(col);
	}

	if (traced)
		ksft_print_msg("by tracepoints: most waiting is sampled, and counts those alive\n");
	for (i = 0; i < ncols; i += runs)
		print_table(&columns[i], runs);

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
