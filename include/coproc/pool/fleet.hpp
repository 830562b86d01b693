// SPDX-License-Identifier: BSL-1.0
// The workers of a pool from birth to burial: who sits in which seat, who is killed and why, who is replaced and when, and
// what becomes of the tasks in a ring whose worker is gone. A pure state machine, as the dispatcher that owns it. Front end,
// under the pool's mutex.
#pragma once

#include <coproc/pool/ledger.hpp>
#include <coproc/pool/trace_event.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <csignal>
#include <memory>
#include <utility>
#include <vector>

namespace coproc::pool {

/// What is wanted done. Called under the pool's mutex; none may call back into the dispatcher.
template <class P>
concept dispatcher_policy = requires(P p, worker_record& w, const shm::argument_block& block, int signal, unsigned index) {
  { p.signal(w, signal) };          ///< through the pidfd; a dead process is no error
  { p.dismiss(w) };                 ///< it is to end in an orderly way once its ring is empty
  { p.request_start(index) };       ///< make an incarnation; answer with add_worker() or start_failed()
  { p.forget_starts() };            ///< requests that are not answered yet need no answer any more
  { p.server_hangs() };             ///< it does not answer START: end it
  { p.private_bytes(w) } -> std::same_as<std::uint64_t>; ///< resident and not shared; 0: unknown
  { p.send_segment(w, block) } -> std::same_as<int>;     ///< 0, EAGAIN (its socket is full now), or another errno
  { p.retire(std::declval<std::unique_ptr<worker_record>>()) }; ///< dead and dealt with: close its descriptors
};

template <dispatcher_policy Policy>
class fleet {
public:
  using worker_ptr = std::unique_ptr<worker_record>;
  using state = worker_record::state;

  fleet(const dispatcher_limits& limits, Policy& policy, ledger& books)
      : limits_(limits), policy_(policy), ledger_(books) {
    if (limits_.min_workers == 0) limits_.min_workers = limits.max_workers;
    seats_.resize(limits.max_workers);
    departed_.reserve(2 * std::size_t{limits.max_workers} + 8); // more only when that many are unkillable
  }

  const dispatcher_limits& limits() const noexcept { return limits_; }
  unsigned size() const noexcept { return static_cast<unsigned>(seats_.size()); }
  worker_record* at(unsigned index) const noexcept { return seats_[index].worker.get(); }

  /// Calls f(worker) for each incarnation that takes part.
  template <class F>
  void each_worker(F f) const {
    for (const seat& s : seats_)
      if (s.worker) f(*s.worker);
  }

  /// Calls f(worker) for each process that may still be alive.
  template <class F>
  void each_process(F f) const {
    for (const seat& s : seats_) {
      if (s.worker) f(*s.worker);
      if (s.successor) f(*s.successor);
    }
    for (const worker_ptr& w : departed_)
      if (w->status != state::dead) f(*w);
  }

  // ---- births

  /// Nobody sits there, or is about to.
  bool vacant(unsigned index) const noexcept {
    const seat& s = seats_[index];
    return !s.worker && !s.requested && s.restart_at == time_point::max();
  }

  /// Are there seats that are filled on demand?
  bool may_grow() const noexcept {
    return limits_.min_workers < seats_.size() && !ending_ && !server_gone_ && !ledger_.failed();
  }

  void request(unsigned index) noexcept {
    seats_[index].requested = true;
    seats_[index].restart_at = time_point::max();
    policy_.request_start(index);
  }

  /// An incarnation whose START was sent.
  void add_worker(worker_ptr w, time_point now) noexcept {
    seat& s = seats_[w->index];
    s.requested = false;
    w->born_at = now;
    w->start_deadline = after(now, limits_.start_timeout);
    w->task_limit = limits_.max_tasks_per_child;
    if (limits_.max_tasks_jitter != 0) w->task_limit -= scramble(w->incarnation) % (limits_.max_tasks_jitter + 1);
    w->may_leave = limits_.leave_when_idle && w->index >= limits_.min_workers;
    (s.worker ? s.successor : s.worker) = std::move(w);
  }

  /// No incarnation could be made for this index, or its START could not be sent.
  void start_failed(unsigned index, net::error_code why, time_point now) noexcept {
    seats_[index].requested = false;
    restart_later(index, why, "a worker process could not be started", now);
  }

  /// The fork server answered START_FAILED.
  void start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
    worker_record* const w = find(incarnation);
    if (w == nullptr || w->status != state::starting) return;
    const unsigned index = w->index;
    policy_.retire(take(*w));
    start_failed(index, why, now);
  }

  void started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept {
    worker_record* const w = find(incarnation);
    if (w == nullptr) return;
    w->handles.pid = w->exit.pid = pid;
    w->handles.pidfd = std::move(pidfd);
    if (!w->handles.pidfd && limits_.pidfds) return refuse_unkillable(*w, now);
    trace({trace_event::kind::worker_start, "", w->index, pid, 0, {}, {}, now});
    if (w->status != state::starting) return;
    w->status = state::live;
    if (ending_) dismiss(*w, exit_cause::shutdown, now);
  }

  // ---- deaths

  /// EXITED: the cause of a death, and news of it should the pidfd not have spoken yet.
  void exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
    worker_record* const w = find(incarnation);
    if (w == nullptr) return;
    const worker_exit known = std::exchange(w->exit, how);
    w->exit.cause = known.cause;
    w->exit.phase = known.phase;
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
    for (unsigned i = 0; i < size(); ++i) {
      seats_[i].requested = false;
      for (worker_ptr* each : {&seats_[i].successor, &seats_[i].worker}) {
        if (!*each) continue;
        worker_record& w = **each;
        if (w.status == state::starting) {
          policy_.retire(std::move(*each));
          continue;
        }
        if (w.exit.cause == exit_cause::self) w.exit.cause = exit_cause::fork_server;
        if (w.status != state::live && w.status != state::ending) continue;
        // The kernel kills them already (PDEATHSIG); this also bounds the wait should their deaths go unnoticed.
        take_back(w);
        kill_now(w, now);
      }
    }
    for (std::size_t i = 0; i < departed_.size();) {
      departed_[i]->exit_known = true; // as known as it will ever be
      if (!classify(i)) ++i;
    }
    fail({}, "the fork server died, so no worker can be started: make a new pool", now);
  }

  // ---- killing

  /// Rule K. The worker gets no more work from here on, so a signal can only hit the target, or nobody.
  void kill_running(worker_record& w, task_record& t, exit_cause cause, time_point now) noexcept {
    if (w.status != state::live) {
      if (w.victim == nullptr && w.status != state::dead) w.victim = &t, w.exit.cause = cause;
      return;
    }
    take_back(w, t.seq + 1);
    switch (w.look(t)) {
    case worker_record::task_state::running: break;
    case worker_record::task_state::done: return; // meanwhile: the worker goes on
    default: return violation(w, now);            // it was not to be taken back, so READY is a lie, too
    }
    w.status = state::ending;
    w.exit.cause = cause;
    w.victim = &t;
    w.grace = t.terms.kill_grace == duration::zero() ? limits_.kill_grace : t.terms.kill_grace;
    w.next_step = after(now, w.grace);
    w.head_deadline = w.head_soft_deadline = time_point::max();
    policy_.signal(w, SIGTERM);
  }

  void kill_now(worker_record& w, time_point now) noexcept {
    w.status = state::killed;
    w.next_step = after(now, limits_.kill_grace);
    w.head_deadline = w.head_soft_deadline = time_point::max();
    policy_.signal(w, SIGKILL);
  }

  /// It wrote what no worker writes: nothing it says of its tasks counts any more.
  void violation(worker_record& w, time_point now) noexcept {
    if (w.exit.cause == exit_cause::violation) return;
    w.exit.cause = exit_cause::violation;
    if (w.status != state::dead && w.status != state::killed) kill_now(w, now);
  }

  /// It has not begun what it should have (stopped, starved, deaf): it gets no new work until it moves, or is killed.
  void stall(worker_record& w, time_point now) noexcept {
    w.stalled = true;
    w.next_step = after(now, limits_.kill_grace);
  }

  // ---- draining

  /// Consumes finished heads, at most `budget` tasks. Returns how many ring entries moved.
  std::size_t drain(worker_record& w, std::size_t& budget, time_point now) noexcept {
    std::size_t moved = 0;
    bool violated = false;
    ended_tasks ended;
    while (budget > 0) {
      const auto d = w.drain_one();
      if (d.kind == worker_record::drained_kind::nothing) break;
      ++moved;
      violated = d.kind == worker_record::drained_kind::violation;
      if (violated) break;
      if (d.kind == worker_record::drained_kind::acknowledged) continue;
      --budget;
      ended.task[ended.count++] = d.task;
    }
    if (moved == 0) return 0;
    if (ended.count != 0) settle_results(w, ended, now);
    if (violated) {
      violation(w, now);
      return moved;
    }
    w.stalled = false;
    if (w.status == state::live) w.next_step = time_point::max();
    w.active_at = now;
    w.steal_at = now + steal_after;
    look_at_head(w, now);
    measure(w, now);
    if (w.due || w.exhausted()) replace_if_due(seats_[w.index], now);
    return moved;
  }

  /// Takes a task back unless it was begun. The next one may thereby come to the head.
  bool revoke(worker_record& w, task_record& t, time_point now) noexcept {
    const bool was_head = w.head() == &t;
    if (!w.revoke(t)) return false;
    if (was_head) look_at_head(w, now);
    // It acknowledges in no time, or does not run at all.
    if (w.unfinished() == 0 && w.initialized() && w.status == state::live && w.next_step == time_point::max())
      w.next_step = after(now, limits_.kill_grace);
    return true;
  }

  /// A task has come to the head of the ring: rule D.
  void new_head(worker_record& w, task_record& t, time_point now) noexcept {
    w.head_since = now;
    w.head_deadline = w.head_soft_deadline = time_point::max();
    if (!t.special) return;
    if (t.terms.timeout != unlimited) w.head_deadline = after(now, t.terms.timeout);
    if (t.terms.soft_timeout != unlimited) w.head_soft_deadline = after(now, t.terms.soft_timeout);
  }

  // ---- replacing

  /// A task was given to it, perhaps its last.
  void issued(worker_record& w, time_point now) noexcept {
    if (w.exhausted()) replace_if_due(seats_[w.index], now);
  }

  /// All workers of today are replaced, one after the other, each when its successor is ready.
  void recycle_all() noexcept {
    for (const seat& s : seats_)
      if (s.worker) rolling_ = std::max(rolling_, s.worker->incarnation);
  }
  bool recycling() const noexcept { return rolling_ != 0; }

  /// The restart budget was exhausted a while ago: tries again.
  void try_to_recover(time_point now) noexcept {
    if (!ledger_.failed() || server_gone_ || ending_ || now < recover_at_) return;
    ledger_.recover();
    for (unsigned i = 0; i < limits_.min_workers; ++i)
      if (vacant(i)) request(i);
  }

  // ---- time

  void tick(time_point now) noexcept {
    for (unsigned i = 0; i < size(); ++i) {
      seat& s = seats_[i];
      if (s.worker) step(*s.worker, now);
      if (s.successor) step(*s.successor, now);
    }
    roll();
    for (unsigned i = 0; i < size(); ++i) {
      seat& s = seats_[i];
      replace_if_due(s, now);
      if (now < s.restart_at) continue;
      s.restart_at = time_point::max();
      if (!ledger_.failed() && !ending_) request(i);
    }
    for (std::size_t i = 0; i < departed_.size();) {
      worker_record& w = *departed_[i];
      if (w.status == state::dead && now >= w.next_step) w.exit_known = true;
      if (w.status != state::dead) step(w, now);
      if (!classify(i)) ++i;
    }
  }

  time_point next_deadline() const noexcept {
    time_point next = time_point::max();
    const auto of = [&](const worker_ptr& w) {
      if (!w) return;
      next = std::min({next, w->next_step, w->head_deadline, w->head_soft_deadline});
      if (w->start_deadline != time_point::max() && !w->initialized()) next = std::min(next, w->start_deadline);
    };
    for (const seat& s : seats_) {
      of(s.worker), of(s.successor);
      next = std::min(next, s.restart_at);
    }
    for (const worker_ptr& w : departed_) next = std::min(next, w->next_step);
    return next;
  }

  // ---- the end

  /// Every worker is to end: those that run a task are sent `signal`, the others are dismissed.
  void end_all(int signal, time_point now) noexcept {
    ending_ = true;
    policy_.forget_starts();
    for (unsigned i = 0; i < size(); ++i) {
      seats_[i].requested = false;
      seats_[i].restart_at = time_point::max();
      for (worker_ptr* each : {&seats_[i].successor, &seats_[i].worker})
        if (*each) end(**each, signal, now);
    }
    for (std::size_t i = 0; signal == SIGKILL && i < departed_.size(); ++i)
      if (departed_[i]->status == state::leaving) kill_now(*departed_[i], now);
  }

  /// Raises the stop token of every running task.
  void stop_all() noexcept {
    each_worker([&](worker_record& w) {
      if (task_record* t = w.head(); t && w.look(*t) == worker_record::task_state::running) w.raise_stop(*t);
    });
  }

  /// Is any worker about to come, or to go?
  bool in_transition() const noexcept {
    for (const seat& s : seats_) {
      if (s.requested) return true;
      for (const worker_ptr* each : {&s.worker, &s.successor})
        if (*each && (*each)->status != state::live) return true;
    }
    return std::any_of(departed_.begin(), departed_.end(),
                       [](const worker_ptr& w) { return w->status != state::quarantined; });
  }

  /// Nobody is left but the unkillable.
  bool gone() const noexcept {
    for (const seat& s : seats_)
      if (s.worker || s.successor || s.requested) return false;
    return std::all_of(departed_.begin(), departed_.end(),
                       [](const worker_ptr& w) { return w->status == state::quarantined; });
  }

  /// Whatever still runs is aborted, without waiting for its worker, and none is started any more.
  void abandon() noexcept {
    ending_ = true;
    policy_.forget_starts();
    const auto drop = [&](worker_record& w) {
      w.each_issued([&](task_record& t) { ledger_.finish_issued(t, verdict::aborted); });
      w.clear_ring();
      w.victim = nullptr;
    };
    for (seat& s : seats_)
      if (s.worker) drop(*s.worker);
    for (worker_ptr& w : departed_) drop(*w);
  }

  // ---- what is counted

  histogram wait_time, run_time;
  trace_buffer traced;

  void trace(const trace_event& e) noexcept {
    if (traced.on()) traced.add(e);
  }

private:
  struct seat {
    worker_ptr worker;
    worker_ptr successor;   ///< stands by for a worker that is to be replaced
    bool requested = false; ///< an incarnation is being made
    time_point restart_at = time_point::max();
    unsigned failures = 0;  ///< in a row: workers that ended by themselves before they ended a task
  };

  static constexpr unsigned free_failures = 4; // of initialized workers: replaced at once
  static constexpr std::chrono::milliseconds measure_every{10};

  // splitmix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
  static constexpr std::uint64_t scramble(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }

  worker_record* find(std::uint64_t incarnation) const noexcept {
    const auto is = [&](const worker_ptr& w) { return w && w->incarnation == incarnation; };
    for (const seat& s : seats_) {
      if (is(s.worker)) return s.worker.get();
      if (is(s.successor)) return s.successor.get();
    }
    for (const worker_ptr& w : departed_)
      if (is(w)) return w.get();
    return nullptr;
  }

  // Its pidfd was dropped on the way, for want of a free descriptor: nobody could kill it, so it gets no work.
  void refuse_unkillable(worker_record& w, time_point now) noexcept {
    const unsigned index = w.index;
    dismiss(w, exit_cause::self, now);
    if (!ending_) start_failed(index, os::system_code(EMFILE), now);
  }
  // Out of its seat; null if it has left it already. A successor that stands by takes over.
  worker_ptr take(worker_record& w) noexcept {
    seat& s = seats_[w.index];
    if (s.successor.get() == &w) return std::move(s.successor);
    if (s.worker.get() != &w) return nullptr;
    worker_ptr taken = std::move(s.worker);
    s.worker = std::move(s.successor);
    return taken;
  }

  void look_at_head(worker_record& w, time_point now) noexcept {
    w.head_since = w.head_deadline = w.head_soft_deadline = time_point::max();
    if (task_record* t = w.head()) new_head(w, *t, now);
  }

  // -- time

  void step(worker_record& w, time_point now) noexcept {
    if (now >= w.head_soft_deadline) soft_expired(w, now);
    if (now >= w.head_deadline) head_expired(w, now);
    if (now >= w.start_deadline) start_expired(w, now);
    if (now < w.next_step) return;
    switch (w.status) {
    case state::live: return stalled_for_too_long(w, now);
    case state::leaving:
    case state::ending: return kill_now(w, now);
    case state::killed: return quarantine(w, now);
    default: w.next_step = time_point::max();
    }
  }

  void stalled_for_too_long(worker_record& w, time_point now) noexcept {
    w.next_step = time_point::max();
    take_back(w);
    if (task_record* const t = w.head()) {
      switch (w.look(*t)) {
      case worker_record::task_state::running: // it has begun after all, and has its whole time
        if (w.head_deadline == time_point::max()) new_head(w, *t, now);
        return;
      case worker_record::task_state::done: return static_cast<void>(w.next_step = after(now, limits_.kill_grace));
      default: return violation(w, now); // neither ours to take back, nor its own
      }
    }
    if (w.load() == 0 && !w.stalled) return; // it moves
    w.exit.cause = exit_cause::stalled;
    kill_now(w, now);
  }

  void soft_expired(worker_record& w, time_point now) noexcept {
    w.head_soft_deadline = time_point::max();
    task_record* const t = w.head();
    if (t == nullptr || w.status != state::live) return;
    if (w.look(*t) != worker_record::task_state::running) { // not begun: its time has not, either
      w.head_soft_deadline = after(now, t->terms.soft_timeout);
      return;
    }
    t->soft_expired = true;
    w.raise_stop(*t);
  }

  void head_expired(worker_record& w, time_point now) noexcept {
    w.head_deadline = time_point::max();
    task_record* const t = w.head();
    if (t == nullptr || w.status != state::live) return;
    w.head_deadline = after(now, limits_.kill_grace); // looked at again, should a word say what is not true
    switch (w.look(*t)) {
    case worker_record::task_state::illegal: return violation(w, now);
    case worker_record::task_state::done: return;
    case worker_record::task_state::running: return kill_running(w, *t, exit_cause::timed_out, now);
    case worker_record::task_state::ready: break;
    }
    if (!w.initialized()) return new_head(w, *t, now); // it has not begun: start_timeout bounds an initializer
    take_back(w, t->seq + 1);
    if (!w.revoke(*t)) return kill_running(w, *t, exit_cause::timed_out, now); // begun this very moment
    ledger_.requeue(*t);
    w.head_deadline = time_point::max();
    stall(w, now);
  }

  // Nothing of its ring was begun. One that was never forked has no pidfd: then it is the fork server that hangs.
  void start_expired(worker_record& w, time_point now) noexcept {
    w.start_deadline = time_point::max();
    if (w.initialized() || (w.status != state::live && w.status != state::starting)) return;
    w.exit.cause = exit_cause::start_timeout;
    if (w.status == state::starting) return policy_.server_hangs();
    take_back(w);
    kill_now(w, now);
  }

  // What it has not begun moves.
  void take_back(worker_record& w, std::uint64_t from = 0) noexcept {
    w.each_issued_backwards(
        [&](task_record& t) {
          if (w.revoke(t)) ledger_.requeue(t);
        },
        from);
  }

  // -- results

  // No more than fit into a ring, since nothing is issued meanwhile.
  struct ended_tasks {
    std::array<task_record*, shm::ring_slots> task;
    std::size_t count = 0;
  };

  void settle_results(worker_record& w, const ended_tasks& ended, time_point now) noexcept {
    seats_[w.index].failures = 0;
    const auto n = static_cast<std::int64_t>(ended.count);
    w.learn_task_time(static_cast<double>((now - w.active_at).count()) / static_cast<double>(n));

    time_point began = std::min(w.head_since, now);
    const auto each = n == 1 ? now - began : (now - began) / n;
    run_time.add(each, ended.count);
    for (std::size_t i = 0; i < ended.count; ++i) {
      task_record* const t = ended.task[i];
      wait_time.add(began - t->submitted_at);
      if (traced.on())
        trace({trace_event::kind::task, t->outcome == verdict::value ? "value" : "exception", w.index, w.handles.pid,
               t->id, t->submitted_at, began, began + each});
      began += each;
      if (w.victim == t) { // it finished before the signal took effect, or in spite of it
        w.victim = nullptr;
        if (w.status == state::ending) kill_now(w, now); // nothing is left to hurt; a replacement need not wait
      }
      ledger_.finish_issued(*t, t->outcome);
    }
  }

  void measure(worker_record& w, time_point now) noexcept {
    if (limits_.max_memory_per_child == 0 || w.due || now - w.measured_at < measure_every) return;
    w.measured_at = now;
    if (policy_.private_bytes(w) <= limits_.max_memory_per_child) return;
    w.due = true;
    w.due_to = exit_cause::memory_limit;
  }

  // -- deaths

  // Drains the ring once more with the same validation, moves what was not begun, sees to a replacement.
  void died(worker_record& w, time_point now) noexcept {
    if (w.status != state::dead) {
      w.exit.phase = !w.initialized() ? exit_phase::starting : w.head() ? exit_phase::running : exit_phase::idle;
      w.status = state::dead;
      w.next_step = after(now, limits_.exit_status_wait);
      w.head_deadline = w.head_soft_deadline = w.start_deadline = time_point::max();
      w.exit_known |= server_gone_; // nobody is left to tell
      bury(w, now);
    }
    w.exit.index = w.index;
    w.exit.tasks_done = w.tasks_done;
    w.exit.age = now - w.born_at;
    for (std::size_t i = 0; i < departed_.size(); ++i)
      if (departed_[i].get() == &w) {
        classify(i);
        return;
      }
  }

  void bury(worker_record& w, time_point now) noexcept {
    std::size_t budget = ~std::size_t{0};
    drain(w, budget, now);
    if (w.exit.cause != exit_cause::violation && !w.legal_remains()) violation(w, now);
    if (w.exit.cause != exit_cause::violation)
      w.each_issued([&](task_record& t) { // READY, and it is dead: it never began this task
        if (w.look(t) == worker_record::task_state::ready && w.revoke(t)) ledger_.requeue(t);
      });
    if (w.exit.cause == exit_cause::self && w.left() && w.unfinished() == 0) w.exit.cause = exit_cause::idle;
    worker_ptr taken = take(w);
    if (!taken) return; // it had left its seat
    departed_.push_back(std::move(taken));
    see_to_successor(w, now);
  }

  void see_to_successor(const worker_record& w, time_point now) noexcept {
    const seat& s = seats_[w.index];
    if (server_gone_ || ending_) return;
    if (s.worker && !(s.worker->due || s.worker->exhausted())) return;
    if (w.exit.cause == exit_cause::idle) return;
    const bool deliberate = w.exit.cause != exit_cause::self && w.exit.cause != exit_cause::start_timeout;
    if (w.initialized() && (deliberate || w.tasks_done != 0)) return request_unless_requested(w.index);
    if (w.initialized()) return restart_after_crash(w.index, now);
    restart_later(w.index, {},
                  w.exit.cause == exit_cause::start_timeout
                      ? "workers are not initialized within start_timeout (does the initializer hang?)"
                      : "workers die before they are initialized (does the initializer throw or crash?)",
                  now);
  }

  // It died of its first task, or of something else (a thread that the initializer left behind). That costs one task at
  // most, and is no reason to give up; but should it go on, the machine is not to be busy with forks alone.
  void restart_after_crash(unsigned index, time_point now) noexcept {
    seat& s = seats_[index];
    if (++s.failures <= free_failures) return request_unless_requested(index);
    if (!s.requested) s.restart_at = now + back_off(s.failures - free_failures);
  }

  // 10 ms, doubled each time, at most 640 ms.
  static std::chrono::milliseconds back_off(unsigned failures) noexcept {
    return std::chrono::milliseconds(10ll << (std::min(failures, 7u) - 1));
  }

  void request_unless_requested(unsigned index) noexcept {
    if (!seats_[index].requested) request(index);
  }

  // Ends the tasks that a dead worker was running once its end is explained. True: the corpse is gone.
  bool classify(std::size_t i) noexcept {
    worker_record& w = *departed_[i];
    if (w.status != state::dead || !w.exit_known) return false;
    end_remaining(w);
    ++ledger_.counters().exits[static_cast<std::size_t>(w.exit.cause)];
    policy_.retire(std::move(departed_[i]));
    departed_.erase(departed_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }

  void end_remaining(worker_record& w) noexcept {
    w.each_issued([&](task_record& t) {
      const bool is_victim = &t == w.victim && w.exit.cause != exit_cause::violation;
      const auto ends_as = [&](const char* outcome) {
        trace({trace_event::kind::task, outcome, w.index, w.handles.pid, t.id, t.submitted_at,
               std::min(w.head_since, w.born_at + w.exit.age), w.born_at + w.exit.age});
      };
      if (is_victim && w.exit.cause == exit_cause::timed_out) {
        ends_as("task_timeout");
        t.exit.reset(new (std::nothrow) worker_exit(w.exit));
        return ledger_.finish_issued(t, verdict::task_timeout);
      }
      if (is_victim && (w.exit.cause == exit_cause::cancelled || w.exit.cause == exit_cause::shutdown)) {
        ends_as("aborted");
        return ledger_.finish_issued(t, verdict::aborted);
      }
      ends_as("lost");
      ledger_.lose(t, w.exit);
    });
    trace({trace_event::kind::worker_exit, "", w.index, w.handles.pid, 0, {}, {}, w.born_at + w.exit.age});
    w.clear_ring();
    w.victim = nullptr;
  }

  // It survived SIGKILL (uninterruptible sleep): its task ends on time, its seat gets a replacement.
  void quarantine(worker_record& w, time_point now) noexcept {
    w.status = state::quarantined;
    w.next_step = time_point::max();
    w.exit.age = now - w.born_at;
    end_remaining(w);
    const unsigned index = w.index;
    worker_ptr taken = take(w);
    if (!taken) return;
    departed_.push_back(std::move(taken));
    if (!server_gone_ && !ending_ && !seats_[index].worker) request_unless_requested(index);
  }

  // -- replacing

  // A worker that is to be replaced gets a successor that stands by; it leaves when its ring is empty.
  void replace_if_due(seat& s, time_point now) noexcept {
    if (!s.worker || s.worker->status != state::live || !(s.worker->due || s.worker->exhausted())) return;
    worker_record& w = *s.worker;
    if (ending_ || server_gone_ || ledger_.failed()) return;
    if (!s.successor && !s.requested && s.restart_at == time_point::max()) request(w.index);
    if (w.load() != 0) return;
    if (w.exhausted() || (s.successor && s.successor->initialized())) dismiss(w, w.due_to, now);
  }

  // Its ring is empty: it ends in an orderly way, out of its seat.
  void dismiss(worker_record& w, exit_cause cause, time_point now) noexcept {
    w.status = state::leaving;
    w.exit.cause = cause;
    w.next_step = after(now, limits_.kill_grace);
    policy_.dismiss(w);
    if (worker_ptr taken = take(w)) departed_.push_back(std::move(taken));
  }

  void end(worker_record& w, int signal, time_point now) noexcept {
    if (w.status == state::starting) { // started() sees to it, if the fork server still answers
      w.start_deadline = std::min(w.start_deadline, after(now, limits_.kill_grace));
      return;
    }
    if (w.status != state::live && !(w.status == state::ending && signal == SIGKILL)) return;
    if (w.load() == 0) return signal == SIGKILL ? kill_off(w, now) : dismiss(w, exit_cause::shutdown, now);
    if (signal == SIGKILL) return kill_off(w, now);
    if (task_record* t = w.head()) kill_running(w, *t, exit_cause::shutdown, now);
    if (w.status == state::live) { // between tasks: revoked ones are being acknowledged
      w.status = state::ending;
      w.exit.cause = exit_cause::shutdown;
      w.next_step = after(now, limits_.kill_grace);
      policy_.dismiss(w);
    }
  }

  void kill_off(worker_record& w, time_point now) noexcept {
    if (w.exit.cause == exit_cause::self) w.exit.cause = exit_cause::shutdown;
    if (w.victim == nullptr) w.victim = w.head();
    kill_now(w, now);
  }

  // One worker after the other is due, until none is left of those that were there when it began.
  void roll() noexcept {
    if (rolling_ == 0) return;
    worker_record* next = nullptr;
    for (const seat& s : seats_) {
      if (!s.worker || s.worker->incarnation > rolling_) continue;
      if (s.worker->due) return;
      if (next == nullptr) next = s.worker.get();
    }
    if (next != nullptr)
      next->due = true;
    else
      rolling_ = 0;
  }

  void restart_later(unsigned index, net::error_code why, const char* text, time_point now) noexcept {
    ++ledger_.counters().start_failures;
    if (ledger_.failed() || ending_ || server_gone_) return;
    seat& s = seats_[index];
    if (++s.failures > limits_.max_start_failures && !any_initialized()) return fail(why, text, now);
    s.restart_at = now + back_off(s.failures);
  }

  bool any_initialized() const noexcept {
    return std::any_of(seats_.begin(), seats_.end(), [](const seat& s) {
      return s.worker && s.worker->status == state::live && s.worker->initialized();
    });
  }

  // The restart budget is exhausted: everything that is not running completes with the cause, which may have no code.
  void fail(net::error_code why, const char* text, time_point now) noexcept {
    policy_.forget_starts();
    for (seat& s : seats_) {
      s.restart_at = time_point::max();
      s.requested = false;
    }
    recover_at_ = after(now, limits_.recovery_wait);
    ledger_.fail(why, text);
  }

  dispatcher_limits limits_;
  Policy& policy_;
  ledger& ledger_;
  std::vector<seat> seats_;          // by index
  std::vector<worker_ptr> departed_; // out of their seats: leaving, dead and unexplained, or quarantined
  std::uint64_t rolling_ = 0;        // incarnations up to this one are being recycled; 0: none
  time_point recover_at_{};
  bool ending_ = false, server_gone_ = false;
};

} // namespace coproc::pool
