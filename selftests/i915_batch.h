/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Batches for the i915 selftests, from graphics version 8 on: one that stores a
 * value, one that spins until the CPU ends it, and one that hangs. Each lies in an
 * object of its own, at an address of its own, and stores into that object.
 */
#ifndef I915_BATCH_H
#define I915_BATCH_H

#include <poll.h>
#include <sys/mman.h>

#include <linux/sync_file.h>

#include "../../../kselftest.h"
#include "i915_node.h"

#define MI_NOOP			0
#define MI_ARB_CHECK		(0x05 << 23)
#define MI_BATCH_BUFFER_END	(0x0a << 23)
#define MI_STORE_DWORD_IMM	(0x20 << 23 | (4 - 2))
#define MI_SEMAPHORE_WAIT	(0x1c << 23 | 1 << 15 /* poll */ | 4 << 12 /* if equal */ | (4 - 2))
#define MI_BATCH_BUFFER_START	(0x31 << 23 | 1 << 8 /* in the PPGTT */ | (3 - 2))

#define I915_BATCH_SIZE		I915_OBJECT_SIZE
#define I915_ENGINES_MAX	32
#define I915_SLOTS_MAX		64	/* of a map, to which execbuf can refer */

/* Where the parts of a batch are, in dwords from its start. */
#define BATCH_LOOP		4
#define BATCH_JUMP		5
#define BATCH_LAST		8	/* after the loop */
#define BATCH_STARTED		512
#define BATCH_RESULT		528	/* in another cache line */
#define BATCH_ENDED		544

struct i915_engine {
	struct i915_engine_class_instance id;
	bool parsed;		/* executes a copy of the batch, which the driver checks */
	char name[16];
};

struct i915_batch {
	int fd;
	unsigned int handle;
	unsigned long long address;
	uint32_t *map;		/* that the GPU reads and writes, too */
};

/* Fills @engines and returns how many there are, or a negative errno. */
static inline int i915_list_engines(int fd, struct i915_engine engines[I915_ENGINES_MAX])
{
	static const char * const classes[] = {
		[I915_ENGINE_CLASS_RENDER] = "rcs",
		[I915_ENGINE_CLASS_COPY] = "bcs",
		[I915_ENGINE_CLASS_VIDEO] = "vcs",
		[I915_ENGINE_CLASS_VIDEO_ENHANCE] = "vecs",
		[I915_ENGINE_CLASS_COMPUTE] = "ccs",
	};
	struct drm_i915_query_item item = { .query_id = DRM_I915_QUERY_ENGINE_INFO };
	struct drm_i915_query query = { .num_items = 1, .items_ptr = (uintptr_t)&item };
	struct drm_i915_query_engine_info *info;
	int parser = 0, count = 0;
	struct drm_i915_getparam getparam = {
		.param = I915_PARAM_CMD_PARSER_VERSION,
		.value = &parser,
	};
	unsigned int i;

	if (ioctl(fd, DRM_IOCTL_I915_QUERY, &query))
		return -errno;
	if (item.length < 0)
		return item.length;

	info = calloc(1, item.length);
	if (!info)
		return -ENOMEM;
	item.data_ptr = (uintptr_t)info;
	if (ioctl(fd, DRM_IOCTL_I915_QUERY, &query)) {
		free(info);
		return -errno;
	}

	/* From graphics version 8 on it is version 9 that has one, on the copy engine */
	ioctl(fd, DRM_IOCTL_I915_GETPARAM, &getparam);
	for (i = 0; i < info->num_engines && count < I915_ENGINES_MAX; i++) {
		struct i915_engine *engine = &engines[count];

		engine->id = info->engines[i].engine;
		if (engine->id.engine_class >= ARRAY_SIZE(classes))
			continue;
		engine->parsed = parser && engine->id.engine_class == I915_ENGINE_CLASS_COPY;
		snprintf(engine->name, sizeof(engine->name), "%s%u",
			 classes[engine->id.engine_class], engine->id.engine_instance);
		count++;
	}
	free(info);

	return count;
}

/* Why no batch can be executed on the file, or NULL. */
static inline const char *i915_no_batches(int fd)
{
	struct i915_engine engines[I915_ENGINES_MAX];
	int value = 0;
	struct drm_i915_getparam getparam = {
		.param = I915_PARAM_HAS_EXEC_BATCH_FIRST,
		.value = &value,
	};
	struct drm_i915_gem_context_param vm = { .param = I915_CONTEXT_PARAM_GTT_SIZE };

	if (i915_list_engines(fd, engines) <= 0)
		return "no engines";
	if (ioctl(fd, DRM_IOCTL_I915_GETPARAM, &getparam) || !value)
		return "no I915_EXEC_BATCH_FIRST";
	if (ioctl(fd, DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &vm) || vm.value >> 32 < 0x8000)
		return "no address space of 48 bits: batches are for graphics version 8 and up";

	return NULL;
}

/* A context with a map of @count engines, to whose slots execbuf refers. */
static inline int i915_context_create_engines(int fd, const struct i915_engine *engines,
					      unsigned int count, unsigned int flags,
					      unsigned int vm_id, unsigned int *id)
{
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, I915_SLOTS_MAX) = {};
	struct drm_i915_gem_context_create_ext_setparam vm = {
		.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
		.param.param = I915_CONTEXT_PARAM_VM,
		.param.value = vm_id,
	};
	struct drm_i915_gem_context_create_ext_setparam param = {
		.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
		.base.next_extension = vm_id ? (uintptr_t)&vm : 0,
		.param.param = I915_CONTEXT_PARAM_ENGINES,
		.param.size = sizeof(uint64_t) + count * sizeof(map.engines[0]),
		.param.value = (uintptr_t)&map,
	};
	unsigned int i;

	for (i = 0; i < count; i++)
		map.engines[i] = engines[i].id;

	return i915_context_create_ext(fd, flags, &param, id);
}

/* Two engines of one class that are not render or compute; returns 0 if there are. */
static inline int i915_find_pair(const struct i915_engine *engines, int count,
				 struct i915_engine pair[2])
{
	int i;

	for (i = 1; i < count; i++) {
		const int class = engines[i].id.engine_class;

		if (class == I915_ENGINE_CLASS_RENDER || class == I915_ENGINE_CLASS_COMPUTE)
			continue;
		if (class == engines[i - 1].id.engine_class) {
			pair[0] = engines[i - 1];
			pair[1] = engines[i];
			return 0;
		}
	}

	return -ENOENT;
}

#define I915_NO_PAIR "no two engines of one class besides render and compute"

/* A context with @count slots, up to I915_SLOTS_MAX, each for either of the @pair. */
static inline int i915_context_create_balanced(int fd, const struct i915_engine pair[2],
					       unsigned int count, unsigned int *id)
{
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(balance[I915_SLOTS_MAX], 2) = {};
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, I915_SLOTS_MAX) = {};
	struct drm_i915_gem_context_create_ext_setparam param = {
		.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
		.param.param = I915_CONTEXT_PARAM_ENGINES,
		.param.size = sizeof(uint64_t) + count * sizeof(map.engines[0]),
		.param.value = (uintptr_t)&map,
	};
	unsigned int i;

	for (i = 0; i < count; i++) {
		balance[i].base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE;
		balance[i].base.next_extension = map.extensions;
		balance[i].engine_index = i;
		balance[i].num_siblings = 2;
		balance[i].engines[0] = pair[0].id;
		balance[i].engines[1] = pair[1].id;
		map.extensions = (uintptr_t)&balance[i];
		map.engines[i].engine_class = I915_ENGINE_CLASS_INVALID;
		map.engines[i].engine_instance = I915_ENGINE_CLASS_INVALID_NONE;
	}

	return i915_context_create_ext(fd, 0, &param, id);
}

/* One with a slot whose requests are executed on both of the @pair at once. */
static inline int i915_context_create_parallel(int fd, const struct i915_engine pair[2],
					       unsigned int *id)
{
	I915_DEFINE_CONTEXT_ENGINES_PARALLEL_SUBMIT(parallel, 2) = {
		.base.name = I915_CONTEXT_ENGINES_EXT_PARALLEL_SUBMIT,
		.width = 2,
		.num_siblings = 1,
		.engines = { pair[0].id, pair[1].id },
	};
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, 1) = {
		.extensions = (uintptr_t)&parallel,
		.engines[0] = {
			.engine_class = I915_ENGINE_CLASS_INVALID,
			.engine_instance = I915_ENGINE_CLASS_INVALID_NONE,
		},
	};
	struct drm_i915_gem_context_create_ext_setparam param = {
		.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
		.param.param = I915_CONTEXT_PARAM_ENGINES,
		.param.size = sizeof(map),
		.param.value = (uintptr_t)&map,
	};

	return i915_context_create_ext(fd, 0, &param, id);
}

/* The map outlives the file. */
static inline int i915_batch_create(int fd, struct i915_batch *batch)
{
	void *map;
	int err;

	err = i915_object_create(fd, &batch->handle);
	if (err)
		return err;

	map = i915_object_map(fd, batch->handle);
	if (map == MAP_FAILED) {
		struct drm_gem_close close = { .handle = batch->handle };

		err = -errno;
		ioctl(fd, DRM_IOCTL_GEM_CLOSE, &close);
		return err;
	}
	batch->fd = fd;
	batch->map = map;
	/* Large enough for any page, and unique in the file, whoever shares a vm */
	batch->address = batch->handle * (2ULL << 20);

	return 0;
}

/* Whether the file is still open or not. */
static inline void i915_batch_destroy(struct i915_batch *batch)
{
	struct drm_gem_close close = { .handle = batch->handle };

	munmap(batch->map, I915_BATCH_SIZE);
	ioctl(batch->fd, DRM_IOCTL_GEM_CLOSE, &close);
}

static inline uint32_t i915_batch_read(const struct i915_batch *batch, unsigned int at)
{
	return __atomic_load_n(&batch->map[at], __ATOMIC_SEQ_CST);
}

static inline void i915_batch_write(const struct i915_batch *batch, unsigned int at,
				    uint32_t value)
{
	__atomic_store_n(&batch->map[at], value, __ATOMIC_SEQ_CST);
}

/* A command that stores @value at @to; returns where the next one goes. */
static inline unsigned int i915_batch_emit_store(const struct i915_batch *batch, unsigned int at,
						 unsigned int to, uint32_t value)
{
	const unsigned long long address = batch->address + to * sizeof(uint32_t);

	i915_batch_write(batch, at++, MI_STORE_DWORD_IMM);
	i915_batch_write(batch, at++, address);
	i915_batch_write(batch, at++, address >> 32);
	i915_batch_write(batch, at++, value);

	return at;
}

/* Stores that it started and @value; i915_batch_loop() can put a loop in between. */
static inline void i915_batch_store(const struct i915_batch *batch, uint32_t value)
{
	unsigned int at;

	i915_batch_write(batch, BATCH_STARTED, 0);
	i915_batch_write(batch, BATCH_RESULT, 0);
	i915_batch_write(batch, BATCH_ENDED, 0);
	at = i915_batch_emit_store(batch, 0, BATCH_STARTED, 1);
	while (at < BATCH_LAST)
		i915_batch_write(batch, at++, MI_NOOP);
	at = i915_batch_emit_store(batch, at, BATCH_RESULT, value);
	i915_batch_write(batch, at, MI_BATCH_BUFFER_END);
}

static inline void i915_batch_loop(const struct i915_batch *batch, uint32_t first)
{
	const unsigned long long address = batch->address + BATCH_LOOP * sizeof(uint32_t);

	i915_batch_write(batch, BATCH_LOOP, first);
	i915_batch_write(batch, BATCH_JUMP, MI_BATCH_BUFFER_START);
	i915_batch_write(batch, BATCH_JUMP + 1, address);
	i915_batch_write(batch, BATCH_JUMP + 2, address >> 32);
}

/*
 * Spins on @engine until i915_batch_end_spin(), and stores @value then. Where a copy
 * is executed, which cannot be changed, a semaphore has to do.
 */
static inline void i915_batch_spin(const struct i915_batch *batch,
				   const struct i915_engine *engine, uint32_t value)
{
	const unsigned long long address = batch->address + BATCH_ENDED * sizeof(uint32_t);

	i915_batch_store(batch, value);
	if (!engine->parsed) {
		i915_batch_loop(batch, MI_ARB_CHECK);
		return;
	}
	i915_batch_write(batch, BATCH_LOOP, MI_SEMAPHORE_WAIT);
	i915_batch_write(batch, BATCH_LOOP + 1, 1);
	i915_batch_write(batch, BATCH_LOOP + 2, address);
	i915_batch_write(batch, BATCH_LOOP + 3, address >> 32);
}

/* Nothing preempts it, so that it must be reset: ends when the driver finds it. */
static inline void i915_batch_hang(const struct i915_batch *batch)
{
	i915_batch_store(batch, 0);
	i915_batch_loop(batch, MI_NOOP);
}

/* Has the jump back lead to what follows it, by one aligned dword. */
static inline void i915_batch_end_spin(const struct i915_batch *batch)
{
	if (i915_batch_read(batch, BATCH_LOOP) == MI_SEMAPHORE_WAIT)
		i915_batch_write(batch, BATCH_ENDED, 1);
	else
		i915_batch_write(batch, BATCH_JUMP + 1,
				 batch->address + BATCH_LAST * sizeof(uint32_t));
}

static inline bool i915_batch_started(const struct i915_batch *batch)
{
	return i915_batch_read(batch, BATCH_STARTED);
}

static inline uint32_t i915_batch_result(const struct i915_batch *batch)
{
	return i915_batch_read(batch, BATCH_RESULT);
}

static inline int i915_batch_wait_stored(const struct i915_batch *batch, unsigned int at,
					 double seconds)
{
	const double end = now() + seconds;

	while (!i915_batch_read(batch, at)) {
		if (now() > end)
			return -ETIME;
		usleep(500);
	}

	return 0;
}

/* Waits until the GPU executes the batch. */
static inline int i915_batch_wait_started(const struct i915_batch *batch, double seconds)
{
	return i915_batch_wait_stored(batch, BATCH_STARTED, seconds);
}

/* Waits for what the batch stores last, whether or not its request is complete then. */
static inline int i915_batch_wait_result(const struct i915_batch *batch, double seconds)
{
	return i915_batch_wait_stored(batch, BATCH_RESULT, seconds);
}

/*
 * Has the context @id execute @count batches, one each on the engines of a parallel
 * one, on the engine in slot @slot of its map, or if it has none on that of the legacy
 * number @slot: after the fence @in unless it is -1, and with a fence if @out is given.
 */
static inline int i915_batch_submit_many(const struct i915_batch *batches, unsigned int count,
					 unsigned int id, unsigned int slot, int in, int *out)
{
	struct drm_i915_gem_exec_object2 objects[I915_ENGINES_MAX] = {};
	struct drm_i915_gem_execbuffer2 exec = {
		.buffers_ptr = (uintptr_t)objects,
		.buffer_count = count,
		.flags = slot | I915_EXEC_NO_RELOC | I915_EXEC_BATCH_FIRST,
		.rsvd1 = id,
	};
	unsigned int i;

	for (i = 0; i < count; i++) {
		objects[i].handle = batches[i].handle;
		objects[i].offset = batches[i].address;
		objects[i].flags = EXEC_OBJECT_PINNED | EXEC_OBJECT_SUPPORTS_48B_ADDRESS;
	}
	if (in != -1) {
		exec.flags |= I915_EXEC_FENCE_IN;
		exec.rsvd2 = in;
	}
	if (out)
		exec.flags |= I915_EXEC_FENCE_OUT;

	if (i915_ioctl(batches[0].fd, DRM_IOCTL_I915_GEM_EXECBUFFER2_WR, &exec))
		return -errno;
	if (out)
		*out = exec.rsvd2 >> 32;

	return 0;
}

static inline int i915_batch_submit(const struct i915_batch *batch, unsigned int id,
				    unsigned int slot, int in, int *out)
{
	return i915_batch_submit_many(batch, 1, id, slot, in, out);
}

/* Waits for the batch, whose file is open, by GEM_WAIT. */
static inline int i915_batch_wait(const struct i915_batch *batch, double seconds)
{
	struct drm_i915_gem_wait wait = {
		.bo_handle = batch->handle,
		.timeout_ns = seconds * 1e9,
	};

	return i915_ioctl(batch->fd, DRM_IOCTL_I915_GEM_WAIT, &wait) ? -errno : 0;
}

/* Returns 0 once the fence has signaled, its error if it has one, or -ETIME. */
static inline int fence_wait(int fence, double seconds)
{
	struct sync_file_info info = {};
	struct pollfd pollfd = { .fd = fence, .events = POLLIN };

	/* poll() has the fence signal from the interrupt */
	switch (poll(&pollfd, 1, seconds * 1000)) {
	case 0:
		return -ETIME;
	case 1:
		break;
	default:
		return -errno;
	}
	if (ioctl(fence, SYNC_IOC_FILE_INFO, &info))
		return -errno;

	return info.status < 0 ? info.status : 0;
}

/* Of drivers/dma-buf/sw_sync.c, which has no header: fences that a test signals. */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC			"/sys/kernel/debug/sync/sw_sync"
#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC		_IOW('W', 1, __u32)

#define NO_SW_SYNC \
	"no " SW_SYNC ": be root, mount debugfs, build with CONFIG_SW_SYNC"

/* A timeline and a @fence on it for sw_sync_signal(), or -1. */
static inline int sw_sync_create(int *fence)
{
	struct sw_sync_create_fence_data data = { .value = 1 };
	int timeline;

	timeline = open(SW_SYNC, O_RDWR | O_CLOEXEC);
	if (timeline < 0)
		return -1;
	if (ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &data)) {
		close(timeline);
		return -1;
	}
	*fence = data.fence;

	return timeline;
}

static inline int sw_sync_signal(int timeline)
{
	__u32 step = 1;

	return ioctl(timeline, SW_SYNC_IOC_INC, &step) ? -errno : 0;
}

#endif /* I915_BATCH_H */
