// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/scheduler.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void scheduler::pump(time_point now) noexcept {
  chosen_ = {};
  dispatch(now);
  if (balance_.take_back(now)) { // also while tasks wait for a worker that goes on
    chosen_ = {};
    dispatch(now);
  }
  if (fleet_.may_grow()) balance_.grow(now);
}

COPROC_LAZY_DEF bool scheduler::take_quickly(task_record& t, time_point now) noexcept {
  if (!choose(now)) {
    ledger_.submit_quickly(t, now);
    if (ledger_.queued() % 16 == 0) chosen_ = {}; // a longer queue may be worth a wake-up
    return true;
  }
  worker& w = *chosen_.worker;
  if (ledger_.queued() != 0 || w.ring_full() || !waking_.is_active(w) || w.looks_asleep()) return false;
  if (t.needs_segments() && send_segments(w, t) != 0) return false;
  --chosen_.more;
  ledger_.submit_issued(t, now);
  hand_over(w, t, now);
  return true;
}

COPROC_LAZY_DEF void scheduler::dispatch(time_point now) noexcept {
  while (task_record* const t = ledger_.front()) {
    if (!choose(now)) break;
    worker& w = *chosen_.worker;
    --chosen_.more;
    if (hand_over_plain(w, now)) continue;
    if (!issue(w, ledger_.any_homebound() ? *ledger_.front(w.index) : *t, now)) break;
  }
  if (!ledger_.any_homebound()) return;
  chosen_ = {}; // what goes to workers of its own counts, too
  for (unsigned i = 0; i < fleet_.size(); ++i)
    while (ledger_.has_homebound(i)) {
      worker* const w = fleet_.at(i);
      if (w == nullptr || !choice_.has_room(*w) || !issue(*w, *ledger_.front(i), now)) break;
    }
}

COPROC_LAZY_DEF bool scheduler::hand_over_plain(worker& w, time_point now) noexcept {
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

COPROC_LAZY_DEF bool scheduler::choose(time_point now) noexcept {
  if (chosen_.more == 0 && !chosen_.none) chosen_ = choice_.choose(now);
  return !chosen_.none;
}

COPROC_LAZY_DEF bool scheduler::issue(worker& w, task_record& t, time_point now) noexcept {
  waking_.activate(w);
  const int error = t.needs_segments() ? send_segments(w, t) : 0;
  if (error == EAGAIN && w.load() != 0) return false; // it will read its socket before it sleeps
  // It is dead, as its pidfd will tell, or has closed its socket, or does not read it although it has nothing else to
  // do: the task stays at the head of the queue, for another worker.
  if (error == EAGAIN || error == EPIPE || error == ECONNRESET) chosen_ = {};
  if (error == EAGAIN) return w.on_socket_full(now), true;
  if (error == EPIPE || error == ECONNRESET) return fleet_.carry_out(w, w.on_socket_closed(now)), true;
  ledger_.dequeue(t);
  if (error != 0) {
    ledger_.finish_issued(t, os::system_code(error), "the argument memory could not be sent to a worker");
    return true;
  }
  hand_over(w, t, now);
  return true;
}

COPROC_LAZY_DEF void scheduler::hand_over(worker& w, task_record& t, time_point now) noexcept {
  waking_.before_ready(w);
  if (t.special) [[unlikely]]
    tell_limit(t, now);
  w.give(t, now);
  fleet_.issued(w, now);
}

COPROC_LAZY_DEF void scheduler::tell_limit(task_record& t, time_point now) noexcept {
  const task_terms& terms = details(t).terms;
  if (terms.deadline == time_point::max()) return; // the limit was told when the record was made
  const duration left = std::max(duration(1), duration(terms.deadline - now));
  t.call.limit_ns = static_cast<std::uint64_t>(std::min({left, terms.timeout, terms.soft_timeout}).count());
}

COPROC_LAZY_DEF int scheduler::send_segments(worker& w, task_record& t) noexcept {
  const task_details& cold = details(t);
  int error = cold.block ? effects_.send_segment(w, cold.block) : 0;
  for (const auto& array : cold.arrays)
    if (error == 0) error = effects_.send_segment(w, static_cast<const array_block&>(*array).block());
  return error;
}

} // namespace coproc::detail::front
