// SPDX-License-Identifier: BSL-1.0
// Who owes a worker its wake-up when two threads of the front end may pay (rule W1, docs/protocol.md): one delivers
// completions outside the mutex, frees their results and notes that (`freed_since_flush`), the other flushes meanwhile
// for reasons of its own. The worker waits for as much room as both results take. System calls are made after the mutex
// is released. Whoever delivers flushes once more at the end, also a turn that was taken over meanwhile.

// Buffers 0 and 1 belong to the threads of the front end.
#define WORKER 2
#define BUFFERS 3
#define TASKS 1

#define RESULTS 2  // that must be freed before the worker has room
#define SLEEPING 0
#define EPOCH 1
#define FREED 2
#define OWED 3  // freed_since_flush: private to the front end, written by both threads
#define WORDS 4

#include "common.pml"

#define tag(epoch) ((epoch) + 1)

byte private_epoch;  // under the mutex
bool asleep;         // in the kernel's queue of waiters

// --- The mutex: unlock is a release and no fence ---------------------------------------------------------------------

bool locked;
byte released_by;

inline lock() {
  atomic { !locked && drained_buffer(released_by) -> locked = true }
}

inline unlock() {
  atomic {
    locked = false;
    released_by = me
  }
}

// --- The worker ------------------------------------------------------------------------------------------------------

active proctype worker() {
  byte epoch, freed;

  do
  :: freed = load(WORKER, FREED);
     if
     :: freed == RESULTS -> break
     :: else ->
        epoch = load(WORKER, EPOCH);
        store(WORKER, SLEEPING, tag(epoch));
        fence(WORKER);
        if
        :: load(WORKER, FREED) != freed
        :: else ->
           fence(WORKER);
           atomic {
             if
             :: mem[EPOCH] == epoch -> asleep = true
             :: else
             fi
           }
           !asleep
        fi;
        store(WORKER, SLEEPING, 0)
     fi
  od;
  complete(0)
}

// --- The front end ---------------------------------------------------------------------------------------------------

inline flush() {
  lock();
#ifdef OWED_CLEARED_AFTER_FENCE
  owed = load(me, OWED);
  fence(me);
  if
  :: owed -> store(me, OWED, 0)
  :: else
  fi;
#else
  atomic {
    drained_buffer(me) -> owed = mem[OWED];  // an exchange, before the fence
    mem[OWED] = 0
  }
  fence(me);
#endif
  if
  :: owed && load(me, SLEEPING) == tag(private_epoch) ->
     private_epoch++;
     store(me, EPOCH, private_epoch);
     must_wake = true
  :: else
  fi;
  unlock();
  if
  :: must_wake -> fence(me); asleep = false
  :: else
  fi;
  must_wake = false
}

inline free_result() {
#ifdef OWED_BEFORE_FREED
  store(me, OWED, 1);
  store(me, FREED, number + 1);
#else
  store(me, FREED, number + 1);
  store(me, OWED, 1);
#endif
  number++
}

proctype deliverer(byte me) {
  byte number;
  bool owed, must_wake;

  do
  :: number < RESULTS -> free_result()
  :: else -> break
  od;
#ifndef NO_LAST_FLUSH
  flush()
#endif
}

proctype submitter(byte me) {
  byte number;
  bool owed, must_wake;

  do
  :: number < 2 -> flush(); number++
  :: break
  od
}

init {
  atomic {
    run deliverer(0);
    run submitter(1)
  }
}
