// SPDX-License-Identifier: GPL-2.0
/*
 * Gives contexts up while the GPU executes their batches: destroys them and closes
 * their files while batches spin, hang, or are queued behind a fence, on single,
 * balanced and parallel engines. A context must stay as long as its requests do,
 * and be freed with all its memory afterwards; one that hangs must be found guilty,
 * and only that one.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

#define SECONDS		20	/* until a batch starts, ends or is reset, at most */
#define VALUE		0xc0ffee00
#define INTERRUPTS	200	/* contexts that are last put from the interrupt */
#define QUEUED		16	/* contexts behind one fence */
#define HANGS		3	/* that get a context banned, if in rapid succession */

#define PREEMPT_TIMEOUT	"100"	/* ms */
#define HEARTBEAT	"250"	/* ms, twice the above, or innocents may be reset */

FIXTURE(exec) {
	struct i915_node node;
	struct i915_census before;
	struct i915_engine engines[I915_ENGINES_MAX];
	int count;
	int fd;
};

FIXTURE_SETUP(exec)
{
	const int err = i915_first_census(&self->node, &self->before);
	const char *reason;

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	self->fd = i915_open(&self->node);
	ASSERT_LE(0, self->fd);
	reason = i915_no_batches(self->fd);
	if (reason)
		SKIP(return, "%s", reason);
	self->count = i915_list_engines(self->fd, self->engines);
	ASSERT_LT(0, self->count);
}

FIXTURE_TEARDOWN(exec)
{
	if (self->fd >= 0)
		close(self->fd);
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

/* How many contexts wait to be freed, after they had the time to be. */
static unsigned long waiting_after(const struct i915_node *node, unsigned int ms)
{
	struct i915_stats stats;

	usleep(ms * 1000);
	return i915_read_stats(node, &stats) ? -1UL : stats.waiting;
}

/* Waits for @count contexts to wait; returns how many do in the end. */
static unsigned long wait_for_waiting(const struct i915_node *node, unsigned long count)
{
	const double end = now() + SECONDS;
	struct i915_stats stats;

	do {
		if (i915_read_stats(node, &stats))
			return -1UL;
		if (stats.waiting == count)
			break;
		usleep(1000);
	} while (now() < end);

	return stats.waiting;
}

/* A destroyed context goes on until its batch ends, and goes then. */
TEST_F_TIMEOUT(exec, destroyed_while_spinning, 120)
{
	unsigned int id = 0, i;

	for (i = 0; i < self->count; i++) {
		struct i915_batch batch;

		TH_LOG("%s", self->engines[i].name);
		ASSERT_EQ(0, i915_context_create_engines(self->fd, &self->engines[i], 1, 0, 0,
							 &id));
		ASSERT_EQ(0, i915_batch_create(self->fd, &batch));
		i915_batch_spin(&batch, &self->engines[i], VALUE + i);
		ASSERT_EQ(0, i915_batch_submit(&batch, id, 0, -1, NULL));
		EXPECT_EQ(0, i915_batch_wait_started(&batch, SECONDS));
		EXPECT_EQ(0, waiting_after(&self->node, 0));

		EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		EXPECT_EQ(1, waiting_after(&self->node, 200));
		EXPECT_EQ(-ETIME, i915_batch_wait(&batch, 0));
		EXPECT_EQ(0, i915_batch_result(&batch));

		i915_batch_end_spin(&batch);
		EXPECT_EQ(0, i915_batch_wait(&batch, SECONDS));
		EXPECT_EQ(VALUE + i, i915_batch_result(&batch));
		EXPECT_EQ(0, wait_for_waiting(&self->node, 0));
		i915_batch_destroy(&batch);
	}
}

/*
 * Has a context of its own spin on each engine of @fd, whose fences it returns, and
 * closes @fd.
 */
static int spin_and_close(int fd, const struct i915_engine *engines, int count,
			  bool persistent, struct i915_batch *batches, int *fences)
{
	unsigned int id = 0;
	int i, err = 0;

	for (i = 0; i < count && !err; i++) {
		err = i915_context_create_engines(fd, &engines[i], 1, 0, 0, &id);
		if (!err && !persistent)
			err = i915_context_set(fd, id, I915_CONTEXT_PARAM_PERSISTENCE, 0);
		err = err ?: i915_batch_create(fd, &batches[i]);
		if (err)
			break;
		i915_batch_spin(&batches[i], &engines[i], VALUE + i);
		err = i915_batch_submit(&batches[i], id, 0, -1, &fences[i]);
		err = err ?: i915_batch_wait_started(&batches[i], SECONDS);
	}
	close(fd);

	return err;
}

/* Persistent contexts outlive their file. */
TEST_F_TIMEOUT(exec, closed_while_spinning, 120)
{
	struct i915_batch batches[I915_ENGINES_MAX];
	int fences[I915_ENGINES_MAX], i, fd = self->fd;

	self->fd = -1;
	ASSERT_EQ(0, spin_and_close(fd, self->engines, self->count, true, batches, fences));
	EXPECT_EQ(self->count, wait_for_waiting(&self->node, self->count));
	EXPECT_EQ(self->count, waiting_after(&self->node, 200));

	for (i = 0; i < self->count; i++) {
		EXPECT_EQ(-ETIME, fence_wait(fences[i], 0));
		i915_batch_end_spin(&batches[i]);
	}
	for (i = 0; i < self->count; i++) {
		EXPECT_EQ(0, fence_wait(fences[i], SECONDS));
		EXPECT_EQ(VALUE + i, i915_batch_result(&batches[i]));
		close(fences[i]);
		i915_batch_destroy(&batches[i]);
	}
}

/* Those that are not persistent are cancelled, which nobody has to end. */
TEST_F_TIMEOUT(exec, cancelled_by_close, 120)
{
	struct i915_batch batches[I915_ENGINES_MAX];
	int fences[I915_ENGINES_MAX], i, fd = self->fd;
	unsigned int id = 0;

	ASSERT_EQ(0, i915_context_create(fd, &id));
	if (i915_context_set(fd, id, I915_CONTEXT_PARAM_PERSISTENCE, 0) == -ENODEV)
		SKIP(return, "no preemption or no reset of single engines");

	self->fd = -1;
	ASSERT_EQ(0, spin_and_close(fd, self->engines, self->count, false, batches, fences));
	for (i = 0; i < self->count; i++) {
		EXPECT_EQ(-EIO, fence_wait(fences[i], SECONDS));
		EXPECT_EQ(0, i915_batch_result(&batches[i]));
		close(fences[i]);
		i915_batch_destroy(&batches[i]);
	}
}

struct waiter {
	pthread_t thread;
	int fence;
	int err;
};

static void *wait_for_fence(void *arg)
{
	struct waiter *waiter = arg;

	waiter->err = fence_wait(waiter->fence, SECONDS);
	return NULL;
}

/*
 * Somebody waits for the fence, so that the request is signaled from the interrupt,
 * and when that happens nothing but the request is left of the context: the file and
 * the context are closed. What the interrupt drops are the last references then.
 */
TEST_F_TIMEOUT(exec, last_put_from_interrupt, 300)
{
	struct i915_stats stats;
	unsigned int id = 0;
	int i, fd;

	for (i = 0; i < INTERRUPTS; i++) {
		struct i915_batch batch;
		struct waiter waiter;

		fd = i915_open(&self->node);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, i915_context_create_engines(fd, self->engines, self->count, 0, 0,
							 &id));
		ASSERT_EQ(0, i915_batch_create(fd, &batch));
		i915_batch_spin(&batch, &self->engines[i % self->count], VALUE + i);
		ASSERT_EQ(0, i915_batch_submit(&batch, id, i % self->count, -1, &waiter.fence));
		ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_fence, &waiter));
		ASSERT_EQ(0, i915_batch_wait_started(&batch, SECONDS));

		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(fd, id));
		close(fd);
		i915_batch_end_spin(&batch);
		pthread_join(waiter.thread, NULL);
		EXPECT_EQ(0, waiter.err);
		EXPECT_EQ(VALUE + i, i915_batch_result(&batch));
		close(waiter.fence);
		i915_batch_destroy(&batch);
	}
	EXPECT_EQ(0, wait_for_waiting(&self->node, 0));
	ASSERT_EQ(0, i915_read_stats(&self->node, &stats));
	EXPECT_EQ(self->before.stats.alive + 1, stats.alive);
}

/* Both engines are taken at once, by contexts that any one of them could execute. */
TEST_F_TIMEOUT(exec, balanced, 120)
{
	struct i915_batch batches[3];
	struct i915_engine pair[2];
	unsigned int id = 0, i, round;

	if (i915_find_pair(self->engines, self->count, pair))
		SKIP(return, I915_NO_PAIR);

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i]));
	for (round = 0; round < 10; round++) {
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, i915_context_create_balanced(self->fd, pair, 1, &id));
			i915_batch_spin(&batches[i], &pair[0], VALUE + i);
			ASSERT_EQ(0, i915_batch_submit(&batches[i], id, 0, -1, NULL));
			if (i < 2)
				EXPECT_EQ(0, i915_batch_wait_started(&batches[i], SECONDS));
			EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		}
		EXPECT_EQ(3, waiting_after(&self->node, 50));
		for (i = 0; i < 3; i++)
			i915_batch_end_spin(&batches[i]);
		for (i = 0; i < 3; i++) {
			EXPECT_EQ(0, i915_batch_wait(&batches[i], SECONDS));
			EXPECT_EQ(VALUE + i, i915_batch_result(&batches[i]));
		}
		EXPECT_EQ(0, wait_for_waiting(&self->node, 0));
	}
	for (i = 0; i < 3; i++)
		i915_batch_destroy(&batches[i]);
}

/* One request on two engines, and one more behind it. */
TEST_F_TIMEOUT(exec, parallel, 120)
{
	struct i915_batch batches[4];
	struct i915_engine pair[2];
	unsigned int id = 0, i, round;
	int err, fences[2];

	if (i915_find_pair(self->engines, self->count, pair))
		SKIP(return, I915_NO_PAIR);
	err = i915_context_create_parallel(self->fd, pair, &id);
	if (err == -ENODEV)
		SKIP(return, "no parallel engines");
	ASSERT_EQ(0, err);
	EXPECT_EQ(0, i915_context_destroy(self->fd, id));

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i]));
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, i915_context_create_parallel(self->fd, pair, &id));
		for (i = 0; i < 4; i++)
			i915_batch_spin(&batches[i], &pair[0], VALUE + i);
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, i915_batch_submit_many(&batches[2 * i], 2, id, 0, -1,
							    &fences[i]));
		EXPECT_EQ(0, i915_batch_wait_started(&batches[0], SECONDS));
		EXPECT_EQ(0, i915_batch_wait_started(&batches[1], SECONDS));

		/*
		 * With both engines at work or with one. Not for long, as such a context
		 * cannot be preempted, and the heartbeat takes that for a hang.
		 */
		if (round % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		i915_batch_end_spin(&batches[0]);
		EXPECT_EQ(0, i915_batch_wait_result(&batches[0], SECONDS));
		EXPECT_EQ(-ETIME, fence_wait(fences[0], 0));
		if (round % 2 == 0)
			EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		EXPECT_EQ(1, waiting_after(&self->node, 20));

		for (i = 1; i < 4; i++)
			i915_batch_end_spin(&batches[i]);
		for (i = 0; i < 2; i++) {
			EXPECT_EQ(0, fence_wait(fences[i], SECONDS));
			close(fences[i]);
		}
		for (i = 0; i < 4; i++)
			EXPECT_EQ(VALUE + i, i915_batch_result(&batches[i]));
		EXPECT_EQ(0, wait_for_waiting(&self->node, 0));
	}
	for (i = 0; i < 4; i++)
		i915_batch_destroy(&batches[i]);
}

/*
 * Contexts in one vm, each of whose requests, one on each engine, are on one timeline,
 * the first behind a fence. All are closed, and the vm is destroyed, before that signals.
 */
TEST_F_TIMEOUT(exec, queued_behind_a_fence, 120)
{
	struct i915_batch batches[QUEUED][I915_ENGINES_MAX];
	unsigned int id = 0, vm_id = 0, i, j;
	int timeline, fence, last[QUEUED];

	timeline = sw_sync_create(&fence);
	if (timeline < 0)
		SKIP(return, NO_SW_SYNC);

	ASSERT_EQ(0, i915_vm_create(self->fd, &vm_id));
	for (i = 0; i < QUEUED; i++) {
		ASSERT_EQ(0, i915_context_create_engines(self->fd, self->engines, self->count,
							 I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE,
							 vm_id, &id));
		for (j = 0; j < self->count; j++) {
			ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i][j]));
			i915_batch_store(&batches[i][j], VALUE + i + j);
			ASSERT_EQ(0, i915_batch_submit(&batches[i][j], id, j, j ? -1 : fence,
						       j + 1 < self->count ? NULL : &last[i]));
		}
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, id));
	}
	EXPECT_EQ(0, i915_vm_destroy(self->fd, vm_id));
	close(self->fd);
	self->fd = -1;

	EXPECT_EQ(QUEUED, wait_for_waiting(&self->node, QUEUED));
	EXPECT_EQ(QUEUED, waiting_after(&self->node, 200));
	for (i = 0; i < QUEUED; i++) {
		EXPECT_EQ(-ETIME, fence_wait(last[i], 0));
		for (j = 0; j < self->count; j++)
			EXPECT_FALSE(i915_batch_started(&batches[i][j]));
	}

	EXPECT_EQ(0, sw_sync_signal(timeline));
	for (i = 0; i < QUEUED; i++) {
		EXPECT_EQ(0, fence_wait(last[i], SECONDS));
		close(last[i]);
		for (j = 0; j < self->count; j++) {
			EXPECT_EQ(VALUE + i + j, i915_batch_result(&batches[i][j]));
			i915_batch_destroy(&batches[i][j]);
		}
	}
	close(fence);
	close(timeline);
}

/* In the order in which they can be restored. */
static void save_timeouts(const struct i915_node *node)
{
	static const char * const names[] = { "preempt_timeout_ms", "heartbeat_interval_ms" };
	const struct dirent *entry;
	char path[400], engines[64];
	unsigned int i;
	DIR *dir;

	snprintf(engines, sizeof(engines), "/sys/class/drm/card%d/engine", node->card);
	dir = opendir(engines);
	while (dir && (entry = readdir(dir))) {
		for (i = 0; entry->d_name[0] != '.' && i < ARRAY_SIZE(names); i++) {
			snprintf(path, sizeof(path), "%s/%s/%s", engines, entry->d_name, names[i]);
			save_file(path);
		}
	}
	if (dir)
		closedir(dir);
}

static int lower_timeouts(const struct i915_node *node)
{
	int i, err = -ENOENT;
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "/sys/class/drm/card%d/", node->card);
	for (i = 0; i < saved_files_count; i++) {
		if (strncmp(saved_files[i].path, prefix, strlen(prefix)))
			continue;
		err = write_file(saved_files[i].path, strstr(saved_files[i].path, "preempt") ?
				 PREEMPT_TIMEOUT : HEARTBEAT);
		if (err)
			break;
	}

	return err;
}

/* How often the context was found guilty of a hang, or a negative errno. */
static int guilty_count(int fd, unsigned int id)
{
	struct drm_i915_reset_stats stats = { .ctx_id = id };

	return ioctl(fd, DRM_IOCTL_I915_GET_RESET_STATS, &stats) ? -errno : stats.batch_active;
}

FIXTURE(hang) {
	struct i915_node node;
	struct i915_census before;
	struct i915_engine engines[I915_ENGINES_MAX];
	char error[64];		/* the state that the driver keeps of the first hang */
	bool had_error;
	int count;
	int fd;
};

static bool has_error(const char *path)
{
	char text[32] = "";
	FILE *file = fopen(path, "r");
	bool ret;

	if (!file)
		return false;
	ret = fgets(text, sizeof(text), file) && !strstr(text, "No error state");
	fclose(file);

	return ret;
}

FIXTURE_SETUP(hang)
{
	const int err = i915_first_census(&self->node, &self->before);
	const char *reason;

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	self->fd = i915_open(&self->node);
	ASSERT_LE(0, self->fd);
	reason = i915_no_batches(self->fd);
	if (reason)
		SKIP(return, "%s", reason);
	self->count = i915_list_engines(self->fd, self->engines);
	ASSERT_LT(0, self->count);
	snprintf(self->error, sizeof(self->error), "/sys/class/drm/card%d/error",
		 self->node.card);
	self->had_error = has_error(self->error);

	if (lower_timeouts(&self->node))
		SKIP(return, "cannot set preempt_timeout_ms and heartbeat_interval_ms: be root");
}

FIXTURE_TEARDOWN(hang)
{
	if (self->fd >= 0)
		close(self->fd);
	restore_files();
	/* Not to be taken for a hang that somebody wants to know of */
	if (!self->had_error && has_error(self->error))
		write_file(self->error, "");
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

/*
 * A context that hangs again and again is found guilty each time, and banned in the
 * end. Another one, of the same file and on the same engine, goes on.
 */
TEST_F_TIMEOUT(hang, guilty_and_banned, 300)
{
	unsigned int guilty = 0, innocent = 0, i, n;

	for (i = 0; i < self->count; i++) {
		struct i915_batch hang, store;
		int fence, fd;

		/* A file may be banned as a whole, too */
		TH_LOG("%s", self->engines[i].name);
		fd = i915_open(&self->node);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, i915_batch_create(fd, &hang));
		ASSERT_EQ(0, i915_batch_create(fd, &store));
		ASSERT_EQ(0, i915_context_create_engines(fd, &self->engines[i], 1, 0, 0,
							 &guilty));
		ASSERT_EQ(0, i915_context_create_engines(fd, &self->engines[i], 1, 0, 0,
							 &innocent));

		for (n = 1; n <= HANGS; n++) {
			i915_batch_hang(&hang);
			ASSERT_EQ(0, i915_batch_submit(&hang, guilty, 0, -1, &fence));
			EXPECT_EQ(0, i915_batch_wait_started(&hang, SECONDS));
			i915_batch_store(&store, VALUE + n);
			ASSERT_EQ(0, i915_batch_submit(&store, innocent, 0, -1, NULL));

			EXPECT_EQ(-EIO, fence_wait(fence, SECONDS));
			EXPECT_EQ(0, i915_batch_wait(&store, SECONDS));
			EXPECT_EQ(VALUE + n, i915_batch_result(&store));
			EXPECT_EQ(n, guilty_count(fd, guilty));
			EXPECT_EQ(0, guilty_count(fd, innocent));
			close(fence);
		}
		EXPECT_EQ(-EIO, i915_batch_submit(&store, guilty, 0, -1, NULL));
		i915_batch_store(&store, VALUE);
		EXPECT_EQ(0, i915_batch_submit(&store, innocent, 0, -1, NULL));
		EXPECT_EQ(0, i915_batch_wait(&store, SECONDS));
		EXPECT_EQ(VALUE, i915_batch_result(&store));

		/* Banned contexts are destroyed, or closed with their file */
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(fd, guilty));
		i915_batch_destroy(&hang);
		i915_batch_destroy(&store);
		close(fd);
	}
}

#define HANGING	3	/* contexts on each engine */

/* Contexts that hang when nobody has them any more, half destroyed, half closed. */
TEST_F_TIMEOUT(hang, destroyed_or_closed, 300)
{
	struct i915_batch batches[I915_ENGINES_MAX * HANGING];
	int fences[I915_ENGINES_MAX * HANGING];
	const int count = self->count * HANGING;
	struct i915_batch store;
	unsigned int id = 0;
	int i, fd;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, i915_context_create_engines(self->fd,
							 &self->engines[i % self->count],
							 1, 0, 0, &id));
		ASSERT_EQ(0, i915_batch_create(self->fd, &batches[i]));
		i915_batch_hang(&batches[i]);
		ASSERT_EQ(0, i915_batch_submit(&batches[i], id, 0, -1, &fences[i]));
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, id));
	}
	close(self->fd);
	self->fd = -1;

	for (i = 0; i < count; i++) {
		EXPECT_EQ(-EIO, fence_wait(fences[i], 2 * SECONDS));
		EXPECT_EQ(0, i915_batch_result(&batches[i]));
		close(fences[i]);
		i915_batch_destroy(&batches[i]);
	}
	EXPECT_EQ(0, wait_for_waiting(&self->node, 0));

	/* Each engine works again */
	fd = i915_open(&self->node);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, i915_batch_create(fd, &store));
	ASSERT_EQ(0, i915_context_create_engines(fd, self->engines, self->count, 0, 0, &id));
	for (i = 0; i < self->count; i++) {
		i915_batch_store(&store, VALUE + i);
		EXPECT_EQ(0, i915_batch_submit(&store, id, i, -1, NULL));
		EXPECT_EQ(0, i915_batch_wait(&store, SECONDS));
		EXPECT_EQ(VALUE + i, i915_batch_result(&store));
	}
	i915_batch_destroy(&store);
	close(fd);
}

#define QUEUE	20	/* contexts on each engine, and files */

/*
 * If they are not persistent, close cancels the requests of all, whether they hang or
 * have not started: nobody waits for the heartbeat to find each in its turn. With one
 * file a slow machine gets that banned, for hangs found before the last context is made.
 */
TEST_F_TIMEOUT(hang, cancelled_in_queue, 300)
{
	struct i915_batch batch;
	int i, j, fds[QUEUE];
	unsigned int id = 0;
	double start;

	ASSERT_EQ(0, i915_context_create(self->fd, &id));
	if (i915_context_set(self->fd, id, I915_CONTEXT_PARAM_PERSISTENCE, 0) == -ENODEV)
		SKIP(return, "no preemption or no reset of single engines");
	for (i = 0; i < QUEUE; i++) {
		fds[i] = i915_open(&self->node);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, i915_batch_create(fds[i], &batch));
		i915_batch_hang(&batch);
		for (j = 0; j < self->count; j++) {
			ASSERT_EQ(0, i915_context_create_engines(fds[i], &self->engines[j],
								 1, 0, 0, &id));
			ASSERT_EQ(0, i915_context_set(fds[i], id,
						      I915_CONTEXT_PARAM_PERSISTENCE, 0));
			ASSERT_EQ(0, i915_batch_submit(&batch, id, 0, -1, NULL));
		}
		i915_batch_destroy(&batch);
	}

	start = now();
	for (i = 0; i < QUEUE; i++)
		close(fds[i]);
	EXPECT_EQ(0, wait_for_waiting(&self->node, 0));
	TH_LOG("%d contexts cancelled and freed in %.1f s", QUEUE * self->count, now() - start);
}

int main(int argc, char *argv[])
{
	const char *reason = i915_no_census();
	struct i915_node nodes[I915_NODES_MAX];
	int i;

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}
	for (i = i915_find_nodes(nodes); i--; )
		save_timeouts(&nodes[i]);

	return test_harness_run(argc, argv);
}
