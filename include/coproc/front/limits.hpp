// SPDX-License-Identifier: BSL-1.0
// What bounds a pool, with every default resolved; see pool_options for the meaning. Constant once the pool is made.
#pragma once

#include <coproc/options.hpp>

#include <cstdint>

namespace coproc::detail::front {

struct dispatcher_limits {
  unsigned max_workers = 1;
  std::uint64_t max_queue = 4096;
  std::uint64_t max_queue_bytes = std::uint64_t{1} << 30;
  duration kill_grace = std::chrono::seconds(1);
  duration exit_status_wait = std::chrono::seconds(1); ///< between a death and giving up on its cause
  unsigned max_start_failures = 10;                    ///< in a row, before the pool gives up
  duration recovery_wait = std::chrono::seconds(1);    ///< then, before it tries again
  duration start_timeout = std::chrono::seconds(60);
  unsigned min_workers = 0;     ///< 0: max_workers
  bool leave_when_idle = false; ///< workers beyond min_workers end by themselves
  std::uint64_t max_tasks_per_child = 0, max_tasks_jitter = 0, max_memory_per_child = 0; ///< 0: no limit
  unsigned usable_cpus = 2;
  bool pidfds = false; ///< workers have one; else (in tests) they need none
};

} // namespace coproc::detail::front
