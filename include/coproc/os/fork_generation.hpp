// SPDX-License-Identifier: BSL-1.0
// Notices that this process is a forked copy, at the price of one load: pools, like locks, belong to the process that
// made them. Any process.
#pragma once

#include <coproc/config.hpp>

#include <atomic>
#include <pthread.h>

namespace coproc::os {

COPROC_VISIBLE inline std::atomic<unsigned> fork_generation{0};

/// Installs the handler that counts forks, once in the program and in each shared library that makes pools: a handler
/// goes with the library that installed it, and it does no harm to count twice. (vfork and raw clone run no handlers.)
[[gnu::visibility("hidden")]] inline void count_forks() {
  static const int installed =
      ::pthread_atfork(nullptr, nullptr, [] { fork_generation.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(installed);
}

/// Remembers the process in which it was made: a forked copy of it is not its own.
class process_mark {
public:
  bool is_own() const noexcept { return fork_generation.load(std::memory_order_relaxed) == generation_; }

private:
  unsigned generation_ = fork_generation.load(std::memory_order_relaxed);
};

} // namespace coproc::os
