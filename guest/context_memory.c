// SPDX-License-Identifier: GPL-2.0
/*
 * context_memory COMMAND [argument...]: runs the command, and prints lines
 * "# memory: SECONDS kB", how much memory was free meanwhile. Pages that a CPU keeps for its
 * next allocation count as free. Samples above SCHED_FIFO threads of lower priority.
 */
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_MS	50
#define SAMPLES_MAX	20000
#define PAGE_KB		4

static struct {
	double seconds;
	unsigned long kb;
} samples[SAMPLES_MAX];

static unsigned long free_kb(void)
{
	FILE *file = fopen("/proc/zoneinfo", "r");
	unsigned long pages, sum = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " nr_free_pages %lu", &pages) == 1 ||
		    sscanf(line, " count: %lu", &pages) == 1)
			sum += pages;
	}
	if (file)
		fclose(file);

	return sum * PAGE_KB;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int main(int argc, char *argv[])
{
	const struct sched_param param = { .sched_priority = 50 };
	const double start = now();
	int n = 0, i, status;
	pid_t pid;

	if (argc < 2)
		errx(1, "usage: context_memory COMMAND [argument...]");
	pid = fork();
	if (!pid) {
		execvp(argv[1], &argv[1]);
		err(1, "%s", argv[1]);
	}
	if (pid < 0 || mlockall(MCL_CURRENT) || sched_setscheduler(0, SCHED_FIFO, &param))
		err(1, "cannot sample");
	while (!waitpid(pid, &status, WNOHANG)) {
		if (n < SAMPLES_MAX) {
			samples[n].seconds = now() - start;
			samples[n++].kb = free_kb();
		}
		usleep(SAMPLE_MS * 1000);
	}
	for (i = 0; i < n; i++)
		printf("# memory: %.2f %lu\n", samples[i].seconds, samples[i].kb);

	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
