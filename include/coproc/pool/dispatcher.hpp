// SPDX-License-Identifier: BSL-1.0
// The dispatcher: which task goes where, and what every event means for it. Events in (submissions, cancellations, worker
// births and deaths, time), effects out through a small policy; no system call, no clock, no lock of its own. It runs in
// the front end under the pool's mutex; the same code runs in unit tests and simulations against a fake policy.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/pool/balance.hpp>
#include <coproc/pool/fleet.hpp>
#include <coproc/pool/waking.hpp>
#include <coproc/pool/worker_choice.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace coproc::pool {

enum class cancel_strength : std::uint8_t { total, partial, terminal };

template <dispatcher_policy Policy>
class dispatcher {
public:
  using worker_ptr = std::unique_ptr<worker_record>;
  using state = worker_record::state;

  dispatcher(const dispatcher_limits& limits, Policy& policy)
      : policy_(policy), ledger_(limits), watchdog_(limits, policy, ledger_), fleet_(limits, policy, ledger_, watchdog_),
        waking_(fleet_, limits.max_workers), choice_(fleet_, ledger_, waking_),
        balance_(fleet_, ledger_, watchdog_, choice_, waking_) {}

  // ---- tasks

  /// Accepts, queues or refuses; every path but acceptance and waiting puts the record into completed(). The caller then
  /// calls pump().
  void submit(task_record& t, time_point now) noexcept {
    if (ledger_.failed()) fleet_.try_to_recover(now);
    ledger_.submit(t, now);
  }

  /// The same for a task of the usual kind, of which there may be millions a second, between two calls of pump(): it goes to the
  /// worker that was chosen last, or into the queue while all are full, and nothing else is looked at. False: nothing was done,
  /// submit() and pump() must see to it.
  bool submit_quickly(task_record& t, time_point now) noexcept {
    if (t.special || stage_ != stage::open || fleet_.may_grow() || !ledger_.takes_quickly(t)) return false;
    if (!choose(now)) {
      ledger_.submit_quickly(t, now);
      if (ledger_.queued() % 16 == 0) chosen_ = {}; // a longer queue may be worth a wake-up
      return true;
    }
    worker_record& w = *chosen_.worker;
    if (ledger_.queued() != 0 || w.ring_full() || !waking_.is_active(w) || w.waker.looks_asleep(w.mailbox())) return false;
    if (t.needs_segments() && send_segments(w, t) != 0) return false;
    --chosen_.more;
    ledger_.submit_issued(t, now);
    hand_over(w, t, now);
    return true;
  }

  /// Issues queued tasks to workers, moves work from busy workers to idle ones, and asks for more workers.
  void pump(time_point now) noexcept {
    chosen_ = {};
    dispatch(now);
    if (balance_.take_back(now)) { // also while tasks wait for a worker that goes on
      chosen_ = {};
      dispatch(now);
    }
    if (fleet_.may_grow()) balance_.grow(now);
    if (stage_ != stage::open) advance_shutdown(now);
  }

  /// By the table in docs/cancellation.md; harmless at any time. The ticket guards against records that were
  /// recycled meanwhile; a record that is prepared and not yet submitted is `idle` or, from its last life, `finished`.
  void cancel(task_record& t, std::uint64_t ticket, cancel_strength strength, time_point now) noexcept {
    if (t.ticket.load(std::memory_order_relaxed) != ticket) return;
    if (t.where != place::issued) return static_cast<void>(ledger_.withdraw(t, verdict::aborted));
    worker_record& w = *t.worker;
    if (watchdog_.revoke(w, t, now)) return ledger_.finish_issued(t, verdict::aborted);
    if (strength == cancel_strength::total) return;
    if (strength == cancel_strength::partial || (t.special && t.cold().terms.when_cancelled == on_cancel::request_stop)) {
      if (t.special) t.cold().terms.max_retries = 0; // cancelled tasks are never retried
      // Only for a running one: else the request of the task that runs now would be overwritten.
      if (w.look(t) == worker_record::task_state::running) w.raise_stop(t);
      return;
    }
    watchdog_.kill_running(w, t, exit_cause::cancelled, now);
  }

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return ledger_.completed(); }

  // ---- draining

  /// Consumes finished heads, at most `budget` tasks. Returns how many ring entries moved.
  std::size_t drain(std::size_t budget, time_point now) noexcept {
    std::size_t moved = 0;
    waking_.drain_active([&](worker_record& w) {
      moved += fleet_.drain(w, budget, now);
      return budget != 0;
    });
    return moved;
  }

  /// Who sleeps, who is woken, who rings.
  waking_state<fleet<Policy>>& waking() noexcept { return waking_; }

  /// Operations that are not completed, and what else must come to its end: while there is any, the loop must be kept alive.
  std::uint64_t outstanding() const noexcept {
    return ledger_.outstanding() + (stage_ != stage::open && stage_ != stage::over) + fleet_.recycling();
  }
  std::uint64_t accepted() const noexcept { return ledger_.accepted(); }
  /// Is there an accepted task whose time counts, or may count?
  bool any_special() const noexcept { return ledger_.any_special(); }
  std::uint64_t accepted_bytes() const noexcept { return ledger_.accepted_bytes(); }

  // ---- workers

  void add_worker(worker_ptr w, time_point now) noexcept {
    waking_.watch(*w->memory);
    fleet_.add_worker(std::move(w), now);
  }
  void start_failed(unsigned index, net::error_code why, time_point now) noexcept { fleet_.start_failed(index, why, now); }
  void start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
    fleet_.start_refused(incarnation, why, now);
  }
  void started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept {
    fleet_.started(incarnation, pid, std::move(pidfd), now);
  }
  void exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
    fleet_.exited(incarnation, how, now);
  }
  void died(std::uint64_t incarnation, time_point now) noexcept { fleet_.died(incarnation, now); }
  void server_lost(time_point now) noexcept { fleet_.server_lost(now); }

  bool in_transition() const noexcept { return fleet_.in_transition(); }

  /// Replaces all workers of today, one after the other, each when its successor is ready.
  void recycle_all(time_point now) noexcept { fleet_.recycle_all(now); }

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
  time_point tick(time_point now) noexcept {
    expire(now);
    fleet_.tick(now);
    advance_shutdown(now);
    return next_deadline();
  }

  time_point next_deadline() const noexcept {
    return std::min({fleet_.next_deadline(), ledger_.next_expiry(), stage_deadline_, balance_.next_move()});
  }

  // ---- the end

  /// No more submissions; what was submitted goes on.
  void close() noexcept { ledger_.close(); }

  /// close(), then at `deadline` what is left is ended: queued tasks are aborted and running ones asked to stop, one
  /// kill_grace later SIGTERM, one more later SIGKILL. over() tells the end. A later call can only hasten it.
  void shut_down(time_point deadline, time_point now) noexcept {
    ledger_.close();
    if (stage_ == stage::open) stage_ = stage::draining, stage_deadline_ = time_point::max();
    if (stage_ == stage::draining) stage_deadline_ = std::min(stage_deadline_, deadline);
    advance_shutdown(now);
  }

  /// Ends everything now, with SIGTERM and after kill_grace SIGKILL, or with SIGKILL at once.
  void terminate(int signal, time_point now) noexcept {
    ledger_.abort_queued();
    revoke_all(now);
    stage_ = stage::terminating;
    stage_deadline_ = time_point::max();
    fleet_.end_all(signal, now);
    advance_shutdown(now);
  }

  /// The shutdown is complete: no task and no worker is left.
  bool over() const noexcept { return stage_ == stage::over; }
  bool ending() const noexcept { return stage_ == stage::terminating || stage_ == stage::over; }

  /// For a destructor: whatever is left is aborted, without waiting for its worker, and none is started any more.
  void abandon() noexcept {
    ledger_.abort_queued();
    fleet_.abandon();
  }

  bool closed() const noexcept { return ledger_.closed(); }
  bool failed() const noexcept { return ledger_.failed(); }

  // ---- what is counted

  trace_buffer& traced() noexcept { return fleet_.meter.traced; }

  /// Everything but the workers' memory.
  template <class Stats = pool_stats>
  Stats stats(time_point now) const {
    Stats s;
    s.counters = ledger_.counters();
    s.waiting = ledger_.waiting();
    s.queued = ledger_.queued();
    s.active = ledger_.accepted() - ledger_.queued();
    s.queued_bytes = ledger_.accepted_bytes();
    s.wait_time = fleet_.meter.wait_time;
    s.run_time = fleet_.meter.run_time;
    fleet_.each_process([&](const auto& w) {
      auto& e = s.workers.emplace_back();
      e.index = w.index;
      e.pid = w.handles.pid;
      e.state = state_of(w);
      e.age = now - w.born_at;
      e.tasks_done = w.tasks_done;
      e.tasks_issued = w.unfinished();
    });
    return s;
  }

private:
  enum class stage : std::uint8_t { open, draining, stopping, terminating, over };

  // -- issuing

  void dispatch(time_point now) noexcept {
    while (task_record* const t = ledger_.front()) {
      if (!choose(now)) break;
      worker_record& w = *chosen_.worker;
      --chosen_.more;
      if (hand_over_plain(w, now)) continue;
      if (!issue(w, ledger_.any_homebound() ? *ledger_.front(w.index) : *t, now)) break;
    }
    if (!ledger_.any_homebound()) return;
    chosen_ = {}; // what goes to workers of its own counts, too
    for (unsigned i = 0; i < fleet_.size(); ++i)
      while (ledger_.has_homebound(i)) {
        worker_record* const w = fleet_.at(i);
        if (w == nullptr || !choice_.has_room(*w) || !issue(*w, *ledger_.front(i), now)) break;
      }
  }

  // To the chosen worker, the task that is next and so many more as it was chosen for, as long as they want nothing else than
  // to be published.
  bool hand_over_plain(worker_record& w, time_point now) noexcept {
    if (ledger_.any_homebound() || ledger_.front()->needs_segments()) return false;
    waking_.activate(w);
    for (std::size_t n = 1 + std::exchange(chosen_.more, 0);; --n) {
      task_record* const t = ledger_.front();
      if (n == 0 || t == nullptr || t->needs_segments()) return chosen_.more = n, true;
      if (t->next != nullptr) t->next->prefetch();
      ledger_.dequeue_front(*t);
      hand_over(w, *t, now);
    }
  }

  // Sees to it that chosen_ is the worker for the next task; false: none has room.
  bool choose(time_point now) noexcept {
    if (chosen_.more == 0 && !chosen_.none) chosen_ = choice_.choose(now);
    return !chosen_.none;
  }

  // False: this worker cannot take this task now; it stays at the head of the queue.
  bool issue(worker_record& w, task_record& t, time_point now) noexcept {
    waking_.activate(w);
    const int error = t.needs_segments() ? send_segments(w, t) : 0;
    if (error == EAGAIN && w.load() != 0) return false; // it will read its socket before it sleeps
    // It is dead, as its pidfd will tell, or has closed its socket, or does not read it although it has nothing else to
    // do: the task stays at the head of the queue, for another worker.
    if (error == EAGAIN || error == EPIPE || error == ECONNRESET) chosen_ = {};
    if (error == EAGAIN) return watchdog_.deafen(w, now), true;
    if (error == EPIPE || error == ECONNRESET) {
      watchdog_.stall(w, now);
      if (w.load() == 0) watchdog_.kill_now(w, now);
      return true;
    }
    ledger_.dequeue(t);
    if (error != 0) {
      ledger_.finish_issued(t, os::system_code(error), "the argument memory could not be sent to a worker");
      return true;
    }
    hand_over(w, t, now);
    return true;
  }

  void hand_over(worker_record& w, task_record& t, time_point now) noexcept {
    w.deaf_since = time_point::max();
    if (w.unfinished() == 0) {
      w.active_at = now;
      w.head_woke_it = w.waker.looks_asleep(w.mailbox());
      watchdog_.new_head(w, t, now);
    }
    w.steal_at = w.active_at + steal_after;
    waking_.before_ready(w);
    w.publish(t);
    fleet_.issued(w, now);
  }

  // Those that are sent when one is not are sent: the next attempt goes on from there.
  int send_segments(worker_record& w, task_record& t) noexcept {
    const cold_part& cold = t.cold();
    int error = cold.block ? policy_.send_segment(w, cold.block) : 0;
    for (const auto& lent : cold.lent)
      if (error == 0) error = policy_.send_segment(w, lent->block());
    return error;
  }

  // -- time

  void expire(time_point now) noexcept {
    while (task_record* t = ledger_.take_expired(now)) {
      if (t->where == place::issued) {
        if (watchdog_.revoke(*t->worker, *t, now)) ledger_.finish_issued(*t, verdict::queue_timeout); // else it has begun
      } else {
        ledger_.withdraw(*t, verdict::queue_timeout);
      }
    }
  }

  // -- the end

  void revoke_all(time_point now) noexcept {
    fleet_.each_worker([&](auto& w) {
      const task_record* const before = w.head();
      w.each_issued_backwards([&](task_record& t) {
        if (w.revoke(t)) ledger_.finish_issued(t, verdict::aborted);
      });
      watchdog_.look_at_head_unless(before, w, now);
    });
  }

  void advance_shutdown(time_point now) noexcept {
    if (stage_ == stage::draining) {
      if (ledger_.outstanding() == 0) return terminate(SIGTERM, now);
      if (now < stage_deadline_) return;
      ledger_.abort_queued();
      revoke_all(now);
      fleet_.stop_all();
      stage_ = stage::stopping;
      stage_deadline_ = after(now, fleet_.limits().kill_grace);
    }
    if (stage_ == stage::stopping && (now >= stage_deadline_ || ledger_.outstanding() == 0)) return terminate(SIGTERM, now);
    if (stage_ == stage::terminating && fleet_.gone()) stage_ = stage::over;
  }

  static worker_state state_of(const worker_record& w) noexcept {
    switch (w.status) {
    case state::starting: return worker_state::starting;
    case state::live:
      return !w.initialized() ? worker_state::starting : w.load() == 0 ? worker_state::idle : worker_state::busy;
    case state::quarantined: return worker_state::unkillable;
    default: return worker_state::ending;
    }
  }

  Policy& policy_;
  ledger ledger_;
  watchdog<Policy> watchdog_;
  fleet<Policy> fleet_;
  waking_state<fleet<Policy>> waking_;
  worker_choice<fleet<Policy>> choice_;
  typename worker_choice<fleet<Policy>>::answer chosen_; // since the last pump()
  balance<fleet<Policy>, watchdog<Policy>> balance_;
  stage stage_ = stage::open;
  time_point stage_deadline_ = time_point::max();
};

} // namespace coproc::pool
