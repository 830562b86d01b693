// SPDX-License-Identifier: BSL-1.0
// What a worker process knows of itself, for this_worker. Written by the worker loop; absent in every other process.
#pragma once

#include <coproc/config.hpp>
#include <coproc/shm/mailbox.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace coproc::detail::worker {

/// Memory for results that the front end views: see views.hpp. Only in the worker itself: in a child that a task
/// forked, all do nothing.
class result_memory {
public:
  /// Null: no room, or not worth it.
  virtual std::byte* allocate(std::size_t bytes, std::size_t alignment) = 0;
  virtual void drop(const std::byte* p) noexcept = 0;
  /// Empty: it is not of this memory.
  virtual std::optional<std::uint64_t> lend(const void* at, std::size_t bytes) = 0;

  virtual bool has_open_loan() const noexcept = 0;
  virtual std::size_t open_bytes() const noexcept = 0;
  virtual unsigned close_loan() noexcept = 0;
  virtual void cancel_loan() noexcept = 0;
  /// `most`: what a worker keeps, of which its results have `taken`.
  virtual void trim(std::size_t most, std::size_t taken) noexcept = 0;

protected:
  ~result_memory() = default;
};

struct worker_context {
  const shm::mailbox* mailbox = nullptr; ///< null: this process is no worker
  unsigned index = 0;
  std::uint64_t seed = 0;
  result_memory* views = nullptr;        ///< null: none
  std::atomic<std::uint64_t> running{0}; ///< 1 + seq of the task that runs; 0: none. Relaxed: threads of tasks may ask
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max(); ///< of the task

  /// Somebody asked the running task to stop: the stop token of rule K, docs/protocol.md. One relaxed load: it is a
  /// request, it carries no data.
  bool stop_requested() const noexcept {
    const std::uint64_t task = running.load(std::memory_order_relaxed);
    return task != 0 && mailbox->parent.stop.load(std::memory_order_relaxed) == task;
  }
};

COPROC_VISIBLE inline worker_context this_worker_context;

} // namespace coproc::detail::worker
