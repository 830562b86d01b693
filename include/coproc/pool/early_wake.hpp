// SPDX-License-Identifier: BSL-1.0
// When the front end is woken by the clock shortly before a result is due, to spin for the rest: a CPU that has halted
// meanwhile takes some 40 us to wake up, by which a result is late whose worker rings when it is through. Learned from whether
// results come when they are due; no system call, no clock. Front end, under the pool's mutex.
//
//   sleep, bells armed ---- alarm() ----> watch, nobody rings ---- result, or patience is over
//                                         due - lead                        due + patience
#pragma once

#include <coproc/pool/spin.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace coproc::pool {

class early_wake {
public:
  /// The front end is about to sleep until a result comes, the first of them at `due`; max(): nobody knows when. Returns
  /// when the clock should wake it; max(): it should not; `now`: it is too late to sleep, the watch has begun.
  time_point alarm(time_point now, time_point due) noexcept {
    if (std::exchange(watches_, false)) fail(); // in vain
    early_ = false;
    alarm_ = time_point::max();
    if (due <= now || due - now > farthest) return alarm_;
    if (to_skip_ != 0) {
      --to_skip_;
      return alarm_;
    }
    watch_until_ = due + patience;
    if (due - lead > now + shortest_sleep) return alarm_ = due - lead;
    watches_ = true;
    return now;
  }

  /// Awake again; true: by the clock, so the watch begins. Else the clock may end some later sleep for nothing.
  bool woken(time_point now) noexcept {
    const auto alarm = std::exchange(alarm_, time_point::max());
    if (alarm == time_point::max()) return false;
    early_ = now < alarm;
    if (early_) return false;
    watches_ = true;
    watch_until_ = std::max(watch_until_, now + patience);
    return true;
  }

  /// Is a result due?
  bool watching(time_point now) const noexcept { return watches_ && now < watch_until_; }

  /// Results came.
  void came() noexcept {
    if (std::exchange(early_, false)) fail(); // before the alarm
    if (std::exchange(watches_, false)) failures_ = 0;
  }

private:
  /// Before a result is due: about as long as a wake-up may take.
  static constexpr std::chrono::nanoseconds lead = spin_limit * 4 / 5;
  static constexpr std::chrono::nanoseconds patience = spin_limit / 2;
  static constexpr std::chrono::nanoseconds shortest_sleep = spin_limit / 5;
  /// A wake-up is one fiftieth of that.
  static constexpr std::chrono::nanoseconds farthest = 40 * spin_limit;

  void fail() noexcept {
    to_skip_ = 1u << failures_;
    failures_ = std::min(failures_ + 1, 8u);
  }

  time_point alarm_ = time_point::max(), watch_until_{};
  bool watches_ = false;
  bool early_ = false;    // awake before the alarm, for whatever reason
  unsigned failures_ = 0; // in a row
  unsigned to_skip_ = 0;  // sleeps
};

} // namespace coproc::pool
