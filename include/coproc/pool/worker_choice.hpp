// SPDX-License-Identifier: BSL-1.0
// Which worker gets the next task, and whether that is worth waking one. Looks, and changes nothing. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/pool/ledger.hpp>
#include <coproc/pool/pace.hpp>
#include <coproc/pool/waking.hpp>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace coproc::pool {

/// Join the bounded shortest queue, among those that are at it. docs/design/009.
template <class Fleet>
class worker_choice {
public:
  /// So many of the next tasks go to this worker, if nothing but that happens meanwhile.
  struct answer {
    worker_record* worker = nullptr;
    std::size_t more = 0;
    bool none = false; ///< nobody has room
  };

  worker_choice(const Fleet& workers, const ledger& books, const waking_state<Fleet>& waking) noexcept
      : fleet_(workers), ledger_(books), waking_(waking) {}

  bool has_room(const worker_record& w) const noexcept {
    return !w.ring_full() && w.unfinished() < fleet_.pace.depth() && w.takes_work();
  }

  // Nobody is woken while one that is awake will sooner be through with all that it has, nor for short tasks while workers
  // that go on keep all CPUs busy. What waits meanwhile, others get should nobody go on: see balance::take_back().
  answer choose(time_point now) const noexcept {
    const std::size_t queued = fleet_.pace.outruns_front_end() ? 0 : ledger_.queued();
    worker_record* shortest = nullptr;
    std::size_t next_shortest = shm::ring_slots; // of the others
    bool through = false, relievable = false;
    unsigned going = 0;
    waking_.each_active([&](auto& w) {
      if (!goes_on(w, now)) return;
      ++going;
      through = through || fleet_.pace.through_before_wake_up(w.unfinished() + 1 + queued);
      relievable = relievable || (w.unfinished() >= 2 && w.unfinished() > w.homebound);
      if (!has_room(w)) return;
      if (shortest != nullptr) next_shortest = std::min(next_shortest, std::max(w.unfinished(), shortest->unfinished()));
      if (shortest == nullptr || w.unfinished() < shortest->unfinished()) shortest = &w;
    });
    if (shortest != nullptr && fleet_.pace.through_before_wake_up(shortest->unfinished() + 1))
      return {shortest, room(*shortest, next_shortest), false};
    if (relievable && (through || (going >= fleet_.limits().usable_cpus && fleet_.pace.is_short()))) return one(shortest);
    return one(any());
  }

private:
  static answer one(worker_record* w) noexcept { return {w, w != nullptr, w == nullptr}; }

  // How many it takes before another one has fewer, or a sleeping one would be through with the next as soon as it. At least 1.
  std::size_t room(const worker_record& w, std::size_t next_shortest) const noexcept {
    std::size_t n = std::min({fleet_.pace.depth(), fleet_.pace.before_wake_up(), next_shortest + 1}) - w.unfinished();
    n = std::min<std::size_t>(n, shm::ring_slots - w.load());
    return w.task_limit == 0 ? n : std::min<std::size_t>(n, w.task_limit - w.tasks_issued);
  }

  // The shortest ring with room; among equals one that is initialized, then awake, then the one that was active last.
  worker_record* any() const noexcept {
    worker_record* best = nullptr;
    bool best_awake = false;
    fleet_.each_worker([&](auto& w) {
      if (!has_room(w) || (best != nullptr && w.unfinished() > best->unfinished())) return;
      const bool awake = is_awake(w);
      const auto rank = [](const auto& r, bool r_awake) { return std::tuple(r.initialized(), r_awake, r.active_at); };
      if (best == nullptr || w.unfinished() < best->unfinished() || rank(w, awake) > rank(*best, best_awake)) {
        best = &w;
        best_awake = awake;
      }
    });
    return best;
  }

  static bool is_awake(const worker_record& w) noexcept { return w.load() != 0 || !w.waker.looks_asleep(w.mailbox()); }

  // Is it at its tasks? That it is only just being woken is no reason to wake another.
  static bool goes_on(const worker_record& w, time_point now) noexcept {
    if (!w.takes_work() || !w.initialized() || !is_awake(w)) return false;
    if (w.head_since == time_point::max()) return true;
    const auto head_age = now - w.head_since;
    return head_age < pace::wake_up || w.head_done() || (head_age < steal_after && !w.runs_head());
  }

  const Fleet& fleet_;
  const ledger& ledger_;
  const waking_state<Fleet>& waking_;
};

} // namespace coproc::pool
