// SPDX-License-Identifier: BSL-1.0
// Hints about cache lines that two CPUs hand to and fro. They change nothing but how long that takes. Not
// <immintrin.h>, which would cost each of our users a second of compile time.
#pragma once

#include <algorithm>
#include <cstddef>

namespace coproc::os {

inline constexpr std::size_t cache_line = 64;

/// To be written soon, and perhaps last read by another CPU: the line is taken away from there meanwhile. (g++ makes a
/// prefetch for reading of __builtin_prefetch(p, 1), unless told that there is another. x86-64 processors that have
/// none, but for the very first, do nothing.)
inline void prefetch_for_writing(const void* p) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
  __builtin_prefetch(p, 1);
#endif
}

/// Written, and to be read by another CPU next: the line moves from this CPU's own caches to one that they share, where
/// the other finds it sooner. Processors that cannot do that (AMD's, and Intel's before Sapphire Rapids) do nothing.
inline void demote(const void* p) noexcept {
#if defined(__x86_64__)
  asm volatile("cldemote %0" : : "m"(*static_cast<const char*>(p)));
#else
  static_cast<void>(p);
#endif
}

/// Calls f(p) for the two lines that a payload begins with, header and first element, and the two that it ends with:
/// what its reader has to wait for. The rest comes by itself while these are read.
template <class F>
void each_outer_line(const std::byte* payload, std::size_t bytes, F f) {
  if (bytes == 0) return;
  f(payload);
  f(payload + std::min(bytes - 1, cache_line));
  f(payload + bytes - std::min(bytes, cache_line + 1));
  f(payload + bytes - 1);
}

} // namespace coproc::os
