// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/shutdown_gate.hpp>

namespace coproc::detail {

COPROC_DEF void shutdown_gate::open() noexcept {
  const use context(executor_);
  std::unique_lock lock(mutex_);
  open_ = true;
  if (!context) return;
  auto waiting = waiters_.drain();
  lock.unlock();
  while (auto op = waiting.pop_front()) detail::post(std::move(op), std::exception_ptr());
}

COPROC_DEF void shutdown_gate::drop_waiters() noexcept {
  std::unique_lock lock(mutex_);
  const auto waiting = waiters_.drain();
  lock.unlock();
}

} // namespace coproc::detail
