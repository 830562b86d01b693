// SPDX-License-Identifier: BSL-1.0
// What happens when tasks lie behind a long one: workers without work get them, and vacant seats are filled for them.
// Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/ledger.hpp>
#include <coproc/front/wakeups.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace coproc::detail::front {

class balance {
public:
  balance(fleet& workers, ledger& books, const wakeups& waking) noexcept
      : fleet_(workers), ledger_(books), waking_(waking) {}

  /// When the next task may be moved, if nothing else happens.
  COPROC_LAZY time_point next_move() const noexcept;

  /// Puts back into the queue, for workers without work, what lies unstarted behind a task that has been running for a
  /// while. True if there was any.
  COPROC_LAZY bool take_back(time_point now) noexcept;

  /// Fills vacant seats for tasks that must run there, for those that no worker has room for, and for those that have
  /// waited behind a running one for a while.
  COPROC_LAZY void grow(time_point now) noexcept;

private:
  /// When nothing could be taken.
  static constexpr std::chrono::milliseconds again_after{10};

  struct spare_capacity {
    std::size_t all = 0, idle = 0, initialized = 0; // all: with the seats
  };

  // Workers without work, and seats that could have one.
  COPROC_LAZY spare_capacity find_spare() const noexcept;

  // How many tasks of w others should take: those behind the one that it runs, or will begin any moment; all of them
  // where w is still initializing and they are not.
  COPROC_LAZY static std::size_t spare_tasks(const worker& w, const spare_capacity& spare) noexcept;

  // Is there a worker from which others should take tasks by then, if there are others?
  COPROC_LAZY bool may_be_helped(time_point by) const noexcept;

  fleet& fleet_;
  ledger& ledger_;
  const wakeups& waking_;
};

} // namespace coproc::detail::front

#include <coproc/front/balance.ipp>
