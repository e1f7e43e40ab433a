/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts the contexts of an i915 node and the memory that they need, by the kernel's
 * own counters, which must be the same before a test and after it.
 */
#ifndef I915_CENSUS_H
#define I915_CENSUS_H

#include <sys/stat.h>
#include <time.h>

#include "../../../kselftest.h"
#include "i915_node.h"

#define SETTLE_SECONDS	20	/* to wait for what a test gave up to be freed */

#define DROP_IDLE	"0x40"	/* to debugfs i915_gem_drop_caches */

/* Nothing is being freed any more if the counters do not change for so long. */
#define QUIET_SAMPLES	5
#define SAMPLE_MS	100

/*
 * Of which each context, vm or request has some. What comes from kmalloc() cannot be
 * told from that of others: it is kmemleak that finds it on a debug kernel.
 */
static const char * const i915_caches[] = {
	"active_node", "drm_i915_gem_object", "i915_lut_handle", "i915_vma",
	"i915_vma_resource", "intel_context",
};

#define I915_CACHES	ARRAY_SIZE(i915_caches)

struct i915_census {
	struct i915_stats stats;
	long objects[I915_CACHES];	/* -1 where they cannot be counted */
	long wakerefs;			/* -1 where they cannot be counted */
	long warnings;			/* of the kernel */
};

/* Without disturbing anybody. What is kept for the next allocation on each CPU counts, too. */
static inline long i915_peek_objects(const char *cache)
{
	char path[128];
	struct stat st;

	/* It is a link if the caches of others may be merged with it: slab_nomerge */
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s", cache);
	if (lstat(path, &st) || !S_ISDIR(st.st_mode))
		return -1;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/objects", cache);
	return read_number(path);
}

static inline long i915_count_objects(const char *cache)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1", 1) != 1)
			fprintf(stderr, "# %s: %s\n", path, strerror(errno));
		close(fd);
	}

	return i915_peek_objects(cache);
}

static inline long kernel_warnings(void)
{
	return read_number("/sys/kernel/warn_count");
}

/* Returns 0, or a negative errno if the node has no counters to read. */
static inline int i915_take_census(const struct i915_node *node, struct i915_census *census)
{
	char path[96];
	unsigned int i;
	int err;

	memset(census, 0, sizeof(*census));
	err = i915_read_stats(node, &census->stats);
	if (err)
		return err;

	for (i = 0; i < I915_CACHES; i++)
		census->objects[i] = i915_count_objects(i915_caches[i]);

	snprintf(path, sizeof(path), "/sys/class/drm/renderD%d/device/power/runtime_usage",
		 node->minor);
	census->wakerefs = read_number(path);
	census->warnings = kernel_warnings();

	return 0;
}

/* Says in @what, of @size bytes, what there is more of; nothing if there is not. */
static inline void i915_compare_census(const struct i915_census *before,
				       const struct i915_census *after,
				       char *what, size_t size)
{
	unsigned int i;

	what[0] = '\0';
	if (after->stats.alive != before->stats.alive)
		snprintf(what, size, "contexts alive: %lu, were %lu",
			 after->stats.alive, before->stats.alive);
	else if (after->stats.waiting)
		snprintf(what, size, "contexts waiting to be freed: %lu", after->stats.waiting);
	else if (after->wakerefs != before->wakerefs)
		snprintf(what, size, "runtime PM references: %ld, were %ld",
			 after->wakerefs, before->wakerefs);
	else if (after->warnings != before->warnings)
		snprintf(what, size, "warnings in the kernel's log: %ld, were %ld",
			 after->warnings, before->warnings);
	for (i = 0; i < I915_CACHES && !what[0]; i++) {
		if (after->objects[i] > before->objects[i])
			snprintf(what, size, "objects of cache %s: %ld, were %ld", i915_caches[i],
				 after->objects[i], before->objects[i]);
	}
}

/*
 * Waits until @node has no more than in @before. Returns "" if it does, and otherwise
 * what there is more of, valid until the next call.
 */
static inline const char *i915_left_behind(const struct i915_node *node,
					   const struct i915_census *before)
{
	const time_t end = time(NULL) + SETTLE_SECONDS;
	struct i915_census after;
	static char what[128];

	do {
		if (i915_take_census(node, &after))
			return "no counters to read any more";
		i915_compare_census(before, &after, what, sizeof(what));
		if (!what[0])
			break;
		usleep(50 * 1000);
	} while (time(NULL) <= end);

	return what;
}

/*
 * Takes a census once everything that was given up before has been freed, by RCU and
 * by workqueues: once the counters do not change any more. The GT retires requests once
 * a second and parks after that, so it is told to be idle first.
 */
static inline int i915_settled_census(const struct i915_node *node, struct i915_census *census)
{
	const time_t end = time(NULL) + SETTLE_SECONDS;
	struct i915_census last;
	int err, same = 0;
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches", node->card);
	write_file(path, DROP_IDLE);
	err = i915_take_census(node, census);
	while (!err && same < QUIET_SAMPLES) {
		if (time(NULL) > end)
			return -ETIMEDOUT;
		last = *census;
		usleep(SAMPLE_MS * 1000);
		err = i915_take_census(node, census);
		same = memcmp(&last, census, sizeof(last)) ? 0 : same + 1;
	}

	return err;
}

/* Why nothing can be counted, or NULL. Also prints what else cannot be counted. */
static inline const char *i915_no_census(void)
{
	struct i915_node nodes[I915_NODES_MAX];
	struct i915_census census;
	unsigned int i;

	if (!i915_find_nodes(nodes))
		return I915_NO_NODE;
	if (i915_take_census(&nodes[0], &census))
		return I915_NO_STATS;

	for (i = 0; i < I915_CACHES; i++) {
		if (census.objects[i] < 0)
			ksft_print_msg("not counted: %s, boot with slab_nomerge\n",
				       i915_caches[i]);
	}
	if (census.wakerefs < 0)
		ksft_print_msg("not counted: runtime PM, build with CONFIG_PM_ADVANCED_DEBUG\n");

	return NULL;
}

/* What a test needs beside contexts. Also leaves behind what the next files find. */
static inline int i915_warm_up(const struct i915_node *node)
{
	unsigned int id = 0, vm_id = 0, handle = 0;
	int fd, err;

	fd = open(node->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = i915_vm_create(fd, &vm_id) ?: i915_object_create(fd, &handle) ?:
	      i915_context_create(fd, &id) ?: i915_execute(fd, id, handle, -1);
	close(fd);

	return err;
}

/*
 * Finds an idle node and takes the census that is to be the same after a test.
 * Returns 0, -ENODEV if no node has what the tests need, -EBUSY if others use it,
 * whose contexts would be counted too, or another negative errno.
 */
static inline int i915_first_census(struct i915_node *node, struct i915_census *census)
{
	struct i915_node nodes[I915_NODES_MAX];
	int count = i915_find_nodes(nodes);
	struct i915_stats stats;
	bool busy = false;
	int i, err = 0;

	for (i = 0; i < count; i++) {
		err = i915_read_stats(&nodes[i], &stats);
		if (err)
			return err;
		if (stats.alive) {
			busy = true;
			continue;
		}
		err = i915_warm_up(&nodes[i]);
		if (err != -ENODEV && err != -EOPNOTSUPP)
			break;
	}
	if (i == count)
		return busy ? -EBUSY : -ENODEV;
	*node = nodes[i];

	err = err ?: i915_warm_up(node);
	err = err ?: i915_settled_census(node, census);
	if (err)
		return err;
	if (census->stats.alive)
		return -EBUSY;

	return census->stats.waiting ? -ETIMEDOUT : 0;
}

#define I915_UNSUITABLE \
	"no i915 node has full PPGTT, for vms"
#define I915_IN_USE \
	"the i915 node is in use, and contexts of others would be counted too"

#endif /* I915_CENSUS_H */
