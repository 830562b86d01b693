// SPDX-License-Identifier: BSL-1.0
// Which coproc::run is at work on this thread. A coroutine of it that waits for a pool on another context, which nobody
// runs, would wait for ever: that is refused. Front end, any thread. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>

#include <exception>
#include <type_traits>

namespace coproc::detail {

/// Lives while coproc::run does. What it does is in run.hpp, so that a file which makes a call does not compile it.
class run_scope {
public:
  run_scope(const run_scope&) = delete;
  run_scope& operator=(const run_scope&) = delete;

  /// The error for a coroutine's handler that is to wait for what a pool completes; null: it may. Any other handler
  /// may.
  template <class Pool, class Handler>
  static std::exception_ptr refusal(const Pool& pool, const Handler& handler) {
    if constexpr (std::is_same_v<net::associated_executor_t<Handler>, net::any_io_executor>) {
      run_scope* const scope = innermost_;
      if (scope != nullptr && scope->fine_ != &pool)
        return scope->look_(*scope, &pool, pool.executor(), net::get_associated_executor(handler));
    }
    return nullptr;
  }

protected:
  using look_function = std::exception_ptr (*)(run_scope&, const void* pool, const net::any_io_executor& of_pool,
                                               const net::any_io_executor& of_handler);

  explicit run_scope(look_function look) noexcept : look_(look), outer_(innermost_) { innermost_ = this; }
  ~run_scope() { innermost_ = outer_; }

  const void* fine_ = nullptr; ///< the pool that was found to be on the context of this run last

private:
  COPROC_VISIBLE static inline thread_local constinit run_scope* innermost_ = nullptr;

  const look_function look_;
  run_scope* const outer_;
};

} // namespace coproc::detail
