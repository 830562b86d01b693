// SPDX-License-Identifier: BSL-1.0
// The dispatcher: which task goes where, and what every event means for it. Events in (submissions, cancellations, worker
// births and deaths, time), effects out through a small policy; no system call, no clock, no lock of its own. It runs in
// the front end under the pool's mutex; the same code runs in unit tests and simulations against a fake policy.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <csignal>
#include <memory>
#include <new>
#include <tuple>
#include <utility>
#include <vector>

namespace coproc::pool {

/// What the dispatcher wants done. Called under the pool's mutex; none may call back into the dispatcher.
template <class P>
concept dispatcher_policy = requires(P p, worker_record& w, const shm::argument_block& block, int signal, unsigned index) {
  { p.signal(w, signal) };                                 ///< through the pidfd; a dead process is no error
  { p.request_start(index) };                              ///< make an incarnation; answer with add_worker() or start_failed()
  { p.forget_starts() };                                   ///< requests that are not answered yet need no answer any more
  { p.send_segment(w, block) } -> std::same_as<int>;       ///< 0, EAGAIN (its socket is full now), or another errno
  { p.retire(std::declval<std::unique_ptr<worker_record>>()) }; ///< dead and dealt with: close its descriptors
};

struct dispatcher_limits {
  unsigned max_workers = 1;
  std::uint64_t max_queue = 4096;
  std::uint64_t max_queue_bytes = std::uint64_t{1} << 30;
  duration kill_grace = std::chrono::seconds(1);
  duration exit_status_wait = std::chrono::seconds(1);   ///< between a death and giving up on its cause
  unsigned max_start_failures = 10;                      ///< in a row, before the pool gives up
};

/// The heads of up to eight rings, to be looked at without the mutex.
class head_set {
public:
  void add(const shm::slot& s, std::uint64_t done_word) noexcept {
    if (count_ < list_.size()) list_[count_++] = {&s, done_word};
  }
  bool any_done() const noexcept {
    for (std::size_t i = 0; i < count_; ++i)
      if (shm::load_state(*list_[i].slot) == list_[i].done_word) return true;
    return false;
  }

private:
  struct head {
    const shm::slot* slot;
    std::uint64_t done_word;
  };
  std::array<head, 8> list_;
  std::size_t count_ = 0;
};

enum class cancel_strength : std::uint8_t { total, partial, terminal };

template <dispatcher_policy Policy>
class dispatcher {
public:
  using worker_ptr = std::unique_ptr<worker_record>;
  using state = worker_record::state;

  dispatcher(const dispatcher_limits& limits, Policy& policy) : limits_(limits), policy_(policy) {
    workers_.resize(limits.max_workers);
    restarts_.resize(limits.max_workers, time_point::max());
  }

  // ---- tasks ----

  /// Accepts, queues or refuses; every path but acceptance and waiting puts the record into completed(). The caller then
  /// calls pump().
  void submit(task_record& t) noexcept {
    t.id = ++last_id_;
    if (failed_) return finish(t, failure_, failure_text_);
    if (closed_) return finish(t, make_error_code(errc::pool_closed), nullptr);
    if (waiting_.empty() && fits(t)) return accept(t);
    if (!t.may_wait) return finish(t, make_error_code(errc::queue_full), nullptr);
    t.where = place::waiting;
    waiting_.push_back(t);
  }

  /// Issues queued tasks to workers, and moves work from busy workers to idle ones.
  void pump(time_point now) noexcept {
    while (task_record* t = queue_.front()) {
      worker_record* const w = pick();
      if (w == nullptr || !issue(*w, *t, now)) break;
    }
    if (queue_.empty()) rebalance(now);
  }

  /// By the table in docs/cancellation.md; harmless at any time. The ticket guards against records that were
  /// recycled meanwhile; a record that is prepared and not yet submitted is `idle` or, from its last life, `finished`.
  void cancel(task_record& t, std::uint64_t ticket, cancel_strength strength, time_point now) noexcept {
    if (t.ticket.load(std::memory_order_relaxed) != ticket) return;
    switch (t.where) {
    case place::idle:
    case place::finished: return;
    case place::waiting:
      waiting_.erase(t);
      admit_waiting(); // it may have been the one too large to enter
      return finish(t, verdict::aborted);
    case place::queued:
      queue_.erase(t);
      release_room(t);
      return finish(t, verdict::aborted);
    case place::issued: break;
    }
    worker_record& w = *t.worker;
    if (w.revoke(t)) {
      release_room(t);
      return finish(t, verdict::aborted);
    }
    if (strength == cancel_strength::total) return;
    if (strength == cancel_strength::partial || t.when_cancelled == on_cancel::request_stop) return w.raise_stop(t);
    kill_running(w, t, worker_record::kill_reason::cancelled, now);
  }

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return completed_; }

  // ---- draining ----

  /// Consumes finished heads, at most `budget` tasks. Returns how many rings moved.
  std::size_t drain(std::size_t budget, time_point now) noexcept {
    std::size_t moved = 0;
    for (auto& w : workers_)
      if (w && w->load() != 0) moved += drain_worker(*w, budget, now);
    return moved;
  }

  /// How long the longest ring of very short tasks will last; 0 where no ring holds several.
  std::chrono::nanoseconds short_backlog() const noexcept {
    double longest_ns = 0;
    for (const auto& w : workers_)
      if (w && w->unfinished() >= 8 && w->task_ns < 10'000)
        longest_ns = std::max(longest_ns, static_cast<double>(w->unfinished()) * w->task_ns);
    return std::chrono::nanoseconds(static_cast<std::int64_t>(longest_ns));
  }

  head_set heads() const noexcept {
    head_set set;
    for (const auto& w : workers_)
      if (w && w->load() != 0) w->add_head(set);
    return set;
  }

  bool any_head_done() const noexcept {
    for (const auto& w : workers_)
      if (w && w->head_done()) return true;
    return false;
  }

  /// Is an answer likely sooner than a wake-up would take: does a worker that is awake, on another CPU than `cpu`, run
  /// short tasks? (W6)
  bool worth_spinning(int cpu) const noexcept {
    for (const auto& w : workers_)
      if (w && w->load() != 0 && w->task_ns < 40'000 && w->mailbox().worker.sleeping.load(std::memory_order_relaxed) == 0 &&
          w->mailbox().worker.cpu.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(cpu) + 1)
        return true;
    return false;
  }

  /// Writes the armed words of all workers with issued slots. The caller fences, then looks at any_head_done().
  void arm(std::uint64_t arm_epoch) noexcept {
    arm_epoch_ = arm_epoch;
    for (auto& w : workers_)
      if (w && w->load() != 0) w->arm(arm_epoch);
  }

  /// The front end polls. The words stay: a worker that has not rung for this epoch yet rings once more, to no harm.
  void disarm() noexcept { arm_epoch_ = 0; }

  /// Calls f(worker) for each that must be woken; one fence for all. Owed after every batch of publications.
  /// `only_sleepers`: those who visibly sleep; the rest stays owed.
  template <class F>
  void flush(bool only_sleepers, F f) noexcept {
    bool any = false;
    for (auto& w : workers_) {
      if (!w) continue;
      // Taken before the fence: cleared after it, a result freed in between could be forgotten (tests/model/flush.pml).
      auto& freed = w->memory->freed_since_flush;
      if (freed.load(std::memory_order_relaxed) && freed.exchange(false, std::memory_order_acq_rel)) w->dirty = true;
      any |= w->dirty && (!only_sleepers || w->waker.looks_asleep(w->mailbox()));
    }
    if (!any) return;
    shm::full_fence();
    for (auto& w : workers_) {
      if (!w || !w->dirty || (only_sleepers && !w->waker.looks_asleep(w->mailbox()))) continue;
      w->dirty = false;
      if (w->waker.must_wake(w->mailbox())) f(*w);
    }
  }

  /// Operations that are not completed: while there are any, the loop must be kept alive.
  std::uint64_t outstanding() const noexcept { return accepted_ + waiting_.size(); }
  std::uint64_t accepted() const noexcept { return accepted_; }
  std::uint64_t accepted_bytes() const noexcept { return accepted_bytes_; }

  // ---- workers ----

  /// An incarnation whose START was sent.
  void add_worker(worker_ptr w) noexcept { workers_[w->index] = std::move(w); }

  /// No incarnation could be made for this index, or its START could not be sent.
  void start_failed(unsigned index, net::error_code why, time_point now) noexcept {
    restart_later(index, why, "a worker process could not be started", now);
  }

  /// The fork server answered START_FAILED.
  void start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
    worker_record* w = find(incarnation);
    if (w == nullptr || w->status != state::starting) return;
    const unsigned index = w->index;
    policy_.retire(std::move(workers_[index]));
    start_failed(index, why, now);
  }

  void started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd) noexcept {
    worker_record* w = find(incarnation);
    if (w == nullptr) return;
    w->handles.pid = w->exit.pid = pid;
    w->handles.pidfd = std::move(pidfd);
    if (w->status == state::starting) w->status = state::live;
  }

  /// EXITED: the cause of a death, and news of it should the pidfd not have spoken yet.
  void exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
    worker_record* w = find(incarnation);
    if (w == nullptr) return;
    const loss_cause cause = w->exit.cause;
    w->exit = how;
    w->exit.cause = cause;
    w->exit_known = true;
    died(*w, now);
  }

  /// The pidfd fired.
  void died(std::uint64_t incarnation, time_point now) noexcept {
    if (worker_record* w = find(incarnation)) died(*w, now);
  }

  /// The fork server is gone and its workers with it: nobody will say how they ended, and none can be replaced.
  void server_lost(time_point now) noexcept {
    server_gone_ = true;
    for (auto& w : workers_) {
      if (!w) continue;
      if (w->status == state::starting) {
        policy_.retire(std::move(w));
        continue;
      }
      if (w->exit.cause == loss_cause::self) w->exit.cause = loss_cause::fork_server;
      if (w->status != state::live && w->status != state::ending) continue;
      // The kernel kills them already (PDEATHSIG); this also bounds the wait should their deaths go unnoticed.
      w->each_issued([&](task_record& t) {
        if (w->revoke(t)) requeue(t);
      });
      kill_now(*w, now);
    }
    for (std::size_t i = 0; i < corpses_.size();) {
      corpses_[i]->exit_known = true; // as known as it will ever be
      if (!classify(i, now)) ++i;
    }
    fail(make_error_code(errc::worker_start_failed),
         "the fork server died, so no worker can be started: make a new pool");
  }

  /// Time passed: deadlines of running tasks, escalations, restarts. Returns when it wants to be called again.
  time_point tick(time_point now) noexcept {
    for (auto& w : workers_)
      if (w) step(*w, now);
    for (std::size_t i = 0; i < corpses_.size();) {
      if (now >= corpses_[i]->next_step) corpses_[i]->exit_known = true;
      if (!classify(i, now)) ++i;
    }
    for (unsigned i = 0; i < restarts_.size(); ++i)
      if (now >= restarts_[i]) {
        restarts_[i] = time_point::max();
        if (!failed_ && !closed_) policy_.request_start(i);
      }
    return next_deadline();
  }

  time_point next_deadline() const noexcept {
    time_point next = time_point::max();
    for (const auto& w : workers_)
      if (w) next = std::min({next, w->next_step, w->head_deadline});
    const idle_workers idle = find_idle();
    for (const auto& w : workers_)
      if (w && spare_tasks(*w, idle) != 0) next = std::min(next, w->active_at + steal_after);
    for (const auto& w : corpses_) next = std::min(next, w->next_step);
    for (const time_point t : restarts_) next = std::min(next, t);
    return next;
  }

  // ---- the end ----

  /// No more tasks; everything that waits, is queued or not yet begun is aborted. Running tasks go on.
  void close() noexcept {
    closed_ = true;
    abort_all(waiting_, false);
    abort_all(queue_, true);
    for (auto& w : workers_)
      if (w) w->each_issued([&](task_record& t) {
        if (!w->revoke(t)) return;
        release_room(t);
        finish(t, verdict::aborted);
      });
  }

  /// After close(): whatever still runs is aborted too, without waiting for its worker.
  void abandon() noexcept {
    const auto drop = [&](worker_record& w) {
      w.each_issued([&](task_record& t) {
        t.worker = nullptr;
        release_room(t);
        finish(t, verdict::aborted);
      });
      w.clear_ring();
      w.victim = nullptr;
    };
    for (auto& w : workers_)
      if (w) drop(*w);
    for (auto& w : corpses_) drop(*w);
  }

  bool closed() const noexcept { return closed_; }
  bool failed() const noexcept { return failed_; }

  /// Calls f(worker) for each incarnation that takes part.
  template <class F>
  void each_worker(F f) {
    for (auto& w : workers_)
      if (w) f(*w);
  }

  /// Calls f(worker) for each process that may still be alive.
  template <class F>
  void each_process(F f) {
    for (auto& w : workers_)
      if (w) f(*w);
    for (auto& w : corpses_)
      if (w->status == state::quarantined) f(*w);
  }

private:
  using kill_reason = worker_record::kill_reason;

  /// How long a worker with tasks behind a running one goes without progress before an idle one takes them.
  static constexpr std::chrono::microseconds steal_after{200};
  /// About one wake-up's worth of work: what a ring should hold to hide the latency of refilling it.
  static constexpr double ring_work_ns = 60'000;

  // -- admission

  bool fits(const task_record& t) const noexcept {
    return accepted_ < limits_.max_queue && (accepted_ == 0 || t.call.length <= limits_.max_queue_bytes - std::min(accepted_bytes_, limits_.max_queue_bytes));
  }

  void accept(task_record& t) noexcept {
    ++accepted_;
    accepted_bytes_ += t.call.length;
    t.where = place::queued;
    queue_.push_back(t);
  }

  void release_room(task_record& t) noexcept {
    --accepted_;
    accepted_bytes_ -= t.call.length;
    admit_waiting();
  }

  void admit_waiting() noexcept {
    while (task_record* next = waiting_.front()) {
      if (!fits(*next)) break;
      waiting_.erase(*next);
      accept(*next);
    }
  }

  // -- endings

  void finish(task_record& t, verdict v) noexcept {
    t.outcome = v;
    t.where = place::finished;
    completed_.push_back(t);
  }

  void finish(task_record& t, net::error_code why, const char* text) noexcept {
    t.error = why;
    t.error_text = text;
    finish(t, verdict::failed);
  }

  void abort_all(task_list& list, bool accepted) noexcept {
    while (task_record* t = list.pop_front()) {
      if (accepted) release_room(*t);
      finish(*t, verdict::aborted);
    }
  }

  // -- issuing

  std::uint64_t depth(const worker_record& w) const noexcept {
    const double tasks = ring_work_ns / std::max(w.task_ns, 1.0);
    return tasks >= static_cast<double>(shm::ring_slots) ? shm::ring_slots : 1 + static_cast<std::uint64_t>(tasks);
  }

  // The shortest ring with room; among equals one that is initialized, then awake, then the one that was active last.
  worker_record* pick() const noexcept {
    worker_record* best = nullptr;
    bool best_awake = false;
    for (const auto& each : workers_) {
      worker_record* const w = each.get();
      if (w == nullptr || !w->takes_work() || w->ring_full() || w->load() >= depth(*w)) continue;
      if (best != nullptr && w->load() > best->load()) continue;
      const bool awake = w->load() != 0 || !w->waker.looks_asleep(w->mailbox());
      const auto rank = [](const worker_record& r, bool is_awake) {
        return std::tuple(r.initialized(), is_awake, r.active_at);
      };
      if (best == nullptr || w->load() < best->load() || rank(*w, awake) > rank(*best, best_awake)) {
        best = w;
        best_awake = awake;
      }
    }
    return best;
  }

  // False: this worker cannot take this task now; it stays at the head of the queue.
  bool issue(worker_record& w, task_record& t, time_point now) noexcept {
    const int error = t.block ? policy_.send_segment(w, t.block) : 0;
    if (error == EAGAIN && w.load() != 0) return false; // it will read its socket before it sleeps
    if (error == EPIPE || error == ECONNRESET) {        // it is dead, as its pidfd will tell, or has closed its socket
      w.stalled = true;                                 // the task stays at the head of the queue, for another worker
      if (w.load() == 0) kill_now(w, now);
      return true;
    }
    queue_.erase(t);
    if (error != 0) {
      release_room(t);
      finish(t, os::system_code(error), "the argument memory could not be sent to a worker");
      return true;
    }
    if (w.load() == 0) {
      w.active_at = now;
      new_head(w, t, now);
    }
    if (arm_epoch_ != 0) w.arm(arm_epoch_); // W4: before READY
    w.publish(t);
    return true;
  }

  void new_head(worker_record& w, task_record& t, time_point now) noexcept {
    w.head_since = now;
    w.head_deadline = t.timeout == unlimited ? time_point::max() : after(now, t.timeout);
  }

  void requeue(task_record& t) noexcept {
    t.worker = nullptr;
    if (failed_ || closed_) { // nobody will take it any more
      release_room(t);
      return failed_ ? finish(t, failure_, failure_text_) : finish(t, verdict::aborted);
    }
    t.where = place::queued;
    queue_.insert_by_id(t);
  }

  struct idle_workers {
    std::size_t all = 0, initialized = 0;
  };

  idle_workers find_idle() const noexcept {
    idle_workers idle;
    for (const auto& w : workers_) {
      if (!w || !w->takes_work() || w->load() != 0) continue;
      ++idle.all;
      idle.initialized += w->initialized();
    }
    return idle;
  }

  // How many tasks of w idle workers should take: those behind the one that it runs, or will begin any moment; all of
  // them where w is still initializing and they are not.
  static std::size_t spare_tasks(const worker_record& w, const idle_workers& idle) noexcept {
    if (idle.initialized != 0 && !w.initialized()) return std::min(w.unfinished(), idle.initialized);
    return w.unfinished() < 2 ? 0 : std::min(w.unfinished() - 1, idle.all);
  }

  // A worker without work takes what lies unstarted behind a task that has been running for a while.
  void rebalance(time_point now) noexcept {
    const idle_workers idle = find_idle();
    if (idle.all == 0) return;
    for (auto& w : workers_) {
      if (!w || now < w->active_at + steal_after) continue;
      std::size_t wanted = spare_tasks(*w, idle);
      const task_record* const kept = wanted == w->unfinished() ? nullptr : w->head();
      w->each_issued([&](task_record& t) {
        if (wanted == 0 || kept == &t || !w->revoke(t)) return;
        requeue(t);
        --wanted;
      });
    }
    while (task_record* t = queue_.front()) {
      worker_record* const w = pick();
      if (w == nullptr || !issue(*w, *t, now)) break;
    }
  }

  // -- draining

  std::size_t drain_worker(worker_record& w, std::size_t& budget, time_point now) noexcept {
    std::size_t moved = 0, tasks = 0;
    while (budget > 0) {
      const auto d = w.drain_one();
      if (d.kind == worker_record::drained_kind::nothing) break;
      if (d.kind == worker_record::drained_kind::violation) {
        violation(w, now);
        return moved + 1;
      }
      ++moved;
      if (d.kind == worker_record::drained_kind::acknowledged) continue;
      ++tasks;
      --budget;
      release_room(*d.task);
      if (w.victim == d.task) { // it finished before the signal took effect, or in spite of it
        w.victim = nullptr;
        if (w.status == state::ending) kill_now(w, now); // nothing is left to hurt; a replacement need not wait
      }
      finish_result(*d.task);
    }
    if (moved == 0) return 0;
    if (std::exchange(w.stalled, false) && w.status == state::live) {
      w.reason = kill_reason::none;
      w.next_step = time_point::max();
    }
    if (tasks != 0) {
      start_failures_ = 0;
      const double each = static_cast<double>((now - w.active_at).count()) / static_cast<double>(tasks);
      w.task_ns += (each - w.task_ns) * (each < w.task_ns ? 0.5 : 0.125);
    }
    w.active_at = now;
    w.head_since = w.head_deadline = time_point::max();
    if (task_record* t = w.head()) new_head(w, *t, now);
    return moved;
  }

  void finish_result(task_record& t) noexcept {
    t.where = place::finished; // outcome and result are set by drain_one()
    completed_.push_back(t);
  }

  // -- killing and dying

  // Rule K. The worker gets no more work from here on, so a signal can only hit the target, or nobody.
  void kill_running(worker_record& w, task_record& t, kill_reason reason, time_point now) noexcept {
    if (w.status != state::live) {
      if (w.victim == nullptr && w.status != state::dead) w.victim = &t, w.reason = reason;
      return;
    }
    w.each_issued(
        [&](task_record& behind) {
          if (w.revoke(behind)) requeue(behind);
        },
        t.seq + 1);
    switch (w.look(t)) {
    case worker_record::task_state::running: break;
    case worker_record::task_state::illegal: return violation(w, now);
    default: return; // finished meanwhile: the worker goes on
    }
    w.status = state::ending;
    w.reason = reason;
    w.victim = &t;
    w.next_step = after(now, limits_.kill_grace);
    w.head_deadline = time_point::max();
    policy_.signal(w, SIGTERM);
  }

  void kill_now(worker_record& w, time_point now) noexcept {
    w.status = state::killed;
    w.next_step = after(now, limits_.kill_grace);
    w.head_deadline = time_point::max();
    policy_.signal(w, SIGKILL);
  }

  // It wrote what no worker writes: nothing it says of its tasks counts any more.
  void violation(worker_record& w, time_point now) noexcept {
    if (w.exit.cause == loss_cause::violation) return;
    w.exit.cause = loss_cause::violation;
    w.reason = kill_reason::violation;
    if (w.status != state::dead && w.status != state::killed) kill_now(w, now);
  }

  void step(worker_record& w, time_point now) noexcept {
    if (now >= w.head_deadline) head_expired(w, now);
    if (now < w.next_step) return;
    switch (w.status) {
    case state::live: // stalled for too long: nothing of its ring was begun, so nobody is hurt
    case state::ending: return kill_now(w, now);
    case state::killed: return quarantine(w, now);
    default: w.next_step = time_point::max();
    }
  }

  // Rule D.
  void head_expired(worker_record& w, time_point now) noexcept {
    w.head_deadline = time_point::max();
    task_record* const t = w.head();
    if (t == nullptr || w.status != state::live) return;
    switch (w.look(*t)) {
    case worker_record::task_state::illegal: return violation(w, now);
    case worker_record::task_state::done: return;
    case worker_record::task_state::running: return kill_running(w, *t, kill_reason::timed_out, now);
    case worker_record::task_state::ready: break;
    }
    if (!w.initialized()) return new_head(w, *t, now); // no task has begun, and nothing hangs: an initializer may take long
    if (!w.revoke(*t)) return kill_running(w, *t, kill_reason::timed_out, now); // begun this very moment
    requeue(*t);
    w.each_issued([&](task_record& behind) {
      if (w.revoke(behind)) requeue(behind);
    });
    // It has not even begun in that time (stopped, starved): it gets no new work until it moves.
    w.stalled = true;
    w.reason = kill_reason::stalled;
    w.next_step = after(now, limits_.kill_grace);
  }

  worker_record* find(std::uint64_t incarnation) const noexcept {
    for (const auto& w : workers_)
      if (w && w->incarnation == incarnation) return w.get();
    for (const auto& w : corpses_)
      if (w->incarnation == incarnation) return w.get();
    return nullptr;
  }

  // Drains the ring once more with the same validation, moves what was not begun, starts a replacement.
  void died(worker_record& w, time_point now) noexcept {
    if (w.status != state::dead) {
      const bool was_quarantined = w.status == state::quarantined;
      w.status = state::dead;
      w.next_step = after(now, limits_.exit_status_wait);
      w.head_deadline = time_point::max();
      w.exit_known |= server_gone_; // nobody is left to tell
      if (!was_quarantined) bury(w, now);
    }
    for (std::size_t i = 0; i < corpses_.size(); ++i)
      if (corpses_[i].get() == &w) {
        classify(i, now);
        return;
      }
  }

  void bury(worker_record& w, time_point now) noexcept {
    std::size_t budget = ~std::size_t{0};
    drain_worker(w, budget, now);
    if (w.exit.cause != loss_cause::violation && !w.legal_remains()) violation(w, now);
    if (w.exit.cause != loss_cause::violation)
      w.each_issued([&](task_record& t) {
        if (w.look(t) == worker_record::task_state::ready) move_from_dead(w, t);
      });
    const unsigned index = w.index;
    const bool came_up = w.initialized();
    corpses_.push_back(std::move(workers_[index]));
    if (server_gone_ || closed_) return;
    if (came_up)
      policy_.request_start(index);
    else
      restart_later(index, make_error_code(errc::worker_start_failed),
                    "workers die before they are initialized (does the initializer throw or crash?)", now);
  }

  // The worker's word says READY and it is dead: it never began this task.
  void move_from_dead(worker_record& w, task_record& t) noexcept {
    if (!w.revoke(t)) return;
    requeue(t);
  }

  // Completes the task that a dead worker was running once its end is explained. True: the corpse is gone.
  bool classify(std::size_t i, time_point) noexcept {
    worker_record& w = *corpses_[i];
    if (w.status != state::dead || !w.exit_known) return false;
    w.each_issued([&](task_record& t) {
      t.worker = nullptr;
      release_room(t);
      if (w.exit.cause != loss_cause::violation && &t == w.victim && w.reason == kill_reason::cancelled)
        return finish(t, verdict::aborted);
      if (w.exit.cause != loss_cause::violation && &t == w.victim && w.reason == kill_reason::timed_out)
        return finish(t, verdict::task_timeout);
      lose(t, w);
    });
    w.clear_ring();
    policy_.retire(std::move(corpses_[i]));
    corpses_.erase(corpses_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }

  void lose(task_record& t, const worker_record& w) noexcept {
    t.exit.reset(new (std::nothrow) worker_exit(w.exit));
    t.started = true;
    finish(t, verdict::lost);
  }

  // It survived SIGKILL (uninterruptible sleep): its task ends on time, its slot gets a replacement.
  void quarantine(worker_record& w, time_point now) noexcept {
    w.status = state::quarantined;
    w.next_step = time_point::max();
    w.each_issued([&](task_record& t) {
      t.worker = nullptr;
      release_room(t);
      if (&t == w.victim && w.reason == kill_reason::cancelled) return finish(t, verdict::aborted);
      if (&t == w.victim && w.reason == kill_reason::timed_out) return finish(t, verdict::task_timeout);
      lose(t, w);
    });
    w.clear_ring();
    w.victim = nullptr;
    const unsigned index = w.index;
    corpses_.push_back(std::move(workers_[index]));
    if (!server_gone_ && !closed_) policy_.request_start(index);
    static_cast<void>(now);
  }

  void restart_later(unsigned index, net::error_code why, const char* text, time_point now) noexcept {
    if (failed_ || closed_) return;
    if (++start_failures_ > limits_.max_start_failures && !any_initialized()) return fail(why, text);
    const unsigned doublings = std::min(start_failures_, 7u);
    restarts_[index] = now + std::chrono::milliseconds(10ll << (doublings - 1));
  }

  bool any_initialized() const noexcept {
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const auto& w) { return w && w->status == state::live && w->initialized(); });
  }

  // The restart budget is exhausted: everything that is not running completes with the cause.
  void fail(net::error_code why, const char* text) noexcept {
    failed_ = true;
    failure_ = why;
    failure_text_ = text;
    policy_.forget_starts();
    std::fill(restarts_.begin(), restarts_.end(), time_point::max());
    while (task_record* t = waiting_.pop_front()) finish(*t, why, text);
    while (task_record* t = queue_.pop_front()) {
      --accepted_;
      accepted_bytes_ -= t->call.length;
      finish(*t, why, text);
    }
  }

  dispatcher_limits limits_;
  Policy& policy_;
  std::vector<worker_ptr> workers_;             // by index; null: none at the moment
  std::vector<worker_ptr> corpses_;             // dead and unexplained, or quarantined
  std::vector<time_point> restarts_;            // by index; max(): none planned
  task_list waiting_, queue_, completed_;
  std::uint64_t last_id_ = 0, accepted_ = 0, accepted_bytes_ = 0, arm_epoch_ = 0;
  unsigned start_failures_ = 0;
  bool closed_ = false, failed_ = false, server_gone_ = false;
  net::error_code failure_;
  const char* failure_text_ = nullptr;
};

} // namespace coproc::pool
