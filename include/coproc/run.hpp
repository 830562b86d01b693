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

/// Runs main on an io_context of its own, on this thread, and returns its result, which need not be
/// default-constructible. Inside, `co_await net::this_coro::executor` is that context's.
///
/// Returns when main has ended and nothing that it started is left to run. If main throws, whatever else is left is
/// destroyed without running on, and the exception is rethrown.
/// \par Errors  what main throws, or a handler on the context; std::logic_error when main can never end, because
///              nothing is left that could wake it (or because somebody stopped the context)
template <awaitable_like A>
awaited_t<A> run(A main) {
  std::optional<value_t<awaited_t<A>>> result;
  std::exception_ptr error;
  {
    net::io_context io(1);
    net::co_spawn(io, detail::keep_result(detail::coroutine_of(main), result), [&](const std::exception_ptr& e) {
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
