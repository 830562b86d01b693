// SPDX-License-Identifier: BSL-1.0
// Wait and wake on a 32-bit word in shared memory (not FUTEX_PRIVATE: the waiter is another process).
#pragma once

#include <coproc/os/fault.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coproc::os {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

/// Sleeps while `word == expected`, at most `limit` (max(): without limit). May return at any time: callers re-check.
inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                       std::chrono::nanoseconds limit = std::chrono::nanoseconds::max()) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec relative{seconds.count(), (limit - seconds).count()};
  const timespec* const timeout = limit == std::chrono::nanoseconds::max() ? nullptr : &relative;
  invoke(call::futex_wait, [&] { return ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, timeout, nullptr, 0); });
}

/// Wakes the one possible sleeper.
inline void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  invoke(call::futex_wake, [&] { return ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0); });
}

} // namespace coproc::os
