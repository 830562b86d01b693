// SPDX-License-Identifier: BSL-1.0
// A heap that fails this thread when the test says so: once, at the n-th allocation, or from there on. Replaces
// operator new and, since Asio uses that, aligned_alloc: include it in one file of an executable, and not under
// sanitizers, which do the same.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace coproc::testing {

enum class failing { once, from_then_on };

struct heap_plan {
  long until_failure = -1; // allocations; negative: none fails
  bool goes_on = false;
  long failures = 0;

  bool fails_now() noexcept {
    if (until_failure < 0) return false;
    if (until_failure > 0) return --until_failure, false;
    if (!goes_on) until_failure = -1;
    ++failures;
    return true;
  }
};

inline thread_local constinit heap_plan this_heap;

/// While it lives, this thread's n-th allocation (from 0) fails.
class failing_heap {
public:
  explicit failing_heap(long n, failing how) noexcept { this_heap = {n, how == failing::from_then_on, 0}; }
  failing_heap(const failing_heap&) = delete;
  failing_heap& operator=(const failing_heap&) = delete;
  ~failing_heap() { end(); }

  /// Has any failed? From now on none does.
  bool end() noexcept {
    this_heap.until_failure = -1;
    return this_heap.failures != 0;
  }
};

/// Calls scenario(n, how) for n from 0 to the first for which nothing fails, for both kinds of failure.
/// The scenario returns whether anything did.
template <class Scenario>
long at_each_allocation(Scenario scenario) {
  long scenarios = 0;
  for (const auto how : {failing::once, failing::from_then_on})
    for (long n = 0; scenario(n, how); ++n) ++scenarios;
  return scenarios;
}

inline void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  void* p = nullptr;
  if (!this_heap.fails_now() && ::posix_memalign(&p, alignment, bytes) == 0) return p;
  return nullptr;
}

inline void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  if (void* p = allocate(bytes, alignment)) return p;
  throw std::bad_alloc();
}

} // namespace coproc::testing

// Not inline: g++ 12 would take free() for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return coproc::testing::allocate_or_throw(bytes, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return coproc::testing::allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
extern "C" [[gnu::noinline]] void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  return coproc::testing::allocate(bytes, alignment);
}
