// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/fleet.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF fleet::fleet(const dispatcher_limits& limits, effects& kernel, ledger& books, watchdog& dog) : pace(limits.max_workers >= limits.usable_cpus), limits_(limits), effects_(kernel), ledger_(books), watchdog_(dog),
      seats_(limits.max_workers),
      restarts_(limits_, kernel, books, seats_) {
  if (limits_.min_workers == 0) limits_.min_workers = limits.max_workers;
}

COPROC_LAZY_DEF void fleet::refuse_unkillable(worker_record& w, time_point now) noexcept {
  const unsigned index = w.index;
  dismiss(w, exit_cause::self, now);
  if (!ending_) start_failed(index, os::system_code(EMFILE), now);
}

COPROC_LAZY_DEF void fleet::step(worker_record& w, time_point now) noexcept {
  if (watchdog_.step(w, now)) quarantine(w, now);
}

COPROC_LAZY_DEF void fleet::settle_results(worker_record& w, const ended_tasks& ended, time_point now) noexcept {
  seats_[w.index].failures = 0;
  const std::span tasks(ended.task.data(), ended.count);
  meter.ran(w, tasks, now);
  for (task_record* t : tasks) {
    if (w.victim == t) { // it finished before the signal took effect, or in spite of it
      w.victim = nullptr;
      if (w.status == state::ending) watchdog_.kill_now(w, now); // nothing is left to hurt; a replacement need not wait
    }
    ledger_.finish_issued(*t, t->outcome);
  }
}

COPROC_LAZY_DEF void fleet::measure(worker_record& w, time_point now) noexcept {
  if (limits_.max_memory_per_child == 0 || w.due || now - w.measured_at < measure_every) return;
  w.measured_at = now;
  if (effects_.private_bytes(w) <= limits_.max_memory_per_child) return;
  w.due = true;
  w.due_to = exit_cause::memory_limit;
}

COPROC_LAZY_DEF void fleet::died(worker_record& w, time_point now) noexcept {
  if (w.status != state::dead) {
    w.exit.phase = !w.initialized() ? exit_phase::starting : w.head() ? exit_phase::running : exit_phase::idle;
    w.status = state::dead;
    w.next_step = after(now, limits_.exit_status_wait);
    w.head_deadline = w.head_soft_deadline = w.start_deadline = time_point::max();
    bury(w, now);
  }
  w.exit.index = w.index;
  w.exit.tasks_done = w.tasks_done;
  w.exit.age = now - w.born_at;
  for (std::size_t i = 0; i < seats_.departed().size(); ++i)
    if (seats_.departed()[i].get() == &w) {
      classify(i);
      return;
    }
}

COPROC_LAZY_DEF void fleet::bury(worker_record& w, time_point now) noexcept {
  std::size_t budget = ~std::size_t{0};
  drain(w, budget, now);
  if (w.exit.cause != exit_cause::violation && !w.legal_remains()) watchdog_.violation(w, now);
  if (w.exit.cause != exit_cause::violation)
    w.each_issued([&](task_record& t) { // READY, and it is dead: it never began this task
      if (w.look(t) == worker_record::task_state::ready && w.revoke(t)) ledger_.requeue(t);
    });
  if (w.exit.cause == exit_cause::self && w.left() && w.unfinished() == 0) w.exit.cause = exit_cause::idle;
  if (!seats_.depart(w)) return; // it had left its seat
  see_to_successor(w, now);
}

COPROC_LAZY_DEF void fleet::see_to_successor(const worker_record& w, time_point now) noexcept {
  const seat& s = seats_[w.index];
  if (!restarts_.enabled()) return;
  if (s.worker && !(s.worker->due || s.worker->exhausted())) return;
  if (w.exit.cause == exit_cause::idle) return;
  const bool deliberate = w.exit.cause != exit_cause::self && w.exit.cause != exit_cause::start_timeout;
  const bool of_a_task = w.unfinished() != 0; // what it had not begun has been taken back
  if (w.initialized() && (deliberate || of_a_task || w.tasks_done != 0)) return request(w.index);
  if (w.initialized()) return restarts_.after_crash(w.index, now);
  restarts_.after_failed_start(w.index, {},
                               w.exit.cause == exit_cause::start_timeout
                                   ? "workers are not initialized within start_timeout (does the initializer hang?)"
                                   : "workers die before they are initialized (does the initializer throw or crash?)",
                               now);
}

COPROC_LAZY_DEF bool fleet::classify(std::size_t i) noexcept {
  worker_record& w = *seats_.departed()[i];
  if (w.status != state::dead || !w.exit_known) return false;
  end_remaining(w);
  ++ledger_.counters().exits[static_cast<std::size_t>(w.exit.cause)];
  effects_.retire(std::move(seats_.departed()[i]));
  seats_.departed().erase(seats_.departed().begin() + static_cast<std::ptrdiff_t>(i));
  return true;
}

COPROC_LAZY_DEF void fleet::end_remaining(worker_record& w) noexcept {
  w.each_issued([&](task_record& t) {
    const bool is_victim = &t == w.victim && w.exit.cause != exit_cause::violation;
    if (is_victim && w.exit.cause == exit_cause::timed_out) {
      meter.died_with(w, t, "task_timeout");
      t.encumbered = true;
      make_details(t).exit = w.exit;
      return ledger_.finish_issued(t, verdict::task_timeout);
    }
    if (is_victim && (w.exit.cause == exit_cause::cancelled || w.exit.cause == exit_cause::shutdown)) {
      meter.died_with(w, t, "aborted");
      return ledger_.finish_issued(t, verdict::aborted);
    }
    meter.died_with(w, t, "lost");
    ledger_.lose(t, w.exit);
  });
  meter.worker_ended(w);
  w.clear_ring();
  w.victim = nullptr;
}

COPROC_LAZY_DEF void fleet::quarantine(worker_record& w, time_point now) noexcept {
  w.status = state::quarantined;
  w.next_step = time_point::max();
  w.exit.age = now - w.born_at;
  w.exit.still_running = true;
  end_remaining(w);
  const unsigned index = w.index;
  if (!seats_.depart(w)) return;
  if (restarts_.enabled() && !seats_[index].worker) request(index);
}

COPROC_LAZY_DEF void fleet::replace_if_due(seat& s, time_point now) noexcept {
  if (!s.worker || s.worker->status != state::live || !(s.worker->due || s.worker->exhausted())) return;
  worker_record& w = *s.worker;
  if (!restarts_.enabled() || ledger_.failed()) return;
  if (!s.successor && !s.requested && s.restart_at == time_point::max()) request(w.index);
  w.relieved = s.successor && s.successor->initialized();
  if (w.load() != 0) return;
  if (w.exhausted() || w.relieved) dismiss(w, w.due_to, now);
}

COPROC_LAZY_DEF void fleet::dismiss(worker_record& w, exit_cause cause, time_point now) noexcept {
  w.status = state::leaving;
  w.exit.cause = cause;
  w.next_step = after(now, limits_.kill_grace);
  effects_.dismiss(w);
  seats_.depart(w);
}

COPROC_LAZY_DEF void fleet::end(worker_record& w, int signal, time_point now) noexcept {
  if (w.status == state::starting) { // started() sees to it, if the fork server still answers
    w.start_deadline = std::min(w.start_deadline, after(now, limits_.kill_grace));
    return;
  }
  if (w.status != state::live && !(w.status == state::ending && signal == SIGKILL)) return;
  if (w.load() == 0) return signal == SIGKILL ? kill_off(w, now) : dismiss(w, exit_cause::shutdown, now);
  if (signal == SIGKILL) return kill_off(w, now);
  if (task_record* t = w.head()) watchdog_.kill_running(w, *t, exit_cause::shutdown, now);
  if (w.status == state::live) { // between tasks: revoked ones are being acknowledged
    w.status = state::ending;
    w.exit.cause = exit_cause::shutdown;
    w.next_step = after(now, limits_.kill_grace);
    effects_.dismiss(w);
  }
}

COPROC_LAZY_DEF void fleet::kill_off(worker_record& w, time_point now) noexcept {
  if (w.exit.cause == exit_cause::self) w.exit.cause = exit_cause::shutdown;
  if (w.victim == nullptr) w.victim = w.head();
  watchdog_.kill_now(w, now);
}

COPROC_LAZY_DEF void fleet::roll(time_point now) noexcept {
  make_next_due();
  for (seat& s : seats_) replace_if_due(s, now);
}

COPROC_LAZY_DEF void fleet::make_next_due() noexcept {
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

COPROC_LAZY_DEF bool fleet::may_grow() const noexcept {
  return limits_.min_workers < seats_.size() && restarts_.enabled() && !ledger_.failed();
}

COPROC_LAZY_DEF void fleet::request(unsigned index) noexcept { restarts_.request(index); }

COPROC_LAZY_DEF void fleet::add_worker(worker_ptr w, time_point now) noexcept {
  w->born_at = now;
  w->start_deadline = after(now, limits_.start_timeout);
  w->task_limit = limits_.max_tasks_per_child;
  if (limits_.max_tasks_jitter != 0) w->task_limit -= scramble(w->incarnation + golden_gamma) % (limits_.max_tasks_jitter + 1);
  w->may_leave = limits_.leave_when_idle && w->index >= limits_.min_workers;
  seats_.sit(std::move(w));
}

COPROC_LAZY_DEF void fleet::start_failed(unsigned index, net::error_code why, time_point now) noexcept {
  seats_[index].requested = false;
  restarts_.after_failed_start(index, why, "a worker process could not be started", now);
}

COPROC_LAZY_DEF void fleet::start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
  worker_record* const w = seats_.find(incarnation);
  if (w == nullptr || w->status != state::starting) return;
  const unsigned index = w->index;
  effects_.retire(seats_.take(*w));
  start_failed(index, why, now);
}

COPROC_LAZY_DEF void fleet::started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept {
  worker_record* const w = seats_.find(incarnation);
  if (w == nullptr) return;
  w->handles.pid = w->exit.pid = pid;
  w->handles.pidfd = std::move(pidfd);
  if (!w->handles.pidfd && limits_.pidfds) return refuse_unkillable(*w, now);
  meter.worker_started(*w, now);
  if (w->status != state::starting) return;
  w->status = state::live;
  if (ending_) dismiss(*w, exit_cause::shutdown, now);
}

COPROC_LAZY_DEF void fleet::exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
  worker_record* const w = seats_.find(incarnation);
  if (w == nullptr) return;
  const worker_exit known = std::exchange(w->exit, how);
  w->exit.cause = known.cause;
  w->exit.phase = known.phase;
  w->exit_known = true;
  died(*w, now);
}

COPROC_LAZY_DEF void fleet::died(std::uint64_t incarnation, time_point now) noexcept {
  if (worker_record* w = seats_.find(incarnation)) died(*w, now);
}

COPROC_LAZY_DEF void fleet::signal_refused(std::uint64_t incarnation, int error) noexcept {
  if (worker_record* const w = seats_.find(incarnation)) w->exit.kill_error = error;
}

COPROC_LAZY_DEF void fleet::server_lost(time_point now) noexcept {
  restarts_.end();
  lose_workers(now);
  restarts_.fail({}, "the fork server died, and so did the one that stood by, so no worker can be started: make a new pool",
                 now);
}

COPROC_LAZY_DEF void fleet::server_replaced(time_point now) noexcept {
  lose_workers(now);
}

COPROC_LAZY_DEF void fleet::lose_workers(time_point now) noexcept {
  for (unsigned i = 0; i < size(); ++i) {
    for (worker_ptr* each : {&seats_[i].successor, &seats_[i].worker}) {
      if (!*each) continue;
      worker_record& w = **each;
      if (w.status == state::starting) { // nobody will say what has become of it
        effects_.retire(std::move(*each));
        if (restarts_.enabled()) request(i);
        continue;
      }
      w.exit_known = true; // as known as it will ever be
      if (w.exit.cause == exit_cause::self) w.exit.cause = exit_cause::fork_server;
      if (w.status != state::live && w.status != state::ending) continue;
      // The kernel kills them already (PDEATHSIG); this also bounds the wait should their deaths go unnoticed.
      watchdog_.take_back(w);
      watchdog_.kill_now(w, now);
    }
  }
  for (std::size_t i = 0; i < seats_.departed().size();) {
    seats_.departed()[i]->exit_known = true;
    if (!classify(i)) ++i;
  }
}

COPROC_LAZY_DEF std::size_t fleet::drain(worker_record& w, std::size_t& budget, time_point now) noexcept {
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
    // No longer than it was there: a lie should not last.
    if (d.ran_ns != 0) pace.learn(std::min(static_cast<double>(d.ran_ns), static_cast<double>((now - w.born_at).count())));
    ended.task[ended.count++] = d.task;
  }
  if (moved == 0) return 0;
  if (ended.count != 0) settle_results(w, ended, now);
  if (violated) {
    watchdog_.violation(w, now);
    return moved;
  }
  w.stalled = false;
  if (w.status == state::live) w.next_step = time_point::max();
  w.active_at = now;
  w.head_woke_it = false;
  // At once where it was given more than it should have been, because tasks were shorter until now.
  w.steal_at = !pace.is_short() && w.unfinished() > pace.depth() ? now : now + steal_after;
  watchdog_.look_at_head(w, now);
  measure(w, now);
  if (w.due || w.exhausted()) replace_if_due(seats_[w.index], now);
  return moved;
}

COPROC_LAZY_DEF void fleet::issued(worker_record& w, time_point now) noexcept {
  if (w.exhausted()) replace_if_due(seats_[w.index], now);
}

COPROC_LAZY_DEF void fleet::recycle_all(time_point now) noexcept {
  for (const seat& s : seats_)
    if (s.worker) rolling_ = std::max(rolling_, s.worker->incarnation);
  roll(now);
}

COPROC_LAZY_DEF void fleet::try_to_recover(time_point now) noexcept { restarts_.try_to_recover(now); }

COPROC_LAZY_DEF void fleet::tick(time_point now) noexcept {
  for (seat& s : seats_)
    for (worker_ptr* each : {&s.worker, &s.successor})
      if (*each) step(**each, now);
  roll(now);
  restarts_.tick(now);
  for (std::size_t i = 0; i < seats_.departed().size();) {
    worker_record& w = *seats_.departed()[i];
    if (w.status == state::dead && now >= w.next_step) w.exit_known = true;
    if (w.status != state::dead) step(w, now);
    if (!classify(i)) ++i;
  }
}

COPROC_LAZY_DEF time_point fleet::next_deadline() const noexcept {
  time_point next = time_point::max();
  const auto of = [&](const worker_ptr& w) {
    if (w) next = std::min(next, watchdog_.next_deadline(*w));
  };
  for (const seat& s : seats_) {
    of(s.worker), of(s.successor);
    next = std::min(next, s.restart_at);
  }
  for (const worker_ptr& w : seats_.departed()) next = std::min(next, w->next_step);
  return next;
}

COPROC_LAZY_DEF void fleet::end_all(int signal, time_point now) noexcept {
  ending_ = true;
  restarts_.end();
  for (seat& s : seats_)
    for (worker_ptr* each : {&s.successor, &s.worker})
      if (*each) end(**each, signal, now);
  for (std::size_t i = 0; signal == SIGKILL && i < seats_.departed().size(); ++i)
    if (seats_.departed()[i]->status == state::leaving) watchdog_.kill_now(*seats_.departed()[i], now);
}

COPROC_LAZY_DEF void fleet::stop_all() noexcept {
  each_worker([&](auto& w) {
    if (task_record* t = w.head(); t && w.look(*t) == worker_record::task_state::running) w.raise_stop(*t);
  });
}

COPROC_LAZY_DEF bool fleet::in_transition() const noexcept { return seats_.in_transition(); }

COPROC_LAZY_DEF bool fleet::gone() const noexcept { return seats_.gone(); }

COPROC_LAZY_DEF void fleet::abandon() noexcept {
  ending_ = true;
  restarts_.end();
  const auto drop = [&](auto& w) {
    w.each_issued([&](task_record& t) { ledger_.finish_issued(t, verdict::aborted); });
    w.clear_ring();
    w.victim = nullptr;
  };
  for (seat& s : seats_)
    if (s.worker) drop(*s.worker);
  for (worker_ptr& w : seats_.departed()) drop(*w);
}

} // namespace coproc::detail::front
