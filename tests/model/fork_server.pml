// SPDX-License-Identifier: BSL-1.0
// How the parent learns that a worker lives, died and why (promises G1, G3, G12, G13, docs/protocol.md): START,
// STARTED, START_FAILED and EXITED over the fork server's socket, the pidfd, the end of the socket, the one-second
// timer; workers that die at any step, a fork server that dies at any step and takes its workers along, or that never
// gets round to EXITED. One worker at a time, started again while there is work and the budget lasts.

#define TASKS 2
#define LIVES 3  // incarnations that the restart budget allows
#define PARENT 0
#define WORKER(which) (1 + (which))
#define BUFFERS (1 + LIVES)

#define STATE(which, seq) ((which) * TASKS + (seq))
#define WORDS (LIVES * TASKS)

#include "common.pml"

#define NONE 255

mtype:message = { STARTED, START_FAILED, EXITED };
mtype:place = { ABSENT, STARTING, UP, DYING };

chan to_server = [LIVES] of { byte };
chan to_parent = [2 * LIVES] of { mtype:message, byte };

// The parent's records of its only place for a worker.
mtype:place place = ABSENT;
byte lives;  // incarnations so far
byte issued, drained;
byte task_at[WORDS];
bool queued[TASKS];
byte undecided = NONE;  // the task that ran when its worker died, until the reason is known
byte timer_of = NONE;   // the incarnation whose one-second timer runs
bool at_end_of_socket;

// What really happened.
bool server_dead;
bool forked[LIVES], dead[LIVES], gone[LIVES];
bool started[TASKS], published[TASKS];

#define life (lives - 1)
#define is_buried(which) (gone[which] && drained_buffer(WORKER(which)))

// --- Workers and fork server -----------------------------------------------------------------------------------------

inline claim() {
  atomic {
    compare_exchange(WORKER(me), STATE(me, cursor), word(cursor, READY), word(cursor, RUNNING), claimed);
    assert(claimed);
    assert(!started[task_at[STATE(me, cursor)]]);
    assert(!completed[task_at[STATE(me, cursor)]]);
    started[task_at[STATE(me, cursor)]] = true
  }
}

inline publish_done() {
  atomic {
    store(WORKER(me), STATE(me, cursor), word(cursor, DONE));
    assert(!completed[task_at[STATE(me, cursor)]]);
    published[task_at[STATE(me, cursor)]] = true;
    cursor++
  }
}

proctype worker(byte me) {
  byte cursor;
  bool claimed;
  {
end_idle:
    do
    :: cursor < TASKS && load(WORKER(me), STATE(me, cursor)) == word(cursor, READY) ->
       claim();
       publish_done()
    od
  } unless { dead[me] -> gone[me] = true }
}

// Up to two workers die by themselves; all die, sooner or later, once the fork server is dead (PDEATHSIG).
active proctype deaths() {
  byte left = 2;
end:
  do
  :: atomic { left > 0 && lives > 0 && forked[life] && !dead[life] -> dead[life] = true; left-- }
  :: left > 0 -> left--
  :: server_dead && forked[0] && !dead[0] -> dead[0] = true
  :: server_dead && forked[1] && !dead[1] -> dead[1] = true
  :: server_dead && forked[2] && !dead[2] -> dead[2] = true
  od
}

inline reap(which) {
  reported[which] = true;
  if
  :: to_parent!EXITED(which)
  :: skip  // not in time for anybody
  fi
}

// One thread: it answers a START before it reaps, and what it sends waits in the socket when it dies.
active proctype fork_server() {
  byte child;
  bool reported[LIVES];
  {
end_idle:
    do
    :: to_server?child ->
       if
       :: to_parent!START_FAILED(child)
       :: atomic { run worker(child); forked[child] = true }
#ifdef EXITED_BEFORE_STARTED
          if
          :: is_buried(child) -> to_parent!EXITED(child); reported[child] = true
          :: skip
          fi;
#endif
          to_parent!STARTED(child)
       fi
    :: forked[0] && is_buried(0) && !reported[0] -> reap(0)
    :: forked[1] && is_buried(1) && !reported[1] -> reap(1)
    :: forked[2] && is_buried(2) && !reported[2] -> reap(2)
    od
  } unless { server_dead }
}

active proctype server_death() {
  if
  :: server_dead = true
  :: skip
  fi
}

// --- The parent ------------------------------------------------------------------------------------------------------

#define oldest_word load(PARENT, STATE(life, drained))
#define oldest_task task_at[STATE(life, drained)]

#ifdef ISSUE_BEFORE_STARTED
#define may_issue (place == UP || place == STARTING)
#else
#define may_issue (place == UP)
#endif

inline issue(which) {
  atomic {
    queued[which] = false;
    task_at[STATE(life, issued)] = which;
    store(PARENT, STATE(life, issued), word(issued, READY));
    issued++
  }
}

inline consume() {
  atomic {
    assert(published[oldest_task]);
    complete(oldest_task);
    drained++
  }
}

// The worker is dead: one last look at its ring. The task that ran waits for the reason.
inline look() {
  do
  :: atomic {
       drained < issued ->
       if
       :: oldest_word == word(drained, DONE) -> complete(oldest_task)
       :: oldest_word == word(drained, READY) -> queued[oldest_task] = true
       :: oldest_word == word(drained, RUNNING) ->
          assert(undecided == NONE);
          undecided = oldest_task
       fi;
       drained++
     }
  :: else -> break
  od
}

// The reason is known, or will never be.
inline decide() {
  atomic {
    if
    :: undecided != NONE ->
       assert(!published[undecided]);
       complete(undecided);
       undecided = NONE
    :: else
    fi;
#ifndef TIMER_OUTLIVES_DECISION
    timer_of = NONE;
#endif
    place = ABSENT
  }
}

inline on_exited() {
  if
#ifdef EXITED_OF_ANY_LIFE
  :: place == UP -> look(); decide()
  :: place == DYING -> decide()
  :: place != UP && place != DYING
#else
  :: who == life && place == UP -> look(); decide()
  :: who == life && place == DYING -> decide()
  :: who == life && place == STARTING -> assert(false)  // always after STARTED
  :: who != life || place == ABSENT                     // the timer was faster
#endif
  fi
}

inline on_pidfd() {
  look();
#ifdef EXITED_AFTER_PIDFD_IS_FORGOTTEN
  place = ABSENT;
#else
  if
  :: at_end_of_socket -> decide()
  :: else ->
     atomic {
       place = DYING;
       timer_of = life
     }
  fi
#endif
}

inline look_before_started() {
#ifdef ISSUE_BEFORE_STARTED
  look();
  decide()
#else
  skip
#endif
}

inline on_end_of_socket() {
  at_end_of_socket = true;
  if
  :: place == STARTING ->
#ifdef START_OUTLIVES_SERVER
     skip
#else
     look_before_started();
     place = ABSENT
#endif
  :: place == UP ->
#ifdef DECIDED_AT_END_OF_SOCKET
     look();
     decide()
#else
     skip  // the worker is about to die, and only its pidfd says that it has
#endif
  :: place == DYING -> decide()
  :: place == ABSENT
  fi
}

inline fail_queued() {
  atomic {
    if
    :: queued[0] -> queued[0] = false; assert(!started[0]); complete(0)
    :: else
    fi;
    if
    :: queued[1] -> queued[1] = false; assert(!started[1]); complete(1)
    :: else
    fi
  }
}

#define has_queued (queued[0] || queued[1])
#define may_start (!at_end_of_socket && lives < LIVES)

active proctype parent() {
  byte who;

  atomic {
    queued[0] = true;
    queued[1] = true
  }
  do
  :: completions == TASKS -> break
  :: place == ABSENT && has_queued && may_start ->
     atomic {
       lives++;
       issued = 0;
       drained = 0;
       place = STARTING;
       to_server!life
     }
  :: place == ABSENT && has_queued && !may_start -> fail_queued()
  :: to_parent?STARTED(who) ->
     if
     :: who == life && place == STARTING -> place = UP
     :: else
     fi
  :: to_parent?START_FAILED(who) ->
     look_before_started();
     place = ABSENT
  :: to_parent?EXITED(who) -> on_exited()
  :: place == UP && is_buried(life) -> on_pidfd()
#ifdef TIMER_OUTLIVES_DECISION
  :: timer_of != NONE -> timer_of = NONE; look(); decide()
#elif !defined(NO_TIMER)
  :: timer_of == life && place == DYING -> decide()
#endif
  :: server_dead && empty(to_parent) && !at_end_of_socket -> on_end_of_socket()
  :: may_issue && issued < TASKS && queued[0] -> issue(0)
  :: may_issue && issued < TASKS && !queued[0] && queued[1] -> issue(1)
  :: place == UP && drained < issued && oldest_word == word(drained, DONE) -> consume()
  od
}
