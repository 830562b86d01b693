// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/worker_choice.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF bool worker_choice::has_room(const worker& w) const noexcept {
  return !w.ring_full() && w.unfinished() < pace_.depth() && w.takes_work();
}

COPROC_LAZY_DEF auto worker_choice::choose(time_point now) const noexcept -> answer {
  const std::size_t queued = pace_.outruns_front_end() ? 0 : ledger_.queued();
  worker* shortest = nullptr;
  std::size_t next_shortest = shm::ring_slots; // of the others
  bool through = false, relievable = false;
  unsigned going = 0;
  waking_.each_active([&](auto& w) {
    if (!goes_on(w, now)) return;
    ++going;
    through = through || pace_.through_before_wake_up(w.unfinished() + 1 + queued);
    relievable = relievable || (w.unfinished() >= 2 && w.unfinished() > w.homebound());
    if (!has_room(w)) return;
    if (shortest != nullptr) next_shortest = std::min(next_shortest, std::max(w.unfinished(), shortest->unfinished()));
    if (shortest == nullptr || w.unfinished() < shortest->unfinished()) shortest = &w;
  });
  if (shortest != nullptr && pace_.through_before_wake_up(shortest->unfinished() + 1))
    return {shortest, room(*shortest, next_shortest), false};
  if (relievable && (through || (going >= fleet_.limits().usable_cpus && pace_.is_short()))) return one(shortest);
  return one(any());
}

COPROC_LAZY_DEF std::size_t worker_choice::room(const worker& w, std::size_t next_shortest) const noexcept {
  std::size_t n = std::min({pace_.depth(), pace_.before_wake_up(), next_shortest + 1}) - w.unfinished();
  n = std::min<std::size_t>(n, shm::ring_slots - w.load());
  return w.task_limit() == 0 ? n : std::min<std::size_t>(n, w.task_limit() - w.tasks_issued());
}

COPROC_LAZY_DEF worker* worker_choice::any() const noexcept {
  worker* best = nullptr;
  bool best_awake = false;
  fleet_.each_worker([&](auto& w) {
    if (!has_room(w) || (best != nullptr && w.unfinished() > best->unfinished())) return;
    const bool awake = is_awake(w);
    const auto rank = [](const auto& r, bool r_awake) { return std::tuple(r.initialized(), r_awake, r.active_at()); };
    if (best == nullptr || w.unfinished() < best->unfinished() || rank(w, awake) > rank(*best, best_awake)) {
      best = &w;
      best_awake = awake;
    }
  });
  return best;
}

COPROC_LAZY_DEF bool worker_choice::goes_on(const worker& w, time_point now) noexcept {
  if (!w.takes_work() || !w.initialized() || !is_awake(w)) return false;
  if (w.head_since() == time_point::max()) return true;
  const auto head_age = now - w.head_since();
  return head_age < pace::wake_up || w.head_done() || (head_age < steal_after && !w.runs_head());
}

} // namespace coproc::detail::front
