// SPDX-License-Identifier: BSL-1.0
// Two locks for private memory of the front end, for use several times a task. Inline, and without an atomic operation while the
// process has one thread: glibc's own do the latter, at the price of two calls. Any thread. Layer os/.
#pragma once

#include <coproc/os/futex.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <sched.h>
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace coproc::os {

inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause(); // <immintrin.h> would cost each of our users a second of compile time
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// No other thread can hold a lock, or wait for one. (One that is created while this one holds it sees that it does.)
inline bool no_other_thread() noexcept {
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded;
#else
  return false;
#endif
}

/// For a few instructions. Whoever finds it held for long yields: the holder may have lost its CPU.
class spin_lock {
public:
  void lock() noexcept {
    if (no_other_thread()) return held_.store(true, std::memory_order_relaxed);
    while (held_.exchange(true, std::memory_order_acquire))
      for (int i = 0; held_.load(std::memory_order_relaxed); ++i) i < 64 ? cpu_relax() : static_cast<void>(::sched_yield());
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
  std::atomic<bool> held_{false};
};

/// For as long as a turn's bookkeeping may take, system calls included. Whoever finds it held sleeps after a short while.
/// After: Ulrich Drepper, Futexes Are Tricky, 2011 (mutex2).
class mutex {
public:
  void lock() noexcept {
    if (no_other_thread()) return state_.store(held, std::memory_order_relaxed);
    std::uint32_t expected = open;
    if (!state_.compare_exchange_strong(expected, held, std::memory_order_acquire, std::memory_order_relaxed)) [[unlikely]]
      wait();
  }
  void unlock() noexcept {
    if (no_other_thread()) return state_.store(open, std::memory_order_relaxed);
    if (state_.exchange(open, std::memory_order_release) == awaited) [[unlikely]]
      wake();
  }

private:
  static constexpr std::uint32_t open = 0, held = 1, awaited = 2;

  [[gnu::noinline, gnu::cold]] void wait() noexcept {
    const int saved_errno = errno;
    for (int i = 0; i < 64; ++i) {
      std::uint32_t expected = open;
      if (state_.compare_exchange_weak(expected, held, std::memory_order_acquire, std::memory_order_relaxed)) return;
      cpu_relax();
    }
    // From here on it is released as `awaited`, whoever else waits: a wake-up too many costs less than one too few.
    while (state_.exchange(awaited, std::memory_order_acquire) != open) futex_wait(state_, awaited);
    errno = saved_errno;
  }

  [[gnu::noinline, gnu::cold]] void wake() noexcept {
    const int saved_errno = errno;
    futex_wake(state_);
    errno = saved_errno;
  }

  std::atomic<std::uint32_t> state_{open};
};

} // namespace coproc::os
