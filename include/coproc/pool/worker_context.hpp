// SPDX-License-Identifier: BSL-1.0
// What a worker process knows of itself, for this_worker. Written by the worker loop; absent in every other process.
#pragma once

#include <coproc/shm/mailbox.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace coproc::pool {

class view_lender;

struct worker_context {
  const shm::mailbox* mailbox = nullptr; ///< null: this process is no worker
  unsigned index = 0;
  view_lender* views = nullptr;          ///< memory for results that the front end views; null: none
  std::atomic<std::uint64_t> running{0}; ///< 1 + seq of the task that runs; 0: none. Relaxed: threads of tasks may ask
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max(); ///< of the task

  /// Somebody asked the running task to stop. One relaxed load: it is a request, it carries no data.
  bool stop_requested() const noexcept {
    const std::uint64_t task = running.load(std::memory_order_relaxed);
    return task != 0 && mailbox->parent.stop.load(std::memory_order_relaxed) == task;
  }
};

inline worker_context this_worker_context;

} // namespace coproc::pool
