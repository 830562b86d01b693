// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/semaphore.hpp>

namespace coproc {

COPROC_DEF void semaphore_permit::release() noexcept {
  if (const auto from = std::exchange(from_, nullptr)) from->give_back();
}

namespace detail {

COPROC_DEF std::optional<semaphore_permit> semaphore_state::try_acquire() {
  std::lock_guard lock(mutex_);
  if (free_ == 0) return std::nullopt;
  --free_;
  return semaphore_permit(shared_from_this());
}

// The next in line may be destroyed instead of posted, when its executor is gone, and give back in turn what it held:
// that is left to the loop of this thread, however many there are. What other threads give back meanwhile they hand out
// themselves.
COPROC_DEF void semaphore_state::give_back() noexcept {
  for (handing_out* h = innermost_; h != nullptr; h = h->outer)
    if (h->of == this) return static_cast<void>(++h->permits);
  handing_out here{this, 1, innermost_};
  innermost_ = &here;
  do {
    hand_out_one();
  } while (--here.permits != 0);
  innermost_ = here.outer;
}

COPROC_LAZY_DEF void semaphore_state::hand_out_one() noexcept {
  const use context(executor_);
  std::unique_lock lock(mutex_);
  auto next = context ? waiters_.pop_front() : nullptr;
  if (!next) return static_cast<void>(++free_);
  lock.unlock();
  detail::post(std::move(next), net::error_code(), semaphore_permit(shared_from_this()));
}

COPROC_DEF void semaphore_state::abandon() noexcept {
  const use context(executor_);
  std::unique_lock lock(mutex_);
  abandoned_ = true;
  if (!context) return;
  auto waiting = waiters_.drain();
  lock.unlock();
  while (auto op = waiting.pop_front()) waiter::fail(std::move(op), net::error::operation_aborted);
}

COPROC_DEF void semaphore_state::drop_waiters() noexcept {
  std::unique_lock lock(mutex_);
  const auto waiting = waiters_.drain();
  lock.unlock();
}

} // namespace detail
} // namespace coproc
