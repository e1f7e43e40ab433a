/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol of gem/i915_gem_reclaim.c as a model for SPIN. `make spin' checks it in three
 * sizes, and then each wrong variant below. Comments name the function that the code stands
 * for. A step is what no other task can see the middle of.
 *
 * There are SLOTS slots. A slot has memory for a context n, its address space VM(n) and
 * OBJECT(n), the page tables of that. SPIN shows for every interleaving that
 *
 * - each is freed once after its last put, and not before the put is done with it;
 * - i915_gem_flush_reclaim() returns only when all that was released before is freed;
 * - when no task can run any more, everything is freed and no creation sleeps: the worker is
 *   never lost, and creations neither deadlock nor miss a wakeup;
 * - no timer fires during a drain, and no worker runs after the workqueue is destroyed;
 * - every run ends.
 *
 * Not in the model: i915_gem_retire_closed(), which holds no lock and waits for a jiffy at
 * most, and creations whose sleep ends as they are killed or after eight seconds. SPIN does
 * not reorder memory accesses. The two places where their order matters are
 * reclaim-add.litmus and reclaim-throttle.litmus, for the kernel's memory model.
 */
#define CANCEL		1	/* open: a creation that empties the list cancels the worker */
#define REQUEUE		2	/* open: the worker requeues itself after the lock, puts do not */
#define QUEUE_FIRST	3	/* open: the last put queues the worker before it adds */
#define BUSY		4	/* open: the last put does not queue a worker that runs */
#define BATCHED		5	/* open: the worker frees a batch and does not look again */
#define UNLOCKED	6	/* open: llist_del_first() without free_lock */
#define TOUCH		7	/* open: the last put reads the entry after the add */
#define HELD		8	/* open: creation under a lock that a free takes */
#define SLEEP		9	/* open: the throttle sleeps without a second look at pending */
#define WAKE		10	/* open: pending_sub() looks for sleepers before it subtracts */
#define DRAIN		11	/* teardown: no flush_delayed_work() before the drain */
#define ALONE		12	/* teardown: the worker does not take freeing */
#define SHARED		13	/* teardown: the flush takes freeing for read */
#define ONE_PASS	14	/* teardown: i915_gem_flush_reclaim() has one pass */
#define TWO_PASSES	15	/* teardown: i915_gem_flush_workqueue() has two passes */
#define UNSAFE		16	/* teardown: the flush reads ->next of what it has freed */
#define NO_SYNC		17	/* teardown: cleanup does not wait for a running worker */
#define wrong(variant)	(WRONG == variant)

#define SLOTS		2	/* and as many clients */
#define BATCH		1	/* I915_GEM_RECLAIM_BATCH */
#define MAX		1	/* I915_GEM_PENDING_MAX */
#define VM(n)		((n) + SLOTS)
#define OBJECT(n)	((n) + 2 * SLOTS)
#define list(n)		((n) > 2 * SLOTS)	/* 0: reclaim.free_list, 1: mm.free_list */

mtype = { GONE, LIVE, ADDED, FREEING };
mtype state[3 * SLOTS + 1] = LIVE;
byte head[2], next[3 * SLOTS + 1];
bool old[3 * SLOTS + 1];			/* released before the flush began */
bool free_lock;
byte reading;					/* freeing is held for read */
bool writing, write_waits;			/* freeing is held, or wanted, for write */
bool mutex;					/* any lock that a free takes: vm->mutex */
bool timer, queued, running, draining;		/* free_work, pending if timer or queued */
byte barrier;					/* flush_work() waits: 2 if queued, 1 if running */
byte pending, free_count, created, done;
bool asleep[SLOTS];				/* on the wait queue throttle */

/*
 * What RCU callbacks, requests and works on other workqueues do later: the last put of the
 * entry n, or one of these
 */
#define SUB		50	/* context_free_rcu() */
#define SUB_OBJECT	51	/* __i915_gem_free_object_rcu() */
#define BARRIER		52	/* what rcu_barrier() and flush_workqueue() wait for */
chan later = [8] of { byte };
bool in_barrier;

inline queue_reclaim() {	/* i915_gem_queue_reclaim() */
	timer = timer || !queued && !((wrong(BUSY) || wrong(REQUEUE)) && running)
}

#define gone(n)		state[n] = GONE; next[n] = 0; old[n] = 0

/*
 * The last put of n: i915_gem_free_later(), i915_gem_free_object(). The free of the entry from
 * calls it, if that is not 0, and a vm goes with the put of its page tables. llist_add() is one
 * step: if its try_cmpxchg() fails, it has only changed what no other task sees.
 */
inline put(n, from) {
	if
	:: wrong(QUEUE_FIRST) -> atomic { if :: !head[list(n)] -> queue_reclaim() :: else fi }
	:: else
	fi;
	do
	:: atomic {
		assert(state[n] == LIVE);
		state[n] = ADDED;
		free_count = free_count + list(n);
		next[n] = head[list(n)];
		head[list(n)] = n;
		if :: from > SLOTS -> gone(from) :: else -> old[n] = old[from] fi;
		if :: next[n] || wrong(QUEUE_FIRST) -> break :: else fi
	   };
	   atomic { assert(!wrong(TOUCH) || state[n] != GONE); queue_reclaim(); break }
	od
}

/*
 * i915_gem_context_free() puts the vm, i915_vm_free() the page tables. If DEFER, they may leave
 * that to the rcu_work of a virtual engine, and to release_work.
 */
inline free_link(n) {
	if
	:: !mutex && (n <= SLOTS || OBJECTS) -> put(VM(n), n)
	:: atomic { DEFER && !mutex -> later!VM(n); if :: n > SLOTS -> gone(n) :: else fi }
	:: atomic { n > SLOTS && !OBJECTS -> state[VM(n)] = GONE; gone(n) }
	fi;
	if :: atomic { n <= SLOTS -> pending++; later!SUB; gone(n) } :: else fi
}

inline free_links(more) {	/* free_links(), with pop_link() and llist_del_first() */
	i = 0;
	do
	:: atomic {
		(more) && (!free_lock || wrong(UNLOCKED)) -> link = head[0];
		if :: link -> free_lock = 1 :: else -> break fi
	   };
	   do
	   :: d_step { assert(state[link] != GONE); nx = next[link] };
	      atomic {
		if
		:: head[0] == link ->
			head[0] = nx; nx = 0; free_lock = 0;
			assert(state[link] == ADDED); state[link] = FREEING; break
		:: else -> link = head[0]
		fi
	      }
	   od;
	   free_link(link);
	   i++
	:: !(more) -> break
	od;
	i = 0
}

inline flush_free_objects() {	/* i915_gem_flush_free_objects() */
	d_step { link = head[1]; head[1] = 0 };
	do
	:: atomic { link ->
		assert(state[link] == ADDED);
		pending++; later!SUB_OBJECT;
		nx = next[link]; gone(link); link = nx; nx = 0
	   }
	:: else -> break
	od
}

inline reclaim() {		/* i915_gem_reclaim() */
	if
	:: atomic { !writing && !mutex -> mutex = wrong(HELD); reading++ };
		free_links(i < BATCH);
		reading--;
		if
		:: wrong(CANCEL) -> if :: !head[0] -> d_step { timer = 0; queued = 0 } :: else fi
		:: else
		fi
	:: writing || write_waits
	fi;
	flush_free_objects();
	do				/* wait_event_killable_timeout() */
	:: pending < MAX -> break
	:: else ->
		asleep[_pid] = 1;	/* prepare_to_wait_event() */
		if :: pending < MAX && !wrong(SLEEP) -> break :: else fi;
		!asleep[_pid]		/* schedule() */
	od;
	atomic { asleep[_pid] = 0; mutex = 0 }
}

#define create(n) \
	state[n] == GONE && state[VM(n)] == GONE && state[OBJECT(n)] == GONE -> \
	state[n] = LIVE; state[VM(n)] = LIVE; state[OBJECT(n)] = LIVE; ctx = n

/*
 * GEM_CONTEXT_DESTROY and GEM_CONTEXT_CREATE. If DEFER, requests may drop the last reference
 * later: engines_notify().
 */
active [SLOTS] proctype Client() {
	byte ctx = _pid + 1, link, nx, i;

	do
	:: ctx ->
		if :: put(ctx, 0) :: DEFER -> later!ctx fi;
		ctx = 0
	:: atomic { !ctx && created < CREATIONS -> created++ };
		reclaim();
		atomic { !mutex; if :: create(1) :: create(2) :: else fi }
	:: atomic { !ctx && created == CREATIONS -> done++; break }
	od
}

active proctype Later() {
	byte n;
	bool low, none;

end:	do
	:: atomic { later?n -> none = wrong(WAKE) && !asleep[0] && !asleep[1] };
		if
		:: n < SUB -> put(n, 0)
		:: n == BARRIER -> in_barrier = 0
		:: else ->	/* i915_gem_pending_sub() */
			d_step {
				pending--; low = pending < MAX;
				assert(n == SUB || free_count);
				free_count = free_count - (n == SUB_OBJECT)
			};
			if :: low && !none -> d_step { asleep[0] = 0; asleep[1] = 0 } :: else fi
		fi
	od
}

active proctype Timer() {	/* delayed_work_timer_fn() */
end:	do
	:: atomic { timer -> assert(!draining); timer = 0; queued = 1 }
	od
}

active proctype Worker() {	/* process_one_work() and free_worker() */
	byte link, nx, i;
	bool more;

end:	do
	:: atomic { queued -> queued = 0; running = 1; barrier = barrier / 2 };
		do
		:: atomic {
			!writing && !write_waits || wrong(ALONE) ->
			reading = reading + !wrong(ALONE)
		   };
			free_links(i < BATCH);
			atomic { reading = reading - !wrong(ALONE); more = head[0] != 0 };
			if :: !more || wrong(BATCHED) || wrong(REQUEUE) -> break :: else fi
		od;
		if :: wrong(REQUEUE) && more -> timer = timer || !queued :: else fi;
		flush_free_objects();
		atomic { running = 0; barrier = barrier & 2 }
	od
}

inline flush_reclaim() {	/* i915_gem_flush_reclaim() */
	d_step {
		for (i : 1 .. 2 * SLOTS) { old[i] = (state[i] == ADDED || state[i] == FREEING) };
		i = 0;
		write_waits = 1
	};
	atomic { !reading || wrong(SHARED) -> writing = !wrong(SHARED); write_waits = 0 };
	do
	:: atomic { i < 2 - wrong(ONE_PASS) -> link = head[0]; head[0] = 0 };
		do
		:: atomic {
			link ->
			assert(state[link] == ADDED); state[link] = FREEING; nx = next[link]
		   };
			free_link(link);
			atomic { assert(!wrong(UNSAFE) || state[link] != GONE); link = nx }
		:: else -> break
		od;
		i++
	:: else -> break
	od;
	atomic {
		writing = 0;
		for (i : 1 .. 2 * SLOTS) { assert(!old[i]) };
		i = 0
	}
}

inline flush_work() {		/* also flush_workqueue(i915->wq) */
	atomic { if :: queued -> barrier = 2 :: else -> barrier = running fi };
	!barrier
}

inline drain_freed_objects() {	/* i915_gem_drain_freed_objects() */
	do
	:: free_count ->
progress:	flush_free_objects();	/* may wait in this loop for others that free objects */
		rcu_barrier()
	:: else -> break
	od
}

inline rcu_barrier() {
	atomic { in_barrier = 1; later!BARRIER };
	!in_barrier
}

inline all_gone() {
	atomic {
		for (i : 1 .. 3 * SLOTS) { assert(state[i] == GONE) };
		i = 0;
		assert(done == SLOTS && !head[0] && !head[1] && !pending && !free_count)
	}
}

active proctype Driver() {
	byte link, nx, i, pass;

	/* i915_gem_flush_workqueue() in teardown, after all files are closed; else a suspend */
	if :: TEARDOWN -> done == SLOTS :: else fi;
	do
	:: pass < FLUSHES - wrong(TWO_PASSES) ->
		flush_reclaim();
		if :: TEARDOWN -> flush_work(); rcu_barrier(); drain_freed_objects() :: else fi;
		pass++
	:: else -> break
	od;
	if
	:: !TEARDOWN -> timeout	/* true when no process can run */
	:: else ->
		all_gone();
		/* i915_gem_drain_workqueue(): flush_delayed_work(), drain_workqueue() */
		atomic { if :: timer && !wrong(DRAIN) -> timer = 0; queued = 1 :: else fi };
		flush_work();
		draining = 1;
		atomic { !queued && !running -> draining = 0 };
		/* Then an object may be put and flushed, as i915_driver_release() does */
		if :: state[OBJECT(1)] = LIVE; put(OBJECT(1), 0); drain_freed_objects() :: true fi;
		/* i915_gem_cleanup__reclaim(): cancel_delayed_work_sync() */
		atomic { timer = 0; queued = 0 };
		!running || wrong(NO_SYNC);
		assert(!timer && !queued && !running)	/* destroy_workqueue() */
	fi;
	all_gone()
}
