// SPDX-License-Identifier: BSL-1.0
// How a sleeping front end hears of results (rule W2, docs/protocol.md): two workers, one of which may be stopped for
// ever (SIGSTOP) or die at any step. Every worker has its own armed word, written by the parent alone, and its own
// edge-triggered eventfd. All tasks are issued before the front end sleeps; work that arrives while it sleeps is left
// to drainer.pml. One time the clock may wake it, before a result is there or after: then it asks nobody to ring until
// it is about to sleep again.

#define WORKERS 2
#define SLOTS 2
#define TASKS 3
#define tasks_of(w) ((w) == 0 -> 2 : 1)
#define PARENT 0
#define WORKER(w) (1 + (w))
#define BUFFERS 3

#define STATE(w, seq) ((w) * SLOTS + (seq))
#ifdef SHARED_ARMED_WORD
#define ARMED(w) (WORKERS * SLOTS)
#else
#define ARMED(w) (WORKERS * SLOTS + (w))
#endif
#define WORDS (WORKERS * SLOTS + WORKERS)

#include "common.pml"

#define task(w, seq) ((w) * 2 + (seq))

byte drained[WORKERS];
bool revoked[TASKS];

bool bell[WORKERS];  // the eventfd's edge, until the epoll reports it
bool death;          // the pidfd of worker 0
bool halted, died;   // worker 0

// What really happened, for the properties.
byte published[WORKERS];
bool about_to_ring[WORKERS];

// --- The workers -----------------------------------------------------------------------------------------------------

inline publish_done() {
  atomic {
    store(WORKER(w), STATE(w, cursor), word(cursor, DONE));
    cursor++;
    published[w]++;
    about_to_ring[w] = true
  }
}

#ifdef SHARED_ARMED_WORD
// The ringer takes the one word for all.
inline ring() {
  atomic {
    armed = mem[ARMED(w)];
    mem[ARMED(w)] = 0
  }
  atomic {
    if
    :: armed != 0 -> bell[w] = true
    :: else
    fi;
    armed = 0;
    about_to_ring[w] = false
  }
}
#else
inline ring() {
  armed = load(WORKER(w), ARMED(w));
  atomic {
    if
#ifdef NO_LAST_RUNG
    :: armed != 0 ->
#else
    :: armed != 0 && armed != last_rung ->
#endif
       assert(last_rung != armed);  // one system call for each arming
       last_rung = armed;
       bell[w] = true
    :: else
    fi;
    armed = 0;
    about_to_ring[w] = false
  }
}
#endif

inline tell() {
#ifndef NO_WORKER_FENCE
  fence(WORKER(w));
#endif
#ifdef RING_WHEN_DRY
  if
  :: cursor == tasks_of(w) || load(WORKER(w), STATE(w, cursor)) != word(cursor, READY) -> ring()
  :: else -> about_to_ring[w] = false
  fi
#else
  ring()
#endif
}

proctype worker(byte w) {
  byte cursor, armed, last_rung;
  bool claimed;
  {
    do
    :: cursor == tasks_of(w) -> break
    :: cursor < tasks_of(w) ->
       compare_exchange(WORKER(w), STATE(w, cursor), word(cursor, READY), word(cursor, RUNNING), claimed);
       if
       :: claimed ->
          publish_done();
          tell()
       :: else ->
          publish_done();
#ifdef NO_RING_AFTER_ACKNOWLEDGEMENT
          about_to_ring[w] = false
#else
          tell()
#endif
       fi
    od
  } unless { halted && w == 0 }
}

// Does nothing, stops worker 0 for ever, or kills it.
active proctype halt() {
  if
  :: halted = true;
     if
     :: atomic { drained_buffer(WORKER(0)) -> died = true; death = true }
     :: skip
     fi
  :: skip
  fi
}

// --- The parent ------------------------------------------------------------------------------------------------------

#define oldest_is_done(w) (drained[w] < tasks_of(w) && load(PARENT, STATE(w, drained[w])) == word(drained[w], DONE))

inline complete_once(which) {
  if
  :: revoked[which]
  :: else -> complete(which)
  fi
}

inline consume(w) {
  do
  :: atomic {
       oldest_is_done(w) ->
       complete_once(task(w, drained[w]));
       drained[w]++
     }
  :: else -> break
  od
}

inline arm() {
#ifndef SAME_ARM_EPOCH
  arm_epoch++;
#endif
  store(PARENT, ARMED(0), arm_epoch);
#ifndef ARM_ONE_WORKER
  store(PARENT, ARMED(1), arm_epoch);
#endif
#ifdef NO_PARENT_FENCE
  skip
#else
  fence(PARENT)
#endif
}

inline silence() {
  store(PARENT, ARMED(0), 0);
  store(PARENT, ARMED(1), 0)
}

#define all_drained (drained[0] == tasks_of(0) && drained[1] == tasks_of(1))

// A stopped worker owes nothing but what it has published, and that only if it was stopped after it had rung.
#define nothing_to_hear \
  (halted && !died && drained[1] == tasks_of(1) && (about_to_ring[0] || drained[0] == published[0]))

// Blocks until the epoll reports an event; reporting consumes the edges.
inline wait_for_event() {
  if
  :: atomic { bell[0] || bell[1] || death -> bell[0] = false; bell[1] = false; buried = death; death = false }
#ifdef SHARED_ARMED_WORD
#elif defined(SILENCE_AFTER_ARM)
  :: !alarmed -> alarmed = true
#else
  :: !alarmed ->
     alarmed = true;
     silence()
#endif
  :: nothing_to_hear -> break
  fi
}

#define last(w) (tasks_of(w) - 1)

// Cancels the youngest task of either worker, once.
inline revoke(w) {
  compare_exchange(PARENT, STATE(w, last(w)), word(last(w), READY), word(last(w), REVOKED), success);
  if
  :: success ->
     success = false;
     revoked[task(w, last(w))] = true;
     complete(task(w, last(w)))
  :: else
  fi
}

// Worker 0 is dead: what its ring says, once.
inline bury() {
  consume(0);
  do
  :: drained[0] < tasks_of(0) ->
     complete_once(task(0, drained[0]));
     drained[0]++
  :: else -> break
  od;
  buried = false
}

active proctype parent() {
  byte arm_epoch;
  bool success, buried, alarmed;

  atomic {
    mem[STATE(0, 0)] = word(0, READY);
    mem[STATE(0, 1)] = word(1, READY);
    mem[STATE(1, 0)] = word(0, READY);
    run worker(0);
    run worker(1)
  }
  if
  :: revoke(0)
  :: revoke(1)
  :: skip
  fi;
  do
  :: consume(0);
     consume(1);
     if
     :: all_drained -> break
     :: else -> arm()
     fi;
#ifdef SILENCE_AFTER_ARM
     if
     :: alarmed -> silence()
     :: else
     fi;
#endif
     if
#ifndef NO_RECHECK
     :: oldest_is_done(0) || oldest_is_done(1)  // the armed words stay: who has not rung for them rings once in vain
#endif
     :: else -> wait_for_event()
     fi;
     if
     :: buried -> bury()
     :: else
     fi
  od;
  assert(!all_drained || completions == TASKS)
}
