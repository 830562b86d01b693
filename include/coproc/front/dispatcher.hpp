// SPDX-License-Identifier: BSL-1.0
// The dispatcher: which task goes where, and what every event means for it. Events in (submissions, cancellations, worker
// births and deaths, time), effects out through a small interface; no system call, no clock, no lock of its own. It runs in
// the front end under the pool's mutex; the same code runs in unit tests and simulations against fakes.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/balance.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/waking.hpp>
#include <coproc/front/worker_choice.hpp>
#include <coproc/os/error.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace coproc::detail::front {

enum class cancel_strength : std::uint8_t { total, partial, terminal };

class dispatcher {
public:
  using worker_ptr = std::unique_ptr<worker_record>;
  using state = worker_record::state;

  COPROC_LAZY dispatcher(const dispatcher_limits& limits, effects& kernel);

  // ---- tasks

  /// Accepts, queues or refuses; every path but acceptance and waiting puts the record into completed(). The caller then
  /// calls pump().
  COPROC_LAZY void submit(task_record& t, time_point now) noexcept;

  /// The same for a task of the usual kind, of which there may be millions a second, between two calls of pump(): it goes to the
  /// worker that was chosen last, or into the queue while all are full, and nothing else is looked at. False: nothing was done,
  /// submit() and pump() must see to it.
  COPROC_LAZY bool submit_quickly(task_record& t, time_point now) noexcept;

  /// Issues queued tasks to workers, moves work from busy workers to idle ones, and asks for more workers.
  COPROC_LAZY void pump(time_point now) noexcept;

  /// By the table in docs/cancellation.md; harmless at any time. The ticket guards against records that were
  /// recycled meanwhile; a record that is prepared and not yet submitted is `idle` or, from its last life, `finished`.
  COPROC_LAZY void cancel(task_record& t, std::uint64_t ticket, cancel_strength strength, time_point now) noexcept;

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return ledger_.completed(); }

  // ---- draining

  /// Consumes finished heads, at most `budget` tasks. Returns how many ring entries moved.
  COPROC_LAZY std::size_t drain(std::size_t budget, time_point now) noexcept;

  /// Who sleeps, who is woken, who rings.
  waking_state& waking() noexcept { return waking_; }

  /// Operations that are not completed, and what else must come to its end: while there is any, the loop must be kept alive.
  COPROC_LAZY std::uint64_t outstanding() const noexcept;
  std::uint64_t accepted() const noexcept { return ledger_.accepted(); }
  /// Is there an accepted task whose time counts, or may count?
  bool any_special() const noexcept { return ledger_.any_special(); }
  std::uint64_t accepted_bytes() const noexcept { return ledger_.accepted_bytes(); }

  // ---- workers

  COPROC_LAZY void add_worker(worker_ptr w, time_point now) noexcept;
  COPROC_LAZY void start_failed(unsigned index, net::error_code why, time_point now) noexcept;
  COPROC_LAZY void start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept;
  COPROC_LAZY void started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept;
  COPROC_LAZY void exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept;
  COPROC_LAZY void died(std::uint64_t incarnation, time_point now) noexcept;
  COPROC_LAZY void server_lost(time_point now) noexcept;

  COPROC_LAZY bool in_transition() const noexcept;

  /// Replaces all workers of today, one after the other, each when its successor is ready.
  COPROC_LAZY void recycle_all(time_point now) noexcept;

  template <class F>
  void each_worker(F f) const {
    fleet_.each_worker(f);
  }
  template <class F>
  void each_process(F f) const {
    fleet_.each_process(f);
  }

  // ---- time

  /// Time passed: deadlines, escalations, restarts. Returns when it wants to be called again.
  COPROC_LAZY time_point tick(time_point now) noexcept;

  COPROC_LAZY time_point next_deadline() const noexcept;

  // ---- the end

  /// No more submissions; what was submitted goes on.
  void close() noexcept { ledger_.close(); }

  /// close(), then at `deadline` what is left is ended: queued tasks are aborted and running ones asked to stop, one
  /// kill_grace later SIGTERM, one more later SIGKILL. over() tells the end. A later call can only hasten it.
  COPROC_LAZY void shut_down(time_point deadline, time_point now) noexcept;

  /// After that: what has not begun is aborted now.
  COPROC_LAZY void drop_queued(time_point now) noexcept;

  /// Ends everything now, with SIGTERM and after kill_grace SIGKILL, or with SIGKILL at once.
  COPROC_LAZY void terminate(int signal, time_point now) noexcept;

  /// The shutdown is complete: no task and no worker is left.
  bool over() const noexcept { return stage_ == stage::over; }
  bool ending() const noexcept { return stage_ == stage::terminating || stage_ == stage::over; }

  /// For a destructor: whatever is left is aborted, without waiting for its worker, and none is started any more.
  COPROC_LAZY void abandon() noexcept;

  bool failed() const noexcept { return ledger_.failed(); }

  // ---- what is counted

  trace_buffer& traced() noexcept { return fleet_.meter.traced; }

  /// Everything but the workers' memory.
  COPROC_LAZY pool_stats stats(time_point now) const;

private:
  enum class stage : std::uint8_t { open, draining, stopping, terminating, over };

  // -- issuing

  COPROC_LAZY void dispatch(time_point now) noexcept;

  // To the chosen worker, the task that is next and so many more as it was chosen for, as long as they want nothing else than
  // to be published.
  COPROC_LAZY bool hand_over_plain(worker_record& w, time_point now) noexcept;

  // Sees to it that chosen_ is the worker for the next task; false: none has room.
  COPROC_LAZY bool choose(time_point now) noexcept;

  // False: this worker cannot take this task now; it stays at the head of the queue.
  COPROC_LAZY bool issue(worker_record& w, task_record& t, time_point now) noexcept;

  COPROC_LAZY void hand_over(worker_record& w, task_record& t, time_point now) noexcept;

  // Those that are sent when one is not are sent: the next attempt goes on from there.
  COPROC_LAZY static void tell_limit(task_record& t, time_point now) noexcept;

  COPROC_LAZY int send_segments(worker_record& w, task_record& t) noexcept;

  // -- time

  COPROC_LAZY void expire(time_point now) noexcept;

  // -- the end

  COPROC_LAZY void revoke_all(time_point now) noexcept;

  COPROC_LAZY void advance_shutdown(time_point now) noexcept;

  COPROC_LAZY static worker_state state_of(const worker_record& w) noexcept;

  effects& effects_;
  ledger ledger_;
  watchdog watchdog_;
  fleet fleet_;
  waking_state waking_;
  worker_choice choice_;
  worker_choice::answer chosen_; // since the last pump()
  balance balance_;
  stage stage_ = stage::open;
  time_point stage_deadline_ = time_point::max();
};

} // namespace coproc::detail::front

#include <coproc/front/dispatcher.ipp>
