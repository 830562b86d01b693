// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/dispatcher.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF dispatcher::dispatcher(const dispatcher_limits& limits, effects& kernel)
    : pace_(limits.max_workers >= limits.usable_cpus), ledger_(limits), fleet_(limits, kernel, ledger_, pace_),
      waking_(fleet_, pace_, limits.max_workers), scheduler_(fleet_, ledger_, waking_, pace_, kernel) {}

COPROC_LAZY_DEF void dispatcher::submit(task_record& t, time_point now) noexcept {
  if (ledger_.failed()) fleet_.try_to_recover(now);
  ledger_.submit(t, now);
}

COPROC_LAZY_DEF bool dispatcher::submit_quickly(task_record& t, time_point now) noexcept {
  if (t.special || stage_ != stage::open || fleet_.may_grow() || !ledger_.takes_quickly(t)) return false;
  return scheduler_.take_quickly(t, now);
}

COPROC_LAZY_DEF void dispatcher::pump(time_point now) noexcept {
  scheduler_.pump(now);
  if (stage_ != stage::open) advance_shutdown(now);
}

COPROC_LAZY_DEF void dispatcher::cancel(task_record& t, std::uint64_t ticket, cancel_strength strength,
                                        time_point now) noexcept {
  if (t.ticket.load(std::memory_order_relaxed) != ticket) return;
  if (t.where != place::issued) return static_cast<void>(ledger_.withdraw(t, verdict::aborted));
  worker& w = *t.worker;
  if (w.take_back(t, now)) return ledger_.finish_issued(t, verdict::aborted);
  if (strength == cancel_strength::total) return;
  if (strength == cancel_strength::partial ||
      (t.special && details(t).terms.when_cancelled == on_cancel::request_stop)) {
    if (t.special) details(t).terms.max_retries = 0; // cancelled tasks are never retried
    // Only for a running one: else the request of the task that runs now would be overwritten.
    w.ask_to_stop(t);
    return;
  }
  fleet_.carry_out(w, w.kill_for(t, exit_cause::cancelled, now));
}

COPROC_LAZY_DEF std::size_t dispatcher::drain(std::size_t budget, time_point now) noexcept {
  std::size_t moved = 0;
  waking_.drain_active([&](worker& w) {
    moved += fleet_.drain(w, budget, now);
    return budget != 0;
  });
  return moved;
}

COPROC_LAZY_DEF std::uint64_t dispatcher::outstanding() const noexcept {
  return ledger_.outstanding() + (stage_ != stage::open && stage_ != stage::over) + fleet_.recycling() +
         fleet_.resizing();
}

COPROC_LAZY_DEF void dispatcher::add_worker(std::unique_ptr<worker> w, time_point now) noexcept {
  waking_.watch(*w->memory);
  fleet_.add_worker(std::move(w), now);
}

COPROC_LAZY_DEF void dispatcher::resize(unsigned min_workers, unsigned max_workers, time_point now) {
  if (ending()) return;
  ledger_.reserve(max_workers);
  waking_.reserve(max_workers);
  fleet_.reserve(max_workers);
  pace_.set_crowded(max_workers >= fleet_.limits().usable_cpus);
  ledger_.resize(max_workers);
  fleet_.resize(min_workers, max_workers, now);
}

COPROC_LAZY_DEF void dispatcher::expire(time_point now) noexcept {
  while (task_record* t = ledger_.take_expired(now)) {
    if (t->where == place::issued) {
      if (t->worker->take_back(*t, now)) ledger_.finish_issued(*t, verdict::queue_timeout); // else it has begun
    } else {
      ledger_.withdraw(*t, verdict::queue_timeout);
    }
  }
}

COPROC_LAZY_DEF void dispatcher::revoke_all(time_point now) noexcept {
  fleet_.each_worker(
      [&](auto& w) { w.take_all_back(now, [&](task_record& t) { ledger_.finish_issued(t, verdict::aborted); }); });
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
  if (stage_ == stage::stopping && (now >= stage_deadline_ || ledger_.outstanding() == 0))
    return terminate(SIGTERM, now);
  if (stage_ == stage::terminating && fleet_.gone()) stage_ = stage::over;
}

COPROC_LAZY_DEF time_point dispatcher::tick(time_point now) noexcept {
  expire(now);
  fleet_.tick(now);
  advance_shutdown(now);
  return next_deadline();
}

COPROC_LAZY_DEF time_point dispatcher::next_deadline() const noexcept {
  return std::min({fleet_.next_deadline(), ledger_.next_expiry(), stage_deadline_, scheduler_.next_move()});
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
  ledger_.add_to(s);
  fleet_.add_to(s, now);
  return s;
}

} // namespace coproc::detail::front
