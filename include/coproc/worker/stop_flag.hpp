// SPDX-License-Identifier: BSL-1.0
// Where a task that runs on a thread of the front end finds out that it was asked to stop. The thread bridge sets it,
// this_worker::stop_requested() reads it. Standard headers only.
#pragma once

#include <coproc/config.hpp>

#include <atomic>
#include <utility>

namespace coproc::detail::worker {

/// The stop flag of the task that the thread bridge runs on this thread; null outside such a task. The flag only ever
/// goes from false to true and publishes no other memory: relaxed loads do.
COPROC_VISIBLE inline thread_local constinit const std::atomic<bool>* thread_stop_flag = nullptr;

/// Sets thread_stop_flag for one scope. Tasks nest where a task runs a thread pool or an io_context itself.
class thread_stop_scope {
public:
  explicit thread_stop_scope(const std::atomic<bool>& flag) noexcept : outer_(std::exchange(thread_stop_flag, &flag)) {}
  thread_stop_scope(const thread_stop_scope&) = delete;
  thread_stop_scope& operator=(const thread_stop_scope&) = delete;
  ~thread_stop_scope() { thread_stop_flag = outer_; }

private:
  const std::atomic<bool>* outer_;
};

} // namespace coproc::detail::worker
