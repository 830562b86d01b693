// SPDX-License-Identifier: BSL-1.0
// gather: awaits several coroutines at the same time. Runs in the front end, on the caller's executor. A public header:
// may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

namespace detail {

// std::ranges::input_range and the like, from <iterator> alone: <ranges> costs the compiler something.
template <class Range>
using iterator_of = decltype(std::ranges::begin(std::declval<Range&>()));
template <class Range>
concept input_range = std::input_iterator<iterator_of<Range>> && requires(Range& r) { std::ranges::end(r); };

template <class...>
struct common_awaiting_executor {
  using type = net::any_io_executor;
};
template <class A, class... B>
struct common_awaiting_executor<A, B...> {
  static_assert((std::is_same_v<executor_awaiting_t<A>, executor_awaiting_t<B>> && ...),
                "coproc: gather takes coroutines of one executor: all net::awaitable<T>, or all net::awaitable<T, E>");
  using type = executor_awaiting_t<A>;
};

template <class Executor, class... A, std::size_t... I>
net::awaitable<std::tuple<value_t<awaited_t<A>>...>, Executor> gather_tuple(std::tuple<A...> children,
                                                                            std::index_sequence<I...>) {
  using results = std::tuple<std::optional<value_t<awaited_t<A>>>...>;
  Executor ex = co_await net::this_coro::executor;
  auto j = std::make_shared<join_of<results>>(sizeof...(A), join_until::first_failure);
  std::vector<net::awaitable<void, Executor>> bodies;
  bodies.reserve(sizeof...(A));
  (bodies.push_back(keep_result(coroutine_of(std::get<I>(children)), std::get<I>(j->results))), ...);
  auto running = run_joined(std::move(ex), std::move(j), std::move(bodies));
  const auto ended = co_await std::move(running);
  if (ended->error()) std::rethrow_exception(ended->error());
  co_return std::tuple<value_t<awaited_t<A>>...>(std::move(*std::get<I>(ended->results))...);
}

template <class A, class Executor = executor_awaiting_t<A>>
net::awaitable<std::vector<value_t<awaited_t<A>>>, Executor> gather_vector(std::vector<A> children) {
  using value = value_t<awaited_t<A>>;
  Executor ex = co_await net::this_coro::executor;
  auto j = std::make_shared<join_of<std::vector<std::optional<value>>>>(children.size(), join_until::first_failure);
  j->results.resize(children.size());
  std::vector<net::awaitable<void, Executor>> bodies;
  bodies.reserve(children.size());
  for (std::size_t i = 0; i < children.size(); ++i)
    bodies.push_back(keep_result(coroutine_of(children[i]), j->results[i]));
  auto running = run_joined(std::move(ex), std::move(j), std::move(bodies));
  const auto ended = co_await std::move(running);
  if (ended->error()) std::rethrow_exception(ended->error());
  std::vector<value> values;
  values.reserve(ended->results.size());
  for (auto& result : ended->results) values.push_back(std::move(*result));
  co_return values;
}

} // namespace detail

/// Runs the children concurrently and awaits them all: a tuple of their results, std::monostate for void. When one
/// fails it cancels the others, which kills the tasks among them; gather_settled does not.
///
/// A child is a net::awaitable<T, E> or a task<T>; T need not be default-constructible. Children start when the
/// returned awaitable is awaited (a task has been running since submit).
/// \par Returns   net::awaitable<std::tuple<...>, E>; all children have the same E, usually any_io_executor
/// \par Errors    the first exception in time is rethrown, after the siblings got terminal cancellation and have ended
/// \par Cancel    forwarded to every child, with its type; completes when they have ended, with what they did of it
///                (a child that heeds a cancellation does not count as failed, and so causes no terminal one)
/// \par Threads   children run on the caller's executor; where that is no strand, each gets a strand of its own on it,
///                so that several threads may run the io_context. With an E of another type than any_io_executor they
///                run on the caller's executor itself: let it be a strand, or let one thread run it
/// \par Lifetime  what the children refer to must outlive the awaiting
template <awaitable_like... A>
[[nodiscard]] auto gather(A... children) {
  return detail::gather_tuple<typename detail::common_awaiting_executor<A...>::type>(
      std::tuple<A...>(std::move(children)...), std::index_sequence_for<A...>());
}

/// The same for a range of children, whose elements are moved from: a vector of the results, in order.
template <class Range>
  requires detail::input_range<Range> && awaitable_like<std::iter_value_t<detail::iterator_of<Range>>>
[[nodiscard]] auto gather(Range&& range) {
  std::vector<std::iter_value_t<detail::iterator_of<Range>>> children;
  if constexpr (requires { std::ranges::size(range); })
    children.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  const auto end = std::ranges::end(range);
  for (auto it = std::ranges::begin(range); it != end; ++it) children.push_back(std::ranges::iter_move(it));
  return detail::gather_vector(std::move(children));
}

} // namespace coproc
