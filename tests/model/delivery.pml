// SPDX-License-Identifier: BSL-1.0
// Who calls handlers, and what becomes of the rest when one of them does not come back (rule W4, docs/protocol.md;
// docs/design/004): the token of drainer.pml with its holder, the list of what is to be delivered, and the timer that
// guards it. Two threads run the io_context, a third submits. One handler of the run blocks until another task has been
// handled: it waits for it where the other thread goes on, or runs the loop itself (-DONE_THREAD: always, there is no
// other), and it may submit that task only then. -DSPINNING: no handler blocks, but a turn may spin once. What workers
// do, and how they are heard, is left to drainer.pml and doorbell.pml: here a task that was submitted is done at any
// later time.

#define TASKS 3
#define WORDS 1
#define BUFFERS 1
#include "common.pml"

#define IDLE 0
#define POLLING 1
#define LISTENING 2  // "ARMED" in the design

#define NOBODY 255

// Under the pool's mutex: every atomic sequence that touches them is one critical section.
byte token;
byte holder;  // the turn that holds the token
byte state[TASKS];
#define UNSENT 0
#define ISSUED 1
#define FINISHED 2  // its worker has said DONE
#define ENDED 3     // taken out of the ring: to be delivered
byte outstanding;
byte delivered_at_check;

// Under the mutex of the delivery.
chan delivering = [TASKS] of { byte };
byte delivery_holder, delivered;
byte in_handler_of;

// The io_context. A timer that has expired is not called off any more.
bool posted, waiting;
byte timer;
#define UNSET 0
#define SET 1
#define EXPIRED 2
#define CALLED_OFF 3
byte at_work;  // handlers of ours that run

// What really happens, for the properties.
byte calling;    // the turn that is in a handler and was not relieved of it; 0: none
bool looking;    // at the workers' memory, without the mutex
#ifdef SPINNING
byte spins = 1;  // left
bool blocked_once = true;
#else
byte spins;
bool blocked_once;
#endif
bool nested, nested_over;
byte submitted;

#define any_finished (state[0] == FINISHED || state[1] == FINISHED || state[2] == FINISHED)

active proctype workers() {
end:
  do
  :: state[0] == ISSUED -> state[0] = FINISHED
  :: state[1] == ISSUED -> state[1] = FINISHED
  :: state[2] == ISSUED -> state[2] = FINISHED
  od
}

active proctype clock() {
end:
  do
  :: atomic { timer == SET -> timer = EXPIRED }
  od
}

inline post_turn() {
  assert(!posted && !waiting);
  posted = true
}

inline guard_delivery() {
  if
  :: timer == UNSET -> timer = SET
  :: else
  fi
}

inline submit(which) {
  atomic {
    state[which] = ISSUED;
    outstanding++;
    submitted++;
    if
    :: token == IDLE -> token = POLLING; post_turn()
#ifndef NO_GUARD_ON_SUBMIT
    :: token == POLLING -> guard_delivery()
#endif
    :: else
    fi
  }
}

active proctype submitter() {
  submit(0);
  submit(1);
  if
  :: atomic { state[2] == UNSENT -> submit(2) }
  :: blocked_once && state[2] != UNSENT
  fi
}

// Returns at once, but for one of a run.
inline call_handler() {
  if
  :: true
  :: atomic {
       !blocked_once ->
       blocked_once = true;
       if
       :: task != 0 -> wanted = 0
       :: task != 1 -> wanted = 1
       :: task != 2 -> wanted = 2
       fi;
       if
       :: wanted == 2 && state[2] == UNSENT -> submit(2)
       :: else
       fi
     }
     if
#ifndef ONE_THREAD
     :: completed[wanted]
#endif
     :: atomic { true -> nested = true; run runner(wanted) }
        atomic { nested_over -> wanted = NOBODY }
     fi
  fi
}

inline deliver() {
  do
  :: atomic {
       if
#ifndef NO_HOLDER_CHECK_IN_DELIVERY
       :: delivery_holder > me -> break
#endif
       :: else ->
          delivery_holder = me;
          if
          :: empty(delivering) -> break
          :: nempty(delivering) ->
             delivering?task;
             more = nempty(delivering);
             in_handler_of = me;
             delivered++;
             assert(calling == 0);  // one handler at a time, but for who was relieved
             calling = me;
             complete(task)
          fi
       fi
     }
     call_handler();
     atomic {
       if
       :: calling == me -> calling = 0
       :: else
       fi;
       task = 0;
       if
       :: !more -> break
       :: else
       fi
     }
  od
}

inline take_finished(which) {
  if
  :: state[which] == FINISHED ->
     state[which] = ENDED;
     outstanding--;
     found = true;
     delivering!which
  :: else
  fi
}

#define DELIVER 0
#define SPIN 1
#define STOP 2

// One round under the mutex.
inline advance() {
  atomic {
    found = false;
    if
#ifndef NO_HOLDER_CHECK_IN_ROUND
    :: holder != me -> next = STOP
#endif
    :: else ->
       assert(!looking);  // the dead are unmapped here
       take_finished(0);
       take_finished(1);
       take_finished(2);
       if
       :: found ->
          next = DELIVER;
#ifndef NO_GUARD_ON_DELIVERY
          if
          :: outstanding > 0 -> guard_delivery()
#ifndef NO_GUARD_OF_LAST_BATCH
          :: len(delivering) > 1 -> guard_delivery()
#endif
          :: else
          fi
#endif
       :: !found && outstanding == 0 ->
          token = IDLE;
          assert(!waiting && !posted);
#ifndef MARK_STAYS
          in_handler_of = 0;
#endif
          if
          :: timer == SET -> timer = CALLED_OFF
          :: else
          fi;
          next = STOP
       :: !found && outstanding > 0 && spins > 0 ->
          spins--;
#ifndef MARK_STAYS_WHILE_SPINNING
          in_handler_of = 0;
#endif
          looking = true;
          next = SPIN
       :: !found && outstanding > 0 ->
          assert(!waiting && !posted);
#ifndef MARK_STAYS
          in_handler_of = 0;
#endif
          token = LISTENING;
          waiting = true;
          next = STOP
       fi
    fi;
    found = false
  }
}

inline go_on() {
  atomic {
    if
#ifdef NO_HOLDER_CHECK_BEFORE_POST
    :: true ->
#else
    :: holder == me ->
#endif
#ifndef MARK_STAYS_WHEN_POSTED
       in_handler_of = 0;
#endif
       post_turn()
    :: else
    fi
  }
}

inline turn() {
  atomic {
    holder++;
    me = holder
  }
  deliver();
  do
  :: advance();
     if
     :: next == STOP -> break
     :: next == SPIN ->
        atomic {
          looking = false;
          if
          :: any_finished
          :: else -> go_on(); break
          fi
        }
     :: next == DELIVER ->
        deliver();
        if
        :: true
        :: go_on(); break  // enough for one turn
        fi
     fi
  od;
  atomic {
    me = 0;
    next = 0;
    more = false;
    at_work--
  }
}

// Is the same handler still running that ran at the last look?
inline check_delivery() {
  atomic {
    found = false;
#ifdef CALLED_OFF_ENDS_GUARD
    if
    :: timer == EXPIRED -> timer = UNSET
    :: timer == CALLED_OFF -> timer = UNSET; goto checked
    fi;
#else
    found = (timer == CALLED_OFF);
    timer = UNSET;
#endif
    if
    :: token != POLLING  // no harm in looking, but the timer would keep run() from returning
    :: else ->
       if
       :: in_handler_of != 0 && in_handler_of == holder && delivered == delivered_at_check && !found ->
          in_handler_of = 0;
          calling = 0;
#ifndef NO_NEW_HOLDER
          holder++;
#endif
#ifndef DELIVERY_NOT_TAKEN
          delivery_holder = holder;
#endif
#ifndef NO_GUARD_ON_TAKE_OVER
          guard_delivery();
#endif
          next = SPIN
       :: else ->
          delivered_at_check = delivered;
#ifndef NO_SECOND_LOOK
          guard_delivery()
#endif
       fi
    fi
  }
checked:
  atomic {
    found = false;
    if
    :: next == SPIN -> next = 0
    :: else -> at_work--; goto again
    fi
  }
}

#define nothing_to_do (submitted == TASKS && outstanding == 0 && !posted && !waiting && timer == UNSET && at_work == 0)

// Runs the loop: until there is nothing left to do, or, inside a handler, until that task was handled.
proctype runner(byte until) {
  byte me, task, next, wanted = NOBODY;
  bool more, found;
again:
  do
  :: atomic { posted -> posted = false; at_work++ }
     turn()
  :: atomic { waiting && any_finished -> waiting = false; at_work++; token = POLLING }
     turn()
  :: atomic { timer >= EXPIRED -> at_work++ }
     check_delivery();
     turn()
  :: atomic { until != NOBODY && completed[until] -> nested_over = true; break }
  :: until == NOBODY && nothing_to_do -> assert(completions == TASKS && empty(delivering)); break
  od
}

init {
  atomic {
    run runner(NOBODY);
#ifndef ONE_THREAD
    run runner(NOBODY)
#endif
  }
}
