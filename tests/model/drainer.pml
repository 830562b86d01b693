// SPDX-License-Identifier: BSL-1.0
// Who drains, and when the front end may sleep (rules W4 and W5, docs/protocol.md): one token under the pool's
// mutex, two threads that run the io_context, submit and cancel, two workers with the doorbell of doorbell.pml, one of
// which may stop for ever or die at any step, also while nobody listens. How workers are woken is left to
// sleep_wake.pml: here they see their ring, of one slot.
// -DTHREE_TASKS: three tasks, so that one waits in the queue, but no worker stops and nobody cancels.

#define WORKERS 2
#ifdef THREE_TASKS
#define TASKS 3
#else
#define TASKS 2
#endif
#define WORKER(w) (2 + (w))  // 0 and 1 are the threads of the front end
#define BUFFERS 4

#define STATE(w) (w)
#define ARMED(w) (WORKERS + (w))
#define WORDS (2 * WORKERS)

#include "common.pml"

#define IDLE 0
#define POLLING 1
#define LISTENING 2  // "ARMED" in the design, which here is the name of the workers' words

// The dispatcher's records, under the mutex.
byte token;
byte arm_epoch;
byte outstanding;  // accepted and not completed
byte undelivered;  // completed; the next turn calls their handlers
byte issued[WORKERS], drained[WORKERS];
byte task_at[WORKERS];
bool queued[TASKS];
bool buried;  // worker 0 is known to be dead

// The io_context and the kernel.
bool posted;  // a drain is posted
bool waiting, wait_cancelled;
bool bell[WORKERS];  // the eventfd's edge, until the epoll reports it
bool death;          // the pidfd of worker 0, until the epoll reports it

// What really happened, for the properties.
bool handling;  // some thread has the token
byte submitted;
bool halted, gone, stopped;  // worker 0

// --- The mutex: unlock is a release and no fence ---------------------------------------------------------------------

bool locked;
byte released_by;

inline lock() {
  atomic { !locked && drained_buffer(released_by) -> locked = true }
}

inline unlock() {
  atomic {
    assert(token != IDLE || !waiting);
    assert(outstanding > 0 || !waiting || wait_cancelled);
    locked = false;
    released_by = me
  }
}

// --- The workers -----------------------------------------------------------------------------------------------------

#define cursor_word load(WORKER(w), STATE(w))

proctype worker(byte w) {
  byte cursor, armed, last_rung;
  bool claimed;
  {
end_idle:
    do
    :: cursor_word == word(cursor, READY) || cursor_word == word(cursor, REVOKED) ->
       compare_exchange(WORKER(w), STATE(w), word(cursor, READY), word(cursor, RUNNING), claimed);
       atomic {
         store(WORKER(w), STATE(w), word(cursor, DONE));
         claimed = false;
         cursor++
       }
#ifndef NO_WORKER_FENCE
       fence(WORKER(w));
#endif
       armed = load(WORKER(w), ARMED(w));
       atomic {
         if
         :: armed != 0 && armed != last_rung ->
            last_rung = armed;
            bell[w] = true
         :: else
         fi;
         armed = 0
       }
    od
  } unless { halted && w == 0 -> gone = true }
}

#ifndef THREE_TASKS
// Does nothing, stops worker 0 for ever, or kills it.
active proctype halt() {
  if
  :: halted = true;
     if
     :: atomic { gone && drained_buffer(WORKER(0)) -> death = true }
     :: gone -> stopped = true
     fi
  :: skip
  fi
}
#endif

// --- The dispatcher, under the mutex. An atomic sequence touches shared memory at most once. -------------------------

#define is_outstanding(w) (drained[w] < issued[w])
#define is_free(w) (!is_outstanding(w) && !((w) == 0 && buried))
#define oldest_word(w) load(me, STATE(w))
#define oldest_is_done(w) (is_outstanding(w) && oldest_word(w) == word(drained[w], DONE))

inline finish(which) {
  complete(which);
  outstanding--;
  undelivered++
}

inline finish_unless_cancelled(which) {
  if
  :: completed[which]
  :: else -> finish(which)
  fi
}

inline store_ready(w) {
  atomic {
    store(me, STATE(w), word(issued[w], READY));
    issued[w]++
  }
}

inline issue(w, which) {
  task_at[w] = which;
#ifdef ARMED_WORD_AFTER_READY
  store_ready(w);
#endif
#ifndef NO_ARMED_WORD_ON_ISSUE
  if
  :: token == LISTENING -> store(me, ARMED(w), arm_epoch)
  :: else
  fi;
#endif
#ifdef ARMED_WORD_AFTER_READY
  skip
#else
  store_ready(w)
#endif
}

inline issue_or_queue(which) {
  if
  :: is_free(0) -> issue(0, which)
  :: !is_free(0) && is_free(1) -> issue(1, which)
  :: !is_free(0) && !is_free(1) -> queued[which] = true
  fi
}

inline issue_queued() {
  atomic {
    do
    :: number == TASKS || (!is_free(0) && !is_free(1)) -> break
    :: number < TASKS && (is_free(0) || is_free(1)) ->
       if
       :: queued[number] ->
          queued[number] = false;
          issue_or_queue(number)
       :: else
       fi;
       number++
    od;
    number = 0
  }
}

inline consume(w) {
  atomic {
    if
    :: oldest_is_done(w) ->
       finish_unless_cancelled(task_at[w]);
       drained[w]++
    :: else
    fi
  }
}

// A last look at the ring of a dead worker: what it never started goes back to the queue.
inline bury() {
  atomic {
    buried = true;
    if
    :: is_outstanding(0) ->
       if
       :: oldest_word(0) == word(drained[0], READY) -> queued[task_at[0]] = true
       :: else -> finish_unless_cancelled(task_at[0])
       fi;
       drained[0]++
    :: else
    fi
  }
}

// --- The front end's threads -----------------------------------------------------------------------------------------

inline submit(which) {
  atomic {
    lock();
    outstanding++;
    issue_or_queue(which);
    submitted++;
#ifdef POST_ALWAYS
    token = POLLING;
    posted = true;
#elif !defined(NO_POST)
    if
    :: token == IDLE -> token = POLLING; posted = true
    :: else
    fi;
#endif
    unlock()
  }
}

inline revoke(w) {
  compare_exchange(me, STATE(w), word(drained[w], READY), word(drained[w], REVOKED), success);
  if
  :: success -> success = false; finish(task_at[w])
  :: else
  fi
}

// Queued or READY: it is complete at once. A listening front end is made to deliver it, by the handler of its wait
// (rule W5, docs/protocol.md).
inline cancel(which) {
  atomic {
    lock();
    if
    :: completed[which]
    :: !completed[which] && queued[which] -> queued[which] = false; finish(which)
    :: !completed[which] && !queued[which] ->
       if
       :: is_outstanding(0) && task_at[0] == which -> revoke(0)
       :: else -> revoke(1)
       fi
    fi;
#ifndef CANCEL_LEAVES_WAIT
    if
    :: undelivered > 0 && token == LISTENING ->
       wait_cancelled = true;
#ifdef CANCEL_FREES_TOKEN
       token = IDLE
#else
       token = POLLING
#endif
    :: else
    fi;
#endif
    unlock()
  }
}

#define may_complete_wait (waiting && (bell[0] || bell[1] || death || wait_cancelled))

// A handler of ours, posted or called by the wait; a wait that ends reports its events.
inline begin_handler() {
  if
  :: posted -> posted = false
  :: may_complete_wait ->
     waiting = false;
     wait_cancelled = false;
     bell[0] = false;
     bell[1] = false;
     reported = death;
     death = false
  fi;
  assert(!handling);
  handling = true
}

inline start_wait() {
  atomic {
    assert(!waiting);
    assert(outstanding > 0);
    handling = false;  // from here on the wait's handler may run, in any thread
    waiting = true
  }
}

inline write_armed(w) {
  if
  :: is_outstanding(w) -> store(me, ARMED(w), arm_epoch)
  :: else
  fi
}

inline arm() {
#ifdef SAME_ARM_EPOCH
  arm_epoch = 1;
#else
  arm_epoch++;
#endif
  write_armed(0);
  write_armed(1);
#ifndef NO_ARM_FENCE
  fence(me);
#endif
  found = false;
#ifndef NO_RECHECK
  found = oldest_is_done(0);
  found = found || oldest_is_done(1)
#endif
}

// A turn: rounds of look, drain, issue, deliver. Going IDLE or ARMED needs a round that found nothing to deliver.
inline drain() {
  do
  :: atomic {
       lock();
       token = POLLING
     }
     if
     :: reported -> reported = false; bury()
     :: else
     fi;
     consume(0);
     consume(1);
     issue_queued();
     if
     :: undelivered > 0 ->
        atomic {
          undelivered = 0;
          unlock()
        }
     :: else ->
        found = (outstanding == 0);
#ifdef IDLE_DECIDED_UNLOCKED
        unlock();
        lock();
#endif
        if
        :: found ->
           atomic {
             token = IDLE;
             handling = false;
             break
           }
        :: else
        fi;
#ifdef ARMING_UNLOCKED
        unlock();
        arm();
        lock();
#else
        arm();
#endif
        if
        :: found -> unlock()  // the armed words stay: who has not rung for them yet rings once in vain
        :: else ->
           token = LISTENING;
#ifdef WAIT_STARTED_UNLOCKED
           unlock();
           start_wait();
           lock();
#else
           start_wait();
#endif
           break
        fi
     fi
  od;
  atomic {
    found = false;
    unlock()
  }
}

#define nothing_to_do (submitted == TASKS && task == end && !posted && !handling)

// Leaves when run() has nothing left to do, or when nobody but a stopped worker has a task.
proctype front_end(byte me; byte task; byte end) {
  byte number;
  bool may_cancel, reported, found, success;

#ifndef THREE_TASKS
  if
  :: me == 0 -> may_cancel = true
  :: skip
  fi;
#endif
  do
  :: task < end ->
     submit(task);
     if
     :: may_cancel -> may_cancel = false; cancel(task)
     :: skip
     fi;
     task++
  :: atomic { posted || may_complete_wait -> begin_handler() }
     drain()
  :: nothing_to_do && !waiting -> assert(completions == TASKS && undelivered == 0); break
  :: nothing_to_do && waiting && !may_complete_wait && stopped && !is_outstanding(1) -> break
  od
}

init {
  atomic {
    run worker(0);
    run worker(1);
    run front_end(0, 0, TASKS - 1);
    run front_end(1, TASKS - 1, TASKS)
  }
}
