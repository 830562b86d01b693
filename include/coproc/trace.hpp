// SPDX-License-Identifier: BSL-1.0
// What process_pool::trace() tells its sink. Front end.
#pragma once

#include <chrono>
#include <cstdint>
#include <sys/types.h>

namespace coproc {

/// One thing that happened in a pool.
struct trace_event {
  /// What happened.
  enum class kind : std::uint8_t {
    task,         ///< a task ran in a worker from `began` to `ended`; one that never began is none
    worker_start, ///< a worker process was made at `ended`
    worker_exit,  ///< one ended at `ended`
  };
  kind what{};              ///< which of these
  const char* outcome = ""; ///< of a task: value, exception, lost, task_timeout ...; static storage
  unsigned worker = 0;      ///< index
  pid_t pid = 0;            ///< of the worker
  std::uint64_t task = 0;   ///< number of the submission
  std::chrono::steady_clock::time_point submitted{}; ///< of a task: when it was submitted
  std::chrono::steady_clock::time_point began{};     ///< of a task: when it came to the head of its worker's ring
  std::chrono::steady_clock::time_point ended{};     ///< when it happened, or was over
};

} // namespace coproc
