// SPDX-License-Identifier: BSL-1.0
// with_timeout: awaits a coroutine for a limited time. Runs in the front end, on the caller's executor. A public
// header: may include everything.
#pragma once

#include <coproc/config.hpp>
#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/options.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

namespace detail {

/// Heeds terminal cancellation only: an operation that may go on after a weaker one remains limited.
template <class Executor>
net::awaitable<void, Executor> expire_after(duration limit, bool& expired) {
  const Executor ex = co_await net::this_coro::executor;
  net::steady_timer timer(any_executor_of(ex));
  timer.expires_after(limit);
  // To throw would cost microseconds.
  const auto outcome = co_await timer.async_wait(as_tuple(net::use_awaitable_t<Executor>()));
  expired = !std::get<0>(outcome);
}

/// timed_out, with a text that says the limit; what the operation threw when it was cancelled is nested in it, unless
/// it says just that.
COPROC_DECL std::exception_ptr expiry(duration limit, const std::exception_ptr& cause) noexcept;

template <class A, class Executor = executor_awaiting_t<A>>
net::awaitable<awaited_t<A>, Executor> race_with_timer(duration limit, A operation) {
  struct race {
    std::optional<value_t<awaited_t<A>>> result;
    bool expired = false;
  };
  enum : std::size_t { timed, timer, both };

  Executor ex = co_await net::this_coro::executor;
  auto j = std::make_shared<join_of<race>>(both, join_until::first_end);
  std::vector<net::awaitable<void, Executor>> bodies;
  bodies.push_back(keep_result(coroutine_of(operation), j->results.result));
  bodies.push_back(expire_after<Executor>(limit, j->results.expired));
  auto running = run_joined(std::move(ex), std::move(j), std::move(bodies));
  const auto ended = co_await std::move(running);
  if (!ended->results.result) {
    if (ended->first_to_end() == timer && ended->results.expired) std::rethrow_exception(expiry(limit, ended->error()));
    std::rethrow_exception(ended->error());
  }
  if constexpr (!std::is_void_v<awaited_t<A>>) co_return std::move(*ended->results.result);
}

template <class A>
net::awaitable<awaited_t<A>, executor_awaiting_t<A>> without_timer(A operation) {
  co_return co_await coroutine_of(operation);
}

template <class A>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;
template <>
inline constexpr bool is_duration<time_limit> = true;

template <class A>
concept limit_like = is_duration<std::remove_cvref_t<A>> || std::is_arithmetic_v<std::remove_cvref_t<A>>;

} // namespace detail

/// Awaits operation, a net::awaitable<T, E> or task<T>, for at most `limit` from the moment the result is awaited. Both
/// orders of the two are the same: with_timeout(200ms, read()), with_timeout(read(), 200ms).
///
/// On expiry the operation gets terminal cancellation and is awaited to its end (a task of a pool is killed, its CPU
/// free); then coproc::timed_out is thrown. If it completes with a value all the same, the value is the result.
/// \par Errors    timed_out, whose text says the limit (with an exception other than operation_aborted, that the
/// operation
///                threw when it was cancelled, nested in it); before expiry, what the operation throws;
///                std::invalid_argument, from the call itself, when limit is zero or negative
/// \par Cancel    forwarded to the operation with its type; completes with what the operation does
/// \par Threads   as gather: with an E of another type than any_io_executor the caller's executor must be a strand, or
///                have one thread
/// \par Lifetime  what the operation refers to must outlive the awaiting
/// @{
template <awaitable_like A>
[[nodiscard]] auto with_timeout(time_limit limit, A operation)
    -> net::awaitable<awaited_t<A>, detail::executor_awaiting_t<A>> {
  if (limit <= duration::zero())
    throw std::invalid_argument("coproc: with_timeout: the limit must be positive; coproc::unlimited is no limit");
  if (limit == unlimited) return detail::without_timer(std::move(operation));
  return detail::race_with_timer<A>(limit, std::move(operation));
}
template <awaitable_like A>
[[nodiscard]] auto with_timeout(A operation, time_limit limit)
    -> net::awaitable<awaited_t<A>, detail::executor_awaiting_t<A>> {
  return with_timeout(limit, std::move(operation));
}
/// @}

/// What is neither: the build error says so.
template <class A, class B>
  requires(!(detail::limit_like<A> && awaitable_like<std::remove_cvref_t<B>>) &&
           !(awaitable_like<std::remove_cvref_t<A>> && detail::limit_like<B>))
net::awaitable<void> with_timeout(A&&, B&&) {
  static_assert(detail::limit_like<A> || detail::limit_like<B>,
                "coproc: the limit of with_timeout is a std::chrono duration: with_timeout(200ms, operation)");
  static_assert(
      !detail::limit_like<A> && !detail::limit_like<B>,
      "coproc: with_timeout has a limit, but no operation: that is a net::awaitable<T> or a task<T>, as a call of a "
      "coroutine returns, not the coroutine itself: with_timeout(200ms, read(socket))");
  return {};
}

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/with_timeout.ipp>
#endif
