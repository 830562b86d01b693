// SPDX-License-Identifier: BSL-1.0
// run: an event loop for one main coroutine, on the calling thread. A public header: may include everything.
#pragma once

#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/net/run_scope.hpp>
#include <coproc/os/process.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coproc {

namespace detail {

template <class Context> // net::io_context: a template so that only a file that calls run compiles it
class running final : public run_scope {
public:
  explicit running(const Context& own) noexcept : run_scope(&look), own_(&own) {}
  ~running() = default;

private:
  static std::exception_ptr look(run_scope& scope, const void* pool, const net::any_io_executor& of_pool,
                                 const net::any_io_executor& of_handler) {
    auto& self = static_cast<running&>(scope);
    if (!of_pool || self.is_own(of_pool)) {
      self.fine_ = pool;
      return nullptr;
    }
    // Another thread may run that context, now or later.
    if (self.has_threads_ || !of_handler || !self.is_own(of_handler)) return nullptr;
    self.has_threads_ = !os::single_threaded();
    if (self.has_threads_) return nullptr;
    return std::make_exception_ptr(
        pool_error(make_error_code(errc::wrong_context),
                   "coproc::run runs this coroutine on a context of its own, and nobody runs that of the pool: use "
                   "coproc::run(io, awaitable) with the pool's io_context, or make the pool inside, on co_await "
                   "net::this_coro::executor"));
  }

  bool is_own(const net::any_io_executor& ex) const noexcept {
    return &net::query(ex, net::execution::context) == static_cast<const net::execution_context*>(own_);
  }

  const Context* own_;
  bool has_threads_ = false; // the process had more than one
};

/// What the main coroutine ended with. Shared with it, since it may outlive the call that waits for it.
template <class T>
struct run_result {
  std::optional<value_t<T>> value;
  std::exception_ptr error;
  bool ended = false;

  T take() {
    if (error) std::rethrow_exception(error);
    if (!value) throw std::logic_error("coproc: run: nothing is left that could wake the main coroutine");
    if constexpr (!std::is_void_v<T>) return std::move(*value);
  }
};

template <class A, class Executor = executor_awaiting_t<A>>
net::awaitable<void, Executor> keep_in(A main, std::shared_ptr<run_result<awaited_t<A>>> result) {
  co_await keep_result(coroutine_of(main), result->value);
}

} // namespace detail

/// Runs main, a net::awaitable<T, E> or task<T>, on an io_context of its own, on this thread, and returns its result,
/// which need not be default-constructible. Inside, `co_await net::this_coro::executor` is that context's; where E is a
/// strand, one on it.
///
/// A pool that main uses belongs on that context, or on one that another thread runs. For a pool that is on a context
/// of the program there is run(io, main).
///
/// Returns when main has ended and nothing that it started is left to run. If main throws, whatever else is left is
/// destroyed without running on, and the exception is rethrown.
/// \par Errors  what main throws, or a handler on the context; std::logic_error when main can never end, because
///              nothing is left that could wake it (or because somebody stopped the context). In main, a wait for a
///              pool on another context throws pool_error(errc::wrong_context) if this is the only thread of the
///              process
template <awaitable_like A>
awaited_t<A> run(A main) {
  using executor = detail::executor_awaiting_t<A>;
  static_assert(std::is_constructible_v<executor, net::io_context::executor_type>,
                "coproc: run makes an io_context: main must be an awaitable<T, E> whose E can be made of its executor");
  const auto result = std::make_shared<detail::run_result<awaited_t<A>>>();
  {
    net::io_context io(1);
    const detail::running<net::io_context> scope(io);
    net::co_spawn(executor(io.get_executor()), detail::keep_in(std::move(main), result),
                  [&](const std::exception_ptr& e) {
                    result->error = e;
                    if (e) io.stop();
                  });
    io.run();
  }
  return result->take();
}

/// Runs the loop of io on this thread until main has ended, and returns its result: for a main coroutine that uses a
/// pool, or anything else, on a context that the program has. Whatever else is on io stays there, and goes on when io
/// is run again. No other thread may run io meanwhile.
/// \par Errors    as run(main)
/// \par Lifetime  where it throws before main has ended, main stays on io, and io must be destroyed before what main
///                refers to
template <awaitable_like A>
awaited_t<A> run(net::io_context& io, A main) {
  using executor = detail::executor_awaiting_t<A>;
  static_assert(std::is_constructible_v<executor, net::io_context::executor_type>,
                "coproc: run(io, main): main must be an awaitable<T, E> whose E can be made of the executor of io");
  const auto result = std::make_shared<detail::run_result<awaited_t<A>>>();
  const detail::running<net::io_context> scope(io);
  io.restart();
  net::co_spawn(executor(io.get_executor()), detail::keep_in(std::move(main), result),
                [result, &io](const std::exception_ptr& e) {
                  result->error = e;
                  result->ended = true;
                  io.stop();
                });
  io.run();
  io.restart();
  return result->take();
}

} // namespace coproc
