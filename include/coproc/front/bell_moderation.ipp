// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/bell_moderation.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF std::chrono::nanoseconds bell_moderation::pause(const workload& l) const noexcept {
  return l.short_backlog.count() != 0 ? coalescing_pause(l.short_backlog) : unhurried_pause(l);
}

COPROC_LAZY_DEF void bell_moderation::sleeps(bool silently) noexcept {
  fruitless_pauses_ = fruitless_pauses() + silently;
  silent_ = silently;
  moved_since_wake_ = 0;
}

COPROC_LAZY_DEF std::chrono::nanoseconds bell_moderation::coalescing_pause(
    std::chrono::nanoseconds backlog) const noexcept {
  const bool worth_it = silent_ ? moved_since_wake_ >= 8 : moved_since_wake_ <= 4;
  return worth_it ? std::clamp<std::chrono::nanoseconds>(backlog, std::chrono::microseconds(10), os::spin_limit)
                  : std::chrono::nanoseconds(0);
}

COPROC_LAZY_DEF std::chrono::nanoseconds bell_moderation::unhurried_pause(const workload& l) const noexcept {
  if (l.long_backlog < std::chrono::microseconds(40) || fruitless_pauses() >= 3) return {};
  const bool crowded = l.crowded_result_period.count() != 0;
  const auto pause =
      std::min<std::chrono::nanoseconds>(l.long_backlog / 2, crowded ? 4 * os::spin_limit : os::spin_limit);
  return pause < 3 * l.crowded_result_period ? std::chrono::nanoseconds(0) : pause;
}

} // namespace coproc::detail::front
