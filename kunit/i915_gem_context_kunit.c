// SPDX-License-Identifier: MIT
/*
 * What clients make with the context ioctls and what comes back: contexts, ids
 * and references, on a mock device for each of the two ways of making a context.
 */

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/mman.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>

#include "gem/i915_gem_context_types.h"
#include "gem/i915_gem_object.h"
#include "gt/intel_gt.h"
#include "gt/intel_gtt.h"
#include "i915_drm_client.h"
#include "i915_drv.h"
#include "i915_file_private.h"

#include "i915_gem_context_mock.h"

#define MOCK_INFO(ver_) { \
	.__runtime.graphics.ip.ver = (ver_), \
	.__runtime.page_sizes = I915_GTT_PAGE_SIZE_4K, \
	.__runtime.ppgtt_type = INTEL_PPGTT_FULL, \
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
}

struct creation_path {
	const char *description;
	struct intel_device_info info;
};

static const struct creation_path creation_paths[] = {
	{ .description = "made by the first use", .info = MOCK_INFO(12) },
	{ .description = "made by the create ioctl", .info = MOCK_INFO(13) },
};

KUNIT_ARRAY_PARAM_DESC(creation_path, creation_paths, description);

static bool made_by_first_use(struct kunit *test)
{
	return test->param_value == &creation_paths[0];
}

/* An open file of the mock device. */
struct mock_client {
	struct mock_device *mock;
	struct list_head link; /* in mock_device.clients */
	struct file *filp;
	struct drm_file *file;
};

static int client_driver_open(struct drm_device *drm, struct drm_file *file)
{
	return i915_gem_context_test_ops.open(to_i915(drm), file);
}

static void client_driver_postclose(struct drm_device *drm, struct drm_file *file)
{
	i915_gem_context_test_ops.postclose(to_i915(drm), file);
}

static const struct file_operations client_fops = {
	.owner = THIS_MODULE,
	.release = drm_release_noglobal,
};

static const struct drm_driver client_driver = {
	.name = "mock",
	.driver_features = DRIVER_GEM,
	.fops = &client_fops,
	.open = client_driver_open,
	.postclose = client_driver_postclose,
	.release = mock_device_test_release,
};

/* What is there as long as somebody has it, and must go back to what it was. */
struct census {
	unsigned long alive;
	unsigned int client_refs, pid_refs, ggtt_refs, vm_refs;
	unsigned int ids, proto_ids, vm_ids;
};

static struct drm_i915_file_private *client_fpriv(struct mock_client *client)
{
	return client->file->driver_priv;
}

static void client_close(struct mock_client *client)
{
	list_del(&client->link);
	__fput_sync(client->filp);
}

static struct mock_client *client_open(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct mock_client *client;

	client = kunit_kzalloc(test, sizeof(*client), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, client);
	client->mock = mock;

	client->filp = mock_drm_getfile(mock->i915->drm.primary, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, client->filp);
	client->file = client->filp->private_data;
	list_add(&client->link, &mock->clients);

	return client;
}

static int create_context(struct mock_client *client, u64 extensions, u32 *id)
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

static int use_context(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_context_param args = {
		.ctx_id = id,
		.param = I915_CONTEXT_PARAM_PRIORITY,
	};

	return client->mock->ops->context_getparam(&client->mock->i915->drm, &args,
						   client->file);
}

static int destroy_context(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_context_destroy args = { .ctx_id = id };

	return client->mock->ops->context_destroy(&client->mock->i915->drm, &args,
						  client->file);
}

static int vm_create(struct mock_client *client, struct drm_i915_gem_vm_control *args)
{
	return client->mock->ops->vm_create(&client->mock->i915->drm, args, client->file);
}

static u32 create_vm(struct kunit *test, struct mock_client *client)
{
	struct drm_i915_gem_vm_control args = {};

	KUNIT_ASSERT_EQ(test, vm_create(client, &args), 0);

	return args.vm_id;
}

static int destroy_vm(struct mock_client *client, u32 id)
{
	struct drm_i915_gem_vm_control args = { .vm_id = id };

	return client->mock->ops->vm_destroy(&client->mock->i915->drm, &args, client->file);
}

static struct i915_gem_context *find_context(struct mock_client *client, u32 id)
{
	return xa_load(&client_fpriv(client)->context_xa, id);
}

/* The user memory for a chain of two extensions: an engine map and a vm. */
struct extensions {
	struct drm_i915_gem_context_create_ext_setparam set_engines, set_vm;
	I915_DEFINE_CONTEXT_ENGINES_LOAD_BALANCE(balance, 2);
	I915_DEFINE_CONTEXT_PARAM_ENGINES(engines, 2);
};

static unsigned long map_user_page(struct kunit *test)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_LT(test, addr, (unsigned long)TASK_SIZE);

	return addr;
}

static u64 build_extensions_for(struct kunit *test, u32 vm_id, bool balanced)
{
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
		.balance = {
			.base.name = I915_CONTEXT_ENGINES_EXT_LOAD_BALANCE,
			.engine_index = 1,
			.num_siblings = 2,
			.engines = {
				{ .engine_class = I915_ENGINE_CLASS_RENDER },
				{ .engine_class = I915_ENGINE_CLASS_RENDER },
			},
		},
		.engines.engines = {
			{ .engine_class = I915_ENGINE_CLASS_RENDER },
			{
				.engine_class = I915_ENGINE_CLASS_INVALID,
				.engine_instance = I915_ENGINE_CLASS_INVALID_NONE,
			},
		},
	};

	if (vm_id)
		ext.set_engines.base.next_extension = addr + offsetof(struct extensions, set_vm);
	if (balanced)
		ext.engines.extensions = addr + offsetof(struct extensions, balance);
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &ext, sizeof(ext)), 0);

	return addr + offsetof(struct extensions, set_engines);
}

/* With a vm, if that is not 0, and a map of one engine and an empty slot. */
static u64 build_extensions(struct kunit *test, u32 vm_id)
{
	return build_extensions_for(test, vm_id, false);
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

/* Counts when everything has come back that was given up before. */
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
	};
}

static void expect_same(struct kunit *test, const char *when,
			const struct census *before, const struct census *after)
{
	KUNIT_EXPECT_EQ_MSG(test, before->alive, after->alive, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->client_refs, after->client_refs, "%s", when);
	/* Each context holds one; so may, for as long as it likes, procfs */
	KUNIT_EXPECT_LT_MSG(test, after->pid_refs, before->pid_refs + 4, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->ggtt_refs, after->ggtt_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->vm_refs, after->vm_refs, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->ids, after->ids, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->proto_ids, after->proto_ids, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, before->vm_ids, after->vm_ids, "%s", when);
}

static unsigned long waiting(struct mock_client *client)
{
	struct i915_gem_contexts_stats *stats = &client->mock->i915->gem.contexts.stats;

	return stats->closed - stats->freed;
}

static int creation_path_init(struct kunit *test)
{
	const struct creation_path *path = test->param_value;
	struct mock_device *mock;
	int err;

	err = mock_device_test_init_for(test, &client_driver, &path->info);
	if (err)
		return err;

	mock = test->priv;
	DRIVER_CAPS(mock->i915)->has_logical_contexts = true;

	return 0;
}

static void creation_path_exit(struct kunit *test)
{
	struct mock_device *mock = test->priv;
	struct mock_client *client, *cn;

	if (!mock)
		return;

	mock_device_unblock_queue(mock);
	list_for_each_entry_safe(client, cn, &mock->clients, link)
		client_close(client);
	mock_device_test_exit(test);
}

/* Ids, contexts and what these reference come back, used or not. */
static void context_all_comes_back(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	const u32 vm_id = create_vm(test, client);
	const u64 extensions = build_extensions(test, vm_id);
	struct census before, after;
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
	KUNIT_EXPECT_GT(test, after.alive, before.alive);
	KUNIT_EXPECT_GT(test, after.vm_refs, before.vm_refs);

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
	struct mock_client *client = client_open(test), *other = client_open(test);
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
	client_close(client);
	mock->ops->flush(mock->i915);

	/* The default one and that which was made above */
	KUNIT_EXPECT_EQ(test, list_count_nodes(&mock->i915->gem.contexts.list), 2);
	KUNIT_EXPECT_EQ(test, waiting(other), 0);
	KUNIT_EXPECT_EQ(test, use_context(other, other_id), 0);
}

/* With the workqueue blocked, the ioctl that makes a context frees stale ones. */
static void context_reaped_by_ioctl(struct kunit *test)
{
	struct mock_client *client = client_open(test);
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
	KUNIT_EXPECT_EQ(test, waiting(client), made_by_first_use(test) ? 2 : 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id[2]), 0);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* A context is on gem.contexts.list until it is freed, not until the last put. */
static void context_listed_until_freed(struct kunit *test)
{
	struct mock_client *client = client_open(test);
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
	/* As nobody frees it, it is still there */
	KUNIT_EXPECT_EQ(test, kref_read(&ctx->ref), 0);
	KUNIT_EXPECT_PTR_EQ(test, list->prev, &ctx->link);
	mock_device_unblock_queue(mock);

	flush_workqueue(mock->i915->wq);
	KUNIT_EXPECT_EQ(test, list_count_nodes(list), 1);
}

/* The original cleanup of the watched vms, and how many have called it. */
static void (*vm_cleanup)(struct i915_address_space *vm);
static atomic_t vms_cleaned;

static void count_vm_cleanup(struct i915_address_space *vm)
{
	/* More than a flush takes that does not wait for it */
	msleep(200);
	vm_cleanup(vm);
	atomic_inc(&vms_cleaned);
}

static void watch_vm(struct i915_address_space *vm)
{
	vm_cleanup = vm->cleanup;
	vm->cleanup = count_vm_cleanup;
}

/* The flush returns after the vms have gone that the contexts had. */
static void context_flush_waits_for_vm(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	const u32 vm_id = create_vm(test, client);
	const u64 extensions = build_extensions(test, vm_id);
	struct mock_device *mock = test->priv;
	u32 id[2];
	int i;

	atomic_set(&vms_cleaned, 0);
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, i ? extensions : 0, &id[i]), 0);
		KUNIT_ASSERT_EQ(test, use_context(client, id[i]), 0);
		watch_vm(find_context(client, id[i])->vm);
	}
	KUNIT_ASSERT_EQ(test, destroy_vm(client, vm_id), 0);

	mock_device_block_queue(mock);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&vms_cleaned), 0);
	mock_device_unblock_queue(mock);

	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, atomic_read(&vms_cleaned), 2);
}

/* A context that is destroyed with a request in flight is freed when that ends. */
static void context_freed_after_request(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	const u64 extensions = build_extensions(test, 0);
	struct mock_device *mock = test->priv;
	struct i915_gem_context *ctx;
	struct census before, after;
	unsigned long timeout;
	u32 id;

	before = take_census(client, 0);

	KUNIT_ASSERT_EQ(test, create_context(client, extensions, &id), 0);
	KUNIT_ASSERT_EQ(test, use_context(client, id), 0);
	ctx = find_context(client, id);
	KUNIT_ASSERT_EQ(test, mock->ops->submit(ctx, 3600 * HZ), 0);

	KUNIT_ASSERT_EQ(test, destroy_context(client, id), 0);
	mock->ops->flush(mock->i915);
	KUNIT_EXPECT_EQ(test, waiting(client), 1);
	KUNIT_EXPECT_EQ(test, kref_read(&ctx->ref), 1);

	/*
	 * The idle engine switches to its own context, with one request more, and
	 * what the objects of a request hold goes when they are freed.
	 */
	timeout = jiffies + 10 * HZ;
	do {
		mock->ops->complete(mock->i915);
		after = take_census(client, 0);
	} while (after.client_refs != before.client_refs && time_before(jiffies, timeout));
	expect_same(test, "after the request", &before, &after);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* A context that is destroyed lets go of the objects that its batches have used. */
static void context_forgets_objects(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	struct mock_device *mock = test->priv;
	struct drm_device *drm = &mock->i915->drm;
	struct drm_i915_gem_create create = { .size = PAGE_SIZE };
	struct drm_i915_gem_exec_object2 objects[2] = {};
	struct drm_i915_gem_execbuffer2 exec = { .buffer_count = ARRAY_SIZE(objects) };
	struct drm_i915_gem_object *obj;
	struct i915_gem_context *ctx;
	struct census before, after;
	u32 id[2];
	int i, j;

	before = take_census(client, 0);

	/* One object with two handles, the second is that of the batch */
	KUNIT_ASSERT_EQ(test, mock->ops->gem_create(drm, &create, client->file), 0);
	objects[0].handle = create.handle;
	obj = to_intel_bo(drm_gem_object_lookup(client->file, create.handle));
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

/* What is refused has taken nothing. */
static void context_creation_refused(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	const u64 extensions = build_extensions_for(test, 0, true);
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

/* Another thread of the client, that guesses ids. */
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

	/* Not once more by what it makes itself */
	if (ctx->i915 != g->client->mock->i915 || g->came)
		return;
	g->came = true;

	for (id = 1; id < 4; id++)
		destroy_context(g->client, id);
	g->err = create_context(g->client, 0, &g->id);
}

/* Calls that come while the create ioctl makes a context do not take its id. */
static void context_created_among_guesses(struct kunit *test)
{
	struct mock_client *client = client_open(test);
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

#if IS_ENABLED(CONFIG_KRETPROBES) && IS_ENABLED(CONFIG_FAILSLAB)
/* Fails the nth allocation of a task, and all that follow. */
static struct {
	struct task_struct *task;
	unsigned int nth, seen;
} failing;

static int failing_entry(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	const gfp_t gfp = (__force gfp_t)regs_get_kernel_argument(regs, 1);

	if (current != READ_ONCE(failing.task))
		return 1;

	/* Interrupts, object debugging, and what a free may allocate for itself */
	if (gfp & (__GFP_NOFAIL | __GFP_HIGH) || !(gfp & __GFP_RECLAIM))
		return 1;

	return ++failing.seen < failing.nth;
}

static int failing_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	regs_set_return_value(regs, -ENOMEM);

	return 0;
}

static struct kretprobe failing_probe = {
	.kp.symbol_name = "should_failslab",
	.entry_handler = failing_entry,
	.handler = failing_return,
};

static void unregister_failing_probe(void *unused)
{
	unregister_kretprobe(&failing_probe);
	/* For the next register_kretprobe(), which does not take used ones */
	memset(&failing_probe.kp, 0, sizeof(failing_probe.kp));
	failing_probe.kp.symbol_name = "should_failslab";
}

static void failing_start(unsigned int nth)
{
	failing.nth = nth;
	failing.seen = 0;
	WRITE_ONCE(failing.task, current);
}

/* Says whether an allocation has failed. */
static bool failing_stop(void)
{
	WRITE_ONCE(failing.task, NULL);

	return failing.seen >= failing.nth;
}

static void failing_probe_register(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, register_kretprobe(&failing_probe), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, unregister_failing_probe, NULL), 0);
}

/* Stale contexts are freed before memory is asked for, even if there is none. */
static void context_reaped_before_allocation(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	struct mock_device *mock = test->priv;
	u32 id[3];
	int err, i;

	failing_probe_register(test);

	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[i]), 0);
		KUNIT_ASSERT_EQ(test, use_context(client, id[i]), 0);
	}
	mock_device_block_queue(mock);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, destroy_context(client, id[i]), 0);

	if (made_by_first_use(test)) {
		KUNIT_ASSERT_EQ(test, create_context(client, 0, &id[2]), 0);
		failing_start(1);
		err = use_context(client, id[2]);
	} else {
		/* The first allocation is that of the proto-context */
		failing_start(2);
		err = create_context(client, 0, &id[2]);
	}
	KUNIT_EXPECT_TRUE(test, failing_stop());
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	KUNIT_EXPECT_EQ(test, waiting(client), 0);
}

/* Says how many allocations it took for the creation not to fail any more. */
static unsigned int fail_creations(struct kunit *test, struct mock_client *client,
				   u32 vm_id, u64 extensions)
{
	const struct census before = take_census(client, vm_id);
	unsigned int made, used;
	struct census after;
	char when[32];
	bool failed;
	u32 id;
	int err;

	for (made = 1, failed = true; failed; made++) {
		failing_start(made);
		err = create_context(client, extensions, &id);
		failed = failing_stop();

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
		failing_start(used);
		err = use_context(client, id);
		failed = failing_stop();

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "use, allocation %u: %d", used, err);
	}
	KUNIT_EXPECT_EQ(test, destroy_context(client, id), 0);
	after = take_census(client, vm_id);
	expect_same(test, "after all", &before, &after);

	return made + used;
}

/*
 * Wherever memory ends while a context is made, what was taken is given back,
 * and with memory it works.
 */
static void context_creation_fails(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	const u32 vm_id = create_vm(test, client);

	failing_probe_register(test);

	/* With a vm and an engine map, and with those that the driver makes */
	KUNIT_EXPECT_GT(test, fail_creations(test, client, vm_id,
					     build_extensions(test, vm_id)), 8);
	KUNIT_EXPECT_GT(test, fail_creations(test, client, vm_id, 0), 8);
}

/* The same for a file, which has a context from the start, and for a vm. */
static void context_file_fails(struct kunit *test)
{
	struct mock_client *client = client_open(test);
	struct mock_device *mock = test->priv;
	struct census before, after;
	unsigned int opened, made;
	struct file *filp;
	bool failed;
	int err;

	failing_probe_register(test);
	before = take_census(client, 0);

	for (opened = 1, failed = true; failed; opened++) {
		failing_start(opened);
		filp = mock_drm_getfile(mock->i915->drm.primary, O_RDWR);
		failed = failing_stop();
		err = PTR_ERR_OR_ZERO(filp);

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "open, allocation %u: %d", opened, err);
		if (!err)
			__fput_sync(filp);
	}
	KUNIT_EXPECT_GT(test, opened, 8);

	for (made = 1, failed = true; failed; made++) {
		struct drm_i915_gem_vm_control args = {};

		failing_start(made);
		err = vm_create(client, &args);
		failed = failing_stop();

		KUNIT_EXPECT_TRUE_MSG(test, !err || (failed && err == -ENOMEM),
				      "vm, allocation %u: %d", made, err);
		if (!err)
			KUNIT_EXPECT_EQ(test, destroy_vm(client, args.vm_id), 0);
	}
	KUNIT_EXPECT_GT(test, made, 4);

	after = take_census(client, 0);
	expect_same(test, "after all", &before, &after);
}
#else
static void context_reaped_before_allocation(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
}

static void context_creation_fails(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
}

static void context_file_fails(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
}
#endif

static struct kunit_case context_cases[] = {
	KUNIT_CASE_PARAM(context_all_comes_back, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_with_file, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_reaped_by_ioctl, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_listed_until_freed, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_flush_waits_for_vm, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_freed_after_request, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_forgets_objects, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_creation_refused, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_created_among_guesses, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_reaped_before_allocation, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_creation_fails, creation_path_gen_params),
	KUNIT_CASE_PARAM(context_file_fails, creation_path_gen_params),
	{}
};

static struct kunit_suite context_suite = {
	.name = "i915_gem_context",
	.init = creation_path_init,
	.exit = creation_path_exit,
	.test_cases = context_cases,
};

kunit_test_suites(&context_suite);
