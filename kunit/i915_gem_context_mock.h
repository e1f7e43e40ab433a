/* SPDX-License-Identifier: MIT */
/*
 * A mock device whose contexts tell when, in which order and under which lock
 * the driver frees them.
 */

#ifndef __I915_GEM_CONTEXT_MOCK_H__
#define __I915_GEM_CONTEXT_MOCK_H__

#include <kunit/test.h>

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/dma-fence.h>
#include <linux/idr.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "gem/selftests/mock_context.h"
#include "gt/intel_gt_types.h"
#include "i915_drv.h"
#include "i915_file_private.h"

struct drm_device;
struct drm_driver;
struct i915_gem_context;
struct task_struct;

/* Longer than anything here takes on a loaded machine, unless it never ends */
#define PATIENCE	(10 * HZ)

/**
 * struct mock_device - a mock GEM device, and what its tracked contexts share
 * @ops: functions of the driver, for tests to call
 * @i915: the device
 * @struct_mutex: the lock that the free of a tracked context needs, and that others
 *	hold while they drop a reference: the place that struct_mutex had. It is
 *	a spinlock, as a fence is released under RCU. Covers the counts and lists
 *	of this struct.
 * @hw_ida: ids of tracked contexts, given back by their free and by nothing else
 * @contexts: those that are not closed
 * @clients: open files, for tests that open some
 * @created: how many tracked contexts were created
 * @freed: how many of them were freed
 * @freed_unseen: how many of these a flush would not have waited for
 * @blocker: a work that occupies the ordered workqueue until @unblock
 * @unblock: completed for @blocker to end
 * @blocked: @blocker was queued
 * @pulses: for a static stub of intel_engine_pulse() to count its calls
 * @resumed: for one of i915_gem_resume()
 * @wakerefs: runtime PM references before that
 * @vms: those that the suite of address spaces watches
 * @retired: for a static stub of intel_gt_retire_idle() to count its calls
 * @debug_locks: did lockdep work when the device was created?
 * @warnings: how often the kernel has warned since, until the device is destroyed
 */
struct mock_device {
	const struct i915_gem_context_test_ops *ops;
	struct drm_i915_private *i915;

	spinlock_t struct_mutex; /* nests in what the free holds */
	struct ida hw_ida;
	struct list_head contexts;
	struct list_head clients;
	unsigned int created;
	unsigned int freed;
	unsigned int freed_unseen;

	struct work_struct blocker;
	struct completion unblock;
	bool blocked;

	unsigned int pulses;
	unsigned int resumed;
	int wakerefs;
	struct list_head vms;
	unsigned int retired;

	bool debug_locks;
	atomic_t warnings;
};

/**
 * struct tracked_context - a context of the driver, and what its free calls
 * @mock: the device
 * @ctx: the context, created by i915_gem_create_context()
 * @link: in &mock_device.contexts
 * @hw_id: from &mock_device.hw_ida
 * @fence: in &i915_gem_context.syncobj, which holds the only reference to it:
 *	its release is what the free of the context calls
 * @free_fn: called by the free before it takes &mock_device.struct_mutex, or NULL
 * @next: for @free_fn
 * @freed: 0, or when the context was freed: the first that was is 1
 * @being_freed: the free has reached @free_fn
 * @by_worker: @free_fn ran in a worker
 * @let_go: tracked_context_hold() is to end
 */
struct tracked_context {
	struct mock_device *mock;
	struct i915_gem_context *ctx;
	struct list_head link;
	int hw_id;
	struct dma_fence fence;

	void (*free_fn)(struct tracked_context *t);
	struct tracked_context *next;

	unsigned int freed;
	bool being_freed;
	bool by_worker;
	bool let_go;
};

#define MOCK_DEVICE_INFO(ver_, ppgtt_type_, ...) { \
	.__runtime.graphics.ip.ver = (ver_), \
	.__runtime.page_sizes = I915_GTT_PAGE_SIZE_4K, \
	.__runtime.ppgtt_type = (ppgtt_type_), \
	.__runtime.ppgtt_size = 48, \
	.memory_regions = BIT(INTEL_REGION_SMEM), \
	.platform_engine_mask = BIT(RCS0), \
	.has_logical_ring_contexts = 1, \
	.max_pat_index = 3, \
	.cachelevel_to_pat = { \
		[I915_CACHE_NONE]   = 0, \
		[I915_CACHE_LLC]    = 1, \
		[I915_CACHE_L3_LLC] = 2, \
		[I915_CACHE_WT]     = 3, \
	}, \
	__VA_ARGS__ \
}

/* Up to 12 the first use creates a context, from 13 on GEM_CONTEXT_CREATE does */
#define MOCK_CLIENT_INFO(ver_, ...) \
	MOCK_DEVICE_INFO(ver_, INTEL_PPGTT_FULL, ##__VA_ARGS__)

/**
 * struct mock_client - an open file of a mock device, by which ioctls are called
 * @mock: the device
 * @link: in &mock_device.clients
 * @filp: the file
 * @file: that of DRM, for the ioctls
 */
struct mock_client {
	struct mock_device *mock;
	struct list_head link;
	struct file *filp;
	struct drm_file *file;
};

extern const struct dma_fence_ops test_fence_ops;

int mock_device_test_init(struct kunit *test);
void mock_device_test_exit(struct kunit *test);
void mock_device_block_queue(struct mock_device *mock);
void mock_device_unblock_queue(struct mock_device *mock);
bool mock_device_wait_freed(struct mock_device *mock);
void mock_device_stub_gt(struct kunit *test);

/**
 * struct call - a call in a thread of its own, see call_start()
 * @test: the test, whose static stubs the thread uses
 * @fn: what to call
 * @data: its argument
 * @task: the thread
 * @done: @fn has returned
 * @ended: somebody has seen @done
 * @ret: what @fn has returned
 */
struct call {
	struct kunit *test;
	int (*fn)(void *data);
	void *data;
	struct task_struct *task;
	struct completion done;
	bool ended;
	int ret;
};

struct call *call_start(struct kunit *test, int (*fn)(void *data), void *data);
struct call *call_start_flush(struct kunit *test,
			      void (*flush)(struct drm_i915_private *i915));
bool call_wait(struct call *call, unsigned long timeout);
void call_end(struct kunit *test, struct call *call);

/**
 * struct rcu_reader - a reader in a thread of its own, see rcu_reader_start()
 * @call: the thread
 * @reading: it is in the critical section
 * @stop: it is to leave it
 */
struct rcu_reader {
	struct call *call;
	struct completion reading;
	bool stop;
};

struct rcu_reader *rcu_reader_start(struct kunit *test);
void rcu_reader_end(struct kunit *test, struct rcu_reader *reader);

int tracked_context_init(struct tracked_context *t, struct mock_device *mock);
struct tracked_context *tracked_contexts_create(struct kunit *test, unsigned int count);
void tracked_context_close(struct tracked_context *t);
void tracked_context_put(struct tracked_context *t);
void tracked_context_destroy(struct tracked_context *t);
bool tracked_context_is_freed(const struct tracked_context *t);
void tracked_context_hold(struct tracked_context *t);
void tracked_context_wait_being_freed(struct kunit *test, struct tracked_context *t);
void tracked_context_let_go(struct tracked_context *t);

int mock_client_test_init(struct kunit *test, const struct intel_device_info *info);
void mock_client_test_exit(struct kunit *test);
struct mock_client *mock_client_open(struct kunit *test);
void mock_client_close(struct mock_client *client);

static inline void need_two_cpus(struct kunit *test)
{
	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs: kunit.py --qemu_args='-smp 2'");
}

static inline long worker_runs(struct mock_device *mock)
{
	return atomic_long_read(&mock->i915->gem.contexts.worker_runs);
}

static inline struct drm_i915_file_private *client_fpriv(struct mock_client *client)
{
	return client->file->driver_priv;
}

static inline int create_context(struct mock_client *client, u64 extensions, u32 *id)
{
	struct drm_i915_gem_context_create_ext args = {
		.flags = I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE,
		.extensions = extensions,
	};
	int err;

	if (extensions)
		args.flags |= I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS;

	err = client->mock->ops->context_create(&client->mock->i915->drm, &args, client->file);
	*id = args.ctx_id;

	return err;
}

static inline int use_context(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_context_param args = {
		.ctx_id = id,
		.param = I915_CONTEXT_PARAM_PRIORITY,
	};

	return client->mock->ops->context_getparam(&client->mock->i915->drm, &args,
						   client->file);
}

static inline int context_setparam(struct mock_client *client,
				   struct drm_i915_gem_context_param *args)
{
	return client->mock->ops->context_setparam(&client->mock->i915->drm, args,
						   client->file);
}

static inline int destroy_context(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_context_destroy args = { .ctx_id = id };

	return client->mock->ops->context_destroy(&client->mock->i915->drm, &args,
						  client->file);
}

static inline int vm_create(struct mock_client *client, struct drm_i915_gem_vm_control *args)
{
	return client->mock->ops->vm_create(&client->mock->i915->drm, args, client->file);
}

static inline u32 create_vm(struct kunit *test, struct mock_client *client)
{
	struct drm_i915_gem_vm_control args = {};

	KUNIT_ASSERT_EQ(test, vm_create(client, &args), 0);

	return args.vm_id;
}

static inline int destroy_vm(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_vm_control args = { .vm_id = id };

	return client->mock->ops->vm_destroy(&client->mock->i915->drm, &args, client->file);
}

static inline int create_object(struct mock_client *client, u32 *handle)
{
	struct drm_i915_gem_create args = { .size = PAGE_SIZE };
	int err;

	err = client->mock->ops->gem_create(&client->mock->i915->drm, &args, client->file);
	*handle = args.handle;

	return err;
}

static inline struct i915_gem_context *find_context(struct mock_client *client, u32 id)
{
	return xa_load(&client_fpriv(client)->context_xa, id);
}

static inline unsigned long waiting(struct mock_client *client)
{
	struct i915_gem_contexts_stats *stats = &client->mock->i915->gem.contexts.stats;

	return stats->closed - stats->freed;
}

#endif /* !__I915_GEM_CONTEXT_MOCK_H__ */
