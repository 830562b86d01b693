// SPDX-License-Identifier: BSL-1.0
// How a worker sleeps and is woken (rule W1, docs/protocol.md): for work, for room in the result file and for the
// shutdown request, against a parent that publishes in batches, revokes, frees and pays for a system call only when it
// must. The worker may die at any step. What a task's fate is then is left to slot.pml, how the parent hears of DONE to
// doorbell.pml.

#define SLOTS 2
#define TASKS 3
#define ROOM 1  // results that the result file holds
#define PARENT 0
#define WORKER 1
#define BUFFERS 2

#define STATE(seq) ((seq) % SLOTS)
#define SLEEPING SLOTS        // worker-written: tag of the epoch it sleeps in, 0 = awake
#define EPOCH (SLOTS + 1)     // parent-written: the futex word
#define FREED (SLOTS + 2)     // parent-written: results freed so far
#define SHUTDOWN (SLOTS + 3)  // parent-written
#define WORDS (SLOTS + 4)

#include "common.pml"

#define tag(epoch) ((epoch) + 1)

byte issued, drained;
bool revoked[SLOTS];

bool asleep;       // in the kernel's queue of waiters
bool interrupted;  // a futex wait returned without a wake-up, once
bool executing;    // inside a task
bool paid;         // a system call has been paid for the present value of `sleeping`
bool dead, gone;

// --- The kernel ------------------------------------------------------------------------------------------------------

// Compares and enqueues in one step, behind a full barrier.
inline futex_wait(place, expected) {
  fence(WORKER);
  atomic {
    if
    :: mem[place] == expected -> asleep = true
    :: else
    fi
  }
  if
  :: !asleep
  :: atomic { asleep && !interrupted -> asleep = false; interrupted = true }
  fi
}

inline futex_wake() {
  fence(PARENT);
  asleep = false
}

// --- The worker ------------------------------------------------------------------------------------------------------

#define cursor_word load(WORKER, STATE(cursor))

#if defined(NO_RECHECK_OF_READY)
#define has_work (cursor_word == word(cursor, REVOKED))
#elif defined(NO_RECHECK_OF_REVOKED)
#define has_work (cursor_word == word(cursor, READY))
#else
#define has_work (cursor_word == word(cursor, READY) || cursor_word == word(cursor, REVOKED))
#endif

#ifdef NO_RECHECK_OF_SHUTDOWN
#define has_request false
#else
#define has_request (load(WORKER, SHUTDOWN) != 0)
#endif

#ifdef NO_RECHECK_OF_ROOM
#define has_new_room false
#else
#define has_new_room (load(WORKER, FREED) != freed)
#endif

inline announce_sleep() {
#ifndef EPOCH_READ_LATE
  epoch = load(WORKER, EPOCH);
#endif
  atomic {
    store(WORKER, SLEEPING, tag(epoch));
    paid = false
  }
#ifdef NO_WORKER_FENCE
  skip
#else
  fence(WORKER)
#endif
}

inline sleep() {
#ifdef EPOCH_READ_LATE
  epoch = load(WORKER, EPOCH);
#endif
  futex_wait(EPOCH, epoch)
}

inline end_sleep() {
#ifdef NO_CLEAR
  skip
#else
  store(WORKER, SLEEPING, 0)
#endif
}

inline wait_for_work() {
  announce_sleep();
  if
  :: has_work
  :: else ->
     if
     :: has_request
     :: else -> sleep()
     fi
  fi;
  end_sleep()
}

inline wait_for_room() {
  do
  :: freed = load(WORKER, FREED);
     if
     :: produced - freed < ROOM -> break
     :: else ->
        announce_sleep();
#ifdef FREED_READ_LATE
        freed = load(WORKER, FREED);
#endif
        if
        :: has_new_room
        :: else -> sleep()
        fi;
        end_sleep()
     fi
  od;
  freed = 0
}

active proctype worker() {
  byte cursor, epoch, freed, produced;
  bool claimed;
  {
    do
    :: cursor_word == word(cursor, READY) ->
       compare_exchange(WORKER, STATE(cursor), word(cursor, READY), word(cursor, RUNNING), claimed);
       if
       :: claimed ->
          claimed = false;
          executing = true;
          executing = false;
          wait_for_room();
          produced++;
          store(WORKER, STATE(cursor), word(cursor, DONE));
          cursor++
       :: else
       fi
    :: cursor_word == word(cursor, REVOKED) ->
       store(WORKER, STATE(cursor), word(cursor, DONE));
       cursor++
    :: cursor_word != word(cursor, READY) && cursor_word != word(cursor, REVOKED) ->
       if
       :: load(WORKER, SHUTDOWN) != 0 -> break
       :: else -> wait_for_work()
       fi
    od
  } unless { dead };
  atomic {
    executing = false;
    gone = true
  }
}

// Does nothing, or kills the worker at any step.
active proctype crash() {
  if
  :: dead = true
  :: skip
  fi
}

// --- The parent ------------------------------------------------------------------------------------------------------

#ifdef FLAG_WITHOUT_TAG
#define must_wake (load(PARENT, SLEEPING) != 0)
#else
#define must_wake (load(PARENT, SLEEPING) == tag(private_epoch))
#endif

// Once per batch.
inline flush() {
#ifndef NO_PARENT_FENCE
  fence(PARENT);
#endif
  owed = false;
  if
  :: atomic {
       must_wake ->
       assert(!executing);  // no system call for a worker that is awake,
       assert(!paid);       // and one only for each sleep
       paid = true
     }
#ifndef NO_NEW_EPOCH
     private_epoch++;
     store(PARENT, EPOCH, private_epoch);
#endif
     futex_wake()
  :: else
  fi
}

#define is_revocable(seq) ((seq) < issued && !revoked[(seq) % SLOTS] && load(PARENT, STATE(seq)) == word(seq, READY))

inline revoke(at) {
  compare_exchange(PARENT, STATE(at), word(at, READY), word(at, REVOKED), success);
  if
  :: success ->
     success = false;
     revoked[(at) % SLOTS] = true;
#ifdef NO_FLUSH_AFTER_REVOKE
     owed = false;
#endif
     complete(at)
  :: else
  fi
}

inline consume() {
  if
  :: revoked[drained % SLOTS]
  :: else ->
     complete(drained);
     freed_results++;
     store(PARENT, FREED, freed_results);
#ifndef NO_FLUSH_AFTER_FREE
     owed = true
#endif
  fi;
  store(PARENT, STATE(drained), word(drained, EMPTY));
  drained++
}

active proctype parent() {
  byte private_epoch, freed_results;
  bool owed;  // something was published or freed since the last flush
  bool success;

  do
  :: issued < TASKS && issued - drained < SLOTS ->
     revoked[issued % SLOTS] = false;
     store(PARENT, STATE(issued), word(issued, READY));
     issued++;
#ifndef NO_FLUSH_AFTER_PUBLISH
     owed = true
#endif
  :: is_revocable(drained) -> revoke(drained)
  :: is_revocable(drained + 1) -> revoke(drained + 1)
  :: drained < issued && load(PARENT, STATE(drained)) == word(drained, DONE) -> consume()
  :: owed -> flush()
  :: drained == TASKS && !owed ->
     store(PARENT, SHUTDOWN, 1);
#ifndef NO_FLUSH_AFTER_REQUEST
     flush();
#endif
     break
  :: gone -> break
  od
}
