// SPDX-License-Identifier: MIT
/*
 * Contexts, ids and references that clients take with the context ioctls are given
 * back, on a mock device for each of the two ways of creating a context.
 */

#include <kunit/static_stub.h>

#include <linux/dma-fence.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_syncobj.h>

#include "gem/i915_gem_context_types.h"
#include "gem/i915_gem_object.h"
#include "gt/intel_context.h"
#include "gt/intel_gt.h"
#include "gt/intel_gtt.h"
#include "pxp/intel_pxp_types.h"
#include "i915_drm_client.h"
#include "i915_drv.h"
#include "i915_file_private.h"

#include "i915_gem_context_mock.h"

struct creation_path {
	const char *description;
	struct intel_device_info info;
};

static const struct creation_path creation_paths[] = {
	{ .description = "created by the first use", .info = MOCK_CLIENT_INFO(12) },
	{ .description = "created by the ioctl", .info = MOCK_CLIENT_INFO(13) },
};

KUNIT_ARRAY_PARAM_DESC(creation_path, creation_paths, description);

/* The only one with a choice of subslices for a client. */
static const struct creation_path gen11_paths[] = {
	{ .description = "graphics version 11", .info = MOCK_CLIENT_INFO(11) },
};

KUNIT_ARRAY_PARAM_DESC(gen11_path, gen11_paths, description);

/* The latest one whose contexts can be set after GEM_CONTEXT_CREATE. */
static const struct creation_path gen12_paths[] = {
	{ .description = "graphics version 12", .info = MOCK_CLIENT_INFO(12) },
};

KUNIT_ARRAY_PARAM_DESC(gen12_path, gen12_paths, description);

static bool made_by_first_use(struct kunit *test)
{
	return test->param_value == &creation_paths[0];
}

/* Counts of what contexts and files hold, which must return to what they were. */
struct census {
	unsigned long alive;
	unsigned int client_refs, pid_refs, ggtt_refs, vm_refs;
	unsigned int ids, proto_ids, vm_ids;
	int wakerefs;
};

/* The user memory for a chain of two extensions: an engine map and a vm. */
struct extensions {
	struct drm_i915_gem_context_create_ext_setparam set_engines, set_vm;
	I915_DEFINE_CONTEXT_ENGINES_PARALLEL_SUBMIT(parallel, 4);
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(balance, 2);
	I915_DEFINE_CONTEXT_PARAM_ENGINES(engines, 2);
};

/* Contents of the engine map. The default is an engine and an empty slot. */
#define FIRST_PARALLEL	BIT(0)
#define SECOND_BALANCED	BIT(1)
#define SECOND_THE_SAME	BIT(2)
#define TWO_SIBLINGS	BIT(3) /* for each context of a parallel engine */
#define THREE_WIDE	BIT(4) /* a parallel engine of three, not two contexts */
#define SECOND_PARALLEL	BIT(5)

static unsigned long map_user_pages(struct kunit *test, unsigned int count)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, count * PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_LT(test, addr, (unsigned long)TASK_SIZE);

	return addr;
}

static unsigned long map_user_page(struct kunit *test)
{
	return map_user_pages(test, 1);
}

static u64 build_extensions_for(struct kunit *test, u32 vm_id, unsigned int map)
{
	const struct i915_engine_class_instance empty = {
		.engine_class = I915_ENGINE_CLASS_INVALID,
		.engine_instance = I915_ENGINE_CLASS_INVALID_NONE,
	};
	const struct i915_engine_class_instance render = {
		.engine_class = I915_ENGINE_CLASS_RENDER,
	};
	const unsigned long addr = map_user_page(test);
	struct extensions ext = {
		.set_engines = {
			.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
			.param.param = I915_CONTEXT_PARAM_ENGINES,
			.param.size = sizeof(ext.engines),
			.param.value = addr + offsetof(struct extensions, engines),
		},
		.set_vm = {
			.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
			.param.param = I915_CONTEXT_PARAM_VM,
			.param.value = vm_id,
		},
		.parallel = {
			.base.name = I915_CONTEXT_ENGINES_EXT_PARALLEL_SUBMIT,
			.engine_index = map & SECOND_PARALLEL ? 1 : 0,
			.width = map & THREE_WIDE ? 3 : 2,
			.num_siblings = map & TWO_SIBLINGS ? 2 : 1,
			.engines = { render, render, render, render },
		},
		.balance = {
			.base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE,
			.engine_index = 1,
			.num_siblings = 2,
			.engines = { render, render },
		},
		.engines.engines = {
			map & FIRST_PARALLEL ? empty : render,
			map & SECOND_THE_SAME ? render : empty,
		},
	};

	if (vm_id)
		ext.set_engines.base.next_extension = addr + offsetof(struct extensions, set_vm);
	if (map & SECOND_BALANCED)
		ext.engines.extensions = addr + offsetof(struct extensions, balance);
	if (map & (FIRST_PARALLEL | SECOND_PARALLEL)) {
		ext.parallel.base.next_extension = ext.engines.extensions;
		ext.engines.extensions = addr + offsetof(struct extensions, parallel);
	}
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &ext, sizeof(ext)), 0);

	return addr + offsetof(struct extensions, set_engines);
}

/* With a vm, if that is not 0, and a map of one engine and an empty slot. */
static u64 build_extensions(struct kunit *test, u32 vm_id)
{
	return build_extensions_for(test, vm_id, 0);
}

/* A chain that sets one parameter after the other. */
static u64 build_setparams(struct kunit *test,
			   const struct drm_i915_gem_context_param *params, unsigned int count)
{
	struct drm_i915_gem_context_create_ext_setparam ext = {
		.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM,
	};
	const unsigned long addr = map_user_page(test);
	unsigned long next = addr;
	unsigned int i;

	for (i = 0; i < count; i++, next += sizeof(ext)) {
		ext.base.next_extension = i + 1 < count ? next + sizeof(ext) : 0;
		ext.param = params[i];
		KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)next, &ext, sizeof(ext)), 0);
	}

	return addr;
}

static unsigned int count_entries(struct xarray *xa)
{
	unsigned int count = 0;
	XA_STATE(xas, xa, 0);
	void *entry;

	/* Unlike xa_for_each(), this sees reserved ids too */
	xas_lock(&xas);
	xas_for_each(&xas, entry, ULONG_MAX)
		count++;
	xas_unlock(&xas);

	return count;
}

/* Counts after a flush, so that nothing dead is counted. */
static struct census take_census(struct mock_client *client, u32 vm_id)
{
	struct drm_i915_file_private *fpriv = client_fpriv(client);
	struct drm_i915_private *i915 = client->mock->i915;
	struct i915_address_space *vm;

	client->mock->ops->flush(i915);

	vm = xa_load(&fpriv->vm_xa, vm_id);
	return (struct census) {
		.alive = i915->gem.contexts.stats.created - i915->gem.contexts.stats.freed,
		.client_refs = kref_read(&fpriv->client->kref),
		.pid_refs = refcount_read(&task_pid(current)->count),
		.ggtt_refs = kref_read(&to_gt(i915)->vm->ref),
		.vm_refs = vm ? kref_read(&vm->ref) : 0,
		.ids = count_entries(&fpriv->context_xa),
		.proto_ids = count_entries(&fpriv->proto_context_xa),
		.vm_ids = count_entries(&fpriv->vm_xa),
		.wakerefs = atomic_read(&i915->runtime_pm.wakeref_count),
	};
}

static void expect_same(struct kunit *test, const char *when,
			const struct census *before, const struct census *after)
{
	KUNIT_EXPECT_EQ_MSG(test, before->alive, after->alive, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->client_refs, after->client_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->pid_refs, after->pid_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->ggtt_refs, after->ggtt_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->vm_refs, after->vm_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->ids, after->ids, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->proto_ids, after->proto_ids, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->vm_ids, after->vm_ids, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->wakerefs, after->wakerefs, "%s", when);
}

static int creation_path_init(struct kunit *test)
{
	const struct creation_path *path = test->param_value;

	return mock_client_test_init(test, &path->info);
}

/* Destroying contexts, used or not, gives ids and references back. */
static void context_all_comes_back(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u32 vm_id = create_vm(test, client);
	const u64 extensions = build_extensions(test, vm_id);
	struct census before, after;
	unsigned int created;
	u32 id[8];
	int i;

	before = take_census(client, vm_id);

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, i & 1 ? extensions : 0, &id[i]), 0);
		KUNIT_EXPECT_EQ(test, id[i], i + 1);
		if (i & 2)
			KUNIT_EXPECT_EQ(test, use_context(client, id[i]), 0);
	}
	after = take_census(client, vm_id);
	KUNIT_EXPECT_EQ(test, after.ids, before.ids + ARRAY_SIZE(id));
	/* A context that is made by its first use exists only if it was used */
	created = made_by_first_use(test) ? ARRAY_SIZE(id) / 2 : ARRAY_SIZE(id);
	KUNIT_EXPECT_EQ(test, after.alive, before.alive + created);
	/* Of each second one: a context and its engine, or a proto-context */
	KUNIT_EXPECT_EQ(test, after.vm_refs, before.vm_refs + ARRAY_SIZE(id) / 2 + created / 2);
	KUNIT_EXPECT_EQ(test, after.pid_refs, before.pid_refs + created);

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_EXPECT_EQ(test, destroy_context(client, id[i]), 0);
		KUNIT_EXPECT_EQ(test, destroy_context(client, id[i]), -ENOENT);
		KUNIT_EXPECT_EQ(test, use_context(client, id[i]), -ENOENT);
	}
	after = take_census(client, vm_id);
	expect_same(test, "after all were destroyed", &before, &after);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);

	KUNIT_EXPECT_EQ(test, destroy_vm(client, vm_id), 0);
}

/* The close of a file frees its contexts, and leaves those of others alone. */
static void context_freed_with_file(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test), *other = mock_client_open(test);
	const u64 extensions = build_extensions(test, create_vm(test, client));
	struct mock_device *mock = test->priv;
	u32 id, other_id;
	int i;

	KUNIT_ASSERT_EQ(test, create_context(other, 0, &other_id), 0);
	KUNIT_ASSERT_EQ(test, use_context(other, other_id), 0);
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, i & 1 ? extensions : 0, &id), 0);
		if (i & 2)
			KUNIT_EXPECT_EQ(test, use_context(client, id), 0);
	}
	mock_client_close(client);
	mock->ops->flush(mock->i915);

	/* The default context and the one created above */
	KUNIT_EXPECT_EQ(test, list_count_nodes(&mock->i915->gem.contexts.list), 2);
	KUNIT_EXPECT_EQ(test, waiting(other), 0);
	KUNIT_EXPECT_EQ(test, use_context(other, other_id), 0);
}

/* With the workqueue blocked, the ioctl that creates a context frees stale ones. */
static void context_reaped_by_ioctl(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = test->priv;
	u32 id[4];
	int i;

	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[i]), 0);
		KUNIT_ASSERT_EQ(test, use_context(client, id[i]), 0);
	}

	mock_device_block_queue(mock);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
	KUNIT_EXPECT_EQ(test, waiting(client), 2);

	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[2]), 0);
	if (made_by_first_use(test))
		KUNIT_ASSERT_EQ(test, use_context(client, id[2]), 0);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* A context is on gem.contexts.list until it is freed, not until the last put. */
static void context_listed_until_freed(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = test->priv;
	struct list_head *list = &mock->i915->gem.contexts.list;
	struct i915_gem_context *ctx;
	u32 id;

	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	KUNIT_ASSERT_NOT_NULL(test, ctx);

	mock_device_block_queue(mock);
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	/* Nothing frees it, so it can be looked at */
	KUNIT_EXPECT_EQ(test, kref_read(&ctx->ref), 0);
	KUNIT_EXPECT_PTR_EQ(test, list->prev, &ctx->link);
	mock_device_unblock_queue(mock);

	mock->ops->run_worker(mock->i915);
	KUNIT_EXPECT_EQ(test, list_count_nodes(list), 1);
}

/* The release of the device warns of a context that is left, and only then. */
static void context_left_by_driver_release(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = test->priv;

	mock_device_stub_gt(test);

	/* That of the file */
	KUNIT_EXPECT_EQ(test, list_count_nodes(&mock->i915->gem.contexts.list), 1);
	kunit_warning_suppress(test) {
		mock->ops->driver_release(mock->i915);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	mock_client_close(client);
	kunit_warning_suppress(test) {
		mock->ops->driver_release(mock->i915);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
}

/* The counters of debugfs count each context once, and show the most that waited. */
static void context_counted(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = test->priv;
	const struct i915_gem_contexts_stats *stats = &mock->i915->gem.contexts.stats;
	const struct i915_gem_contexts_stats before = *stats;
	u32 id[5];
	int i;

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[i]), 0);
		KUNIT_ASSERT_EQ(test, use_context(client, id[i]), 0);
		KUNIT_EXPECT_EQ(test, stats->created, before.created + i + 1);
	}
	KUNIT_EXPECT_EQ(test, stats->closed, before.closed);

	/* The most is not what waits in the end */
	mock_device_block_queue(mock);
	for (i = 0; i < 3; i++) {
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
		KUNIT_EXPECT_EQ(test, stats->closed, before.closed + i + 1);
		KUNIT_EXPECT_EQ(test, stats->max_waiting, i + 1);
	}
	KUNIT_EXPECT_EQ(test, stats->freed, before.freed);
	mock_device_unblock_queue(mock);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, stats->freed, before.freed + 3);

	for (; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
		mock->ops->flush(mock->i915);
	}
	KUNIT_EXPECT_EQ(test, stats->freed, before.freed + 5);
	KUNIT_EXPECT_EQ(test, stats->closed, before.closed + 5);
	KUNIT_EXPECT_EQ(test, stats->created, before.created + 5);
	KUNIT_EXPECT_EQ(test, stats->max_waiting, 3);

	/* The default context of the file */
	mock_client_close(client);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, stats->freed, stats->created);
	KUNIT_EXPECT_EQ(test, stats->closed, stats->created);
}

/* The id 0 stays reserved: no vm can be destroyed by it, and none gets it. */
static void context_vm_ids(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_gem_vm_control flags = { .flags = 1 };
	u32 id;

	KUNIT_EXPECT_EQ(test, destroy_vm(client, 0), -ENOENT);
	id = create_vm(test, client);
	KUNIT_EXPECT_EQ(test, id, 1);
	/* Once the array has a node, an erase of the id 0 would make it free */
	KUNIT_EXPECT_EQ(test, destroy_vm(client, 0), -ENOENT);
	KUNIT_EXPECT_EQ(test, create_vm(test, client), 2);
	KUNIT_EXPECT_EQ(test, destroy_vm(client, 3), -ENOENT);
	flags.vm_id = id;
	KUNIT_EXPECT_EQ(test, client->mock->ops->vm_destroy(&client->mock->i915->drm, &flags,
							    client->file), -EINVAL);
	KUNIT_EXPECT_EQ(test, destroy_vm(client, id), 0);
	KUNIT_EXPECT_EQ(test, destroy_vm(client, id), -ENOENT);
}

/*
 * Completes requests until all is as before: an idle engine switches to its own
 * context, with one request more, and puts the GT to sleep, and what the objects of
 * a request hold goes when they are freed.
 */
static struct census complete_requests(struct mock_client *client,
				       const struct census *before)
{
	const unsigned long timeout = jiffies + 10 * HZ;
	struct mock_device *mock = client->mock;
	struct census after;

	do {
		mock->ops->complete(mock->i915);
		after = take_census(client, 0);
	} while ((after.client_refs != before->client_refs ||
		  after.wakerefs != before->wakerefs) && time_before(jiffies, timeout));

	return after;
}

static void free_after_request(struct kunit *test, struct mock_client *client, u64 extensions)
{
	struct mock_device *mock = test->priv;
	struct i915_gem_context *ctx;
	struct census before, after;
	u32 id;

	before = take_census(client, 0);

	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	KUNIT_ASSERT_EQ(test, mock->ops->submit(ctx, 0, NULL, 3600 * HZ), 0);

	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	mock->ops->flush(mock->i915);
	/* If it was freed, its reference count cannot be read */
	KUNIT_ASSERT_EQ(test, waiting(client), 1);
	KUNIT_EXPECT_EQ(test, kref_read(&ctx->ref), 1);

	after = complete_requests(client, &before);
	expect_same(test, "after the request", &before, &after);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* A context that is destroyed with a request in flight is freed when that completes. */
static void context_freed_after_request(struct kunit *test)
{
	free_after_request(test, mock_client_open(test), build_extensions(test, 0));
}

/* A context that is destroyed drops the objects that its batches have used. */
static void context_forgets_objects(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct mock_device *mock = test->priv;
	struct drm_device *drm = &mock->i915->drm;
	struct drm_i915_gem_exec_object2 objects[2] = {};
	struct drm_i915_gem_execbuffer2 exec = { .buffer_count = ARRAY_SIZE(objects) };
	struct drm_i915_gem_object *obj;
	struct i915_gem_context *ctx;
	struct census before, after;
	u32 id[2];
	int i, j;

	before = take_census(client, 0);

	/* One object with two handles, the second is that of the batch */
	KUNIT_ASSERT_EQ(test, create_object(client, &objects[0].handle), 0);
	obj = to_intel_bo(drm_gem_object_lookup(client->file, objects[0].handle));
	KUNIT_ASSERT_NOT_NULL(test, obj);
	KUNIT_ASSERT_EQ(test, drm_gem_handle_create(client->file, &obj->base,
						    &objects[1].handle), 0);
	/* A batch that is written to is refused once all are found by the context */
	objects[1].flags = EXEC_OBJECT_WRITE;
	exec.buffers_ptr = map_user_page(test);
	KUNIT_EXPECT_EQ(test, copy_to_user(u64_to_user_ptr(exec.buffers_ptr), objects,
					   sizeof(objects)), 0);

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[i]), 0);
		exec.rsvd1 = id[i];
		KUNIT_EXPECT_EQ(test, mock->ops->execbuffer(drm, &exec, client->file), -EINVAL);
		ctx = find_context(client, id[i]);
		KUNIT_ASSERT_NOT_NULL(test, ctx);
		for (j = 0; j < ARRAY_SIZE(objects); j++)
			KUNIT_EXPECT_NOT_NULL(test, radix_tree_lookup(&ctx->handles_vma,
								      objects[j].handle));
	}

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		KUNIT_EXPECT_EQ(test, list_count_nodes(&obj->lut_list), 4 - 2 * i);
		KUNIT_EXPECT_EQ(test, destroy_context(client, id[i]), 0);
	}
	KUNIT_EXPECT_TRUE(test, list_empty(&obj->lut_list));
	after = take_census(client, 0);
	expect_same(test, "after the contexts were destroyed", &before, &after);

	for (j = 0; j < ARRAY_SIZE(objects); j++)
		KUNIT_EXPECT_EQ(test, drm_gem_handle_delete(client->file, objects[j].handle), 0);
	KUNIT_EXPECT_EQ(test, kref_read(&obj->base.refcount), 1);
	i915_gem_object_put(obj);
}

/* A creation that is refused leaves nothing behind. */
static void context_creation_refused(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, SECOND_BALANCED);
	struct drm_i915_private *i915 = client->mock->i915;
	struct intel_device_info no_execlists = *INTEL_INFO(i915);
	const struct intel_device_info *info = INTEL_INFO(i915);
	struct drm_i915_gem_vm_control vm_flags = { .flags = 1 };
	/* A vm knows no extension, so any will do */
	struct drm_i915_gem_vm_control vm_extension = { .extensions = extensions };
	struct census before, after;
	u32 id;

	before = take_census(client, 0);

	KUNIT_EXPECT_EQ(test, vm_create(client, &vm_flags), -EINVAL);
	KUNIT_EXPECT_EQ(test, vm_create(client, &vm_extension), -EINVAL);

	/* The mock engine cannot be balanced */
	if (made_by_first_use(test)) {
		KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
		KUNIT_EXPECT_EQ(test, use_context(client, id), -ENODEV);
		KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	} else {
		KUNIT_EXPECT_EQ(test, create_context(client, extensions, &id), -ENODEV);
	}

	no_execlists.has_logical_ring_contexts = 0;
	i915->__info = &no_execlists;
	KUNIT_EXPECT_EQ(test, create_context(client, 0, &id), -EINVAL);
	i915->__info = info;

	atomic_set(&client_fpriv(client)->ban_score, I915_CLIENT_SCORE_BANNED);
	KUNIT_EXPECT_EQ(test, create_context(client, 0, &id), -EIO);

	after = take_census(client, 0);
	expect_same(test, "after all were refused", &before, &after);
}

/* The mock engine, of another class, can be in a parallel engine, even twice. */
static void allow_parallel(struct mock_client *client)
{
	to_gt(client->mock->i915)->engine[RCS0]->class = VIDEO_DECODE_CLASS;
}

/* A parallel engine is unpinned with its context, or if that cannot be created. */
static void context_unpins_parallel_engine(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u32 vm_id = create_vm(test, client);
	struct census before, after;
	u64 extensions;
	u32 id;
	int i;

	allow_parallel(client);
	before = take_census(client, vm_id);

	/* The second engine is refused after the first was made */
	extensions = build_extensions_for(test, vm_id, FIRST_PARALLEL | SECOND_BALANCED);
	if (made_by_first_use(test)) {
		KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_EQ(test, use_context(client, id), -ENODEV);
		KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	} else {
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_EQ(test, create_context(client, extensions, &id), -ENODEV);
	}
	after = take_census(client, vm_id);
	expect_same(test, "after it was refused", &before, &after);

	extensions = build_extensions_for(test, vm_id, FIRST_PARALLEL);
	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_EXPECT_EQ(test, use_context(client, id), 0);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	after = take_census(client, vm_id);
	expect_same(test, "after it was destroyed", &before, &after);
}

/* A context is freed after the request of a child, if its parent has none, too. */
static void context_freed_after_child_request(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);

	allow_parallel(client);
	free_after_request(test, client, build_extensions_for(test, 0, FIRST_PARALLEL));
}

/* The size of a parallel engine, and what the driver says of it */
static const struct parallel_size {
	struct creation_path path; /* first, for creation_path_init() */
	unsigned int width, siblings;
	int err;
} parallel_sizes[] = {
	/* The engines of one that is not too large are read, and are not all there */
	{
		.path.description = "widest",
		.path.info = MOCK_CLIENT_INFO(12),
		.width = I915_NUM_ENGINES,
		.siblings = 1,
		.err = -EFAULT,
	}, {
		.path.description = "too wide",
		.path.info = MOCK_CLIENT_INFO(12),
		.width = I915_NUM_ENGINES + 1,
		.siblings = 1,
		.err = -EINVAL,
	}, {
		.path.description = "most siblings",
		.path.info = MOCK_CLIENT_INFO(12),
		.width = 2,
		.siblings = I915_NUM_ENGINES,
		.err = -EFAULT,
	}, {
		.path.description = "too many siblings",
		.path.info = MOCK_CLIENT_INFO(12),
		.width = 2,
		.siblings = I915_NUM_ENGINES + 1,
		.err = -EINVAL,
	}, {
		.path.description = "largest",
		.path.info = MOCK_CLIENT_INFO(12),
		.width = U16_MAX,
		.siblings = U16_MAX,
		.err = -EINVAL,
	},
};

KUNIT_ARRAY_PARAM_DESC(parallel_size, parallel_sizes, path.description);

/* The width of a parallel engine and its number of siblings are limited, each by itself. */
static void context_parallel_engine_size(struct kunit *test)
{
	const struct parallel_size *size = test->param_value;
	const u64 allowed = build_extensions_for(test, 0, FIRST_PARALLEL | TWO_SIBLINGS);
	struct mock_client *client = mock_client_open(test);
	struct intel_guc *guc = &to_gt(client->mock->i915)->uc.guc;
	const enum intel_uc_fw_status status = guc->fw.status;
	const struct i915_engine_class_instance empty = {
		.engine_class = I915_ENGINE_CLASS_INVALID,
		.engine_instance = I915_ENGINE_CLASS_INVALID_NONE,
	};
	const unsigned long addr = map_user_pages(test, 2);
	I915_DEFINE_CONTEXT_ENGINES_PARALLEL_SUBMIT(parallel, 4) = {
		.base.name = I915_CONTEXT_ENGINES_EXT_PARALLEL_SUBMIT,
		.width = size->width,
		.num_siblings = size->siblings,
	};
	/* The engines after these would be on the next page, which is not mapped */
	const unsigned long end = addr + PAGE_SIZE - sizeof(parallel);
	I915_DEFINE_CONTEXT_PARAM_ENGINES(engines, 1) = {
		.extensions = end,
		.engines = { empty },
	};
	const struct drm_i915_gem_context_param param = {
		.param = I915_CONTEXT_PARAM_ENGINES,
		.size = sizeof(engines),
		.value = addr,
	};
	const u64 extensions = build_setparams(test, &param, 1);
	u32 id;

	allow_parallel(client);
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &engines, sizeof(engines)), 0);
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)end, &parallel, sizeof(parallel)), 0);
	KUNIT_ASSERT_EQ(test, vm_munmap(addr + PAGE_SIZE, PAGE_SIZE), 0);

	/* As if there were GuC submission, without which there is only one sibling */
	guc->fw.__status = INTEL_UC_FIRMWARE_AVAILABLE;
	guc->submission_selected = true;
	KUNIT_EXPECT_EQ(test, create_context(client, extensions, &id), size->err);
	KUNIT_EXPECT_EQ(test, create_context(client, allowed, &id), 0);
	guc->submission_selected = false;
	guc->fw.__status = status;
}

static void end_fence(void *fence)
{
	dma_fence_signal(fence);
	dma_fence_put(fence);
}

/* A fence that end_fence() signals, at the latest when the test ends. */
static struct dma_fence *create_fence(struct kunit *test)
{
	struct dma_fence *fence = kzalloc_obj(*fence);

	KUNIT_ASSERT_NOT_NULL(test, fence);
	dma_fence_init(fence, &test_fence_ops, NULL, dma_fence_context_alloc(1), 1);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, end_fence, fence), 0);

	return fence;
}

static struct intel_context *get_engine(struct i915_gem_context *ctx, unsigned int engine)
{
	/* The map changes only when the context is closed */
	return rcu_dereference_raw(ctx->engines)->engines[engine];
}

/* An engine whose pin waits for the test, and what happens meanwhile */
struct slow_pin {
	struct intel_context_ops ops;
	const struct intel_context_ops *real_ops;
	struct completion begun, go_on;
	struct mock_client *client;
	struct i915_gem_context *ctx;
	u32 id;
};

static int pin_slowly(struct intel_context *ce, void *vaddr)
{
	struct slow_pin *slow = container_of(ce->ops, typeof(*slow), ops);

	complete(&slow->begun);
	wait_for_completion_timeout(&slow->go_on, PATIENCE);
	ce->ops = slow->real_ops;

	return ce->ops->pin(ce, vaddr);
}

static int submit_slowly(void *data)
{
	struct slow_pin *slow = data;

	return slow->client->mock->ops->submit(slow->ctx, 0, NULL, 3600 * HZ);
}

static int destroy_meanwhile(void *data)
{
	struct slow_pin *slow = data;

	return destroy_context(slow->client, slow->id);
}

/*
 * If a context is destroyed while its engine is being pinned, it does not wait for the
 * pin, which then fails: nobody would wait for a request.
 */
static void context_destroyed_during_pin(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions(test, 0);
	struct call *submission, *destruction;
	struct census before, after;
	struct intel_context *ce;
	struct slow_pin *slow;

	slow = kunit_kzalloc(test, sizeof(*slow), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slow);
	init_completion(&slow->begun);
	init_completion(&slow->go_on);
	slow->client = client;

	before = take_census(client, 0);
	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &slow->id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, slow->id), 0);
	slow->ctx = find_context(client, slow->id);
	ce = get_engine(slow->ctx, 0);
	slow->real_ops = ce->ops;
	slow->ops = *ce->ops;
	slow->ops.pin = pin_slowly;
	ce->ops = &slow->ops;

	submission = call_start(test, submit_slowly, slow);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&slow->begun, PATIENCE));
	destruction = call_start(test, destroy_meanwhile, slow);
	KUNIT_EXPECT_TRUE(test, call_wait(destruction, HZ));
	complete(&slow->go_on);
	call_end(test, destruction);
	KUNIT_EXPECT_EQ(test, destruction->ret, 0);
	call_end(test, submission);
	KUNIT_EXPECT_EQ(test, submission->ret, -ENOENT);

	after = complete_requests(client, &before);
	expect_same(test, "after it was destroyed", &before, &after);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* A second pin that finds the engine pinned by the first fails like it. */
static void context_destroyed_during_pins(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct intel_context *ce;
	u32 id;

	KUNIT_ASSERT_EQ(test, create_context(client, 0, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ce = intel_context_get(get_engine(find_context(client, id), 0));
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);

	/* The first pin was missed, and is not undone yet */
	KUNIT_EXPECT_EQ(test, atomic_inc_return(&ce->pin_count), 1);
	KUNIT_EXPECT_EQ(test, client->mock->ops->pin(ce), -ENOENT);
	KUNIT_EXPECT_EQ(test, client->mock->ops->pin_ww(ce), -ENOENT);
	KUNIT_EXPECT_EQ(test, atomic_dec_return(&ce->pin_count), 0);
	intel_context_put(ce);
}

static int create_and_use(void *client)
{
	u32 id;

	return create_context(client, 0, &id) ?: use_context(client, id);
}

/* A creation waits while too much memory is pending, and can be killed. */
static void context_creation_throttled(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct call *call;

	client->mock->ops->pending_add(i915, I915_GEM_PENDING_MAX);
	call = call_start(test, create_and_use, client);
	KUNIT_EXPECT_FALSE(test, call_wait(call, HZ / 20));
	send_sig(SIGKILL, call->task, 1);
	KUNIT_EXPECT_TRUE(test, call_wait(call, PATIENCE));
	client->mock->ops->pending_sub(i915, I915_GEM_PENDING_MAX);
	call_end(test, call);
	KUNIT_EXPECT_EQ(test, call->ret, -ERESTARTSYS);
}

/* How a context that is closed treats the engines that still have a request */
static const struct close_of_children {
	struct creation_path path; /* first, for creation_path_init() */
	bool persistent;
	bool no_hangcheck; /* switched off after the creation */
} closes_of_children[] = {
	{
		.path.description = "persistent, first use",
		.path.info = MOCK_CLIENT_INFO(12),
		.persistent = true,
	}, {
		.path.description = "persistent, create ioctl",
		.path.info = MOCK_CLIENT_INFO(13),
		.persistent = true,
	}, {
		.path.description = "not persistent, first use",
		.path.info = MOCK_CLIENT_INFO(12),
	}, {
		.path.description = "not persistent, create ioctl",
		.path.info = MOCK_CLIENT_INFO(13),
	}, {
		.path.description = "persistent, hangcheck switched off",
		.path.info = MOCK_CLIENT_INFO(12),
		.persistent = true,
		.no_hangcheck = true,
	},
};

KUNIT_ARRAY_PARAM_DESC(close_of_children, closes_of_children, path.description);

/* The children of a parallel engine are closed and revoked together with the parent. */
static void context_closes_children(struct kunit *test)
{
	const struct close_of_children *close = test->param_value;
	const bool revoked = !close->persistent || close->no_hangcheck;
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, FIRST_PARALLEL | THREE_WIDE);
	struct intel_context *parent, *child;
	struct mock_device *mock = test->priv;
	struct i915_gem_context *ctx;
	unsigned int children = 0;
	struct census before;
	struct dma_fence *fence;
	u32 id;

	allow_parallel(client);
	before = take_census(client, 0);
	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	parent = get_engine(ctx, 0);
	if (!close->persistent)
		clear_bit(UCONTEXT_PERSISTENCE, &ctx->user_flags);

	/* The request of the last child keeps the context from being freed */
	fence = create_fence(test);
	KUNIT_EXPECT_EQ(test, mock->ops->submit(ctx, 0, fence, 0), 0);

	mock->i915->params.enable_hangcheck = !close->no_hangcheck;
	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	KUNIT_ASSERT_EQ(test, waiting(client), 1);
	KUNIT_EXPECT_TRUE(test, intel_context_is_closed(parent));
	KUNIT_EXPECT_EQ(test, intel_context_is_exiting(parent), revoked);
	for_each_child(parent, child) {
		KUNIT_EXPECT_EQ(test, child->parallel.child_index, children);
		KUNIT_EXPECT_TRUE(test, intel_context_is_closed(child));
		KUNIT_EXPECT_EQ(test, intel_context_is_exiting(child), revoked);
		children++;
	}
	KUNIT_EXPECT_EQ(test, children, 2);

	kunit_release_action(test, end_fence, fence);
	complete_requests(client, &before);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

static int count_pulse(struct intel_engine_cs *engine)
{
	struct kunit *test = kunit_get_current_test();
	struct mock_device *mock = test->priv;

	mock->pulses++;

	return 0;
}

/* A child that executes a request is preempted when its context is closed. */
static void context_preempts_child(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, FIRST_PARALLEL);
	struct mock_device *mock = test->priv;
	struct i915_gem_context *ctx;
	struct census before;
	u32 id;

	allow_parallel(client);
	before = take_census(client, 0);
	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	clear_bit(UCONTEXT_PERSISTENCE, &ctx->user_flags);

	KUNIT_EXPECT_EQ(test, mock->ops->submit(ctx, 0, NULL, 3600 * HZ), 0);
	kunit_activate_static_stub(test, mock->ops->engine_pulse, count_pulse);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	kunit_deactivate_static_stub(test, mock->ops->engine_pulse);
	KUNIT_EXPECT_EQ(test, mock->pulses, 1);
	complete_requests(client, &before);
}

/* Returns the SSEU of an engine of the context's map. */
static struct drm_i915_gem_context_param_sseu
get_sseu(struct kunit *test, struct mock_client *client, u32 id, int engine)
{
	struct drm_i915_gem_context_param_sseu sseu = {
		.flags = I915_CONTEXT_SSEU_FLAG_ENGINE_INDEX,
		.engine.engine_instance = engine,
	};
	const unsigned long addr = map_user_page(test);
	struct drm_i915_gem_context_param args = {
		.ctx_id = id,
		.param = I915_CONTEXT_PARAM_SSEU,
		.size = sizeof(sseu),
		.value = addr,
	};

	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &sseu, sizeof(sseu)), 0);
	KUNIT_ASSERT_EQ(test, client->mock->ops->context_getparam(&client->mock->i915->drm, &args,
								  client->file), 0);
	KUNIT_ASSERT_EQ(test, copy_from_user(&sseu, (void __user *)addr, sizeof(sseu)), 0);

	return sseu;
}

static void expect_sseu(struct kunit *test, struct mock_client *client, u32 id, int engine,
			const struct drm_i915_gem_context_param_sseu *expected)
{
	const struct drm_i915_gem_context_param_sseu sseu = get_sseu(test, client, id, engine);

	KUNIT_EXPECT_EQ(test, sseu.slice_mask, expected->slice_mask);
	KUNIT_EXPECT_EQ(test, sseu.subslice_mask, expected->subslice_mask);
	KUNIT_EXPECT_EQ(test, sseu.min_eus_per_subslice, expected->min_eus_per_subslice);
	KUNIT_EXPECT_EQ(test, sseu.max_eus_per_subslice, expected->max_eus_per_subslice);
}

/* As an Ice Lake has them. */
static void set_slices(struct mock_client *client)
{
	struct sseu_dev_info *info = &to_gt(client->mock->i915)->info.sseu;

	info->max_slices = 1;
	info->max_subslices = 8;
	info->max_eus_per_subslice = 8;
	info->slice_mask = 0x1;
	info->subslice_mask.hsw[0] = 0xff;
}

/* An SSEU that is set for one engine of the map applies to no other. */
static void context_sseu_of_its_engine(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	I915_DEFINE_CONTEXT_PARAM_ENGINES(engines, 2) = {
		.engines = {
			{ .engine_class = I915_ENGINE_CLASS_RENDER },
			{ .engine_class = I915_ENGINE_CLASS_RENDER },
		},
	};
	struct drm_i915_gem_context_param_sseu sseu = {
		.flags = I915_CONTEXT_SSEU_FLAG_ENGINE_INDEX,
		.slice_mask = 0x1,
		.subslice_mask = 0xf,
		.min_eus_per_subslice = 8,
		.max_eus_per_subslice = 8,
	};
	const struct drm_i915_gem_context_param_sseu none = {};
	const unsigned long addr = map_user_page(test);
	const struct drm_i915_gem_context_param params[] = {
		{
			.param = I915_CONTEXT_PARAM_ENGINES,
			.size = sizeof(engines),
			.value = addr,
		}, {
			.param = I915_CONTEXT_PARAM_SSEU,
			.size = sizeof(sseu),
			.value = addr + sizeof(engines),
		},
	};
	const u64 extensions = build_setparams(test, params, ARRAY_SIZE(params));
	int engine;
	u32 id;

	set_slices(client);

	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &engines, sizeof(engines)), 0);
	for (engine = 0; engine < 2; engine++) {
		sseu.engine.engine_instance = engine;
		KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)(addr + sizeof(engines)), &sseu,
						   sizeof(sseu)), 0);
		KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
		expect_sseu(test, client, id, engine, &sseu);
		expect_sseu(test, client, id, !engine, &none);
		KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	}
}

/* An SSEU that is refused changes no field of one that was set before. */
static void context_sseu_refused(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
#define SSEU(subslices, min_eus, max_eus) { \
		.flags = I915_CONTEXT_SSEU_FLAG_ENGINE_INDEX, \
		.slice_mask = 0x1, \
		.subslice_mask = (subslices), \
		.min_eus_per_subslice = (min_eus), \
		.max_eus_per_subslice = (max_eus), \
	}
	const struct drm_i915_gem_context_param_sseu allowed = SSEU(0xf, 8, 8), none = {};
	const struct drm_i915_gem_context_param_sseu refused[] = {
		SSEU(0x7, 8, 8), /* neither all subslices nor half of them */
		SSEU(0xf, 4, 8), /* not all execution units */
		SSEU(0xf, 4, 4),
	};
#undef SSEU
	const u64 extensions = build_extensions(test, 0);
	const unsigned long addr = map_user_page(test);
	struct drm_i915_gem_context_param args = {
		.param = I915_CONTEXT_PARAM_SSEU,
		.size = sizeof(allowed),
		.value = addr,
	};
	int i, set;

	set_slices(client);

	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		/* With nothing set before, and with another choice */
		for (set = 0; set < 2; set++) {
			KUNIT_ASSERT_EQ(test, create_context(client, extensions, &args.ctx_id), 0);
			if (set) {
				KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &allowed,
								   sizeof(allowed)), 0);
				KUNIT_ASSERT_EQ(test, context_setparam(client, &args), 0);
			}
			KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &refused[i],
							   sizeof(refused[i])), 0);
			KUNIT_EXPECT_EQ(test, context_setparam(client, &args), -EINVAL);
			KUNIT_ASSERT_EQ(test, use_context(client, args.ctx_id), 0);
			expect_sseu(test, client, args.ctx_id, 0, set ? &allowed : &none);
			KUNIT_EXPECT_EQ(test, destroy_context(client, args.ctx_id), 0);
		}
	}
}

/* An SSEU that is set for one engine does not apply to the children of another. */
static void context_sseu_not_of_children(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, SECOND_PARALLEL);
	struct intel_engine_cs *engine = to_gt(client->mock->i915)->engine[RCS0];
	const struct drm_i915_gem_context_param_sseu sseu = {
		.flags = I915_CONTEXT_SSEU_FLAG_ENGINE_INDEX,
		.slice_mask = 0x1,
		.subslice_mask = 0xf,
		.min_eus_per_subslice = 8,
		.max_eus_per_subslice = 8,
	};
	const unsigned long addr = map_user_page(test);
	struct drm_i915_gem_context_param args = {
		.param = I915_CONTEXT_PARAM_SSEU,
		.size = sizeof(sseu),
		.value = addr,
	};
	struct intel_context *parent, *child;
	struct i915_gem_context *ctx;

	set_slices(client);
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &sseu, sizeof(sseu)), 0);

	allow_parallel(client);
	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &args.ctx_id), 0);
	/* Only that of a render engine can be set, and only another one is parallel */
	engine->class = RENDER_CLASS;
	KUNIT_ASSERT_EQ(test, context_setparam(client, &args), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, args.ctx_id), 0);
	expect_sseu(test, client, args.ctx_id, 0, &sseu);

	ctx = find_context(client, args.ctx_id);
	parent = get_engine(ctx, 1);
	KUNIT_EXPECT_EQ(test, parent->sseu.slice_mask, 0);
	KUNIT_EXPECT_EQ(test, parent->parallel.number_children, 1);
	for_each_child(parent, child)
		KUNIT_EXPECT_EQ(test, child->sseu.slice_mask, 0);
	KUNIT_EXPECT_EQ(test, destroy_context(client, args.ctx_id), 0);
}

/* Without a PXP session, a context does not become protected. */
static void context_protection_refused(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct drm_i915_gem_context_param args = { .param = I915_CONTEXT_PARAM_RECOVERABLE };
	struct intel_pxp session = { .ctrl_gt = to_gt(i915), .platform_cfg_is_bad = true };

	if (!IS_ENABLED(CONFIG_DRM_I915_PXP))
		kunit_skip(test, "needs CONFIG_DRM_I915_PXP");

	KUNIT_ASSERT_EQ(test, create_context(client, 0, &args.ctx_id), 0);
	KUNIT_EXPECT_EQ(test, context_setparam(client, &args), 0);

	session.ce = to_gt(i915)->engine[RCS0]->kernel_context;
	i915->pxp = &session;
	args.param = I915_CONTEXT_PARAM_PROTECTED_CONTENT;
	args.value = 1;
	KUNIT_EXPECT_EQ(test, context_setparam(client, &args), -ENODEV);
	KUNIT_EXPECT_EQ(test, client->mock->ops->context_getparam(&i915->drm, &args,
								  client->file), 0);
	KUNIT_EXPECT_EQ(test, args.value, 0);
	KUNIT_EXPECT_EQ(test, destroy_context(client, args.ctx_id), 0);
	i915->pxp = NULL;
}

/* An execbuf that is refused puts its fences. */
static void context_exec_refused(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_gem_exec_fence fence = { .flags = I915_EXEC_FENCE_SIGNAL };
	const struct drm_i915_gem_exec_object2 object = {};
	const unsigned long addr = map_user_page(test);
	struct drm_i915_gem_execbuffer2 exec = {
		.buffers_ptr = addr,
		.buffer_count = 1,
		.cliprects_ptr = addr + sizeof(object),
		.num_cliprects = 1,
		.rsvd2 = U32_MAX, /* no file descriptor of a fence */
	};
	/* Either wants a fence, and both exclude each other */
	static const u64 flags[] = {
		I915_EXEC_FENCE_IN,
		I915_EXEC_FENCE_SUBMIT,
		I915_EXEC_FENCE_IN | I915_EXEC_FENCE_SUBMIT,
	};
	int i;
	struct drm_syncobj *syncobj;

	KUNIT_ASSERT_EQ(test, drm_syncobj_create(&syncobj, 0, NULL), 0);
	KUNIT_EXPECT_EQ(test, drm_syncobj_get_handle(client->file, syncobj, &fence.handle), 0);
	KUNIT_EXPECT_EQ(test, copy_to_user((void __user *)addr, &object, sizeof(object)), 0);
	KUNIT_EXPECT_EQ(test, copy_to_user((void __user *)addr + sizeof(object), &fence,
					   sizeof(fence)), 0);

	KUNIT_EXPECT_EQ(test, kref_read(&syncobj->refcount), 2);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		exec.flags = I915_EXEC_FENCE_ARRAY | flags[i];
		KUNIT_EXPECT_EQ(test, client->mock->ops->execbuffer(&client->mock->i915->drm,
								    &exec, client->file), -EINVAL);
		KUNIT_EXPECT_EQ(test, kref_read(&syncobj->refcount), 2);
	}
	drm_syncobj_put(syncobj);
}

/* An execbuf that meets a child that another thread has closed undoes its pins. */
static void context_exec_on_closed_child(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, FIRST_PARALLEL | THREE_WIDE);
	struct mock_device *mock = test->priv;
	struct drm_device *drm = &mock->i915->drm;
	struct drm_i915_gem_exec_object2 batches[3] = {};
	struct drm_i915_gem_execbuffer2 exec = { .buffer_count = ARRAY_SIZE(batches) };
	struct intel_context *parent, *child, *other;
	int pins;
	struct i915_gem_context *ctx;
	struct census before, after;
	u32 id;
	int i;

	allow_parallel(client);
	before = take_census(client, 0);

	for (i = 0; i < ARRAY_SIZE(batches); i++)
		KUNIT_ASSERT_EQ(test, create_object(client, &batches[i].handle), 0);
	exec.buffers_ptr = map_user_page(test);
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(exec.buffers_ptr), batches,
					   sizeof(batches)), 0);

	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	exec.rsvd1 = id;

	parent = get_engine(ctx, 0);
	KUNIT_EXPECT_EQ(test, parent->parallel.number_children, 2);
	for_each_child(parent, child) {
		pins = atomic_read(&parent->pin_count);
		KUNIT_ASSERT_EQ(test, mock->ops->close_child(child), 0);
		KUNIT_EXPECT_EQ(test, mock->ops->execbuffer(drm, &exec, client->file), -ENOENT);
		KUNIT_EXPECT_EQ(test, mock->ops->reopen_child(child), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&parent->pin_count), pins);
		for_each_child(parent, other)
			KUNIT_EXPECT_EQ(test, atomic_read(&other->pin_count), 1);
	}
	KUNIT_EXPECT_EQ(test, mock->ops->execbuffer(drm, &exec, client->file), 0);

	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	for (i = 0; i < ARRAY_SIZE(batches); i++)
		KUNIT_EXPECT_EQ(test, drm_gem_handle_delete(client->file, batches[i].handle), 0);
	after = complete_requests(client, &before);
	expect_same(test, "after it was destroyed", &before, &after);
}

/* A context that is protected twice takes one runtime PM reference, and gives it back. */
static void context_protected_twice(struct kunit *test)
{
	static const struct drm_i915_gem_context_param params[] = {
		{ .param = I915_CONTEXT_PARAM_RECOVERABLE, .value = 0 },
		{ .param = I915_CONTEXT_PARAM_PROTECTED_CONTENT, .value = 1 },
		{ .param = I915_CONTEXT_PARAM_PROTECTED_CONTENT, .value = 1 },
	};
	const u64 extensions = build_setparams(test, params, ARRAY_SIZE(params));
	struct mock_client *client = mock_client_open(test);
	struct drm_i915_private *i915 = client->mock->i915;
	struct intel_pxp session = { .arb_is_valid = true };
	struct census before, after;
	u32 id;

	if (!IS_ENABLED(CONFIG_DRM_I915_PXP))
		kunit_skip(test, "needs CONFIG_DRM_I915_PXP");

	before = take_census(client, 0);

	/* Enabled, and with a session; it is not asked for more */
	session.ce = to_gt(i915)->engine[RCS0]->kernel_context;
	i915->pxp = &session;
	KUNIT_EXPECT_EQ(test, create_context(client, extensions, &id), 0);
	after = take_census(client, 0);
	/* The reference, and the wakelock that it holds */
	KUNIT_EXPECT_EQ(test, after.wakerefs, before.wakerefs + INTEL_RPM_WAKELOCK_BIAS + 1);
	KUNIT_EXPECT_EQ(test, use_context(client, id), 0);
	after = take_census(client, 0);
	KUNIT_EXPECT_EQ(test, after.wakerefs, before.wakerefs + INTEL_RPM_WAKELOCK_BIAS + 1);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	i915->pxp = NULL;

	after = take_census(client, 0);
	expect_same(test, "after it was destroyed", &before, &after);
}

/* Another thread of the client that guesses ids. */
struct guesser {
	struct mock_client *client;
	bool came;
	u32 id;
	int err;
};

static void destroy_and_create(void *data, struct i915_gem_context *ctx)
{
	struct guesser *g = data;
	u32 id;

	/* Not again for the context that it creates itself */
	if (ctx->i915 != g->client->mock->i915 || g->came)
		return;
	g->came = true;

	for (id = 1; id < 4; id++)
		destroy_context(g->client, id);
	g->err = create_context(g->client, 0, &g->id);
}

/* Calls made while the create ioctl creates a context cannot take its id. */
static void context_created_among_guesses(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct guesser guesser = { .client = client };
	struct mock_device *mock = test->priv;
	struct census before, after;
	u32 id;

	before = take_census(client, 0);

	if (mock->ops->probe_create(destroy_and_create, &guesser))
		kunit_skip(test, "needs CONFIG_TRACEPOINTS");
	KUNIT_EXPECT_EQ(test, create_context(client, 0, &id), 0);
	mock->ops->unprobe_create(destroy_and_create, &guesser);
	tracepoint_synchronize_unregister();

	KUNIT_EXPECT_EQ(test, guesser.came, !made_by_first_use(test));
	if (guesser.came) {
		KUNIT_EXPECT_EQ(test, guesser.err, 0);
		KUNIT_EXPECT_NE(test, guesser.id, id);
		KUNIT_EXPECT_EQ(test, destroy_context(client, guesser.id), 0);
	}
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);

	after = take_census(client, 0);
	expect_same(test, "after both were destroyed", &before, &after);
}

struct create_call {
	struct mock_client *client;
	u32 id;
};

static int create_in_call(void *data)
{
	struct create_call *c = data;

	return create_context(c->client, 0, &c->id);
}

/* A context gets its id under the lock that GEM_CONTEXT_DESTROY takes. */
static void context_id_reserved_under_lock(struct kunit *test)
{
	struct create_call c = { .client = mock_client_open(test) };
	struct drm_i915_file_private *fpriv = client_fpriv(c.client);
	struct call *call;

	mutex_lock(&fpriv->proto_context_lock);
	call = call_start(test, create_in_call, &c);
	KUNIT_EXPECT_FALSE(test, call_wait(call, HZ / 20));
	mutex_unlock(&fpriv->proto_context_lock);

	call_end(test, call);
	KUNIT_EXPECT_EQ(test, call->ret, 0);
	KUNIT_EXPECT_EQ(test, destroy_context(c.client, c.id), 0);
}

static void probe_end(void *probe)
{
	unregister_kprobe(probe);
}

/* Has @handler called whenever @symbol is, until the end of the test. */
static void probe_start(struct kunit *test, struct kprobe *probe, const char *symbol,
			kprobe_pre_handler_t handler)
{
	if (!IS_ENABLED(CONFIG_KPROBES))
		kunit_skip(test, "needs CONFIG_KPROBES");

	probe->symbol_name = symbol;
	probe->pre_handler = handler;
	KUNIT_ASSERT_EQ(test, register_kprobe(probe), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, probe_end, probe), 0);
}

/* Sees if a lock is held when a context is stored under its id. */
struct registration {
	struct kprobe probe;
	struct drm_i915_file_private *fpriv;
	unsigned int stored, locked;
};

static int registration_entry(struct kprobe *probe, struct pt_regs *regs)
{
	struct registration *r = container_of(probe, typeof(*r), probe);

	if ((void *)regs_get_kernel_argument(regs, 0) == &r->fpriv->context_xa) {
		r->stored++;
		r->locked += mutex_is_locked(&r->fpriv->proto_context_lock);
	}

	return 0;
}

/* The lock is held until the context is found by its id. */
static void context_registered_under_lock(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct registration *r;
	u32 id;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);

	r->fpriv = client_fpriv(client);
	probe_start(test, &r->probe, "xa_store", registration_entry);

	KUNIT_EXPECT_EQ(test, create_context(client, 0, &id), 0);
	KUNIT_EXPECT_EQ(test, use_context(client, id), 0);
	KUNIT_EXPECT_EQ(test, r->stored, 1);
	KUNIT_EXPECT_EQ(test, r->locked, 1);
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
}

/* Fails the nth allocation of a task, and all that follow. */
struct failing {
	struct kretprobe probe;
	struct task_struct *task;
	unsigned int nth, seen;
};

#if IS_ENABLED(CONFIG_KRETPROBES) && IS_ENABLED(CONFIG_FAILSLAB)
static int failing_entry(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct failing *failing = container_of(get_kretprobe(ri), typeof(*failing), probe);
	const gfp_t gfp = (__force gfp_t)regs_get_kernel_argument(regs, 1);

	if (current != READ_ONCE(failing->task))
		return 1;

	/* Interrupts, object debugging, and what a free may allocate for itself */
	if (gfp & (__GFP_NOFAIL | __GFP_HIGH) || !(gfp & __GFP_RECLAIM))
		return 1;

	return ++failing->seen < failing->nth;
}

static int failing_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	regs_set_return_value(regs, -ENOMEM);

	return 0;
}

static void failing_unregister(void *data)
{
	struct failing *failing = data;

	unregister_kretprobe(&failing->probe);
}

static struct failing *failing_register(struct kunit *test)
{
	struct failing *failing;

	failing = kunit_kzalloc(test, sizeof(*failing), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, failing);

	failing->probe.kp.symbol_name = "should_failslab";
	failing->probe.entry_handler = failing_entry;
	failing->probe.handler = failing_return;
	KUNIT_ASSERT_EQ(test, register_kretprobe(&failing->probe), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, failing_unregister, failing), 0);

	return failing;
}
#else
static struct failing *failing_register(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
}
#endif

static void failing_start(struct failing *failing, unsigned int nth)
{
	failing->nth = nth;
	failing->seen = 0;
	WRITE_ONCE(failing->task, current);
}

/* Returns true if an allocation has failed. */
static bool failing_stop(struct failing *failing)
{
	WRITE_ONCE(failing->task, NULL);

	return failing->seen >= failing->nth;
}

/* Stale contexts are freed before the first allocation, so even if that fails. */
static void context_reaped_before_allocation(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct failing *failing = failing_register(test);
	struct mock_device *mock = test->priv;
	u32 id[3];
	int err, i;

	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[i]), 0);
		KUNIT_ASSERT_EQ(test, use_context(client, id[i]), 0);
	}
	mock_device_block_queue(mock);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);

	if (made_by_first_use(test))
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[2]), 0);
	failing_start(failing, 1);
	err = made_by_first_use(test) ? use_context(client, id[2]) :
					create_context(client, 0, &id[2]);
	KUNIT_EXPECT_TRUE(test, failing_stop(failing));
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* Returns how many allocations had to succeed for the creation to succeed. */
static unsigned int fail_creations(struct kunit *test, struct failing *failing,
				   struct mock_client *client, u32 vm_id, u64 extensions)
{
	const struct census before = take_census(client, vm_id);
	unsigned int made, used;
	struct census after;
	char when[32];
	bool failed;
	u32 id;
	int err;

	for (made = 1, failed = true; failed; made++) {
		failing_start(failing, made);
		err = create_context(client, extensions, &id);
		failed = failing_stop(failing);

		snprintf(when, sizeof(when), "create, allocation %u", made);
		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "%s: %d", when, err);
		if (!err)
			KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
		after = take_census(client, vm_id);
		expect_same(test, when, &before, &after);
	}

	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	for (used = 1, failed = true; failed; used++) {
		failing_start(failing, used);
		err = use_context(client, id);
		failed = failing_stop(failing);

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "use, allocation %u: %d", used, err);
	}
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	after = take_census(client, vm_id);
	expect_same(test, "after all", &before, &after);

	return made + used;
}

/*
 * Whichever allocation fails while a context is created, nothing is left behind, and
 * the creation succeeds once none fails.
 */
static void context_creation_fails(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct failing *failing = failing_register(test);
	const u32 vm_id = create_vm(test, client);

	/* With a vm and an engine map, and with those that the driver makes */
	KUNIT_EXPECT_GT(test, fail_creations(test, failing, client, vm_id,
					     build_extensions(test, vm_id)), 8);
	KUNIT_EXPECT_GT(test, fail_creations(test, failing, client, vm_id, 0), 8);

	allow_parallel(client);
	KUNIT_EXPECT_GT(test, fail_creations(test, failing, client, vm_id,
					     build_extensions_for(test, vm_id, FIRST_PARALLEL)), 8);
}

/*
 * A file, which has a context from the start, or a vm that cannot be created for lack
 * of memory leaves nothing behind.
 */
static void context_file_fails(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct failing *failing = failing_register(test);
	struct mock_device *mock = test->priv;
	struct census before, after;
	unsigned int opened, made;
	struct file *filp;
	bool failed;
	int err;

	before = take_census(client, 0);

	for (opened = 1, failed = true; failed; opened++) {
		failing_start(failing, opened);
		filp = mock_drm_getfile(mock->i915->drm.primary, O_RDWR);
		failed = failing_stop(failing);
		err = PTR_ERR_OR_ZERO(filp);

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "open, allocation %u: %d", opened, err);
		if (!err)
			__fput_sync(filp);
	}
	KUNIT_EXPECT_GT(test, opened, 8);

	for (made = 1, failed = true; failed; made++) {
		struct drm_i915_gem_vm_control args = {};

		failing_start(failing, made);
		err = vm_create(client, &args);
		failed = failing_stop(failing);

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "vm, allocation %u: %d", made, err);
		if (!err)
			KUNIT_EXPECT_EQ(test, destroy_vm(client, args.vm_id), 0);
	}
	KUNIT_EXPECT_GT(test, made, 4);

	after = take_census(client, 0);
	expect_same(test, "after all", &before, &after);
}

/*
 * A context that is destroyed while allocations fail stays until the requests of all its
 * engines have completed.
 */
static void context_freed_after_requests_without_memory(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	const u64 extensions = build_extensions_for(test, 0, SECOND_THE_SAME);
	struct failing *failing = failing_register(test);
	struct mock_device *mock = test->priv;
	struct i915_gem_context *ctx;
	struct census before, after;
	struct dma_fence *fence;
	int err, i;
	u32 id;

	before = take_census(client, 0);

	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);

	fence = create_fence(test);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, mock->ops->submit(ctx, i, fence, 0), 0);

	failing_start(failing, 1);
	err = destroy_context(client, id);
	failing_stop(failing);
	KUNIT_EXPECT_EQ(test, err, 0);

	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, waiting(client), 1);

	kunit_release_action(test, end_fence, fence);
	after = complete_requests(client, &before);
	expect_same(test, "after the requests", &before, &after);
}

static void resume_awake(struct drm_i915_private *i915)
{
	struct kunit *test = kunit_get_current_test();
	struct mock_device *mock = test->priv;

	mock->resumed++;
	KUNIT_EXPECT_GT(test, atomic_read(&i915->runtime_pm.wakeref_count), mock->wakerefs);
}

/* If a suspend ends after prepare(), complete() resumes, once, with the device awake. */
static void device_resumed_by_complete(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct drm_i915_private *i915 = mock->i915;

	mock->wakerefs = atomic_read(&i915->runtime_pm.wakeref_count);
	kunit_activate_static_stub(test, mock->ops->resume, resume_awake);
	mock->ops->pm->complete(i915->drm.dev);
	KUNIT_EXPECT_EQ(test, mock->resumed, 0);

	i915->suspend_prepared = true;
	mock->ops->pm->complete(i915->drm.dev);
	mock->ops->pm->complete(i915->drm.dev);
	KUNIT_EXPECT_EQ(test, mock->resumed, 1);
}

/* Sees what the vm has that is given an id in this array. */
struct publish {
	struct kprobe probe;
	struct xarray *vm_xa;
	struct drm_i915_file_private *fpriv;
};

static int publish_entry(struct kprobe *probe, struct pt_regs *regs)
{
	struct publish *publish = container_of(probe, typeof(*publish), probe);
	struct i915_address_space *vm = (void *)regs_get_kernel_argument(regs, 2);

	if ((void *)regs_get_kernel_argument(regs, 0) == publish->vm_xa)
		publish->fpriv = vm->fpriv;

	return 0;
}

/* A vm is complete when it gets its id, by which another thread can destroy it. */
static void context_vm_complete_with_its_id(struct kunit *test)
{
	struct mock_client *client = mock_client_open(test);
	struct publish *publish;

	publish = kunit_kzalloc(test, sizeof(*publish), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, publish);

	publish->vm_xa = &client_fpriv(client)->vm_xa;
	probe_start(test, &publish->probe, "__xa_alloc", publish_entry);

	KUNIT_EXPECT_EQ(test, destroy_vm(client, create_vm(test, client)), 0);
	KUNIT_EXPECT_PTR_EQ(test, publish->fpriv, client_fpriv(client));
}

static struct kunit_case context_cases[] = {
	KUNIT_CASE_PARAM(context_all_comes_back, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_with_file, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_reaped_by_ioctl, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_listed_until_freed, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_left_by_driver_release, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_counted, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_vm_ids, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_after_request, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_forgets_objects, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_creation_refused, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_created_among_guesses, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_id_reserved_under_lock, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_registered_under_lock, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_reaped_before_allocation, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_creation_fails, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_file_fails, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_unpins_parallel_engine, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_after_child_request, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_exec_on_closed_child, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_parallel_engine_size, parallel_size_gen_params),
	KUNIT_CASE_PARAM(context_destroyed_during_pin, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_destroyed_during_pins, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_creation_throttled, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_closes_children, close_of_children_gen_params),
	KUNIT_CASE_PARAM(context_preempts_child, creation_path_gen_params),
	KUNIT_CASE_PARAM(device_resumed_by_complete, gen12_path_gen_params),
	KUNIT_CASE_PARAM(context_sseu_of_its_engine, gen11_path_gen_params),
	KUNIT_CASE_PARAM(context_sseu_not_of_children, gen11_path_gen_params),
	KUNIT_CASE_PARAM(context_sseu_refused, gen11_path_gen_params),
	KUNIT_CASE_PARAM(context_exec_refused, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_protected_twice, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_protection_refused, gen12_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_after_requests_without_memory, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_vm_complete_with_its_id, creation_path_gen_params),
	{}
};

static struct kunit_suite context_suite = {
	.name = "i915_gem_context",
	.init = creation_path_init,
	.exit = mock_client_test_exit,
	.test_cases = context_cases,
};

kunit_test_suites(&context_suite);
