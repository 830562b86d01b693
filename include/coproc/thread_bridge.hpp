// SPDX-License-Identifier: BSL-1.0
// run_in_executor on threads: the bridge of the process pool over an asio::thread_pool or any other executor. The call
// is made in the front end, fn runs on a thread of the executor. A public header: may include everything.
#pragma once

#include <coproc/codec/callable.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/net/thread_task.hpp>

#include <concepts>
#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coproc {

/// What run_in_executor takes besides process pools: an lvalue net::thread_pool, or an executor.
template <class E>
concept thread_bridge = std::same_as<std::remove_cvref_t<E>, net::thread_pool> ||
                        net::execution::is_executor<std::remove_cvref_t<E>>::value;

namespace detail {

/// What is kept of an argument A&&.
template <class A>
using decayed_t = std::decay_t<argument_t<A>>;

/// gcc12_hazard for callables, where the victim is a lambda with captures. No trait names those, but a closure with
/// captures can be neither default-constructed nor assigned, which hardly any other class shares.
template <class F>
inline constexpr bool gcc12_closure_hazard =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    !std::is_reference_v<F> && std::is_class_v<F> && !std::is_trivially_destructible_v<F> &&
    !std::is_default_constructible_v<F> && !std::is_copy_assignable_v<F> && !std::is_move_assignable_v<F>;
#else
    false;
#endif

template <class F, class... A>
consteval bool runs_on_threads() {
  constexpr bool callable = std::invocable<F, A...>;
  static_assert(callable, "coproc: fn cannot be called with these arguments");
  if constexpr (callable) {
    constexpr bool is_coroutine = coroutine<std::invoke_result_t<F, A...>, A...>;
    static_assert(!is_coroutine, "coproc: fn is a coroutine; a worker has no event loop: pass an ordinary function, "
                                 "and co_await in the caller");
    return !is_coroutine;
  }
  return false;
}

template <class Awaiting, class Executor, class Task>
net::awaitable<typename Task::result_type, Awaiting> await_on_threads(Executor where, std::shared_ptr<Task> task) {
  using token = net::use_awaitable_t<Awaiting>;
  const Awaiting own = co_await net::this_coro::executor;
  const net::any_io_executor here = any_executor_of(own);
  operation_memory memory = task->prepare(here);
  auto waiting = net::async_initiate<const token, typename Task::signature>(
      thread_task_initiation<Executor, Task>(here), token(), std::move(task), std::move(memory), std::move(where));
  auto result = co_await std::move(waiting);
  if constexpr (!std::is_void_v<typename Task::result_type>) co_return std::move(*result);
}

} // namespace detail

/// Runs fn(args...) on a thread of `where` when awaited, and resumes the caller on its own executor with the result.
///
/// fn and args are decay-copied (coproc::moved(name): moved) before the call returns, and passed to fn as rvalues; the
/// result is decayed, and need not be default-constructible. fn must be no coroutine.
/// \par Errors    what fn throws, the same object; operation_aborted also when `where` goes before fn has started
/// \par Cancel    not started: any type withdraws it. Running: total is ignored; partial raises the stop token, see
///                this_worker::stop_requested; terminal raises it too and completes now with operation_aborted, while
///                the thread goes on and its result is dropped
/// \par Lifetime  the pool must outlive the start of fn, and what args refer to its end, terminal cancellation or not
/// \tparam Awaiting  of the coroutine: in a net::awaitable<T, E> write `co_await run_in_executor<E>(threads, fn)`
template <class Awaiting = net::any_io_executor, thread_bridge Where, class F, class... A>
[[nodiscard]] auto run_in_executor(Where&& where, F&& fn, A&&... args) {
  static_assert(std::is_lvalue_reference_v<Where> || !std::same_as<std::remove_cvref_t<Where>, net::thread_pool>,
                "coproc: the pool must outlive its tasks: pass a named thread_pool");
  static_assert(!detail::gcc12_closure_hazard<F>,
                "coproc: inside co_await g++ 12 destroys temporaries of this type twice (GCC PR 99576): write "
                "coproc::moved(name) for std::move(name), and give what has no name one");
  if constexpr (detail::verify_temporaries<F, A...>() &&
                detail::runs_on_threads<detail::decayed_t<F>, detail::decayed_t<A>...>()) {
    auto task = std::make_shared<detail::thread_task_of<detail::decayed_t<F>, detail::decayed_t<A>...>>(
        detail::take_argument<F>(fn), detail::take_argument<A>(args)...);
    if constexpr (std::same_as<std::remove_cvref_t<Where>, net::thread_pool>)
      return detail::await_on_threads<Awaiting>(where.get_executor(), std::move(task));
    else
      return detail::await_on_threads<Awaiting>(std::remove_cvref_t<Where>(where), std::move(task));
  }
}

} // namespace coproc
