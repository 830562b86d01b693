// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/shutdown_gate.hpp>

namespace coproc::detail {

COPROC_DEF void shutdown_gate::open() noexcept { end_waits(true, {}); }

COPROC_DEF void shutdown_gate::fail(const std::exception_ptr& e) noexcept { end_waits(false, e); }

COPROC_DEF void shutdown_gate::end_waits(bool opens, const std::exception_ptr& e) noexcept {
  const use context(executor_);
  std::unique_lock lock(mutex_);
  open_ |= opens;
  if (!context) return;
  auto waiting = waiters_.drain();
  lock.unlock();
  while (auto op = waiting.pop_front()) detail::post(std::move(op), e);
}

COPROC_DEF void shutdown_gate::drop_waiters() noexcept {
  std::unique_lock lock(mutex_);
  const auto waiting = waiters_.drain();
  lock.unlock();
}

} // namespace coproc::detail
