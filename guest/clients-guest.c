// SPDX-License-Identifier: GPL-2.0
/*
 * clients-guest GENERATION SEED: in the guest, has user-space drivers of Intel GPUs create and
 * destroy contexts, kills them, and takes the device away from them. After each of these phases
 * there must be no more contexts, objects and wakerefs than before, as i915_census.h counts them,
 * and no warning in the kernel log. Prints TAP, and a table of what waited to be freed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "i915_census.h"

#define BDF		"0000:00:02.0"
#define DRIVER		"/sys/bus/pci/drivers/i915/"
#define TOGETHER	4	/* processes of each client */
#define KILL_ROUNDS	10
#define UNPLUG_ROUNDS	3
#define LIMIT		600	/* seconds for a client */
#define LOST_SECONDS	20	/* for a client to notice that its device is gone */
#define SAMPLE_US	5000
#define PHASES_MAX	16
#define LOG_LINES	20	/* of the kernel log, printed for a phase */
#define LOG_WARNING	4

static struct client {
	const char *name;
	const char *phase;
	const char *expected;	/* in what it prints */
	const char *argv[6];
	const char *endless;	/* the last argument, for it to go on until it fails */
	double seconds;		/* that it takes, with one device or context; -1: finds no GPU */
} clients[] = {
	{ "anv", "250_devices", "Intel", { "/usr/bin/clients", "vulkan", "250" }, "0" },
	{ "iris", "150_contexts", "Intel", { "/usr/bin/clients", "egl", "150" }, "0" },
	{ "ihd", "vainfo", "Intel iHD driver",
	  { "/usr/bin/vainfo", "--display", "drm", "--device", "NODE" } },
	{ "neo", "clinfo", "Device Name", { "/usr/bin/clinfo" } },
};

#define CLIENTS		ARRAY_SIZE(clients)
#define PROCESSES	(CLIENTS * TOGETHER)

struct process {
	struct client *client;
	pid_t pid;
	double deadline;
	int status;
};

static const char *generation;
static struct i915_node node;
static struct i915_census before;
static bool has_counters;
static int kmsg;
static unsigned int tests, failures;

static struct phase {
	char name[32];
	double seconds;
	long created, most_waiting;	/* -1 where they are not counted */
	long most_objects;		/* of the cache intel_context */
	char wrong[512];
} phases[PHASES_MAX], *phase = phases;

/* The first that goes wrong in a phase is the reason why that fails. */
static void fail(const char *format, ...)
{
	va_list args;

	if (phase->wrong[0])
		return;
	va_start(args, format);
	vsnprintf(phase->wrong, sizeof(phase->wrong), format, args);
	va_end(args);
}

/* Where the node is now, which is another while old files are open. To look makes a context. */
static int find_node(void)
{
	struct i915_node nodes[I915_NODES_MAX];

	if (!i915_find_nodes(nodes))
		return -ENOENT;
	node = nodes[0];

	return 0;
}

/* The kernel without the series has no counters of contexts. */
static void take_census(struct i915_census *census)
{
	char path[96];
	unsigned int i;

	if (!i915_take_census(&node, census))
		return;

	for (i = 0; i < I915_CACHES; i++)
		census->objects[i] = i915_count_objects(i915_caches[i]);
	snprintf(path, sizeof(path), "/sys/class/drm/renderD%d/device/power/runtime_usage",
		 node.minor);
	census->wakerefs = read_number(path);
}

/* Waits until the counters do not change any more, or until there is no more than before. */
static void settle(struct i915_census *census, char *what, size_t size)
{
	const double end = now() + SETTLE_SECONDS;
	struct i915_census last;
	char path[64];
	int same = 0;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches", node.card);
	write_file(path, DROP_IDLE);
	take_census(census);
	while (same < QUIET_SAMPLES && now() < end) {
		last = *census;
		usleep(SAMPLE_MS * 1000);
		take_census(census);
		same = memcmp(&last, census, sizeof(last)) ? 0 : same + 1;
		if (!what)
			continue;
		i915_compare_census(&before, census, what, size);
		if (what[0])
			same = 0;
	}
}

/*
 * A record of the log is "level,number,time,flags;text". A "c" continues the text of another
 * record, whose level it does not have: the kernel says so that a program has crashed.
 */
static void check_log(bool is_new)
{
	char record[8192], *text;
	int lines = 0;
	ssize_t length;

	while ((length = read(kmsg, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (length <= 0 || !is_new)
			continue;
		record[length] = '\0';
		text = strchr(record, ';');
		if (!text || text[-1] == 'c' || atoi(record) > LOG_WARNING)
			continue;
		text[strcspn(text, "\n")] = '\0';
		if (lines++ < LOG_LINES)
			printf("# kernel: %s\n", text + 1);
		fail("the kernel log has: %s", text + 1);
	}
}

/* A device that was bound again counts from 0. */
static void sample_counters(void)
{
	const long objects = i915_peek_objects("intel_context");
	static unsigned long last;
	struct i915_stats stats;

	if (objects > phase->most_objects)
		phase->most_objects = objects;
	if (i915_read_stats(&node, &stats))
		return;
	if ((long)stats.max_waiting > phase->most_waiting)
		phase->most_waiting = stats.max_waiting;
	phase->created += stats.created - (stats.created < last ? 0 : last);
	last = stats.created;
}

static void *sample(void *stop)
{
	while (!atomic_load((atomic_bool *)stop)) {
		sample_counters();
		usleep(SAMPLE_US);
	}

	return NULL;
}

static void start(struct process *process, struct client *client, const char *count)
{
	char path[64], *argv[6] = {};
	int i, fd;

	for (i = 0; client->argv[i]; i++)
		argv[i] = (char *)client->argv[i];
	if (count && client->endless)
		argv[i - 1] = (char *)count;
	if (!strcmp(argv[i - 1], "NODE"))
		argv[i - 1] = node.path;

	*process = (struct process) { .client = client, .pid = fork_child() };
	if (process->pid)
		return;

	snprintf(path, sizeof(path), "/tmp/client.%d", getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	execv(argv[0], argv);
	_exit(127);
}

static void remove_output(struct process *process)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/client.%d", process->pid);
	unlink(path);
}

/* Has it printed what it should? Says so, or else prints the end of all that it printed. */
static bool check_output(struct process *process, bool say)
{
	const char *name = process->client->name, *expected = process->client->expected;
	char path[64], line[256], first[256] = "";
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/client.%d", process->pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file) && !found) {
		found = strstr(line, expected);
		if (found)
			snprintf(first, sizeof(first), "%s", line);
	}
	if (found && !process->status) {
		if (say)
			printf("# %s: %s", name, first);
	} else if (file) {
		rewind(file);
		while (fgets(line, sizeof(line), file))
			printf("# %s: %s", name, line);
	}
	if (file)
		fclose(file);

	return found && !process->status;
}

/* Returns whether it ended within so many seconds. */
static bool wait_for(struct process *process, double seconds)
{
	const double end = now() + seconds;

	if (!process->pid)
		return true;
	while (waitpid(process->pid, &process->status, WNOHANG) != process->pid) {
		if (now() > end)
			return false;
		usleep(1000);
	}

	return true;
}

static void kill_process(struct process *process)
{
	kill(process->pid, SIGKILL);
	waitpid(process->pid, &process->status, 0);
}

/* Returns whether it did what it should. */
static bool run(struct client *client, const char *count, bool say)
{
	struct process process;
	bool ok;

	start(&process, client, count);
	ok = wait_for(&process, LIMIT);
	if (!ok) {
		kill_process(&process);
		fail("%s has not ended in %d s", client->name, LIMIT);
	} else if (process.status) {
		fail("%s ended with %#x", client->name, process.status);
	}
	ok = check_output(&process, say);
	if (!ok)
		fail("%s has not found the GPU", client->name);
	remove_output(&process);

	return ok;
}

/* Starts some of the client, or of each. Returns how many. */
static int start_some(struct process *processes, struct client *only)
{
	unsigned int i, j, n = 0;

	for (i = 0; i < CLIENTS; i++) {
		if ((only && only != &clients[i]) || clients[i].seconds < 0)
			continue;
		for (j = 0; j < TOGETHER; j++)
			start(&processes[n++], &clients[i], clients[i].endless);
	}

	return n;
}

/* At most how long the client takes when so many run, and what does not end as long again. */
static double any_moment(struct client *client, int together)
{
	const double seconds = client->seconds * together / sysconf(_SC_NPROCESSORS_ONLN);

	return drand48() * (client->endless ? seconds + 1 : seconds);
}

static void kill_at_random(struct client *only)
{
	int round, i, n, next, killed = 0, ended = 0;
	struct process processes[PROCESSES];

	for (round = 0; round < KILL_ROUNDS; round++) {
		n = start_some(processes, only);
		for (i = 0; i < n; i++)
			processes[i].deadline = now() + any_moment(processes[i].client, n);
		for (;;) {
			for (next = -1, i = 0; i < n; i++) {
				if (processes[i].pid && (next < 0 ||
				    processes[i].deadline < processes[next].deadline))
					next = i;
			}
			if (next < 0)
				break;
			while (now() < processes[next].deadline)
				usleep(500);
			kill_process(&processes[next]);
			if (WIFSIGNALED(processes[next].status))
				killed++;
			else
				ended++;
			remove_output(&processes[next]);
			processes[next].pid = 0;
		}
	}
	printf("# killed: %d, ended before: %d\n", killed, ended);
	if (!killed)
		fail("none was killed");
}

/* Does each of its threads wait for another? Prints where in the kernel one is that does not. */
static bool waits_for_itself(struct process *process)
{
	char path[300], line[256];
	struct dirent *entry;
	bool found = true;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", process->pid);
	dir = opendir(path);
	while (dir && found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", process->pid,
			 entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!file)
			continue;
		found = fgets(line, sizeof(line), file) && atoi(line) == SYS_futex;
		fclose(file);
		if (found)
			continue;
		printf("# %s: system call %s", process->client->name, line);
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", process->pid,
			 entry->d_name);
		file = fopen(path, "r");
		while (file && fgets(line, sizeof(line), file))
			printf("# %s: %s", process->client->name, line);
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);

	return found;
}

/* Has it opened the device that the node belongs to now? */
static bool has_node_open(pid_t pid)
{
	char path[64], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t length;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		found = !strcmp(target, node.path);
	}
	if (dir)
		closedir(dir);

	return found;
}

/* Every other time the device comes back before the clients have noticed that it was gone. */
static void unplug(struct client *only)
{
	int round, i, n, ended = 0, crashed = 0, stuck = 0, found_new = 0;
	struct process processes[PROCESSES];
	unsigned int c;
	double end;

	for (round = 0; round < UNPLUG_ROUNDS; round++) {
		const bool at_once = round % 2;

		n = start_some(processes, only);
		usleep(any_moment(only ?: processes[0].client, n) * 1e6);
		if (write_file(DRIVER "unbind", BDF) || !access(DRIVER BDF, F_OK))
			fail("the device cannot be unbound");
		if (at_once && (write_file(DRIVER "bind", BDF) || find_node()))
			fail("the device cannot be bound while old files are open");
		end = now() + LOST_SECONDS;
		for (i = 0; i < n; i++) {
			if (!wait_for(&processes[i], end - now())) {
				if (at_once && has_node_open(processes[i].pid))
					found_new++;
				else if (waits_for_itself(&processes[i]))
					stuck++;
				else
					fail("%s does not notice that the device is gone",
					     processes[i].client->name);
				kill_process(&processes[i]);
			} else if (WIFSIGNALED(processes[i].status)) {
				crashed++;
			} else {
				ended++;
			}
			remove_output(&processes[i]);
		}
		if (!at_once && write_file(DRIVER "bind", BDF))
			fail("the device cannot be bound");
		if (find_node())
			fail("there is no node after the device was bound");
		for (c = 0; c < CLIENTS; c++) {
			if (clients[c].seconds >= 0 && (!only || only == &clients[c]))
				run(&clients[c], "1", false);
		}
	}
	printf("# ended: %d, crashed: %d, stuck in user space: %d, found the new device: %d\n",
	       ended, crashed, stuck, found_new);
}

static void run_once(struct client *client)
{
	run(client, NULL, false);
	sample_counters();
	if (phase->created >= 0 && phase->created < atoi(client->phase))
		fail("only %ld contexts were created", phase->created);
}

static void run_phase(struct client *client, const char *what, void (*function)(struct client *))
{
	const double since = now();
	atomic_bool stop = false;
	char left[128];
	pthread_t sampler;
	struct i915_census after;

	snprintf(phase->name, sizeof(phase->name), "%s.%s", client ? client->name : "all", what);
	tests++;
	if (client && client->seconds < 0) {
		printf("ok %u %s %s # SKIP %s finds no GPU\n", tests, generation, phase->name,
		       client->argv[0]);
		phase++;
		return;
	}

	printf("# %s\n", phase->name);
	i915_reset_max_waiting(&node);
	sample_counters();
	phase->created = has_counters ? 0 : -1;
	phase->most_waiting = phase->created;
	pthread_create(&sampler, NULL, sample, &stop);
	function(client);
	stop = true;
	pthread_join(sampler, NULL);
	sample_counters();
	phase->seconds = now() - since;
	settle(&after, left, sizeof(left));
	if (left[0])
		fail("%s", left);
	check_log(true);

	if (phase->wrong[0]) {
		printf("# %s\nnot ok %u %s %s\n", phase->wrong, tests, generation, phase->name);
		failures++;
	} else {
		printf("ok %u %s %s\n", tests, generation, phase->name);
	}
	phase++;
}

/* Also leaves behind what the next ones find, and measures how long they take. */
static void warm_up(void)
{
	unsigned int i;
	double since;

	for (i = 0; i < CLIENTS; i++) {
		clients[i].seconds = -1;
		if (!run(&clients[i], "1", true))
			continue;
		since = now();
		run(&clients[i], "1", false);
		clients[i].seconds = now() - since;
	}
	phase->wrong[0] = '\0';
}

int main(int argc, char **argv)
{
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	generation = argv[1];
	srand48(atol(argv[2]));
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	printf("TAP version 13\n# seed: %s\n", argv[2]);
	check_log(false);
	if (find_node()) {
		printf("Bail out! no i915 node\n");
		return 1;
	}
	has_counters = !i915_read_stats(&node, &(struct i915_stats){});
	warm_up();
	settle(&before, NULL, 0);
	for (i = 0; i < CLIENTS; i++)
		run_phase(&clients[i], clients[i].phase, run_once);
	for (i = 0; i < CLIENTS; i++)
		run_phase(&clients[i], "killed", kill_at_random);
	run_phase(NULL, "killed", kill_at_random);
	for (i = 0; i < CLIENTS; i++)
		run_phase(&clients[i], "unplugged", unplug);
	run_phase(NULL, "unplugged", unplug);

	printf("# %-18s %8s %10s %12s %14s\n", "", "seconds", "created", "most waiting",
	       "intel_context");
	for (phase = phases; phase < &phases[tests]; phase++)
		printf("# %-18s %8.1f %10ld %12ld %14ld\n", phase->name, phase->seconds,
		       phase->created, phase->most_waiting, phase->most_objects);
	printf("1..%u\n", tests);

	return !!failures;
}
