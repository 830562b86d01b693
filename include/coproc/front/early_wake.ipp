// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/early_wake.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF time_point early_wake::alarm(time_point now, time_point due) noexcept {
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

COPROC_LAZY_DEF bool early_wake::woken(time_point now) noexcept {
  const auto alarm = std::exchange(alarm_, time_point::max());
  if (alarm == time_point::max()) return false;
  early_ = now < alarm;
  if (early_) return false;
  watches_ = true;
  watch_until_ = std::max(watch_until_, now + patience);
  return true;
}

COPROC_LAZY_DEF void early_wake::came() noexcept {
  if (std::exchange(early_, false)) fail(); // before the alarm
  if (std::exchange(watches_, false)) failures_ = 0;
}

COPROC_LAZY_DEF void early_wake::fail() noexcept {
  to_skip_ = 1u << failures_;
  failures_ = std::min(failures_ + 1, 8u);
}

} // namespace coproc::detail::front
