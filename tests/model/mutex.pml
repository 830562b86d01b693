// SPDX-License-Identifier: BSL-1.0
// os::mutex: unlocked with a plain store and a look at `asleep`, without a fence; who goes to sleep has the kernel fence for all
// (membarrier). Each thread locks and unlocks some times, always by the slow path where it finds the lock held: that it
// spins before is left out. A lost wake-up is an invalid end state.

#define TASKS 1
#define THREADS 3
#define ROUNDS 2
#define HELD 0
#define ASLEEP 1
#define WORDS 2
#define BUFFERS THREADS
#include "common.pml"

bool queued[THREADS];  // in the kernel's queue of waiters
byte inside;

// A full barrier on every CPU: the caller's, then on one after the other.
inline heavy_fence() {
  fence(me);
#ifndef NO_HEAVY_FENCE
  fence(0);
  fence(1);
  fence(2)
#endif
}

inline try_lock() { compare_exchange(me, HELD, 0, 1, locked) }

// Compares and enqueues in one step, behind a full barrier.
inline futex_wait(expected) {
  fence(me);
  atomic {
    if
    :: mem[ASLEEP] == expected -> queued[me] = true
    :: else
    fi
  }
  !queued[me]
}

inline futex_wake() {
  fence(me);
  atomic {
    if
    :: queued[0] -> queued[0] = false
    :: queued[1] -> queued[1] = false
    :: queued[2] -> queued[2] = false
    :: !queued[0] && !queued[1] && !queued[2]
    fi
  }
}

inline lock() {
  try_lock();
#ifdef SET_ONCE
  if
  :: !locked -> store(me, ASLEEP, 1)
  :: else
  fi;
#endif
  do
  :: locked -> break
  :: !locked ->
#ifndef SET_ONCE
     store(me, ASLEEP, 1);
#endif
     heavy_fence();
     try_lock();
     if
     :: locked
     :: else -> futex_wait(1)
     fi
  od
}

inline wake() {
#ifdef CLEARED_AFTER_WAKE
  futex_wake();
  store(me, ASLEEP, 0)
#else
  store(me, ASLEEP, 0);
  futex_wake()
#endif
}

inline unlock() {
#ifdef LOOKED_BEFORE_OPENED
  found = (load(me, ASLEEP) != 0);
  store(me, HELD, 0);
#else
  store(me, HELD, 0);
  found = (load(me, ASLEEP) != 0);
#endif
  if
  :: found -> found = false; wake()
  :: else
  fi
}

proctype user(byte me) {
  byte rounds;
  bool locked, found;
  do
  :: rounds < ROUNDS ->
     rounds++;
     lock();
     atomic { inside++; assert(inside == 1) };
     inside--;
     locked = false;
     unlock()
  :: else -> break
  od
}

init {
  atomic {
    run user(0);
    run user(1);
    run user(2)
  }
}
