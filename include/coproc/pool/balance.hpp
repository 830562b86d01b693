// SPDX-License-Identifier: BSL-1.0
// What happens when tasks lie behind a long one: workers without work get them, and vacant seats are filled for them. Front end,
// under the pool's mutex.
#pragma once

#include <coproc/pool/ledger.hpp>
#include <coproc/pool/worker_choice.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace coproc::pool {

template <class Fleet, class Watchdog>
class balance {
public:
  balance(Fleet& workers, ledger& books, Watchdog& guard, const worker_choice<Fleet>& choice,
          const waking_state<Fleet>& waking) noexcept
      : fleet_(workers), ledger_(books), watchdog_(guard), choice_(choice), waking_(waking) {}

  /// When the next task may be moved, if nothing else happens.
  time_point next_move() const noexcept {
    time_point next = time_point::max();
    if (!may_be_helped(next)) return next;
    const spare_capacity spare = find_spare();
    if (spare.all == 0) return next;
    waking_.each_active([&](const auto& w) {
      if (spare_tasks(w, spare) != 0) next = std::min(next, w.steal_at);
    });
    return next;
  }

  /// Puts back into the queue, for workers without work, what lies unstarted behind a task that has been running for a while.
  /// True if there was any.
  bool take_back(time_point now) noexcept {
    if (!may_be_helped(now)) return false;
    spare_capacity idle = find_spare();
    idle.all = idle.idle;
    if (idle.all == 0) return false;
    bool any = false;
    waking_.each_active([&](auto& w) {
      if (now < w.steal_at) return;
      std::size_t wanted = spare_tasks(w, idle);
      if (wanted == 0) return;
      const task_record* const kept = !w.initialized() && idle.initialized != 0 ? nullptr : w.head();
      bool taken = false;
      w.each_issued([&](task_record& t) {
        if (wanted == 0 || kept == &t || t.home >= 0 || !watchdog_.revoke(w, t, now)) return;
        ledger_.requeue(t);
        --wanted;
        taken = true;
      });
      if (!taken) w.steal_at = now + again_after;
      any |= taken;
    });
    return any;
  }

  /// Fills vacant seats for tasks that must run there, for those that no worker has room for, and for those that have waited
  /// behind a running one for a while.
  void grow(time_point now) noexcept {
    std::size_t wanted = ledger_.queued(), coming = 0;
    for (unsigned i = 0; i < fleet_.size(); ++i) {
      auto* const w = fleet_.at(i);
      if (w == nullptr) {
        if (fleet_.vacant(i) && ledger_.has_homebound(i)) fleet_.request(i);
        coming += !fleet_.vacant(i);
        continue;
      }
      if (w->takes_work() && w->load() == 0) return; // it will help first
      coming += w->status == worker_record::state::starting;
      if (w->unfinished() >= 2 && now >= w->steal_at) {
        wanted += std::min(w->unfinished() - 1, w->unfinished() - w->homebound);
        w->steal_at = now + again_after;
      }
    }
    for (unsigned i = 0; i < fleet_.size() && coming < wanted; ++i)
      if (fleet_.vacant(i)) fleet_.request(i), ++coming;
  }

private:
  /// When nothing could be taken.
  static constexpr std::chrono::milliseconds again_after{10};

  struct spare_capacity {
    std::size_t all = 0, idle = 0, initialized = 0; // all: with the seats
  };

  // Workers without work, and seats that could have one.
  spare_capacity find_spare() const noexcept {
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

  // How many tasks of w others should take: those behind the one that it runs, or will begin any moment; all of them
  // where w is still initializing and they are not.
  static std::size_t spare_tasks(const worker_record& w, const spare_capacity& spare) noexcept {
    const std::size_t movable = w.unfinished() - w.homebound;
    if (spare.initialized != 0 && !w.initialized()) return std::min(movable, spare.initialized);
    return w.unfinished() < 2 ? 0 : std::min({w.unfinished() - 1, movable, spare.all});
  }

  // Is there a worker from which others should take tasks by then, if there are others?
  bool may_be_helped(time_point by) const noexcept {
    bool any = false;
    waking_.each_active([&](const auto& w) {
      any = any || (by >= w.steal_at && w.unfinished() >= (w.initialized() ? 2u : 1u));
    });
    return any;
  }

  Fleet& fleet_;
  ledger& ledger_;
  Watchdog& watchdog_;
  const worker_choice<Fleet>& choice_;
  const waking_state<Fleet>& waking_;
};

} // namespace coproc::pool
