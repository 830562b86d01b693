// SPDX-License-Identifier: BSL-1.0
// The dispatcher: which task goes where, and what every event means for it. Events in (submissions, cancellations, worker
// births and deaths, time), effects out through a small policy; no system call, no clock, no lock of its own. It runs in
// the front end under the pool's mutex; the same code runs in unit tests and simulations against a fake policy.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/pool/active_seats.hpp>
#include <coproc/pool/balance.hpp>
#include <coproc/pool/bell_moderation.hpp>
#include <coproc/pool/fleet.hpp>
#include <coproc/pool/head_set.hpp>
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
        active_(limits.max_workers), choice_(fleet_, ledger_, active_), balance_(fleet_, ledger_, watchdog_, choice_) {}

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
    if (ledger_.queued() != 0 || w.ring_full() || !active_.contains(w.index) || w.waker.looks_asleep(w.mailbox())) return false;
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
    std::size_t moved = 0, looked_at = 0;
    for (const unsigned i : active_) {
      if (budget == 0) break;
      ++looked_at;
      if (worker_record* w = fleet_.at(i); w != nullptr && w->load() != 0) moved += fleet_.drain(*w, budget, now);
    }
    if (budget == 0) active_.begin_with(looked_at); // else a few busy workers could use it up for ever
    active_.prune([&](unsigned i) {
      const worker_record* const w = fleet_.at(i);
      return w == nullptr || (w->load() == 0 && !w->dirty && w->waker.looks_asleep(w->mailbox()));
    });
    return moved;
  }

  /// What the workers have to go on with.
  bell_moderation::workload workload() const noexcept {
    std::size_t longest = 0, shortest = shm::ring_slots;
    unsigned busy = 0;
    each_active([&](const auto& w) {
      if (w.load() == 0) return;
      ++busy;
      longest = std::max(longest, w.unfinished());
      shortest = std::min(shortest, w.unfinished());
    });
    const double task_ns = fleet_.pace.task_ns();
    const auto time_of = [&](std::size_t tasks) {
      return std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(tasks) * task_ns));
    };
    bell_moderation::workload l;
    if (task_ns < 10'000 && longest >= 8) l.short_backlog = time_of(longest);
    if (shortest >= 2 && shortest != shm::ring_slots) l.long_backlog = time_of(shortest - 1);
    if (const unsigned cpus = fleet_.limits().usable_cpus; busy >= cpus)
      l.crowded_result_period = std::max(time_of(1) / cpus, std::chrono::nanoseconds(1));
    return l;
  }

  void add_heads(head_set& set) const noexcept {
    each_active([&](const auto& w) {
      if (w.load() != 0) w.add_head(set);
    });
  }

  bool any_head_done() const noexcept {
    bool any = false;
    each_active([&](const auto& w) { any = any || w.head_done(); });
    return any;
  }

  /// Is an answer likely sooner than a wake-up would take: does a worker that is awake, or just being woken, on another
  /// CPU than `cpu`, run short tasks, or any if it takes a busy poll? (W6) Never while the workers alone can keep all CPUs
  /// busy: the spinner would take one from them.
  bool worth_spinning(int cpu, bool busy_poll) const noexcept {
    if (!busy_poll && fleet_.pace.task_ns() >= 40'000) return false;
    bool any = false;
    unsigned busy = 0;
    each_active([&](const auto& w) {
      if (w.load() == 0) return;
      ++busy;
      any = any || (!w.waker.looks_asleep(w.mailbox()) &&
                    w.mailbox().worker.cpu.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(cpu) + 1);
    });
    return any && busy < fleet_.limits().usable_cpus;
  }

  /// Tells workers where the front end runs, so that none spins in its place (W6).
  void publish_cpu(int cpu) noexcept {
    front_end_cpu_ = static_cast<std::uint32_t>(cpu) + 1;
    each_active([&](auto& w) { w.publish_front_end_cpu(front_end_cpu_); });
  }

  /// Writes the armed words of all workers with issued slots. The caller fences, then looks at any_head_done().
  void arm(std::uint64_t arm_epoch) noexcept {
    arm_epoch_ = arm_epoch;
    only_idle_ring_ = false;
    each_active([&](auto& w) {
      if (w.load() != 0) w.arm(arm_epoch);
    });
  }

  /// Before a sleep that the clock ends: only those ring that are without work now, and get some meanwhile.
  void arm_idle(std::uint64_t arm_epoch) noexcept {
    arm_epoch_ = arm_epoch;
    only_idle_ring_ = true;
  }

  /// The front end polls. The words stay: a worker that has not rung for this epoch yet rings once more, to no harm.
  void disarm() noexcept { arm_epoch_ = 0; }

  /// Calls f(worker) for each that must be woken; one fence for all. Owed after every batch of publications.
  /// `only_sleepers`: those who visibly sleep; the rest stays owed.
  template <class F>
  void flush(bool only_sleepers, F f) noexcept {
    if (freed_somewhere_->load(std::memory_order_relaxed) && freed_somewhere_->exchange(false, std::memory_order_acq_rel))
      fleet_.each_worker([&](auto& w) {
        if (w.memory->freed_since_flush.load(std::memory_order_relaxed)) activate(w);
      });
    bool any = false;
    each_active([&](auto& w) {
      // Taken before the fence: cleared after it, a result freed in between could be forgotten (tests/model/flush.pml).
      auto& freed = w.memory->freed_since_flush;
      if (freed.load(std::memory_order_relaxed) && freed.exchange(false, std::memory_order_acq_rel)) w.dirty = true;
      any |= w.dirty && (!only_sleepers || w.waker.looks_asleep(w.mailbox()));
    });
    if (!any) return;
    shm::full_fence();
    each_active([&](auto& w) {
      if (!w.dirty || (only_sleepers && !w.waker.looks_asleep(w.mailbox()))) return;
      w.dirty = false;
      if (w.waker.must_wake(w.mailbox())) f(w);
    });
  }

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
    w->memory->freed_somewhere = freed_somewhere_;
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

  /// Messages were sent to workers: those that sleep are owed a wake-up, too.
  void messages_sent() noexcept {
    fleet_.each_worker([&](auto& w) {
      if (w.dirty) activate(w);
    });
  }

  bool in_transition() const noexcept { return fleet_.in_transition(); }

  /// Replaces all workers of today, one after the other, each when its successor is ready.
  void recycle_all() noexcept { fleet_.recycle_all(); }

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
    revoke_all();
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
  pool_stats stats(time_point now) const {
    pool_stats s;
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

  void activate(worker_record& w) noexcept {
    if (active_.contains(w.index)) return;
    active_.add(w.index);
    if (front_end_cpu_ != 0) w.publish_front_end_cpu(front_end_cpu_);
  }

  template <class F>
  void each_active(F f) const {
    choice_.each_active(f);
  }

  // To the chosen worker, the task that is next and so many more as it was chosen for, as long as they want nothing else than
  // to be published.
  bool hand_over_plain(worker_record& w, time_point now) noexcept {
    if (ledger_.any_homebound() || ledger_.front()->needs_segments()) return false;
    activate(w);
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
    activate(w);
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
      watchdog_.new_head(w, t, now);
    }
    w.steal_at = w.active_at + steal_after;
    if (arm_epoch_ != 0 && (!only_idle_ring_ || w.unfinished() == 0)) w.arm(arm_epoch_); // W4: before READY
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

  void revoke_all() noexcept {
    fleet_.each_worker([&](auto& w) {
      w.each_issued_backwards([&](task_record& t) {
        if (w.revoke(t)) ledger_.finish_issued(t, verdict::aborted);
      });
    });
  }

  void advance_shutdown(time_point now) noexcept {
    if (stage_ == stage::draining) {
      if (ledger_.outstanding() == 0) return terminate(SIGTERM, now);
      if (now < stage_deadline_) return;
      ledger_.abort_queued();
      revoke_all();
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
  std::uint64_t arm_epoch_ = 0; // 0: the front end polls
  bool only_idle_ring_ = false;
  active_seats active_;
  worker_choice<fleet<Policy>> choice_;
  typename worker_choice<fleet<Policy>>::answer chosen_; // since the last pump()
  balance<fleet<Policy>, watchdog<Policy>> balance_;
  std::shared_ptr<std::atomic<bool>> freed_somewhere_ = std::make_shared<std::atomic<bool>>(false);
  std::uint32_t front_end_cpu_ = 0; // 1 + its number; 0: unknown
  stage stage_ = stage::open;
  time_point stage_deadline_ = time_point::max();
};

} // namespace coproc::pool
