/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an i915 node has of contexts and of the memory that these need, by the
 * kernel's own counters, which must be the same before a test and after it.
 */
#ifndef I915_CENSUS_H
#define I915_CENSUS_H

#include <linux/membarrier.h>
#include <sys/stat.h>
#include <time.h>

#include "../../../kselftest.h"
#include "i915_node.h"

#define SETTLE_SECONDS	20	/* until everything is freed that was given up */

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
};

static inline long read_number(const char *path)
{
	FILE *file = fopen(path, "r");
	long number = -1;

	if (file) {
		if (fscanf(file, "%ld", &number) != 1)
			number = -1;
		fclose(file);
	}

	return number;
}

static inline long i915_count_objects(const char *cache)
{
	char path[128];
	struct stat st;
	int fd;

	/* It is a link if the caches of others may be merged with it: slab_nomerge */
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s", cache);
	if (lstat(path, &st) || !S_ISDIR(st.st_mode))
		return -1;

	/* What is kept for the next allocation on each CPU counts as in use */
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1", 1) != 1)
			fprintf(stderr, "# %s: %s\n", path, strerror(errno));
		close(fd);
	}

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/objects", cache);
	return read_number(path);
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
	for (i = 0; i < I915_CACHES && !what[0]; i++) {
		if (after->objects[i] > before->objects[i])
			snprintf(what, size, "objects of cache %s: %ld, were %ld", i915_caches[i],
				 after->objects[i], before->objects[i]);
	}
}

/*
 * Waits until @node has no more than in @before, and returns "" if it comes to that,
 * else what there is more of, up to the next call.
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
 * Takes a census when what was given up before is freed, which RCU and workqueues do
 * in their time: when several in a row say the same, a grace period apart.
 */
static inline int i915_settled_census(const struct i915_node *node, struct i915_census *census)
{
	const time_t end = time(NULL) + SETTLE_SECONDS;
	struct i915_census last;
	int err, same = 0;

	err = i915_take_census(node, census);
	while (!err && same < 4) {
		if (time(NULL) > end)
			return -ETIMEDOUT;
		last = *census;
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
			usleep(300 * 1000);
		usleep(50 * 1000);
		err = i915_take_census(node, census);
		same = memcmp(&last, census, sizeof(last)) ? 0 : same + 1;
	}

	return err;
}

/* Why nothing can be counted here, or NULL; tells what else cannot. */
static inline const char *i915_no_census(void)
{
	struct i915_node nodes[I915_NODES_MAX];
	struct i915_census census;
	unsigned int i;

	if (!i915_find_nodes(nodes))
		return I915_NO_NODE;
	if (i915_take_census(&nodes[0], &census))
		return "no debugfs i915_gem_contexts: mount debugfs, be root";

	for (i = 0; i < I915_CACHES; i++) {
		if (census.objects[i] < 0)
			ksft_print_msg("not counted: %s, for want of slab_nomerge\n",
				       i915_caches[i]);
	}
	if (census.wakerefs < 0)
		ksft_print_msg("not counted: runtime PM, for want of CONFIG_PM_ADVANCED_DEBUG\n");

	return NULL;
}

/* Returns 1 if GEM_CONTEXT_CREATE makes a context, 0 if its first use does. */
static inline int i915_makes_by_ioctl(const struct i915_node *node)
{
	struct i915_stats before, after;
	unsigned int id, vm_id;
	int fd, err;

	fd = open(node->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	err = i915_vm_create(fd, &vm_id);
	err = err ?: i915_read_stats(node, &before);
	err = err ?: i915_context_create(fd, &id);
	err = err ?: i915_read_stats(node, &after);
	close(fd);

	return err ?: after.created > before.created;
}

/*
 * Finds a node whose contexts are made by GEM_CONTEXT_CREATE, or if not @by_ioctl by
 * their first use, and takes the census that is to be the same after a test. Returns
 * 0, -ENODEV if there is none that has vms, -EBUSY if others use it, with whose
 * contexts nothing can be counted, and else what went wrong.
 */
static inline int i915_first_census(struct i915_node *node, bool by_ioctl,
				    struct i915_census *census)
{
	struct i915_node nodes[I915_NODES_MAX];
	int count = i915_find_nodes(nodes);
	struct i915_stats stats;
	unsigned int id = 0;
	bool busy = false;
	int i, fd, err;

	for (i = 0; i < count; i++) {
		err = i915_read_stats(&nodes[i], &stats);
		if (!err && stats.alive) {
			busy = true;
			continue;
		}
		err = err ?: i915_makes_by_ioctl(&nodes[i]);
		if (err == by_ioctl)
			break;
		if (err < 0 && err != -ENODEV)
			return err;
	}
	if (i == count)
		return busy ? -EBUSY : -ENODEV;
	*node = nodes[i];

	/* The first contexts leave behind what the next ones find */
	for (i = 0; i < 2; i++) {
		fd = open(node->path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		err = i915_context_create(fd, &id) ?: i915_context_use(fd, id);
		close(fd);
		if (err)
			return err;
	}

	err = i915_settled_census(node, census);
	if (census->stats.alive)
		return -EBUSY;
	if (census->stats.waiting)
		return -ETIMEDOUT;

	return err;
}

#define I915_NO_PATH \
	"no idle i915 node makes contexts that way: build with CONFIG_DRM_I915_MOCK_NODE=y"
#define I915_IN_USE \
	"the i915 node is in use, with what cannot be told from what is tested"

#endif /* I915_CENSUS_H */
