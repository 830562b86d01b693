// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/event.hpp>

namespace coproc::detail {

COPROC_LAZY_DEF void event_state::finish_all(bool& flag, net::error_code with) noexcept {
  const use context(executor_);
  std::unique_lock lock(mutex_);
  flag = true;
  if (!context) return;
  auto waiting = waiters_.drain();
  lock.unlock();
  while (auto op = waiting.pop_front()) detail::post(std::move(op), with);
}

COPROC_DEF void event_state::set() noexcept { finish_all(set_, {}); }

COPROC_DEF void event_state::abandon() noexcept { finish_all(abandoned_, net::error::operation_aborted); }

COPROC_DEF void event_state::clear() noexcept {
  std::lock_guard lock(mutex_);
  set_ = false;
}

COPROC_DEF bool event_state::is_set() noexcept {
  std::lock_guard lock(mutex_);
  return set_;
}

COPROC_DEF void event_state::drop_waiters() noexcept {
  std::unique_lock lock(mutex_);
  const auto waiting = waiters_.drain();
  lock.unlock();
}

} // namespace coproc::detail
