// SPDX-License-Identifier: BSL-1.0
// What a running task can learn and ask: which worker it is in, and whether somebody wants it to stop. Called in workers,
// and in tasks of the thread bridge. A public header.
#pragma once

#include <coproc/net/error_code.hpp>
#include <coproc/pool/stop_flag.hpp>
#include <coproc/pool/worker_context.hpp>

#include <optional>
#include <unistd.h>

namespace coproc::this_worker {

/// The index of this worker, 0 to max_workers - 1; its replacement inherits it. Empty outside a worker.
inline std::optional<unsigned> id() noexcept {
  const auto& c = pool::this_worker_context;
  if (c.mailbox == nullptr) return {};
  return c.index;
}

/// The process that the task runs in.
inline pid_t pid() noexcept { return ::getpid(); }

/// Was the running task asked to stop (partial cancellation, or on_cancel::request_stop)? One load: ask often. Any thread
/// of the worker; for tasks of the thread bridge the thread that runs the task.
inline bool stop_requested() noexcept {
  if (const auto* flag = detail::thread_stop_flag) return flag->load(std::memory_order_relaxed);
  return pool::this_worker_context.stop_requested();
}

/// A copyable handle to the same question, with std::stop_token's names. Valid while the task runs.
class stop_token {
public:
  bool stop_requested() const noexcept { return this_worker::stop_requested(); }
  bool stop_possible() const noexcept {
    return detail::thread_stop_flag != nullptr || pool::this_worker_context.mailbox != nullptr;
  }
};

inline stop_token get_stop_token() noexcept { return {}; }

/// Ends the task if it was asked to stop: throws system_error(operation_aborted), which is what the caller then gets.
inline void throw_if_stopped() {
  if (stop_requested()) throw net::system_error(net::error::operation_aborted);
}

} // namespace coproc::this_worker
