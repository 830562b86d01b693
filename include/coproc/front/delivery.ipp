// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/delivery.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF auto delivery::claim(std::uint64_t me) noexcept -> claimed {
  std::lock_guard lock(mutex_);
  if (holder_ > me) return {};
  holder_ = me;
  task_record* const t = list_.pop_front();
  if (t == nullptr) return {};
  in_handler_of_.store(me, std::memory_order_relaxed);
  ++claims_;
  if (list_.front() != nullptr) list_.front()->prefetch();
  return {t, !list_.empty()};
}

COPROC_LAZY_DEF bool delivery::take_over_if_stuck(std::uint64_t from, std::uint64_t to, bool whole_period) noexcept {
  std::lock_guard lock(mutex_);
  const bool same = std::exchange(claims_at_last_look_, claims_) == claims_;
  if (!same || !whole_period || in_handler_of_.load(std::memory_order_relaxed) != from) return false;
  in_handler_of_.store(0, std::memory_order_relaxed);
  holder_ = to;
  return true;
}

COPROC_LAZY_DEF void delivery::abandon(task_list& ended) noexcept {
  std::lock_guard lock(mutex_);
  list_.splice_back(ended);
  ended.splice_back(list_);
}

} // namespace coproc::detail::front
