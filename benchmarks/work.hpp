// SPDX-License-Identifier: BSL-1.0
// The task that every peer runs, the same machine code for all: an optional calibrated instruction loop, then value +
// 1. Runs in the worker of each peer; includes nothing of coproc.
#pragma once

#include <algorithm>
#include <chrono>

namespace bench {

/// Dependent multiplications, so that the time is instructions and not a clock that somebody else may use up.
inline int increment(int value, int loops) {
  unsigned x = static_cast<unsigned>(value);
  for (int i = 0; i < loops; ++i) {
    x = x * 1664525u + 1013904223u;
    asm volatile("" : "+r"(x));
  }
  return value + 1;
}

/// Seconds that so many tasks take without leaving the thread.
inline double run_inline(long tasks, int loops) {
  const auto start = std::chrono::steady_clock::now();
  for (long i = 0; i < tasks; ++i) {
    int result = increment(static_cast<int>(i), loops);
    asm volatile("" : "+r"(result));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Loops that take about `wanted` on this machine: the fastest of several runs.
inline int loops_for(std::chrono::nanoseconds wanted) {
  constexpr int sample = 1'000'000;
  double fastest_ns = 1e18;
  for (int run = 0; run < 9; ++run) fastest_ns = std::min(fastest_ns, run_inline(1, sample) * 1e9);
  return static_cast<int>(static_cast<double>(wanted.count()) / (fastest_ns / sample));
}

} // namespace bench
