// SPDX-License-Identifier: BSL-1.0
// One mailbox: publish, claim, revoke, acknowledge, consume, wrap-around, the worker's death at any step and the next
// incarnation (rules R1-R3, promises G1 and G3, docs/protocol.md). How the worker sleeps is left to sleep_wake.pml.
// -DREPLAY: the worker may also repeat a word of the past; then only the promises that the parent can keep are checked.

#define SLOTS 2
#define TASKS 4
#define PARENT 0
#define WORKER 1
#define BUFFERS 2

#define STATE(seq) ((seq) % SLOTS)
#define ARGUMENT(seq) (SLOTS + (seq) % SLOTS)
#define RESULT(seq) (2 * SLOTS + (seq) % SLOTS)
#define WORDS (3 * SLOTS)

#include "common.pml"

#ifdef REPLAY
#define assert_honest(property) skip
#else
#define assert_honest(property) assert(property)
#endif

// The parent's private records; positions start at 0 in each incarnation.
byte queue[TASKS];
byte front;
byte issued, drained;
byte task_at[SLOTS];
bool revoked[SLOTS];
bool latched;  // RUNNING was seen in the oldest slot

// What really happened, for the properties.
byte cursor;
byte last_started;
bool started[TASKS];
bool published[TASKS];
bool seen_running[TASKS];
bool dead, gone;

#define slot_task(seq) task_at[(seq) % SLOTS]
#define slot_revoked(seq) revoked[(seq) % SLOTS]

// --- The worker ------------------------------------------------------------------------------------------------------

#define cursor_word load(WORKER, STATE(cursor))

inline claim() {
  atomic {
#ifdef CLAIM_WITHOUT_CAS
    store(WORKER, STATE(cursor), word(cursor, RUNNING));
    claimed = true;
#else
    compare_exchange(WORKER, STATE(cursor), word(cursor, READY), word(cursor, RUNNING), claimed);
#endif
    if
    :: claimed ->
       assert_honest(!slot_revoked(cursor));
       assert_honest(!started[slot_task(cursor)]);
       assert_honest(slot_task(cursor) >= last_started);
       started[slot_task(cursor)] = true;
       last_started = slot_task(cursor)
    :: else
    fi
  }
}

inline publish_done() {
  atomic {
    store(WORKER, STATE(cursor), word(cursor, DONE));
    assert_honest(!slot_revoked(cursor));
    published[slot_task(cursor)] = true
  }
}

proctype worker() {
  bool claimed;
  {
end_idle:
    do
    :: cursor_word == word(cursor, READY) ->
       claim();
       if
       :: claimed ->
          assert_honest(load(WORKER, ARGUMENT(cursor)) == slot_task(cursor) + 1);
#ifdef DONE_BEFORE_RESULT
          publish_done();
          store(WORKER, RESULT(cursor), slot_task(cursor) + 1);
#else
          store(WORKER, RESULT(cursor), slot_task(cursor) + 1);
          publish_done();
#endif
          cursor++
       :: else  // revoked in between
       fi
    :: cursor_word == word(cursor, REVOKED) ->
#ifndef NO_ACKNOWLEDGEMENT
       store(WORKER, STATE(cursor), word(cursor, DONE));
#endif
       cursor++
    od
  } unless { dead -> gone = true }
}

// Does nothing, or kills the worker at any step.
active proctype crash() {
  if
  :: dead = true
  :: skip
  fi
}

#ifdef REPLAY
// A stray store repeats an old word: DONE of the slot's previous user, or READY over the worker's own RUNNING.
active proctype replay() {
  if
  :: atomic { !dead && cursor >= SLOTS -> mem[STATE(cursor)] = word(cursor - SLOTS, DONE) }
  :: atomic { !dead && mem[STATE(cursor)] == word(cursor, RUNNING) -> mem[STATE(cursor)] = word(cursor, READY) }
  :: skip
  fi
}
#endif

// --- The parent ------------------------------------------------------------------------------------------------------

#define oldest_word load(PARENT, STATE(drained))

#ifdef NO_SEQ
#define is_done(word_read, seq) (state_of(word_read) == DONE)
#else
#define is_done(word_read, seq) ((word_read) == word(seq, DONE))
#endif

#ifdef NO_LATCH
#define was_running(seq) false
#else
#define was_running(seq) (latched && (seq) == drained)
#endif

// The legal word that is no news to the parent.
#define known_word(seq) \
  (slot_revoked(seq) -> word(seq, REVOKED) : (was_running(seq) -> word(seq, RUNNING) : word(seq, READY)))

#ifdef ISSUE_WITHOUT_ROOM
#define has_room true
#else
#define has_room (issued - drained < SLOTS)
#endif

inline issue() {
  d_step {
    slot_task(issued) = queue[front];
    slot_revoked(issued) = false;
    front++
  }
#ifdef READY_BEFORE_ARGUMENT
  store(PARENT, STATE(issued), word(issued, READY));
  store(PARENT, ARGUMENT(issued), slot_task(issued) + 1);
#else
  store(PARENT, ARGUMENT(issued), slot_task(issued) + 1);
  store(PARENT, STATE(issued), word(issued, READY));
#endif
  issued++
}

inline empty_oldest() {
  store(PARENT, STATE(drained), word(drained, EMPTY));
  latched = false;
  drained++
}

// Cancellation. A slot is picked while it is READY and may be claimed before the CAS.
#define is_revocable(seq) \
  ((seq) < issued && !violated && !slot_revoked(seq) && load(PARENT, STATE(seq)) == word(seq, READY))

// On success the task completes at once; its slot stays occupied until the worker has acknowledged.
inline revoke(at) {
#ifdef REVOKE_WITHOUT_CAS
  revoking = (load(PARENT, STATE(at)) == word(at, READY));
  if
  :: revoking -> store(PARENT, STATE(at), word(at, REVOKED))
  :: else
  fi;
#else
  compare_exchange(PARENT, STATE(at), word(at, READY), word(at, REVOKED), revoking);
#endif
  if
  :: revoking ->
     atomic {
       revoking = false;
       slot_revoked(at) = true;
       complete(slot_task(at))
     }
#ifdef PARENT_EMPTIES_REVOKED
     if
     :: (at) == drained -> empty_oldest()
     :: else
     fi
#endif
  :: else
  fi
}

inline take_result(at) {
  atomic {
    assert(published[slot_task(at)]);
    assert_honest(load(PARENT, RESULT(at)) == slot_task(at) + 1);
    complete(slot_task(at))
  }
}

// One load into a local, then validation, then the result.
inline read_oldest() {
  seen = oldest_word;
  if
  :: is_done(seen, drained) ->
     if
     :: slot_revoked(drained)
     :: else -> take_result(drained)
     fi;
     empty_oldest()
  :: else ->
     if
     :: seen == word(drained, RUNNING) && !slot_revoked(drained) ->
        latched = true;
        seen_running[slot_task(drained)] = true
     :: else ->
        if
        :: seen == known_word(drained)
        :: else ->  // not a legal ring: kill the worker; bury() completes its tasks
           assert_honest(false);
           violated = true;
           dead = true
        fi
     fi
  fi;
  seen = 0
}

inline lose(which) {
  atomic {
    assert_honest(started[which]);
    assert(!published[which]);
    complete(which)
  }
}

inline requeue(which) {
  atomic {
    assert_honest(!started[which]);
    assert(!seen_running[which]);
#ifdef MOVES_LOSE_PLACE
    place = front;
    do
    :: place < TASKS -> queue[place - 1] = queue[place]; place++
    :: else -> break
    od;
    queue[TASKS - 1] = which;
    place = 0;
    front--
#else
    front--;
    queue[front] = which
#endif
  }
}

inline sort_out(at) {
  if
  :: is_done(seen, at) -> take_result(at)
  :: else ->
     if
     :: violated || seen == word(at, RUNNING) ->
#ifdef RUNNING_MOVES
        requeue(slot_task(at))
#else
        if
        :: seen == word(at, RUNNING) -> lose(slot_task(at))
        :: else -> complete(slot_task(at))  // "may have run", never retried
        fi
#endif
     :: else ->
        if
        :: seen == word(at, READY) && seen == known_word(at) ->
#ifdef READY_IS_LOST
           lose(slot_task(at))
#else
           requeue(slot_task(at))
#endif
        :: else ->
           assert_honest(false);
           complete(slot_task(at))
        fi
     fi
  fi
}

// The pidfd has fired: one last look at the ring, newest slot first, so that what moves to the queue's front keeps its
// order. Then a new incarnation with fresh memory.
inline bury() {
  seq = issued;
  do
  :: seq > drained ->
     seq--;
#ifdef NO_LAST_LOOK
     seen = known_word(seq);
#else
     seen = load(PARENT, STATE(seq));
#endif
     if
     :: slot_revoked(seq) ->
#ifdef REVOKED_MOVES_AT_DEATH
        requeue(slot_task(seq))
#else
        skip  // completed when it was revoked
#endif
     :: else -> sort_out(seq)
     fi
  :: else -> break
  od;
  atomic {
    seq = 0;
    do
    :: seq < WORDS -> mem[seq] = 0; seq++
    :: else -> break
    od;
    seq = 0;
    seen = 0;
    issued = 0;
    drained = 0;
    cursor = 0;
    latched = false;
    violated = false;
    dead = false;
    gone = false;
    run worker()
  }
}

active proctype parent() {
  byte seq, seen;
  bool revoking, violated;
#ifdef MOVES_LOSE_PLACE
  byte place;
#endif

  atomic {
    do
    :: seq < TASKS -> queue[seq] = seq; seq++
    :: else -> break
    od;
    seq = 0;
    run worker()
  }
  do
  :: completions == TASKS -> break
  :: front < TASKS && has_room && !violated -> issue()
  :: is_revocable(drained) -> revoke(drained)
  :: is_revocable(drained + 1) -> revoke(drained + 1)
  :: issued > drained && !violated && oldest_word != known_word(drained) -> read_oldest()
#ifdef BURIED_ALIVE
  :: dead && drained_buffer(PARENT) -> bury()
#else
  :: gone && drained_buffer(WORKER) && drained_buffer(PARENT) -> bury()
#endif
  od
}
