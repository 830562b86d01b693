// SPDX-License-Identifier: BSL-1.0
// Ending a task that runs (rule K and the stop token, promise G4, docs/protocol.md): one thread of the front end stops
// and kills, the other issues, drains and buries, the worker finishes its task at any moment, ignores SIGTERM or not,
// or dies by itself. What was revoked or not started goes on in another worker, here at once.

#define SLOTS 2
#define TASKS 3
#define KILLER 0
#define DISPATCHER 1
#define WORKER 2
#define BUFFERS 3

#define STATE(seq) ((seq) % SLOTS)
#define STOP SLOTS  // parent-written: seq + 1 of the task that is asked to stop
#define WORDS (SLOTS + 1)

#include "common.pml"

#define NOBODY 255

// The dispatcher's records, under the mutex.
byte issued, drained;
byte task_at[SLOTS];
bool revoked[SLOTS];
bool queued[TASKS];
bool barred;  // the worker gets no more work

// The kernel.
bool term_pending, kill_pending;
bool dead, gone;

// What really happened, for the properties.
byte target = NOBODY;
byte executing = NOBODY;
bool started[TASKS];
bool crashed;

#define slot_task(seq) task_at[(seq) % SLOTS]
#define slot_revoked(seq) revoked[(seq) % SLOTS]

// --- The mutex: unlock is a release and no fence ---------------------------------------------------------------------

bool locked;
byte released_by;

inline lock() {
  atomic { !locked && drained_buffer(released_by) -> locked = true }
}

inline unlock(who) {
  atomic {
    locked = false;
    released_by = who
  }
}

// --- The worker ------------------------------------------------------------------------------------------------------

#define cursor_word load(WORKER, STATE(cursor))

#ifdef STOP_WITHOUT_SEQ
#define is_asked_to_stop (load(WORKER, STOP) != 0)
#else
#define is_asked_to_stop (load(WORKER, STOP) == cursor + 1)
#endif

inline claim() {
  atomic {
#ifdef CLAIM_IS_NO_RELEASE
    claimed = (mem[STATE(cursor)] == word(cursor, READY));
    if
    :: claimed -> mem[STATE(cursor)] = word(cursor, RUNNING)
    :: else
    fi;
#else
    compare_exchange(WORKER, STATE(cursor), word(cursor, READY), word(cursor, RUNNING), claimed);
#endif
    if
    :: claimed ->
       assert(!slot_revoked(cursor));
       assert(!started[slot_task(cursor)]);
       started[slot_task(cursor)] = true;
       executing = cursor
    :: else
    fi
  }
}

active proctype worker() {
  byte cursor;
  bool claimed;
  {
end_idle:
    do
    :: cursor_word == word(cursor, READY) ->
       claim();
       if
       :: claimed ->
          if
          :: atomic { is_asked_to_stop -> assert(cursor == target) }
          :: skip
          fi;
          atomic {
            store(WORKER, STATE(cursor), word(cursor, DONE));
            claimed = false;
            executing = NOBODY;
            cursor++
          }
       :: else
       fi
    :: cursor_word == word(cursor, REVOKED) ->
       atomic {
         store(WORKER, STATE(cursor), word(cursor, DONE));
         cursor++
       }
    od
  } unless { dead -> gone = true }
}

// SIGTERM may be blocked or ignored, SIGKILL not; both arrive whenever they like.
active proctype signals() {
end:
  do
  :: atomic { term_pending -> term_pending = false; assert(executing == NOBODY || executing == target); dead = true }
  :: atomic { term_pending -> term_pending = false }
  :: atomic { kill_pending -> kill_pending = false; assert(executing == NOBODY || executing == target); dead = true }
  od
}

// Does nothing, or lets the worker die by itself at any step.
active proctype crash() {
  if
  :: atomic { !dead -> dead = true; crashed = true }
  :: skip
  fi
}

// --- Thread 1 of the front end: issues, drains, buries ---------------------------------------------------------------

inline issue(which) {
  atomic {
    lock();
    if
    :: queued[which] && !barred && issued - drained < SLOTS ->
       queued[which] = false;
       slot_task(issued) = which;
       slot_revoked(issued) = false;
       store(DISPATCHER, STATE(issued), word(issued, READY));
       issued++
    :: else
    fi
  }
  unlock(DISPATCHER)
}

inline consume() {
  atomic {
    lock();
    if
    :: slot_revoked(drained)  // it has moved
    :: else -> complete(slot_task(drained))
    fi;
    drained++;
    unlock(DISPATCHER)
  }
}

// A last look at the ring of the dead worker; what never ran there is run by another one.
inline bury() {
  lock();
  do
  :: drained < issued ->
     atomic {
       if
       :: slot_revoked(drained)
       :: else ->
          if
          :: load(DISPATCHER, STATE(drained)) == word(drained, READY) -> queued[slot_task(drained)] = true
          :: load(DISPATCHER, STATE(drained)) == word(drained, RUNNING) ->
             assert(crashed || drained == target);
             complete(slot_task(drained))
          :: load(DISPATCHER, STATE(drained)) == word(drained, DONE) -> complete(slot_task(drained))
          fi
       fi;
       drained++
     }
  :: else -> break
  od;
  atomic {
    number = 0;
    do
    :: number < TASKS ->
       if
       :: queued[number] -> assert(!started[number]); complete(number)
       :: else
       fi;
       number++
    :: else -> break
    od;
    assert(completions == TASKS);
    unlock(DISPATCHER)
  }
}

#define may_issue(which) (queued[which] && !barred && issued - drained < SLOTS)

active proctype dispatcher() {
  byte number;

  atomic {
    queued[0] = true;
    queued[1] = true;
    queued[2] = true
  }
  do
  :: may_issue(0) -> issue(0)
  :: !queued[0] && may_issue(1) -> issue(1)
  :: !queued[0] && !queued[1] && may_issue(2) -> issue(2)
  :: drained < issued && load(DISPATCHER, STATE(drained)) == word(drained, DONE) -> consume()
  :: gone && drained_buffer(WORKER) -> bury(); break
  :: completions == TASKS -> break
  od
}

// --- Thread 0 of the front end: stops and kills ----------------------------------------------------------------------

#ifdef REREAD_WITHOUT_SEQ
#define still_runs (state_of(load(KILLER, STATE(target))) == RUNNING)
#else
#define still_runs (load(KILLER, STATE(target)) == word(target, RUNNING))
#endif

inline revoke_behind_target() {
  seq = target + 1;
  do
  :: seq < issued ->
     if
     :: seq >= drained ->
        atomic {
          compare_exchange(KILLER, STATE(seq), word(seq, READY), word(seq, REVOKED), success);
          if
          :: success ->
             slot_revoked(seq) = true;
             queued[slot_task(seq)] = true
          :: else
          fi
        }
     :: else
     fi;
     seq++
  :: else -> break
  od
}

inline terminate() {
#ifndef KILL_UNLOCKED
  lock();
#endif
  barred = true;
#ifdef REREAD_BEFORE_REVOKE
  hit = still_runs;
#endif
#ifndef NO_REVOKE
  revoke_behind_target();
#endif
#if defined(NO_REREAD)
  hit = true;
#elif !defined(REREAD_BEFORE_REVOKE)
  hit = still_runs;
#endif
  if
  :: hit ->
#ifdef WORK_AFTER_TERM
     barred = false;
#endif
     term_pending = true
  :: else ->
#ifdef NO_RESTORE
     skip
#else
     barred = false
#endif
  fi;
#ifndef KILL_UNLOCKED
  unlock(KILLER)
#endif
}

active proctype killer() {
  byte seq;
  bool success, hit;

  // The oldest task is seen running: the one to end, now or later.
end_unused:
  atomic {
    !locked && drained_buffer(released_by) && drained < issued &&
    load(KILLER, STATE(drained)) == word(drained, RUNNING) -> target = drained
  }
  if
  :: store(KILLER, STOP, target + 1)
  :: skip
  fi;
  if
  :: terminate()
  :: skip
  fi;
  if
  :: hit -> kill_pending = true  // the grace deadline
  :: hit && gone
  :: !hit
  fi
}
