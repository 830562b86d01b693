// SPDX-License-Identifier: BSL-1.0
// Two locks for private memory of the front end, for use several times a task. Inline, with one atomic operation, and
// without any while the process has one thread: glibc's own do the latter, at the price of two calls. Any thread. Layer
// os/.
#pragma once

#include <coproc/os/futex.hpp>
#include <coproc/os/membarrier.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
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
      for (int i = 0; held_.load(std::memory_order_relaxed); ++i)
        i < 64 ? cpu_relax() : static_cast<void>(::sched_yield());
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
  std::atomic<bool> held_{false};
};

/// For as long as a turn's bookkeeping may take, system calls included. Whoever finds it held sleeps after a short
/// while. It must live until unlock() returns: who calls that looks at it once more when another thread may have it
/// already.
///
/// Unlocking is a plain store: an atomic operation would wait for the stores before it, which go to cache lines that
/// workers have. So whoever goes to sleep makes sure, with the heavy fence, that either it sees the lock open or the
/// holder sees it asleep. Sleepers wait for `asleep_` to become 0. While there are any, it is 1, or a wake-up is on its
/// way to one that will set it: it does so before each try, and leaves it set when it has got the lock, for it may not
/// have been the only one.
class mutex {
public:
  mutex() noexcept { announce_heavy_fences(); }
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  void lock() noexcept {
    if (no_other_thread()) return held_.store(true, std::memory_order_relaxed);
    if (!try_lock()) [[unlikely]]
      wait();
  }
  void unlock() noexcept {
    held_.store(false, std::memory_order_release); // pairs with the acquire of try_lock()
    light_fence();
    if (asleep_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake();
  }

private:
  bool try_lock() noexcept {
    bool expected = false;
    return held_.compare_exchange_strong(expected, true, std::memory_order_acquire, std::memory_order_relaxed);
  }

  [[gnu::noinline, gnu::cold]] void wait() noexcept {
    const int saved_errno = errno;
    if (!try_for_a_while()) {
      for (;;) {
        asleep_.store(1, std::memory_order_relaxed);
        const bool fenced = heavy_fence();
        if (try_lock()) break;
        futex_wait(asleep_, 1, fenced ? std::chrono::nanoseconds::max() : std::chrono::milliseconds(1));
      }
    }
    errno = saved_errno;
  }

  bool try_for_a_while() noexcept {
    for (int i = 0; i < 64; ++i) {
      if (!held_.load(std::memory_order_relaxed) && try_lock()) return true;
      cpu_relax();
    }
    return false;
  }

  [[gnu::noinline, gnu::cold]] void wake() noexcept {
    const int saved_errno = errno;
    asleep_.store(0, std::memory_order_relaxed); // who is about to sleep does not, and tries again
    futex_wake(asleep_);
    errno = saved_errno;
  }

  std::atomic<bool> held_{false};
  std::atomic<std::uint32_t> asleep_{0};
};

} // namespace coproc::os
