// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/fleet.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF fleet::fleet(const dispatcher_limits& limits, effects& kernel, ledger& books, pace& speed)
    : limits_(limits), effects_(kernel), ledger_(books), pace_(speed), seats_(limits.max_workers),
      restarts_(limits_, kernel, books, seats_) {
  if (limits_.min_workers == 0) limits_.min_workers = limits.max_workers;
}

COPROC_LAZY_DEF void fleet::refuse_unkillable(worker& w, time_point now) noexcept {
  const unsigned index = w.index;
  carry_out(w, w.dismiss(exit_cause::self, now));
  if (!ending_) start_failed(index, os::system_code(EMFILE), now);
}

COPROC_LAZY_DEF void fleet::carry_out(worker& w, worker::action a) noexcept {
  while (task_record* t = a.moved.pop_front()) ledger_.requeue(*t);
  if (a.terminate) effects_.signal(w, SIGTERM);
  if (a.kill) effects_.signal(w, SIGKILL);
  if (a.server_hangs) effects_.server_hangs();
  if (a.dismiss) {
    effects_.dismiss(w);
    if (w.status() == state::leaving) seats_.depart(w);
  }
  if (a.give_up) give_up(w);
}

COPROC_LAZY_DEF void fleet::settle_results(worker& w, const ended_tasks& ended, time_point now) noexcept {
  seats_[w.index].failures = 0;
  const std::span tasks(ended.task.data(), ended.count);
  meter_.ran(w, tasks, now);
  for (task_record* t : tasks) {
    if (w.is_victim(*t)) carry_out(w, w.on_victim_finished(now));
    ledger_.finish_issued(*t, t->outcome);
  }
}

COPROC_LAZY_DEF void fleet::measure(worker& w, time_point now) noexcept {
  if (limits_.max_memory_per_child == 0 || !w.wants_measuring(now, measure_every)) return;
  if (effects_.private_bytes(w) > limits_.max_memory_per_child) w.make_due(exit_cause::memory_limit);
}

COPROC_LAZY_DEF void fleet::died(worker& w, time_point now) noexcept {
  if (w.on_death(now)) {
    bury(w, now);
  }
  for (std::size_t i = 0; i < seats_.departed().size(); ++i)
    if (seats_.departed()[i].get() == &w) {
      classify(i);
      return;
    }
}

COPROC_LAZY_DEF void fleet::bury(worker& w, time_point now) noexcept {
  std::size_t budget = ~std::size_t{0};
  drain(w, budget, now);
  w.settle_remains([&](task_record& t) { ledger_.requeue(t); });
  if (!seats_.depart(w)) return; // it had left its seat
  see_to_successor(w, now);
}

COPROC_LAZY_DEF void fleet::see_to_successor(const worker& w, time_point now) noexcept {
  const seat& s = seats_[w.index];
  if (!restarts_.enabled() || !has_seat(w.index)) return;
  if (s.worker && !(s.worker->due() || s.worker->exhausted())) return;
  if (w.exit().cause == exit_cause::idle && may_leave(w.index)) return;
  const bool deliberate = w.exit().cause != exit_cause::self && w.exit().cause != exit_cause::start_timeout;
  const bool of_a_task = w.unfinished() != 0; // what it had not begun has been taken back
  if (w.initialized() && (deliberate || of_a_task || w.tasks_done() != 0)) return request(w.index);
  if (w.initialized()) return restarts_.after_crash(w.index, now);
  restarts_.after_failed_start(w.index, {},
                               w.exit().cause == exit_cause::start_timeout
                                   ? "workers are not initialized within start_timeout (does the initializer hang?)"
                                   : "workers die before they are initialized (does the initializer throw or crash?)",
                               now);
}

COPROC_LAZY_DEF bool fleet::classify(std::size_t i) noexcept {
  worker& w = *seats_.departed()[i];
  if (!w.is_explained()) return false;
  end_remaining(w);
  ++ledger_.counters().exits[static_cast<std::size_t>(w.exit().cause)];
  effects_.retire(std::move(seats_.departed()[i]));
  seats_.departed().erase(seats_.departed().begin() + static_cast<std::ptrdiff_t>(i));
  return true;
}

COPROC_LAZY_DEF void fleet::end_remaining(worker& w) noexcept {
  w.each_issued([&](task_record& t) {
    const bool is_victim = w.is_victim(t) && w.exit().cause != exit_cause::violation;
    if (is_victim && w.exit().cause == exit_cause::timed_out) {
      meter_.died_with(w, t, "task_timeout");
      t.encumbered = true;
      make_details(t).exit = w.exit();
      return ledger_.finish_issued(t, verdict::task_timeout);
    }
    if (is_victim && (w.exit().cause == exit_cause::cancelled || w.exit().cause == exit_cause::shutdown)) {
      meter_.died_with(w, t, "aborted");
      return ledger_.finish_issued(t, verdict::aborted);
    }
    meter_.died_with(w, t, "lost");
    ledger_.lose(t, w.exit());
  });
  meter_.worker_ended(w);
  w.forget_tasks();
}

COPROC_LAZY_DEF void fleet::give_up(worker& w) noexcept {
  end_remaining(w);
  const unsigned index = w.index;
  if (!seats_.depart(w)) return;
  if (restarts_.enabled() && !seats_[index].worker) request(index);
}

COPROC_LAZY_DEF void fleet::replace_if_due(seat& s, time_point now) noexcept {
  if (!s.worker || s.worker->status() != state::live || !(s.worker->due() || s.worker->exhausted())) return;
  worker& w = *s.worker;
  if (!restarts_.enabled() || ledger_.failed()) return;
  if (!s.successor && !s.requested && s.restart_at == time_point::max()) request(w.index);
  w.relieve(s.successor && s.successor->initialized());
  if (w.load() != 0) return;
  if (w.exhausted() || w.relieved()) carry_out(w, w.dismiss(w.due_to(), now));
}

COPROC_LAZY_DEF void fleet::clear_surplus(seat& s, time_point now) noexcept {
  for (worker_ptr* each : {&s.successor, &s.worker})
    if (*each && (*each)->surplus() && (*each)->status() == state::live && (*each)->unfinished() == 0)
      carry_out(**each, (*each)->dismiss(exit_cause::recycled, now));
}

COPROC_LAZY_DEF void fleet::roll(time_point now) noexcept {
  make_next_due();
  for (unsigned i = 0; i < limits_.max_workers; ++i) replace_if_due(seats_[i], now);
  for (unsigned i = limits_.max_workers; i < seats_.size(); ++i) clear_surplus(seats_[i], now);
  seats_.trim(limits_.max_workers);
  resizing_ = resizing_ && (seats_.size() > limits_.max_workers || seats_.in_transition());
}

COPROC_LAZY_DEF void fleet::let_go(worker& w, time_point now) noexcept {
  if (w.may_leave() || !may_leave(w.index)) return;
  if (w.status() == state::live && w.load() == 0)
    carry_out(w, w.dismiss(exit_cause::idle, now));
  else
    w.make_due(exit_cause::recycled);
}

COPROC_LAZY_DEF void fleet::resize(unsigned min, unsigned max, time_point now) noexcept {
  limits_.min_workers = min;
  limits_.max_workers = max;
  seats_.resize(max);
  for (unsigned i = 0; i < seats_.size(); ++i) {
    seat& s = seats_[i];
    if (!has_seat(i)) s.restart_at = time_point::max();
    for (const worker_ptr* each : {&s.successor, &s.worker})
      if (*each) (*each)->make_surplus(!has_seat(i));
    if (worker* const w = s.worker.get()) {
      w->take_back_if(
          now, [&](const task_record& t) { return w->surplus() || ledger_.has_moved_home(t); },
          [&](task_record& t) { ledger_.requeue(t); });
      if (!w->surplus()) let_go(*w, now);
    }
    if (i < min && vacant(i) && !ledger_.failed()) request(i);
  }
  resizing_ = true;
  roll(now);
}

COPROC_LAZY_DEF void fleet::make_next_due() noexcept {
  if (rolling_ == 0) return;
  worker* next = nullptr;
  for (const seat& s : seats_) {
    if (!s.worker || s.worker->incarnation > rolling_ || s.worker->surplus()) continue;
    if (s.worker->due()) return;
    if (next == nullptr) next = s.worker.get();
  }
  if (next != nullptr)
    next->make_due(exit_cause::recycled);
  else
    rolling_ = 0;
}

COPROC_LAZY_DEF bool fleet::may_grow() const noexcept {
  return limits_.min_workers < limits_.max_workers && restarts_.enabled() && !ledger_.failed();
}

COPROC_LAZY_DEF void fleet::request(unsigned index) noexcept { restarts_.request(index); }

COPROC_LAZY_DEF void fleet::forgo(unsigned index) noexcept { seats_[index].requested = false; }

COPROC_LAZY_DEF void fleet::add_worker(worker_ptr w, time_point now) noexcept {
  worker::lifetime life{limits_.kill_grace, limits_.exit_status_wait, limits_.start_timeout,
                        limits_.max_tasks_per_child, may_leave(w->index)};
  if (limits_.max_tasks_jitter != 0)
    life.task_limit -= scramble(w->incarnation + golden_gamma) % (limits_.max_tasks_jitter + 1);
  w->on_start(life, now);
  w->make_surplus(!has_seat(w->index));
  seats_.sit(std::move(w));
}

COPROC_LAZY_DEF void fleet::start_failed(unsigned index, net::error_code why, time_point now) noexcept {
  seats_[index].requested = false;
  restarts_.after_failed_start(index, why, "a worker process could not be started", now);
}

COPROC_LAZY_DEF void fleet::start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
  worker* const w = seats_.find(incarnation);
  if (w == nullptr || w->status() != state::starting) return;
  const unsigned index = w->index;
  effects_.retire(seats_.take(*w));
  start_failed(index, why, now);
}

COPROC_LAZY_DEF void fleet::started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd,
                                    time_point now) noexcept {
  worker* const w = seats_.find(incarnation);
  if (w == nullptr) return;
  w->on_started(pid, std::move(pidfd));
  if (!w->handles().pidfd && limits_.pidfds) return refuse_unkillable(*w, now);
  meter_.worker_started(*w, now);
  if (w->go_live() && ending_) carry_out(*w, w->dismiss(exit_cause::shutdown, now));
}

COPROC_LAZY_DEF void fleet::exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
  worker* const w = seats_.find(incarnation);
  if (w == nullptr) return;
  w->on_exit(how);
  died(*w, now);
}

COPROC_LAZY_DEF void fleet::died(std::uint64_t incarnation, time_point now) noexcept {
  if (worker* w = seats_.find(incarnation)) died(*w, now);
}

COPROC_LAZY_DEF void fleet::signal_refused(std::uint64_t incarnation, int error) noexcept {
  if (worker* const w = seats_.find(incarnation)) w->on_signal_refused(error);
}

COPROC_LAZY_DEF void fleet::server_lost(time_point now) noexcept {
  restarts_.end();
  lose_workers(now);
  restarts_.fail(
      {}, "the fork server died, and so did the one that stood by, so no worker can be started: make a new pool", now);
}

COPROC_LAZY_DEF void fleet::server_replaced(time_point now) noexcept { lose_workers(now); }

COPROC_LAZY_DEF void fleet::lose_workers(time_point now) noexcept {
  for (unsigned i = 0; i < size(); ++i) {
    for (worker_ptr* each : {&seats_[i].successor, &seats_[i].worker}) {
      if (!*each) continue;
      worker& w = **each;
      if (w.status() == state::starting) { // nobody will say what has become of it
        effects_.retire(std::move(*each));
        if (restarts_.enabled()) request(i);
        continue;
      }
      w.stay_unexplained();
      carry_out(w, w.on_server_lost(now));
    }
  }
  for (std::size_t i = 0; i < seats_.departed().size();) {
    seats_.departed()[i]->stay_unexplained();
    if (!classify(i)) ++i;
  }
}

COPROC_LAZY_DEF std::size_t fleet::drain(worker& w, std::size_t& budget, time_point now) noexcept {
  std::size_t moved = 0;
  bool violated = false;
  ended_tasks ended;
  while (budget > 0) {
    const worker::drained d = w.drain_one();
    if (d.kind == worker::drained_kind::nothing) break;
    ++moved;
    violated = d.kind == worker::drained_kind::violation;
    if (violated) break;
    if (d.kind == worker::drained_kind::acknowledged) continue;
    --budget;
    // No longer than it was there: a lie should not last.
    if (d.ran_ns != 0)
      pace_.learn(std::min(static_cast<double>(d.ran_ns), static_cast<double>((now - w.born_at()).count())));
    ended.task[ended.count++] = d.task;
  }
  if (moved == 0) return 0;
  if (ended.count != 0) settle_results(w, ended, now);
  if (violated) {
    carry_out(w, w.on_violation(now));
    return moved;
  }
  // At once where it was given more than it should have been, because tasks were shorter until now.
  w.on_progress(now, !pace_.is_short() && w.unfinished() > pace_.depth() ? now : now + steal_after);
  measure(w, now);
  if (w.surplus())
    clear_surplus(seats_[w.index], now);
  else if (w.due() || w.exhausted())
    replace_if_due(seats_[w.index], now);
  return moved;
}

COPROC_LAZY_DEF void fleet::issued(worker& w, time_point now) noexcept {
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
      if (*each) carry_out(**each, (*each)->on_deadline(now));
  roll(now);
  restarts_.tick(now);
  for (std::size_t i = 0; i < seats_.departed().size();) {
    worker& w = *seats_.departed()[i];
    carry_out(w, w.on_deadline(now));
    if (!classify(i)) ++i;
  }
}

COPROC_LAZY_DEF time_point fleet::next_deadline() const noexcept {
  time_point next = time_point::max();
  const auto of = [&](const worker_ptr& w) {
    if (w) next = std::min(next, w->next_deadline());
  };
  for (const seat& s : seats_) {
    of(s.worker), of(s.successor);
    next = std::min(next, s.restart_at);
  }
  for (const worker_ptr& w : seats_.departed()) of(w);
  return next;
}

COPROC_LAZY_DEF void fleet::end_all(int signal, time_point now) noexcept {
  ending_ = true;
  restarts_.end();
  for (seat& s : seats_)
    for (worker_ptr* each : {&s.successor, &s.worker})
      if (*each) carry_out(**each, (*each)->end(signal, now));
  for (const worker_ptr& w : seats_.departed())
    if (signal == SIGKILL) carry_out(*w, w->end(signal, now));
}

COPROC_LAZY_DEF void fleet::stop_all() noexcept {
  each_worker([&](auto& w) {
    if (const task_record* t = w.head()) w.ask_to_stop(*t);
  });
}

COPROC_LAZY_DEF void fleet::add_to(pool_stats& s, time_point now) const {
  s.wait_time = meter_.wait_time;
  s.run_time = meter_.run_time;
  s.min_workers = limits_.min_workers;
  s.max_workers = limits_.max_workers;
  each_process([&](const worker& w) {
    auto& e = s.workers.emplace_back();
    e.index = w.index;
    e.pid = w.pid();
    e.state = state_of(w);
    e.age = now - w.born_at();
    e.tasks_done = w.tasks_done();
    e.tasks_issued = w.unfinished();
  });
}

COPROC_LAZY_DEF worker_state fleet::state_of(const worker& w) noexcept {
  switch (w.status()) {
  case state::starting: return worker_state::starting;
  case state::live:
    return !w.initialized() ? worker_state::starting : w.load() == 0 ? worker_state::idle : worker_state::busy;
  case state::quarantined: return worker_state::unkillable;
  default: return worker_state::ending;
  }
}

COPROC_LAZY_DEF bool fleet::in_transition() const noexcept { return seats_.in_transition(); }

COPROC_LAZY_DEF bool fleet::gone() const noexcept { return seats_.gone(); }

COPROC_LAZY_DEF void fleet::abandon() noexcept {
  ending_ = true;
  restarts_.end();
  const auto drop = [&](auto& w) {
    w.each_issued([&](task_record& t) { ledger_.finish_issued(t, verdict::aborted); });
    w.forget_tasks();
  };
  for (seat& s : seats_)
    if (s.worker) drop(*s.worker);
  for (worker_ptr& w : seats_.departed()) drop(*w);
}

} // namespace coproc::detail::front
