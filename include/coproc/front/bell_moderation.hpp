// SPDX-License-Identifier: BSL-1.0
// How the front end's next sleep ends: by a doorbell, or by the clock alone, as network cards moderate their
// interrupts. Learned from what the sleeps before have brought; no system call, no clock. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/spin.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace coproc::detail::front {

class bell_moderation {
public:
  /// So many tasks ended since the last look.
  void moved(std::size_t tasks) noexcept { moved_since_wake_ += tasks; }

  /// What the workers have to go on with.
  struct workload {
    /// how long the longest ring of very short tasks lasts; 0: none holds several
    std::chrono::nanoseconds short_backlog{};
    /// how long each ring lasts behind the task that runs; 0: one might run dry
    std::chrono::nanoseconds long_backlog{};
    /// From one result to the next, where as many workers work as there are CPUs, and the front end runs in the place
    /// of one; 0: it has a CPU of its own.
    std::chrono::nanoseconds crowded_result_period{};
  };

  /// How long to sleep without doorbells; 0: with them.
  COPROC_LAZY std::chrono::nanoseconds pause(const workload& l) const noexcept;

  /// The sleep begins, without doorbells or with them.
  COPROC_LAZY void sleeps(bool silently) noexcept;

  bool slept_silently() const noexcept { return silent_; }

private:
  // Where worker and front end share a CPU, or both are busy, each bell would preempt the worker for the sake of one
  // very short task: when a wake-up has brought that little and many short tasks are pending.
  COPROC_LAZY std::chrono::nanoseconds coalescing_pause(std::chrono::nanoseconds backlog) const noexcept;

  // Where tasks take too long to spin for, and each worker has another one to go on with, a bell would cost the worker
  // more than the look that comes soon anyway. Where a worker has to give its CPU away for either, a pause pays if it
  // brings three results. Not for ever: one of the tasks may be far longer than the others.
  COPROC_LAZY std::chrono::nanoseconds unhurried_pause(const workload& l) const noexcept;

  // In a row, with nothing moved in any.
  int fruitless_pauses() const noexcept { return moved_since_wake_ != 0 ? 0 : fruitless_pauses_; }

  bool silent_ = false; // the last sleep
  std::size_t moved_since_wake_ = 0;
  int fruitless_pauses_ = 0; // before the last sleep's moves are known
};

} // namespace coproc::detail::front

#include <coproc/front/bell_moderation.ipp>
