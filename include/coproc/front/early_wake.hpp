// SPDX-License-Identifier: BSL-1.0
// When the front end is woken by the clock shortly before a result is due, to spin for the rest: a CPU that has halted
// meanwhile takes some 40 us to wake up, by which a result is late whose worker uses its bell when it is through.
// Learned from whether results come when they are due; no system call, no clock. Front end, under the pool's mutex.
//
//   sleep, bells armed ---- alarm() ----> watch, no bells ------ result, or patience is over
//                                         due - lead                        due + patience
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/spin.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace coproc::detail::front {

class early_wake {
public:
  /// The front end is about to sleep until a result comes, the first of them at `due`; max(): nobody knows when.
  /// Returns when the clock should wake it; max(): it should not; `now`: it is too late to sleep, the watch has begun.
  COPROC_LAZY time_point alarm(time_point now, time_point due) noexcept;

  /// Awake again; true: by the clock, so the watch begins. Else the clock may end some later sleep for nothing.
  COPROC_LAZY bool woken(time_point now) noexcept;

  /// Is a result due?
  bool watching(time_point now) const noexcept { return watches_ && now < watch_until_; }

  /// Results came.
  COPROC_LAZY void came() noexcept;

private:
  /// Before a result is due: about as long as a wake-up may take.
  static constexpr std::chrono::nanoseconds lead = os::spin_limit * 4 / 5;
  static constexpr std::chrono::nanoseconds patience = os::spin_limit / 2;
  static constexpr std::chrono::nanoseconds shortest_sleep = os::spin_limit / 5;
  /// A wake-up is one fiftieth of that.
  static constexpr std::chrono::nanoseconds farthest = 40 * os::spin_limit;

  COPROC_LAZY void fail() noexcept;

  time_point alarm_ = time_point::max(), watch_until_{};
  bool watches_ = false;
  bool early_ = false;    // awake before the alarm, for whatever reason
  unsigned failures_ = 0; // in a row
  unsigned to_skip_ = 0;  // sleeps
};

} // namespace coproc::detail::front

#include <coproc/front/early_wake.ipp>
