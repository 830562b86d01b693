// SPDX-License-Identifier: BSL-1.0
// The clock of everything that the pool times, and sums that don't overflow.
#pragma once

#include <coproc/options.hpp>

#include <chrono>

namespace coproc::os {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;

inline time_point clock_now() noexcept { return clock::now(); }

/// `now + d`; max() where that doesn't exist: durations of options reach up to `unlimited`, and the clock counts from
/// boot.
constexpr time_point after(time_point now, duration d) noexcept {
  return d >= time_point::max() - now ? time_point::max() : now + std::chrono::duration_cast<clock::duration>(d);
}

} // namespace coproc::os

namespace coproc::detail {

// Time is the same everywhere.
using os::after;
using os::clock_now;
using os::time_point;

} // namespace coproc::detail
