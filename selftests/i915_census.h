/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an i915 node has of contexts and of the memory that these need, by the
 * kernel's own counters, which must be the same before a test and after it.
 */
#ifndef I915_CENSUS_H
#define I915_CENSUS_H

#include <sys/stat.h>
#include <time.h>

#include "../../../kselftest.h"
#include "i915_node.h"

#define SETTLE_SECONDS	20	/* until everything is freed that was given up */

/* Of which each context, vm or request has some. */
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

	/* A link is a cache that has been merged with those of others */
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
 * in their time: when two in a row say the same.
 */
static inline int i915_settled_census(const struct i915_node *node, struct i915_census *census)
{
	const time_t end = time(NULL) + SETTLE_SECONDS;
	struct i915_census last;
	int err;

	err = i915_take_census(node, census);
	do {
		last = *census;
		usleep(300 * 1000);
		err = err ?: i915_take_census(node, census);
	} while (!err && memcmp(&last, census, sizeof(last)) && time(NULL) <= end);

	return err ?: memcmp(&last, census, sizeof(last)) ? -ETIMEDOUT : 0;
}

/* Why nothing can be counted here, or NULL. */
static inline const char *i915_no_census(void)
{
	struct i915_node nodes[I915_NODES_MAX];
	struct i915_stats stats;

	if (!i915_find_nodes(nodes))
		return I915_NO_NODE;
	if (i915_read_stats(&nodes[0], &stats))
		return "no debugfs i915_gem_contexts: mount debugfs, be root";

	return NULL;
}

/*
 * The node of @nodes whose contexts are made by GEM_CONTEXT_CREATE, or if not
 * @by_ioctl by their first use. It has no contexts yet, as a desktop's would, has vms,
 * and tells what it has. NULL if there is none.
 */
static inline const struct i915_node *i915_find_path(const struct i915_node *nodes, int count,
						     bool by_ioctl)
{
	struct i915_stats idle, before, after;
	unsigned int id, vm_id;
	int i, fd, err;
	bool made;

	for (i = 0; i < count; i++) {
		if (i915_read_stats(&nodes[i], &idle) || idle.alive)
			continue;
		fd = open(nodes[i].path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;

		err = i915_vm_create(fd, &vm_id);
		if (!err)
			err = i915_read_stats(&nodes[i], &before);
		if (!err)
			err = i915_context_create(fd, &id);
		if (!err)
			err = i915_read_stats(&nodes[i], &after);
		close(fd);
		made = after.created > before.created;
		if (!err && made == by_ioctl)
			return &nodes[i];
	}

	return NULL;
}

/*
 * Takes the census that is to be the same after a test, when the first file and
 * context have left behind what they leave for the next. Returns false if the node
 * is in use, with which nothing can be counted.
 */
static inline bool i915_first_census(const struct i915_node *node, struct i915_census *census)
{
	unsigned int id = 0;
	int fd, i;

	for (i = 0; i < 2; i++) {
		fd = open(node->path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return false;
		if (!i915_context_create(fd, &id))
			i915_context_use(fd, id);
		close(fd);
	}

	return !i915_settled_census(node, census) &&
	       !census->stats.alive && !census->stats.waiting;
}

#define I915_NO_PATH \
	"no idle i915 node makes contexts that way: build with CONFIG_DRM_I915_MOCK_NODE=y"
#define I915_IN_USE \
	"the i915 node is in use, with what cannot be told from what is tested"

#endif /* I915_CENSUS_H */
