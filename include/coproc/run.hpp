// SPDX-License-Identifier: BSL-1.0
// run: an event loop for one main coroutine, on the calling thread. A public header: may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>

#include <exception>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coproc {

/// Runs main, a net::awaitable<T, E> or task<T>, on an io_context of its own, on this thread, and returns its result,
/// which need not be default-constructible. Inside, `co_await net::this_coro::executor` is that context's; where E is a
/// strand, one on it.
///
/// Returns when main has ended and nothing that it started is left to run. If main throws, whatever else is left is
/// destroyed without running on, and the exception is rethrown.
/// \par Errors  what main throws, or a handler on the context; std::logic_error when main can never end, because
///              nothing is left that could wake it (or because somebody stopped the context)
template <awaitable_like A>
awaited_t<A> run(A main) {
  using executor = detail::executor_awaiting_t<A>;
  static_assert(std::is_constructible_v<executor, net::io_context::executor_type>,
                "coproc: run makes an io_context: main must be an awaitable<T, E> whose E can be made of its executor");
  std::optional<value_t<awaited_t<A>>> result;
  std::exception_ptr error;
  {
    net::io_context io(1);
    net::co_spawn(executor(io.get_executor()), detail::keep_result(detail::coroutine_of(main), result),
                  [&](const std::exception_ptr& e) {
                    error = e;
                    if (e) io.stop();
                  });
    io.run();
  }
  if (error) std::rethrow_exception(error);
  if (!result) throw std::logic_error("coproc: run: nothing is left that could wake the main coroutine");
  if constexpr (!std::is_void_v<awaited_t<A>>) return std::move(*result);
}

} // namespace coproc
