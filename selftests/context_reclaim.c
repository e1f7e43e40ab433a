// SPDX-License-Identifier: GPL-2.0
/*
 * Gives contexts up in every way there is. Afterwards the kernel's counters of
 * contexts and of the objects that they consist of must be what they were before,
 * each id must be handed out again, and no id may be higher than the most contexts
 * that a file had at once.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../../kselftest_harness.h"
#include "i915_batch.h"
#include "i915_census.h"

#define DROP_FREED	"0x10"	/* to debugfs i915_gem_drop_caches */
#define MANY		300	/* contexts */
#define THREADS_MAX	16
#define PROCS_MAX	8

/* Creates @count contexts of @fd, and has every other one used. */
static int create_many(int fd, unsigned int *ids, unsigned int count)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < count && !err; i++) {
		err = i915_context_create(fd, &ids[i]);
		if (!err && i % 2)
			err = i915_context_use(fd, ids[i]);
	}

	return err;
}

static int destroy_many(int fd, const unsigned int *ids, unsigned int count)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < count && !err; i++)
		err = i915_context_destroy(fd, ids[i]);

	return err;
}

/*
 * With no context but its default one, a file hands out the lowest ids. Returns 0,
 * or what it hands out in the place of one of the first @count.
 */
static unsigned int wrong_id(int fd, unsigned int count)
{
	unsigned int ids[MANY], i, wrong = 0;

	if (create_many(fd, ids, count))
		return -1;
	for (i = 0; i < count; i++) {
		if (ids[i] != i + 1)
			wrong = ids[i];
	}

	return destroy_many(fd, ids, count) ? -1 : wrong;
}

/* The lowest ids of vms, likewise. */
static unsigned int wrong_vm_id(int fd, unsigned int count)
{
	unsigned int ids[MANY], i, wrong = 0;

	for (i = 0; i < count; i++) {
		if (i915_vm_create(fd, &ids[i]))
			return -1;
		if (ids[i] != i + 1)
			wrong = ids[i];
	}
	for (i = 0; i < count; i++) {
		if (i915_vm_destroy(fd, ids[i]))
			return -1;
	}

	return wrong;
}

FIXTURE(reclaim) {
	struct i915_node node;
	struct i915_census before;
	int fd;
};

FIXTURE_SETUP(reclaim)
{
	const int err = i915_first_census(&self->node, &self->before);

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	self->fd = i915_open(&self->node);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(reclaim)
{
	if (self->fd >= 0)
		close(self->fd);
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));
}

/* Contexts that go with the last descriptor of their file. */
TEST_F_TIMEOUT(reclaim, closed_with_file, 120)
{
	unsigned int ids[MANY];

	ASSERT_EQ(0, create_many(self->fd, ids, MANY));
	EXPECT_EQ(MANY, ids[MANY - 1]);
}

TEST_F_TIMEOUT(reclaim, destroyed_in_any_order, 120)
{
	unsigned int ids[MANY], i;

	ASSERT_EQ(0, create_many(self->fd, ids, MANY));
	for (i = 0; i < MANY; i += 2)
		EXPECT_EQ(0, i915_context_destroy(self->fd, ids[i]));
	for (i = MANY; i--; ) {
		if (i % 2)
			EXPECT_EQ(0, i915_context_destroy(self->fd, ids[i]));
	}
	EXPECT_EQ(0, wrong_id(self->fd, MANY));
}

TEST_F_TIMEOUT(reclaim, destroyed_twice, 120)
{
	unsigned int id = 0, i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, i915_context_create(self->fd, &id));
		EXPECT_EQ(1, id);
		if (i % 2)
			EXPECT_EQ(0, i915_context_use(self->fd, id));
		EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		EXPECT_EQ(-ENOENT, i915_context_destroy(self->fd, id));
		EXPECT_EQ(-ENOENT, i915_context_use(self->fd, id));
	}
}

struct race {
	pthread_barrier_t start;
	int fd;
	unsigned int ids[MANY];
	atomic_uint destroyed, missed, failed;
};

static void *destroy_all(void *arg)
{
	struct race *race = arg;
	unsigned int i;

	pthread_barrier_wait(&race->start);
	for (i = 0; i < MANY; i++) {
		switch (i915_context_destroy(race->fd, race->ids[i])) {
		case 0:
			race->destroyed++;
			break;
		case -ENOENT:
			race->missed++;
			break;
		default:
			race->failed++;
		}
	}

	return NULL;
}

/* debugfs i915_gem_drop_caches does not leave contexts to the worker either. */
TEST_F_TIMEOUT(reclaim, destroyed_and_dropped, 120)
{
	struct i915_stats stats;
	unsigned int id = 0, i;
	char path[64];
	int file;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%d/i915_gem_drop_caches",
		 self->node.card);
	file = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, file);

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, i915_context_create(self->fd, &id));
		EXPECT_EQ(0, i915_context_use(self->fd, id));
		EXPECT_EQ(0, i915_context_destroy(self->fd, id));
		EXPECT_EQ(strlen(DROP_FREED), write(file, DROP_FREED, strlen(DROP_FREED)));
		ASSERT_EQ(0, i915_read_stats(&self->node, &stats));
		ASSERT_EQ(0, stats.waiting);
	}
	close(file);
}

/* Of the threads that destroy one context at the same time one succeeds. */
TEST_F_TIMEOUT(reclaim, destroyed_by_several, 120)
{
	pthread_t threads[4];
	struct race race = { .fd = self->fd };
	int i;

	ASSERT_EQ(0, create_many(self->fd, race.ids, MANY));
	pthread_barrier_init(&race.start, NULL, 4);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, destroy_all, &race));
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);

	EXPECT_EQ(MANY, atomic_load(&race.destroyed));
	EXPECT_EQ(3 * MANY, atomic_load(&race.missed));
	EXPECT_EQ(0, atomic_load(&race.failed));
	EXPECT_EQ(0, wrong_id(self->fd, MANY));
}

/* A descriptor that is left keeps the contexts. */
TEST_F_TIMEOUT(reclaim, duplicated_descriptors, 120)
{
	unsigned int ids[MANY], i;
	int dups[3];

	for (i = 0; i < 3; i++) {
		dups[i] = dup(self->fd);
		ASSERT_LE(0, dups[i]);
	}
	ASSERT_EQ(0, create_many(dups[0], ids, MANY));
	close(dups[0]);
	close(self->fd);

	for (i = 0; i < MANY; i++)
		EXPECT_EQ(0, i915_context_use(dups[1], ids[i]));
	EXPECT_EQ(0, destroy_many(dups[2], ids, MANY / 2));
	EXPECT_EQ(-ENOENT, i915_context_use(dups[1], ids[0]));
	close(dups[1]);
	self->fd = dups[2];
}

TEST_F_TIMEOUT(reclaim, forked_and_exited, 120)
{
	int child, i, status;
	unsigned int ids[MANY];
	pid_t pids[4];

	for (child = 0; child < 4; child++) {
		pids[child] = fork_child();
		ASSERT_LE(0, pids[child]);
		if (!pids[child]) {
			/* In the file of the parent, and in one of its own */
			int fd = i915_open(&self->node);

			_exit(fd < 0 || create_many(self->fd, ids, 50) ||
			      create_many(fd, ids, 50));
		}
	}
	for (child = 0; child < 4; child++) {
		ASSERT_EQ(pids[child], waitpid(pids[child], &status, 0));
		EXPECT_EQ(0, status);
	}

	/* Those of its own file went with the child, the others are still there */
	for (i = 1; i <= 4 * 50; i++)
		EXPECT_EQ(0, i915_context_destroy(self->fd, i));
	EXPECT_EQ(0, wrong_id(self->fd, MANY));
}

TEST_F_TIMEOUT(reclaim, killed, 120)
{
	int round, child, i, status, started[2], running[4];
	pid_t pids[4];
	char byte;

	for (round = 0; round < 5; round++) {
		for (child = 0; child < 4; child++) {
			ASSERT_EQ(0, pipe(started));
			running[child] = started[0];
			pids[child] = fork_child();
			ASSERT_LE(0, pids[child]);
			if (!pids[child]) {
				int fd = child % 2 ? self->fd : i915_open(&self->node);
				unsigned int ids[20];

				do {
					if (create_many(fd, ids, 20) ||
					    destroy_many(fd, ids, 20))
						_exit(1);
				} while (write(started[1], "", 1) == 1);
				_exit(1);
			}
			close(started[1]);
		}
		/* Each is in the middle of it */
		for (child = 0; child < 4; child++) {
			for (i = 0; i < 3; i++)
				ASSERT_EQ(1, read(running[child], &byte, 1));
		}
		for (child = 0; child < 4; child++)
			EXPECT_EQ(0, kill(pids[child], SIGKILL));
		for (child = 0; child < 4; child++) {
			ASSERT_EQ(pids[child], waitpid(pids[child], &status, 0));
			EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			close(running[child]);
		}
	}
}

static int send_fd(int socket, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));

	return sendmsg(socket, &msg, 0) == 1 ? 0 : -errno;
}

static int receive_fd(int socket)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;

	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* The creator is gone, the file is not, first on its way and then here. */
TEST_F_TIMEOUT(reclaim, passed_to_another_process, 120)
{
	unsigned int ids[MANY], i;
	int sockets[2], status, fd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		fd = i915_open(&self->node);
		_exit(fd < 0 || create_many(fd, ids, MANY) ||
		      send_fd(sockets[1], fd) || send_fd(sockets[1], fd));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);

	fd = receive_fd(sockets[0]);
	ASSERT_LE(0, fd);
	for (i = 1; i <= MANY; i++)
		EXPECT_EQ(0, i915_context_use(fd, i));
	for (i = 1; i <= MANY; i += 2)
		EXPECT_EQ(0, i915_context_destroy(fd, i));
	close(fd);

	/* The second one is never received */
	close(sockets[0]);
	close(sockets[1]);
}

/* A chain of what a context can be made with. */
struct parameters {
	struct drm_i915_gem_context_create_ext_setparam engines, vm, priority, persistence;
	I915_DEFINE_CONTEXT_PARAM_ENGINES(map, 3);
};

static bool has_priority(int fd)
{
	int value = 0;
	struct drm_i915_getparam getparam = {
		.param = I915_PARAM_HAS_SCHEDULER,
		.value = &value,
	};

	return !ioctl(fd, DRM_IOCTL_I915_GETPARAM, &getparam) &&
	       (value & I915_SCHEDULER_CAP_PRIORITY);
}

static void link_parameters(struct parameters *p, int fd, unsigned int vm_id)
{
	const struct i915_engine_class_instance none = {
		.engine_class = I915_ENGINE_CLASS_INVALID,
		.engine_instance = I915_ENGINE_CLASS_INVALID_NONE,
	};

	memset(p, 0, sizeof(*p));
	p->map.engines[0].engine_class = I915_ENGINE_CLASS_RENDER;
	p->map.engines[1] = none;
	p->map.engines[2].engine_class = I915_ENGINE_CLASS_RENDER;

	p->engines.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->engines.param.param = I915_CONTEXT_PARAM_ENGINES;
	p->engines.param.size = sizeof(p->map);
	p->engines.param.value = (uintptr_t)&p->map;
	p->engines.base.next_extension = (uintptr_t)&p->vm;

	p->vm.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->vm.param.param = I915_CONTEXT_PARAM_VM;
	p->vm.param.value = vm_id;
	p->vm.base.next_extension = (uintptr_t)(has_priority(fd) ? &p->priority :
						&p->persistence);

	p->priority.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->priority.param.param = I915_CONTEXT_PARAM_PRIORITY;
	p->priority.param.value = I915_CONTEXT_MIN_USER_PRIORITY;
	p->priority.base.next_extension = (uintptr_t)&p->persistence;

	p->persistence.base.name = I915_CONTEXT_CREATE_EXT_SETPARAM;
	p->persistence.param.param = I915_CONTEXT_PARAM_PERSISTENCE;
	p->persistence.param.value = 1;
}

TEST_F_TIMEOUT(reclaim, with_parameters, 120)
{
	unsigned int vm_id = 0, ids[MANY], i;
	struct parameters p;

	ASSERT_EQ(0, i915_vm_create(self->fd, &vm_id));
	link_parameters(&p, self->fd, vm_id);

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, i915_context_create_ext(self->fd,
						     I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE,
						     &p, &ids[i]));
		if (i % 2)
			EXPECT_EQ(0, i915_context_use(self->fd, ids[i]));
	}
	/* The contexts keep the vm that its id is taken from */
	EXPECT_EQ(0, i915_vm_destroy(self->fd, vm_id));
	EXPECT_EQ(0, destroy_many(self->fd, ids, MANY / 2));
	for (i = MANY / 2; i < MANY; i++)
		EXPECT_EQ(0, i915_context_use(self->fd, ids[i]));
	EXPECT_EQ(0, destroy_many(self->fd, ids + MANY / 2, MANY / 2));

	EXPECT_EQ(0, wrong_id(self->fd, MANY));
	EXPECT_EQ(0, wrong_vm_id(self->fd, 50));
}

/* Parameters that are set afterwards, some by the first use, some not. */
TEST_F_TIMEOUT(reclaim, with_parameters_set_later, 120)
{
	unsigned int vm_id = 0, ids[MANY], i;
	struct parameters p;

	ASSERT_EQ(0, i915_vm_create(self->fd, &vm_id));
	link_parameters(&p, self->fd, vm_id);

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, i915_context_create(self->fd, &ids[i]));
		if (i % 2) {
			EXPECT_EQ(0, i915_context_set(self->fd, ids[i],
						      I915_CONTEXT_PARAM_RECOVERABLE, 0));
			EXPECT_EQ(0, i915_context_set(self->fd, ids[i],
						      I915_CONTEXT_PARAM_PERSISTENCE, 1));
		}
		/* Can only be set before the first use */
		if (i % 3) {
			p.engines.param.ctx_id = ids[i];
			p.vm.param.ctx_id = ids[i];
			EXPECT_EQ(0, ioctl(self->fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM,
					   &p.engines.param));
			EXPECT_EQ(0, ioctl(self->fd, DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM,
					   &p.vm.param));
		}
		if (i % 4 == 0)
			EXPECT_EQ(0, i915_context_use(self->fd, ids[i]));
	}
	EXPECT_EQ(0, destroy_many(self->fd, ids, MANY));
	EXPECT_EQ(0, i915_vm_destroy(self->fd, vm_id));
	EXPECT_EQ(0, wrong_id(self->fd, MANY));
	EXPECT_EQ(0, wrong_vm_id(self->fd, 50));
}

/* A context is freed after its last request, whoever has closed it before. */
TEST_F_TIMEOUT(reclaim, with_requests_in_flight, 120)
{
	unsigned int ids[100], handle = 0, i;
	struct i915_stats stats;
	int sw_sync, fence;

	sw_sync = sw_sync_create(&fence);
	if (sw_sync < 0)
		SKIP(return, NO_SW_SYNC);

	ASSERT_EQ(0, i915_object_create(self->fd, &handle));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, i915_context_create(self->fd, &ids[i]));
		EXPECT_EQ(0, i915_execute(self->fd, ids[i], handle, fence));
	}
	/* Half by themselves, half with their file */
	EXPECT_EQ(0, destroy_many(self->fd, ids, 50));
	close(self->fd);
	self->fd = -1;

	/* The default context of the file goes, those of the requests stay */
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, i915_read_stats(&self->node, &stats));
		if (stats.waiting == 100)
			break;
		usleep(100 * 1000);
	}
	sleep(1);
	ASSERT_EQ(0, i915_read_stats(&self->node, &stats));
	EXPECT_EQ(100, stats.waiting);

	EXPECT_EQ(0, sw_sync_signal(sw_sync));
	close(fence);
	close(sw_sync);
}

/* So many threads in each of so many processes. */
FIXTURE(spam) {
	struct i915_node node;
	struct i915_census before;
	struct spam_shared *shared;
};

FIXTURE_VARIANT(spam) {
	unsigned int threads, procs;
};

FIXTURE_VARIANT_ADD(spam, 1_thread) {
	.threads = 1,
	.procs = 1,
};

FIXTURE_VARIANT_ADD(spam, 4_threads) {
	.threads = 4,
	.procs = 1,
};

FIXTURE_VARIANT_ADD(spam, 16_threads) {
	.threads = 16,
	.procs = 1,
};

FIXTURE_VARIANT_ADD(spam, 1_thread_8_procs) {
	.threads = 1,
	.procs = 8,
};

FIXTURE_VARIANT_ADD(spam, 16_threads_8_procs) {
	.threads = 16,
	.procs = 8,
};

#define SPAM_TOTAL	1280	/* contexts in a run, divisible by all of these */

struct spam_shared {
	atomic_uint pairs, highest, errors;
};

struct spammer {
	struct spam_shared *shared;
	unsigned int count;
	int fd;
};

FIXTURE_SETUP(spam)
{
	const int err = i915_first_census(&self->node, &self->before);

	if (err == -ENODEV)
		SKIP(return, I915_UNSUITABLE);
	if (err == -EBUSY)
		SKIP(return, I915_IN_USE);
	ASSERT_EQ(0, err);

	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
}

FIXTURE_TEARDOWN(spam)
{
	munmap(self->shared, sizeof(*self->shared));
}

static void *spam_thread(void *arg)
{
	struct spammer *spammer = arg;
	unsigned int i, id, highest;

	for (i = 0; i < spammer->count; i++) {
		if (i915_context_create(spammer->fd, &id) ||
		    i915_context_use(spammer->fd, id) ||
		    i915_context_destroy(spammer->fd, id)) {
			spammer->shared->errors++;
			break;
		}

		highest = spammer->shared->highest;
		while (id > highest &&
		       !atomic_compare_exchange_weak(&spammer->shared->highest, &highest, id))
			;
		spammer->shared->pairs++;
	}

	return NULL;
}

static int spam_process(const struct i915_node *node, struct spam_shared *shared,
			unsigned int threads, unsigned int count)
{
	struct spammer spammer = {
		.shared = shared,
		.count = count,
		.fd = i915_open(node),
	};
	pthread_t ids[THREADS_MAX];
	unsigned int i;

	if (spammer.fd < 0)
		return 1;
	for (i = 0; i < threads; i++) {
		if (pthread_create(&ids[i], NULL, spam_thread, &spammer))
			return 1;
	}
	for (i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);

	return 0;
}

TEST_F_TIMEOUT(spam, all_comes_back, 300)
{
	const unsigned int each = SPAM_TOTAL / variant->procs / variant->threads;
	struct i915_census after;
	pid_t pids[PROCS_MAX];
	unsigned int i;
	int status;

	for (i = 0; i < variant->procs; i++) {
		pids[i] = fork_child();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(spam_process(&self->node, self->shared, variant->threads, each));
	}
	for (i = 0; i < variant->procs; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}

	EXPECT_EQ(0, atomic_load(&self->shared->errors));
	EXPECT_EQ(SPAM_TOTAL, atomic_load(&self->shared->pairs));
	EXPECT_GE(variant->threads, atomic_load(&self->shared->highest));
	EXPECT_STREQ("", i915_left_behind(&self->node, &self->before));

	/* Each file brings its default context */
	ASSERT_EQ(0, i915_take_census(&self->node, &after));
	EXPECT_EQ(SPAM_TOTAL + variant->procs,
		  after.stats.created - self->before.stats.created);
	EXPECT_EQ(SPAM_TOTAL + variant->procs,
		  after.stats.freed - self->before.stats.freed);
}

int main(int argc, char *argv[])
{
	const char *reason = i915_no_census();

	if (reason) {
		ksft_print_header();
		ksft_exit_skip("%s\n", reason);
	}

	return test_harness_run(argc, argv);
}
