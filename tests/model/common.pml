// SPDX-License-Identifier: BSL-1.0
// What all models share: the slot's state word, shared memory behind one-entry store buffers, and exactly-once
// completion. A model defines WORDS (shared words), BUFFERS (processes or threads that store) and TASKS before it
// includes this file.

// --- The state word, as in the mailbox: (seq << 3) | state -----------------------------------------------------------

#define EMPTY 0
#define READY 1
#define RUNNING 2
#define DONE 3
#define REVOKED 4

#define word(seq, state) (((seq) << 3) | (state))
#define state_of(content) ((content) & 7)

// --- Shared memory ---------------------------------------------------------------------------------------------------
// spin executes statements in some total order (sequential consistency), under which no fence is ever needed. So a
// store goes into its owner's buffer first and reaches `mem` at any later time; the owner reads through its buffer, and
// a fence waits until the buffer is empty. One entry each is what it takes to reorder a store with the loads that
// follow it (x86's TSO, and the only reordering that release/acquire leaves to a store followed by a load). A process
// that dies has its buffered store still written: a retired store is not lost.

#define NOWHERE 255

typedef store_buffer {
  byte address = NOWHERE;
  byte content
}

byte mem[WORDS];
store_buffer buffer[BUFFERS];

#define drained_buffer(who) (buffer[who].address == NOWHERE)
#define load(who, place) (buffer[who].address == (place) -> buffer[who].content : mem[place])

inline store(who, place, value) {
  atomic {
    drained_buffer(who) -> buffer[who].address = place;
    buffer[who].content = value
  }
}

inline fence(who) { drained_buffer(who) }

// A read-modify-write drains the buffer as a release must: what was stored before is visible before.
inline compare_exchange(who, place, expected, desired, success) {
  atomic {
    drained_buffer(who) -> success = (mem[place] == (expected));
    if
    :: success -> mem[place] = desired
    :: else
    fi
  }
}

#define DRAIN(who)                                     \
  d_step {                                             \
    !drained_buffer(who) ->                            \
    mem[buffer[who].address] = buffer[who].content;    \
    buffer[who].address = NOWHERE; buffer[who].content = 0 \
  }

active proctype memory() {
end:
  do
  :: DRAIN(0)
#if BUFFERS > 1
  :: DRAIN(1)
#endif
#if BUFFERS > 2
  :: DRAIN(2)
#endif
#if BUFFERS > 3
  :: DRAIN(3)
#endif
  od
}

// --- G1, docs/protocol.md: exactly one completion per task -----------------------------------------------------------

bool completed[TASKS];
byte completions;

inline complete(which) {
  atomic {
    assert(!completed[which]);
    completed[which] = true;
    completions++
  }
}
