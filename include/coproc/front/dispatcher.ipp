// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/dispatcher.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF dispatcher::dispatcher(const dispatcher_limits& limits, effects& kernel) : effects_(kernel), ledger_(limits), watchdog_(limits, kernel, ledger_), fleet_(limits, kernel, ledger_, watchdog_),
      waking_(fleet_, limits.max_workers), choice_(fleet_, ledger_, waking_),
      balance_(fleet_, ledger_, watchdog_, waking_) {}

COPROC_LAZY_DEF void dispatcher::submit(task_record& t, time_point now) noexcept {
  if (ledger_.failed()) fleet_.try_to_recover(now);
  ledger_.submit(t, now);
}

COPROC_LAZY_DEF bool dispatcher::submit_quickly(task_record& t, time_point now) noexcept {
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

COPROC_LAZY_DEF void dispatcher::pump(time_point now) noexcept {
  chosen_ = {};
  dispatch(now);
  if (balance_.take_back(now)) { // also while tasks wait for a worker that goes on
    chosen_ = {};
    dispatch(now);
  }
  if (fleet_.may_grow()) balance_.grow(now);
  if (stage_ != stage::open) advance_shutdown(now);
}

COPROC_LAZY_DEF void dispatcher::cancel(task_record& t, std::uint64_t ticket, cancel_strength strength, time_point now) noexcept {
  if (t.ticket.load(std::memory_order_relaxed) != ticket) return;
  if (t.where != place::issued) return static_cast<void>(ledger_.withdraw(t, verdict::aborted));
  worker_record& w = *t.worker;
  if (watchdog_.revoke(w, t, now)) return ledger_.finish_issued(t, verdict::aborted);
  if (strength == cancel_strength::total) return;
  if (strength == cancel_strength::partial || (t.special && details(t).terms.when_cancelled == on_cancel::request_stop)) {
    if (t.special) details(t).terms.max_retries = 0; // cancelled tasks are never retried
    // Only for a running one: else the request of the task that runs now would be overwritten.
    if (w.look(t) == worker_record::task_state::running) w.raise_stop(t);
    return;
  }
  watchdog_.kill_running(w, t, exit_cause::cancelled, now);
}

COPROC_LAZY_DEF std::size_t dispatcher::drain(std::size_t budget, time_point now) noexcept {
  std::size_t moved = 0;
  waking_.drain_active([&](worker_record& w) {
    moved += fleet_.drain(w, budget, now);
    return budget != 0;
  });
  return moved;
}

COPROC_LAZY_DEF std::uint64_t dispatcher::outstanding() const noexcept {
  return ledger_.outstanding() + (stage_ != stage::open && stage_ != stage::over) + fleet_.recycling();
}

COPROC_LAZY_DEF void dispatcher::add_worker(worker_ptr w, time_point now) noexcept {
  waking_.watch(*w->memory);
  fleet_.add_worker(std::move(w), now);
}

COPROC_LAZY_DEF void dispatcher::start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept {
  fleet_.start_refused(incarnation, why, now);
}

COPROC_LAZY_DEF void dispatcher::started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept {
  fleet_.started(incarnation, pid, std::move(pidfd), now);
}

COPROC_LAZY_DEF void dispatcher::exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept {
  fleet_.exited(incarnation, how, now);
}

COPROC_LAZY_DEF void dispatcher::died(std::uint64_t incarnation, time_point now) noexcept { fleet_.died(incarnation, now); }

COPROC_LAZY_DEF void dispatcher::dispatch(time_point now) noexcept {
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

COPROC_LAZY_DEF bool dispatcher::hand_over_plain(worker_record& w, time_point now) noexcept {
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

COPROC_LAZY_DEF bool dispatcher::choose(time_point now) noexcept {
  if (chosen_.more == 0 && !chosen_.none) chosen_ = choice_.choose(now);
  return !chosen_.none;
}

COPROC_LAZY_DEF bool dispatcher::issue(worker_record& w, task_record& t, time_point now) noexcept {
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

COPROC_LAZY_DEF void dispatcher::hand_over(worker_record& w, task_record& t, time_point now) noexcept {
  w.deaf_since = time_point::max();
  if (w.unfinished() == 0) {
    w.active_at = now;
    w.head_woke_it = w.waker.looks_asleep(w.mailbox());
    watchdog_.new_head(w, t, now);
  }
  w.steal_at = w.active_at + steal_after;
  waking_.before_ready(w);
  if (t.special) [[unlikely]]
    tell_limit(t, now);
  w.publish(t);
  fleet_.issued(w, now);
}

COPROC_LAZY_DEF void dispatcher::tell_limit(task_record& t, time_point now) noexcept {
  const task_terms& terms = details(t).terms;
  if (terms.deadline == time_point::max()) return; // the limit was told when the record was made
  const duration left = std::max(duration(1), duration(terms.deadline - now));
  t.call.limit_ns = static_cast<std::uint64_t>(std::min({left, terms.timeout, terms.soft_timeout}).count());
}

COPROC_LAZY_DEF int dispatcher::send_segments(worker_record& w, task_record& t) noexcept {
  const task_details& cold = details(t);
  int error = cold.block ? effects_.send_segment(w, cold.block) : 0;
  for (const auto& lent : cold.lent)
    if (error == 0) error = effects_.send_segment(w, static_cast<const lent_block&>(*lent).block());
  return error;
}

COPROC_LAZY_DEF void dispatcher::expire(time_point now) noexcept {
  while (task_record* t = ledger_.take_expired(now)) {
    if (t->where == place::issued) {
      if (watchdog_.revoke(*t->worker, *t, now)) ledger_.finish_issued(*t, verdict::queue_timeout); // else it has begun
    } else {
      ledger_.withdraw(*t, verdict::queue_timeout);
    }
  }
}

COPROC_LAZY_DEF void dispatcher::revoke_all(time_point now) noexcept {
  fleet_.each_worker([&](auto& w) {
    const task_record* const before = w.head();
    w.each_issued_backwards([&](task_record& t) {
      if (w.revoke(t)) ledger_.finish_issued(t, verdict::aborted);
    });
    watchdog_.look_at_head_unless(before, w, now);
  });
}

COPROC_LAZY_DEF void dispatcher::advance_shutdown(time_point now) noexcept {
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

COPROC_LAZY_DEF worker_state dispatcher::state_of(const worker_record& w) noexcept {
  switch (w.status) {
  case state::starting: return worker_state::starting;
  case state::live:
    return !w.initialized() ? worker_state::starting : w.load() == 0 ? worker_state::idle : worker_state::busy;
  case state::quarantined: return worker_state::unkillable;
  default: return worker_state::ending;
  }
}

COPROC_LAZY_DEF void dispatcher::start_failed(unsigned index, net::error_code why, time_point now) noexcept { fleet_.start_failed(index, why, now); }

COPROC_LAZY_DEF void dispatcher::server_lost(time_point now) noexcept { fleet_.server_lost(now); }

COPROC_LAZY_DEF bool dispatcher::in_transition() const noexcept { return fleet_.in_transition(); }

COPROC_LAZY_DEF void dispatcher::recycle_all(time_point now) noexcept { fleet_.recycle_all(now); }

COPROC_LAZY_DEF time_point dispatcher::tick(time_point now) noexcept {
  expire(now);
  fleet_.tick(now);
  advance_shutdown(now);
  return next_deadline();
}

COPROC_LAZY_DEF time_point dispatcher::next_deadline() const noexcept {
  return std::min({fleet_.next_deadline(), ledger_.next_expiry(), stage_deadline_, balance_.next_move()});
}

COPROC_LAZY_DEF void dispatcher::shut_down(time_point deadline, time_point now) noexcept {
  ledger_.close();
  if (stage_ == stage::open) stage_ = stage::draining, stage_deadline_ = time_point::max();
  if (stage_ == stage::draining) stage_deadline_ = std::min(stage_deadline_, deadline);
  advance_shutdown(now);
}

COPROC_LAZY_DEF void dispatcher::drop_queued(time_point now) noexcept {
  ledger_.abort_queued();
  revoke_all(now);
  advance_shutdown(now);
}

COPROC_LAZY_DEF void dispatcher::terminate(int signal, time_point now) noexcept {
  ledger_.abort_queued();
  revoke_all(now);
  stage_ = stage::terminating;
  stage_deadline_ = time_point::max();
  fleet_.end_all(signal, now);
  advance_shutdown(now);
}

COPROC_LAZY_DEF void dispatcher::abandon() noexcept {
  ledger_.abort_queued();
  fleet_.abandon();
}

COPROC_LAZY_DEF pool_stats dispatcher::stats(time_point now) const {
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

} // namespace coproc::detail::front
