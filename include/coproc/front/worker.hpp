// SPDX-License-Identifier: BSL-1.0
// One worker from START to its grave, as a state machine: events in, actions out. It has the deadlines of the task at
// its head (rule D, docs/protocol.md), knows who may be hit by a signal (rule K), and how one step follows the other
// until SIGKILL and beyond. Seats, successors and the books of tasks are the fleet's, which carries the actions out. No
// system call of its own, no clock. Front end, under the pool's mutex.
//
//   starting --started--> live --dismissed----------------------> leaving --kill_grace--.
//                            `--SIGTERM for a task, or the end--> ending ---kill_grace--|
//                            `--stalled, lied, never initialized-----------------> killed --kill_grace--> quarantined
//   from any state: death--> dead --explained, or exit_status_wait is over--> buried
//
// What is live may also be under suspicion: it must have moved by some time, and perhaps gets no task until then.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/limits.hpp>
#include <coproc/front/ring.hpp>
#include <coproc/os/unique_fd.hpp>
#include <coproc/shm/sent_segments.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <utility>

namespace coproc::detail::front {

/// What the front end holds of a worker's process; signals go through the pidfd.
struct worker_handles {
  os::unique_fd control; ///< front end's end of the control socket
  os::unique_fd eventfd; ///< the worker's doorbell
  os::unique_fd pidfd;   ///< set by STARTED
  os::unique_fd statm;   ///< its /proc/<pid>/statm, which stays its own whatever becomes of the pid
};

/// How long a worker with tasks behind a running one goes without progress before others take them.
inline constexpr std::chrono::microseconds steal_after{200};

class worker : private ring {
public:
  enum class state : std::uint8_t {
    starting,    ///< START sent
    live,        ///< takes tasks
    leaving,     ///< told to end in an orderly way, its ring is empty
    ending,      ///< SIGTERM sent: takes no more
    killed,      ///< SIGKILL sent
    dead,        ///< known dead; waits for its exit status
    quarantined, ///< survives SIGKILL: given up, its seat filled again
  };

  /// What is to be done about it, in this order.
  struct action {
    task_list moved;           ///< it had not begun these: back into the queue
    bool terminate = false;    ///< SIGTERM
    bool kill = false;         ///< SIGKILL
    bool server_hangs = false; ///< it was never forked: the fork server does not answer
    bool dismiss = false;      ///< it is to end in an orderly way; where it is `leaving`, its seat is free
    bool give_up = false;      ///< it is quarantined: what it has ends now
  };

  /// The bounds of its life.
  struct lifetime {
    duration kill_grace{}, exit_status_wait{}, start_timeout{};
    std::uint64_t task_limit = 0; ///< of tasks_issued(); 0: none
    bool may_leave = false;       ///< it was told to end when it is idle for long
  };

  worker(unsigned its_index, std::uint64_t its_incarnation, std::shared_ptr<worker_memory> its_memory,
         std::uint64_t max_result_bytes, worker_handles handles = {})
      : ring(std::move(its_memory), max_result_bytes), index(its_index), incarnation(its_incarnation),
        handles_(std::move(handles)) {}

  const unsigned index;
  const std::uint64_t incarnation;

  // ---- its ring; what changes it is below

  using ring::arm, ring::runs_on, ring::message_sent, ring::publish_front_end_cpu, ring::request_shutdown;
  using ring::drained, ring::drained_kind;
  using ring::head, ring::each_issued, ring::head_done, ring::runs_head, ring::add_head, ring::initialized;
  using ring::load, ring::ring_full, ring::unfinished, ring::homebound, ring::tasks_issued, ring::tasks_done;
  using ring::memory, ring::mailbox;
  using ring::owes_wake_up, ring::owe_for_freed, ring::freed_since_flush, ring::take_debt, ring::looks_asleep;
  using ring::task_state, ring::state_of, ring::legal_remains;

  // ---- questions

  state status() const noexcept { return status_; }
  bool takes_work() const noexcept {
    return status_ == state::live && !suspended_ && relief_ == 0 && !exhausted() && !left();
  }
  /// It gets no task until it moves.
  bool suspended() const noexcept { return suspended_; }
  /// It has been given all tasks that it may run.
  bool exhausted() const noexcept { return life_.task_limit != 0 && tasks_issued() >= life_.task_limit; }
  std::uint64_t task_limit() const noexcept { return life_.task_limit; }
  /// It ends by its own will, because it was idle for long.
  bool left() const noexcept { return life_.may_leave && says_it_left(); }
  bool may_leave() const noexcept { return life_.may_leave; }

  time_point born_at() const noexcept { return born_at_; }
  /// When the present head was first seen at the head; max(): there is none.
  time_point head_since() const noexcept { return head_.since; }
  /// It slept when the present head was given to it.
  bool head_woke_it() const noexcept { return head_.woke_it; }
  /// Its last progress, or the first task after it had none.
  time_point active_at() const noexcept { return active_at_; }

  /// Why it is killed, from then on; how it ended, once that is known.
  const worker_exit& exit() const noexcept { return exit_; }
  pid_t pid() const noexcept { return pid_; } ///< for people

  // ---- births

  /// START was sent.
  COPROC_LAZY void on_start(const lifetime& life, time_point now) noexcept;

  /// STARTED: it has a process.
  COPROC_LAZY void on_started(pid_t pid, os::unique_fd pidfd) noexcept;

  /// It takes tasks from here on. False: it was not to any more.
  COPROC_LAZY bool go_live() noexcept;

  // ---- its tasks

  /// A task is published to it. What is owed then is a look at owes_wake_up().
  COPROC_LAZY void give(task_record& t, time_point now) noexcept;

  /// Consumes the head if it is DONE, as ring::drain_one().
  COPROC_LAZY drained drain_one() noexcept;

  /// After drain_one() has brought something: it moves, and another task is at its head. What lies behind that may be
  /// taken by others from `help_from` on.
  COPROC_LAZY void on_progress(time_point now, time_point help_from) noexcept;

  /// It wrote what no worker writes: nothing it says of its tasks counts any more.
  COPROC_LAZY action on_violation(time_point now) noexcept;

  /// Takes a task back unless it was begun. The next one may thereby come to the head.
  COPROC_LAZY bool take_back(task_record& t, time_point now) noexcept;

  /// Takes back all that it has not begun; calls f(task) for each.
  template <class F>
  void take_all_back(time_point now, F f) noexcept {
    const task_record* const before = head();
    each_issued_backwards([&](task_record& t) {
      if (revoke(t)) f(t);
    });
    time_head_unless(before, now);
  }

  /// The same with those for which wanted(task); it goes on.
  template <class Predicate, class F>
  void take_back_if(time_point now, Predicate wanted, F f) noexcept {
    each_issued_backwards([&](task_record& t) {
      if (wanted(t) && take_back(t, now)) f(t);
    });
  }

  /// Raises the stop token of `t` if it runs. True: it does.
  COPROC_LAZY bool ask_to_stop(const task_record& t) noexcept;

  /// Its socket is full although it has nothing else to do. It may only just be waking up, to many messages: tried
  /// again soon, and until kill_grace is over.
  COPROC_LAZY void on_socket_full(time_point now) noexcept;

  /// It has closed its socket, or is dead, as its pidfd will tell.
  COPROC_LAZY action on_socket_closed(time_point now) noexcept;

  // ---- tasks that lie behind its head

  /// From when on others may take them.
  time_point help_from() const noexcept { return help_from_; }
  void help_later(time_point from) noexcept { help_from_ = from; }

  // ---- its end

  /// Ends the task at its head, which is `t`, and itself with it: rule K, docs/protocol.md. It gets no more work from
  /// here on, so a signal can only hit the target, or nobody.
  COPROC_LAZY action kill_for(task_record& t, exit_cause cause, time_point now) noexcept;

  /// Is the kill meant for it?
  bool is_victim(const task_record& t) const noexcept { return victim_ == &t; }
  /// The victim finished before the signal took effect, or in spite of it.
  COPROC_LAZY action on_victim_finished(time_point now) noexcept;

  /// Its ring is empty: it ends in an orderly way.
  COPROC_LAZY action dismiss(exit_cause cause, time_point now) noexcept;

  /// The pool ends: by `signal` if it has tasks.
  COPROC_LAZY action end(int signal, time_point now) noexcept;

  /// The fork server is gone, and takes it along.
  COPROC_LAZY action on_server_lost(time_point now) noexcept;

  /// Nobody may signal it: `error` says why.
  void on_signal_refused(int error) noexcept { exit_.kill_error = error; }

  // ---- its replacement

  /// It is to be replaced once its successor is ready; works until then.
  void make_due(exit_cause cause) noexcept { due_ = true, due_to_ = cause; }
  bool due() const noexcept { return due_; }
  exit_cause due_to() const noexcept { return due_to_; }
  /// Its successor is ready: it gets no more tasks.
  void relieve(bool relieved) noexcept { set_relief(by_successor, relieved); }
  bool relieved() const noexcept { return (relief_ & by_successor) != 0; }
  /// It is one more than the pool is to have: it gets no more tasks, and nobody replaces it.
  void make_surplus(bool surplus) noexcept { set_relief(as_surplus, surplus); }
  bool surplus() const noexcept { return (relief_ & as_surplus) != 0; }

  /// Should its memory be measured, once in `period`?
  COPROC_LAZY bool wants_measuring(time_point now, duration period) noexcept;

  // ---- death

  /// Its pidfd fired, or EXITED came. True: that is news.
  COPROC_LAZY bool on_death(time_point now) noexcept;

  /// After on_death() and the last drain_one(): what it never began moves, by f(task), unless it lied.
  template <class F>
  void settle_remains(F f) noexcept {
    if (exit_.cause != exit_cause::violation && !legal_remains()) exit_.cause = exit_cause::violation;
    if (exit_.cause != exit_cause::violation)
      each_issued([&](task_record& t) {
        if (state_of(t) == task_state::ready && revoke(t)) f(t);
      });
    if (exit_.cause == exit_cause::self && left() && unfinished() == 0) exit_.cause = exit_cause::idle;
    exit_.tasks_done = tasks_done();
  }

  /// EXITED: how it ended.
  COPROC_LAZY void on_exit(const worker_exit& how) noexcept;
  /// Nobody will tell.
  void stay_unexplained() noexcept { explained_ = true; }
  /// It is dead, and the cause is as known as it will ever be.
  bool is_explained() const noexcept { return status_ == state::dead && explained_; }

  /// The rest of its ring is forgotten; its tasks have been dealt with.
  void forget_tasks() noexcept { clear(), victim_ = nullptr; }

  // ---- time

  /// Does what is due.
  COPROC_LAZY action on_deadline(time_point now) noexcept;

  COPROC_LAZY time_point next_deadline() const noexcept;

  // ---- its process, for who talks to it

  const worker_handles& handles() const noexcept { return handles_; }
  void set_statm(os::unique_fd statm) noexcept { handles_.statm = std::move(statm); }
  void close_handles() noexcept { handles_ = {}; }
  /// The argument segments that it maps.
  shm::sent_segments& segments() noexcept { return segments_; }

private:
  friend class worker_stack;

  static constexpr std::chrono::milliseconds deaf_again_after{1};
  static constexpr time_point never = time_point::max();

  enum relief : std::uint8_t { by_successor = 1, as_surplus = 2 };
  void set_relief(relief why, bool on) noexcept {
    relief_ = static_cast<std::uint8_t>(on ? relief_ | why : relief_ & ~why);
  }

  COPROC_LAZY bool revoke(task_record& t) noexcept;

  COPROC_LAZY void sum_up(time_point now) noexcept;
  COPROC_LAZY void enter(state s, time_point until) noexcept;
  COPROC_LAZY void kill_now(action& a, time_point now) noexcept;
  COPROC_LAZY void kill_running(action& a, task_record& t, exit_cause cause, time_point now) noexcept;
  COPROC_LAZY void violate(action& a, time_point now) noexcept;
  COPROC_LAZY void suspend(time_point until) noexcept;

  // What it has not begun, from position `from` on, moves.
  COPROC_LAZY void give_back(action& a, std::uint64_t from = 0) noexcept;

  // A task has come to the head of the ring: rule D, docs/protocol.md.
  COPROC_LAZY void time_head(const task_record& t, time_point now) noexcept;
  COPROC_LAZY void time_head(time_point now) noexcept;
  // After revocations: deadlines are those of the head, which was `before`. What is revoked has nothing begun behind
  // it, unless the worker lies.
  COPROC_LAZY void time_head_unless(const task_record* before, time_point now) noexcept;

  COPROC_LAZY void soft_expired(time_point now) noexcept;
  COPROC_LAZY void head_expired(action& a, time_point now) noexcept;
  COPROC_LAZY void time_out(action& a, task_record& running, time_point now) noexcept;
  // Nothing of its ring was begun. One that was never forked has no pidfd: then it is the fork server that hangs.
  COPROC_LAZY void start_expired(action& a, time_point now) noexcept;
  COPROC_LAZY void did_not_move(action& a, time_point now) noexcept;
  COPROC_LAZY void state_expired(action& a, time_point now) noexcept;

  struct watched_head {
    time_point since = never;
    time_point deadline = never;      // since + its timeout
    time_point soft_deadline = never; // since + its soft_timeout
    bool since_initialized = true;    // the worker was initialized by `since`
    bool woke_it = false;
  };

  lifetime life_;
  state status_ = state::starting;
  time_point born_at_{};
  // leaving, ending: SIGKILL; killed: quarantine; dead: no more waiting for its exit status
  time_point state_deadline_ = never;
  time_point start_deadline_ = never; // starting, and live until it is initialized
  time_point move_by_ = never;        // live: it must have acknowledged, begun or read something by then
  bool suspended_ = false;            // live: no task until it moves, since it should have before
  time_point deaf_since_ = never;     // its socket has been full since, though its ring is empty
  watched_head head_;
  time_point active_at_{}, help_from_{}, measured_at_{};
  task_record* victim_ = nullptr; // the task that the kill is meant for
  std::uint8_t relief_ = 0;
  bool due_ = false, explained_ = false;
  exit_cause due_to_ = exit_cause::recycled;
  pid_t pid_ = 0;
  worker_exit exit_;
  worker_handles handles_;
  shm::sent_segments segments_;
  std::unique_ptr<worker> next_; // in a worker_stack
};

/// Workers that are dealt with, until somebody has the time to unmap their memory.
class worker_stack {
public:
  void push(std::unique_ptr<worker> w) noexcept {
    w->next_ = std::move(top_);
    top_ = std::move(w);
  }
  void clear() noexcept {
    while (top_) top_ = std::move(top_->next_);
  }

private:
  std::unique_ptr<worker> top_;
};

} // namespace coproc::detail::front

#include <coproc/front/worker.ipp>
