// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/balance.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF time_point balance::next_move() const noexcept {
  time_point next = time_point::max();
  if (!may_be_helped(next)) return next;
  const spare_capacity spare = find_spare();
  if (spare.all == 0) return next;
  waking_.each_active([&](const auto& w) {
    if (spare_tasks(w, spare) != 0) next = std::min(next, w.help_from());
  });
  return next;
}

COPROC_LAZY_DEF bool balance::take_back(time_point now) noexcept {
  if (!may_be_helped(now)) return false;
  spare_capacity idle = find_spare();
  idle.all = idle.idle;
  if (idle.all == 0) return false;
  bool any = false;
  waking_.each_active([&](auto& w) {
    if (now < w.help_from()) return;
    std::size_t wanted = spare_tasks(w, idle);
    if (wanted == 0) return;
    const task_record* const kept = !w.initialized() && idle.initialized != 0 ? nullptr : w.head();
    bool taken = false;
    w.each_issued([&](task_record& t) {
      if (wanted == 0 || kept == &t || t.home_worker >= 0 || !w.take_back(t, now)) return;
      ledger_.requeue(t);
      --wanted;
      taken = true;
    });
    if (!taken) w.help_later(now + again_after);
    any |= taken;
  });
  return any;
}

COPROC_LAZY_DEF void balance::grow(time_point now) noexcept {
  std::size_t wanted = ledger_.queued(), coming = 0;
  for (unsigned i = 0; i < fleet_.size(); ++i) {
    auto* const w = fleet_.at(i);
    if (w == nullptr) {
      if (fleet_.vacant(i) && ledger_.has_homebound(i)) fleet_.request(i);
      coming += !fleet_.vacant(i);
      continue;
    }
    if (w->takes_work() && w->load() == 0) return; // it will help first
    coming += w->status() == worker::state::starting;
    if (w->unfinished() >= 2 && now >= w->help_from()) {
      wanted += std::min(w->unfinished() - 1, w->unfinished() - w->homebound());
      w->help_later(now + again_after);
    }
  }
  for (unsigned i = 0; i < fleet_.size() && coming < wanted; ++i)
    if (fleet_.vacant(i)) fleet_.request(i), ++coming;
}

COPROC_LAZY_DEF auto balance::find_spare() const noexcept -> spare_capacity {
  spare_capacity spare;
  for (unsigned i = 0; i < fleet_.size(); ++i) {
    const auto* const w = fleet_.at(i);
    if (w == nullptr) {
      spare.all += fleet_.may_grow() && fleet_.vacant(i);
    } else if (w->takes_work() && w->load() == 0) {
      ++spare.all;
      ++spare.idle;
      spare.initialized += w->initialized();
    }
  }
  return spare;
}

COPROC_LAZY_DEF std::size_t balance::spare_tasks(const worker& w, const spare_capacity& spare) noexcept {
  const std::size_t movable = w.unfinished() - w.homebound();
  if (spare.initialized != 0 && !w.initialized()) return std::min(movable, spare.initialized);
  return w.unfinished() < 2 ? 0 : std::min({w.unfinished() - 1, movable, spare.all});
}

COPROC_LAZY_DEF bool balance::may_be_helped(time_point by) const noexcept {
  bool any = false;
  waking_.each_active(
      [&](const auto& w) { any = any || (by >= w.help_from() && w.unfinished() >= (w.initialized() ? 2u : 1u)); });
  return any;
}

} // namespace coproc::detail::front
