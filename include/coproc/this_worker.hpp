// SPDX-License-Identifier: BSL-1.0
// What a running task can learn and ask: which worker it is in, and whether somebody wants it to stop. Called in
// workers, and in tasks of the thread bridge. A public header.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/error_code.hpp>
#include <coproc/worker/context.hpp>
#include <coproc/worker/stop_flag.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace coproc::detail {

/// The one object of type T that this_worker::make_state made in this process. (Not where T itself is hidden.)
template <class T>
COPROC_VISIBLE inline std::optional<T> state_of_this_worker;

} // namespace coproc::detail

/// What a running task can learn and ask. Called in workers, and in tasks of the thread bridge.
namespace coproc::this_worker {

/// The index of this worker, 0 to max_workers - 1; its replacement inherits it. Empty outside a worker.
inline std::optional<unsigned> id() noexcept {
  const auto& c = detail::worker::this_worker_context;
  if (c.mailbox == nullptr) return {};
  return c.index;
}

/// The process that the task runs in.
inline pid_t pid() noexcept { return ::getpid(); }

/// A number for a random generator: another one for each worker process, replacements included, and the same for the
/// n-th process of each pool with the same pool_options::seed. Workers are forked from one image, so a generator that
/// was seeded before draws the same numbers in all of them: `rng.seed(this_worker::seed())` in the initializer. 0
/// outside a worker.
inline std::uint64_t seed() noexcept { return detail::worker::this_worker_context.seed; }

/// Was the running task asked to stop (partial cancellation, or on_cancel::request_stop)? One load: ask often. Any
/// thread of the worker; for tasks of the thread bridge the thread that runs the task.
inline bool stop_requested() noexcept {
  if (const auto* flag = detail::worker::thread_stop_flag) return flag->load(std::memory_order_relaxed);
  return detail::worker::this_worker_context.stop_requested();
}

/// When the running task will be stopped or killed for taking too long: its soft_timeout or timeout, whichever comes
/// first, from its beginning, slightly early rather than late; or its deadline, if that comes before, which is late by
/// the time that the task lay in its worker's ring. max() without any, and outside a task. The thread that runs the
/// task.
inline std::chrono::steady_clock::time_point deadline() noexcept {
  return detail::worker::this_worker_context.deadline;
}

/// A copyable handle to stop_requested(), with std::stop_token's names. Valid while the task runs.
class stop_handle {
public:
  /// As this_worker::stop_requested().
  bool stop_requested() const noexcept { return this_worker::stop_requested(); }
  /// Is this a task at all?
  bool stop_possible() const noexcept {
    return detail::worker::thread_stop_flag != nullptr || detail::worker::this_worker_context.mailbox != nullptr;
  }
};

/// For code that takes a stop token.
inline stop_handle stop_token() noexcept { return {}; }

/// Ends the task if it was asked to stop: throws system_error(operation_aborted), which is what the caller then gets.
inline void throw_if_stopped() {
  if (stop_requested()) throw net::system_error(net::error::operation_aborted);
}

/// Makes this worker's one object of type T, destroying the one that was there: for pool_options::initializer, so that
/// tasks find what is expensive to make (a parser, a connection). It lives until the worker ends, which runs no
/// destructors; pool_options::finalizer can use it. A shared library finds it if T is visible there
/// (-fvisibility=hidden hides types, too).
template <class T, class... A>
T& make_state(A&&... args) {
  return detail::state_of_this_worker<T>.emplace(std::forward<A>(args)...);
}

/// This worker's object of type T. \par Errors  std::logic_error if make_state<T> was not called in this process
template <class T>
T& state() {
  if (!detail::state_of_this_worker<T>)
    throw std::logic_error(
        "coproc: this_worker::state<T>(): this worker has no T; call this_worker::make_state<T>() in "
        "pool_options::initializer");
  return *detail::state_of_this_worker<T>;
}

} // namespace coproc::this_worker
