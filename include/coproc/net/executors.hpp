// SPDX-License-Identifier: BSL-1.0
// Executors: what an object can be made on, what is underneath an executor, and which awaitables and tokens go with it.
// Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace coproc {

/// What an object whose handlers run on an Executor can be made on: such an executor, or an execution context that has
/// one.
template <class T, class Executor = net::any_io_executor>
concept executor_or_context =
    std::convertible_to<T, Executor> || (std::convertible_to<T&, net::execution_context&> && requires(T& context) {
      { context.get_executor() } -> std::convertible_to<Executor>;
    });

namespace detail {

template <class Executor = net::any_io_executor, executor_or_context<Executor> T>
Executor executor_of(T&& where) {
  if constexpr (std::convertible_to<T, Executor>)
    return std::forward<T>(where);
  else
    return where.get_executor();
}

/// ex.target<T>(), which on Asio 1.22 answers without asking whether the target is a T.
template <class T>
const T* executor_target(const net::any_io_executor& ex) noexcept {
  return ex.target_type() == typeid(T) ? ex.target<T>() : nullptr;
}

// An executor_with_default of Asio is the executor that it derives from, as far as running anything goes.
template <class Executor>
struct without_default {
  using type = Executor;
};
template <template <class> class With, class Inner>
  requires std::derived_from<With<Inner>, Inner>
struct without_default<With<Inner>> : without_default<Inner> {};

/// ex as the objects keep it. \par Errors  std::bad_alloc
template <class Executor>
net::any_io_executor any_executor_of(const Executor& ex) {
  return static_cast<const typename without_default<Executor>::type&>(ex);
}

/// Back from there. \pre it was made from an Executor, or that is any_io_executor
template <class Executor>
Executor executor_as(const net::any_io_executor& ex) noexcept {
  using inner = typename without_default<Executor>::type;
  if constexpr (std::is_same_v<inner, net::any_io_executor>)
    return ex;
  else
    return *executor_target<inner>(ex);
}

// ---- what a verb awaits with, and what it does without a token

template <class Token, class Otherwise>
struct executor_in_token {
  using type = Otherwise;
};
template <class Executor, class Otherwise>
struct executor_in_token<net::use_awaitable_t<Executor>, Otherwise> {
  using type = Executor;
};
template <template <class> class Adapter, class Token, class Otherwise>
struct executor_in_token<Adapter<Token>, Otherwise> : executor_in_token<Token, Otherwise> {}; // as_tuple and its like

/// E of the awaitable<T, E> that the bare verbs of an object on this executor return: the executor itself, unless its
/// default token says another one (use_awaitable_t<E>::as_default_on_t).
template <class Executor>
using awaiting_executor_t = typename executor_in_token<net::default_completion_token_t<Executor>, Executor>::type;

/// The token of an async_ verb that is called without one: the executor's default. Asio before 1.31 has none for an
/// executor that does not name one: then use_awaitable.
template <class Executor>
using default_token_t = std::conditional_t<std::is_void_v<net::default_completion_token_t<Executor>>,
                                           net::use_awaitable_t<Executor>, net::default_completion_token_t<Executor>>;

// ---- what is underneath

using io_executor = net::io_context::executor_type;
using pool_executor = net::thread_pool::executor_type;

template <class Executor>
using tracked_executor =
    std::decay_t<typename net::prefer_result<Executor, net::execution::outstanding_work_t::tracked_t>::type>;

template <class Executor>
const io_executor* as_io_executor(const Executor& ex) noexcept {
  if constexpr (std::is_same_v<Executor, io_executor>)
    return &ex;
  else if constexpr (std::is_same_v<Executor, net::any_io_executor>)
    return executor_target<io_executor>(ex);
  else
    return nullptr;
}

inline net::io_context* context_of(const io_executor& ex) noexcept {
  return std::addressof(net::query(ex, net::execution::context));
}

/// ex as the io_context executor that it is, if io_ex is one of the same context; else null. Their blocking and
/// relationship properties are of no account: post and dispatch set their own.
template <class Executor>
const io_executor* common_io_executor(const Executor& ex, const net::any_io_executor& io_ex) noexcept {
  const io_executor* mine = as_io_executor(ex);
  if (mine == nullptr) return nullptr;
  const io_executor* other = as_io_executor(io_ex);
  return other != nullptr && context_of(*mine) == context_of(*other) ? mine : nullptr;
}

template <class Executor>
inline constexpr bool is_strand = false;
template <class Inner>
inline constexpr bool is_strand<net::strand<Inner>> = true;

/// The context below strands and any_io_executor; none, if it is none of Asio's two.
struct base_context {
  net::io_context* io = nullptr;
  net::thread_pool* threads = nullptr;

  explicit operator bool() const noexcept { return io != nullptr || threads != nullptr; }
};

template <class Executor>
base_context base_of(const Executor& ex) noexcept {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    base_context base;
    const auto found = [&]<class T>(std::type_identity<T>) {
      const T* const target = executor_target<T>(ex);
      if (target != nullptr) base = base_of(*target);
      return target != nullptr;
    };
    const auto found_any = [&]<class T>(std::type_identity<T>) {
      using tracked = tracked_executor<T>;
      return found(std::type_identity<T>()) || found(std::type_identity<tracked>()) ||
             found(std::type_identity<net::strand<T>>()) || found(std::type_identity<net::strand<tracked>>());
    };
    static_cast<void>(found_any(std::type_identity<io_executor>()) || found_any(std::type_identity<pool_executor>()) ||
                      found(std::type_identity<net::strand<net::any_io_executor>>()));
    return base;
  } else if constexpr (std::is_same_v<Executor, io_executor> ||
                       std::is_same_v<Executor, tracked_executor<io_executor>>) {
    return {.io = std::addressof(net::query(ex, net::execution::context))};
  } else if constexpr (std::is_same_v<Executor, pool_executor> ||
                       std::is_same_v<Executor, tracked_executor<pool_executor>>) {
    return {.threads = std::addressof(net::query(ex, net::execution::context))};
  } else if constexpr (is_strand<Executor>) {
    return base_of(ex.get_inner_executor());
  } else {
    return {};
  }
}

} // namespace detail
} // namespace coproc
