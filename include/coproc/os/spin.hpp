// SPDX-License-Identifier: BSL-1.0
// Whether to spin before sleeping, learned from experience: spinning pays only when the answer comes sooner than a
// wake-up would take, so after two fruitless spins it stops until sleeps turn out to be short. Rule W6,
// docs/protocol.md. Worker and front end; private state.
#pragma once

#include <coproc/os/clock.hpp>
#include <coproc/os/lock.hpp>

#include <chrono>
#include <sched.h>

namespace coproc::os {

using os::cpu_relax;

inline int current_cpu() noexcept { return ::sched_getcpu(); }

/// How long a spin may last: about a wake-up.
inline constexpr std::chrono::nanoseconds spin_limit = std::chrono::microseconds(50);

/// Waits without a look at anything that others write; returns what the clock says then.
inline time_point wait_for(std::chrono::nanoseconds time) noexcept {
  auto now = clock_now();
  for (const auto end = now + time; now < end;) now = clock_now();
  return now;
}

/// So many looks, with a pause between each two, take some hundred nanoseconds to two microseconds, as processors
/// pause.
inline constexpr int looks_soon = 32;

/// Spins until `done()`, for looks_soon, without a look at the clock; true if done.
template <class Predicate>
bool spin_a_little(Predicate done) noexcept {
  for (int i = 0; i < looks_soon; ++i) {
    if (done()) return true;
    cpu_relax();
  }
  return false;
}

/// Spins until `done()`, at most for `limit`; true if done.
template <class Predicate>
bool spin_until(Predicate done, std::chrono::nanoseconds limit) noexcept {
  const auto end = clock_now() + limit;
  do {
    if (spin_a_little(done)) return true;
  } while (clock_now() < end);
  return false;
}

class spin_gate {
public:
  /// `limit`: how long one spin may last, or twice as long where that would have been enough; 0 never spins (one usable
  /// CPU).
  explicit spin_gate(std::chrono::nanoseconds limit) noexcept : limit_(limit) {}

  bool enabled() const noexcept { return limit_.count() > 0; }
  bool worthwhile() const noexcept { return enabled() && fruitless_ < 2; }

  /// Spins until `done()` or the limit; true if done.
  template <class Predicate>
  bool until(Predicate done) noexcept {
    return spin_until(done, almost_ ? 2 * limit_ : limit_);
  }

  void success() noexcept { fruitless_ = 0; }

  /// The wait lasted `idle` in all, and ended in a sleep. A short one would have been caught by spinning.
  void slept(std::chrono::nanoseconds idle) noexcept {
    almost_ = idle < 2 * limit_;
    if (idle < 3 * limit_)
      fruitless_ = 0;
    else if (fruitless_ < 2)
      ++fruitless_;
  }

private:
  std::chrono::nanoseconds limit_;
  int fruitless_ = 0;
  bool almost_ = false; // the last spin that ended in a sleep was but a little too short
};

} // namespace coproc::os
