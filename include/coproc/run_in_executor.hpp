// SPDX-License-Identifier: BSL-1.0
// run_in_executor and async_run: a call in a worker process as an awaitable, or with any completion token. Front end.
#pragma once

#include <coproc/codec/moved.hpp>
#include <coproc/front/call.hpp>
#include <coproc/net/run_scope.hpp>
#include <coproc/pool.hpp>

#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coproc {

namespace detail {
struct initiate_work;
}

/// A callable with its arguments, for async_run; made by work().
template <class F, class... A>
class work_item {
public:
  /// For work().
  template <class... X>
  explicit work_item(F fn, X&&... args) : fn_(std::move(fn)), args_(std::forward<X>(args)...) {}

  using result_type = detail::result_t<F, A...>; ///< of fn, decayed

private:
  friend struct detail::initiate_work;

  F fn_;
  std::tuple<A...> args_;
};

/// Packs fn and decay-copied args (coproc::moved(name): moved) for async_run.
template <class F, class... A>
auto work(F fn, A&&... args) {
  if constexpr (detail::verify_temporaries<A...>() && detail::verify<F, A...>())
    return work_item<F, std::decay_t<detail::argument_t<A>>...>(std::move(fn), detail::take_argument<A>(args)...);
}

namespace detail {

// Of use_awaitable alone, which asks no initiation for its executor: the frame of the call holds the prepared call
// alone.
template <class R>
struct initiate_prepared {
  // `call` by value: it must survive the completion of the operation on another thread, which may destroy the caller's
  // frame.

  template <class Handler>
  void operator()(Handler&& handler, front::prepared_call call) const { // the handler is on the stack of use_awaitable
    call.refuse(run_scope::refusal(call.pool(), handler));
    std::move(call).template start<R>(std::move(handler));
  }
};

struct initiate_work {
  using executor_type = net::any_io_executor;
  std::shared_ptr<front::engine> engine;
  pool_ref pool;
  executor_type get_executor() const noexcept { return engine->executor(); }

  template <class Handler, class Item>
  void operator()(Handler handler, Item item) const {
    auto call = std::apply(
        [&](auto&... args) {
          return front::prepared_call::make(engine, pool.options(), true, item.fn_, std::move(args)...);
        },
        item.args_);
    std::move(call).template start<typename Item::result_type>(std::move(handler));
  }
};

// A pool as itself: making a pool_ref, options and all, costs as much as encoding a small call.
template <class P>
decltype(auto) as_reference(const P& pool) noexcept {
  if constexpr (std::is_same_v<P, pool_ref> || std::is_same_v<P, process_pool>)
    return static_cast<const P&>(pool);
  else
    return static_cast<pool_ref>(pool);
}

} // namespace detail

/// Runs fn(args...) in a worker process when awaited, and resumes the caller with the result.
///
/// fn: a function, member function, captureless lambda, or a callable whose captures are provably plain bytes.
/// Arguments convert to fn's parameter types (a generic fn: their decayed types) and are encoded before this function
/// returns, so they behave as decay-copied; an lvalue container is encoded straight from where it is. References
/// returned are copied.
/// \par Returns    net::awaitable<R, Awaiting>, R the decayed result of fn; need not be default-constructible
/// \par Errors     what fn throws: standard exceptions as remote<E>, others as remote_exception; worker_lost,
/// task_timeout,
///                 pool_error (pool_closed, payload_too_large, bad_payload, worker_start_failed, wrong_process,
///                 unknown_function), operation_aborted
/// \par Pressure   waits for room while max_queue tasks (or max_queue_bytes) are accepted and not completed, in order
/// \par Cancel     waiting, queued or not yet begun: withdrawn by any type. Running: total is ignored; partial raises
/// the
///                 stop token (this_worker::stop_requested); terminal kills the worker (SIGTERM, after kill_grace
///                 SIGKILL) and completes with operation_aborted once it is gone, unless on_cancel::request_stop. Never
///                 retried
/// \par Lifetime   the pool must live when the result is awaited; it may be destroyed before the call completes
/// \tparam Awaiting  of the coroutine: in a net::awaitable<T, E> write `co_await run_in_executor<E>(pool, fn)`
template <class Awaiting = net::any_io_executor, process_bridge P, class F, class... A>
[[nodiscard]] auto run_in_executor(P&& pool, F fn, A&&... args) {
  if constexpr (detail::verify_temporaries<A...>() && detail::verify<F, A...>()) {
    using R = detail::result_t<F, A...>;
    decltype(auto) ref = detail::as_reference(pool);
    using token = net::use_awaitable_t<Awaiting>;
    return net::async_initiate<const token, detail::front::completion_signature<R>>(
        detail::initiate_prepared<R>(), token(),
        detail::front::prepared_call::make(detail::front::engine_of(ref), detail::front::options_of(ref), true, fn,
                                           std::forward<A>(args)...));
  } else {
    return net::awaitable<void, Awaiting>();
  }
}

namespace detail {

template <class E>
concept thread_executor = std::is_same_v<std::remove_cvref_t<E>, net::thread_pool> ||
                          net::execution::is_executor<std::remove_cvref_t<E>>::value;

template <class E>
consteval bool verify_bridge() {
  static_assert(!thread_executor<E>,
                "coproc: include <coproc/thread_bridge.hpp> to run on an asio::thread_pool or an executor");
  static_assert(thread_executor<E>,
                "coproc: the first argument is the pool: run_in_executor(pool, fn, arguments...), with a "
                "process_pool by its name, pool.with({...}), or an asio::thread_pool");
  return false;
}

} // namespace detail

/// What has no pool: the build error says so.
template <class E, class... A>
  requires(!process_bridge<E>)
net::awaitable<void> run_in_executor(E&&, A&&...) {
  static_cast<void>(detail::verify_bridge<E>());
  return {};
}

/// run_in_executor with any completion token: co_await async_run(pool, coproc::work(fn, args...), token).
/// \par Signature  void(std::exception_ptr) or void(std::exception_ptr, R); R default-constructible (value-initialised
///                 where there is an exception)
/// \par Completes  exactly once, on the handler's associated executor (default: the pool's), never inside the
/// initiating
///                 call; honours the handler's allocator and cancellation slot. Arguments are encoded on initiation
/// \par Errors, Pressure, Cancel, Lifetime  as run_in_executor
template <class F, class... A, class Token = net::use_awaitable_t<>>
auto async_run(pool_ref pool, work_item<F, A...> item, Token&& token = Token()) {
  using R = typename work_item<F, A...>::result_type;
  if constexpr (detail::verify_callback_result<R>())
    return net::async_initiate<Token, detail::front::completion_signature<R>>(
        detail::initiate_work{detail::front::engine_of(pool), pool}, token, std::move(item));
}

} // namespace coproc
