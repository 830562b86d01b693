// SPDX-License-Identifier: BSL-1.0
// with_resource: a coroutine with something that must be closed, and awaited while it closes, on every path: `async
// with`. Runs in the front end. A public header: may include everything.
#pragma once

#include <coproc/codec/callable.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/task_group.hpp>
#include <coproc/thread_bridge.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

namespace detail {

template <class F, class T>
concept resource_user = std::invocable<F&, T&> && awaitable_like<std::invoke_result_t<F&, T&>>;

template <class T>
concept closes = requires(T& t) { t.close(); };

template <class T>
net::awaitable<void> close_resource(T& resource) {
  if constexpr (awaitable_like<decltype(resource.close())>) {
    auto closing = resource.close();
    co_await coroutine_of(closing);
  } else {
    resource.close();
    co_return;
  }
}

template <class T, class F>
net::awaitable<awaited_t<std::invoke_result_t<F&, T&>>> use_resource(T resource, F use) {
  using result_type = awaited_t<std::invoke_result_t<F&, T&>>;
  const net::any_io_executor ex = co_await net::this_coro::executor;
  std::optional<value_t<result_type>> result;
  std::vector<std::exception_ptr> failures;
  try {
    auto using_it = std::invoke(use, resource);
    if constexpr (std::is_void_v<result_type>) {
      co_await coroutine_of(using_it);
      result.emplace();
    } else {
      auto value = co_await coroutine_of(using_it);
      result.emplace(std::move(value));
    }
  } catch (...) {
    failures.push_back(std::current_exception());
  }
  // A thread of its own, without a slot: no cancellation, that of before or a later one, reaches the closing.
  const bool throws = co_await net::this_coro::throw_if_cancelled();
  co_await net::this_coro::throw_if_cancelled(false);
  try {
    auto closing = net::co_spawn(ex, close_resource(resource),
                                 net::bind_cancellation_slot(net::cancellation_slot(), net::use_awaitable));
    co_await std::move(closing);
  } catch (...) {
    failures.push_back(std::current_exception());
  }
  co_await net::this_coro::throw_if_cancelled(throws);
  if (failures.size() == 1) std::rethrow_exception(failures.front());
  if (!failures.empty()) throw exception_group(std::move(failures));
  if constexpr (!std::is_void_v<result_type>) co_return std::move(*result);
}

} // namespace detail

/// Awaits use(resource), then resource.close(), whatever use has ended with; gives the result of use.
///
/// resource is decay-copied (coproc::moved(name): moved). use is a function of T& that returns a net::awaitable<R>.
/// close() returns an awaitable, or closes at once.
/// \par Errors    what use throws, or what close() throws; exception_group of both if both do
/// \par Cancel    forwarded to use. It does not reach close(), which is awaited to its end
/// \par Lifetime  a context that is destroyed in the middle destroys the resource without close()
template <class T, class F>
[[nodiscard]] auto with_resource(T&& resource, F&& use) {
  using kept = std::decay_t<detail::argument_t<T>>;
  using user = std::decay_t<F>;
  static_assert(!detail::gcc12_closure_hazard<F>,
                "coproc: g++ 12 destroys this temporary twice inside co_await (GCC PR 99576): give the object a name "
                "and pass the name");
  static_assert(detail::closes<kept>, "coproc: with_resource takes an object with a member function close()");
  static_assert(detail::resource_user<user, kept>,
                "coproc: with_resource takes a function of resource& that returns a net::awaitable<R>");
  if constexpr (detail::verify_temporaries<T>() && detail::closes<kept> && detail::resource_user<user, kept>)
    return detail::use_resource<kept, user>(detail::take_argument<T>(resource), std::forward<F>(use));
}

} // namespace coproc
