// SPDX-License-Identifier: BSL-1.0
// The one model of "a handler that waits for its completion": what it keeps alive, and where and how it is called at
// last. The pool, channels and semaphores use it in the front end, on any thread. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>

#include <memory>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

namespace coproc {

/// Who keeps the io_context running while a handler waits: the completion itself, or somebody who outlives it.
enum class work_tracking : bool { here, elsewhere };

namespace detail {

using io_executor = net::io_context::executor_type;

template <class Executor>
using tracked_executor =
    std::decay_t<typename net::prefer_result<Executor, net::execution::outstanding_work_t::tracked_t>::type>;

/// ex.target<T>(), which on Asio 1.22 answers without asking whether the target is a T.
template <class T>
const T* executor_target(const net::any_io_executor& ex) noexcept {
  return ex.target_type() == typeid(T) ? ex.target<T>() : nullptr;
}

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

/// A handler that is called has no use for its slot any more.
template <class Handler>
void clear_slot(const Handler& handler) {
  auto slot = net::get_associated_cancellation_slot(handler);
  if (slot.is_connected()) slot.clear();
}

/// A handler with its arguments, as a function object without parameters for post and dispatch. Its only association
/// is the allocator: it runs where it is posted, and the cancellation slot is already of no use to it.
template <class Handler, class... Args>
class bound_handler {
public:
  using allocator_type = net::associated_allocator_t<Handler>;

  template <class... A>
  explicit bound_handler(Handler&& handler, A&&... args)
      : handler_(std::move(handler)), args_(std::forward<A>(args)...) {}

  allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler_); }

  void operator()() {
    clear_slot(handler_);
    std::apply([this](Args&... args) { std::move(handler_)(std::move(args)...); }, args_);
  }

private:
  Handler handler_;
  std::tuple<Args...> args_;
};

} // namespace detail

/// A handler that waits, with outstanding work for its associated executor and for the executor of the I/O object.
/// Finished by exactly one of post and dispatch, or destroyed uninvoked.
/// \par Threads  one at a time; post and dispatch may be called on any thread
/// \par Speed    a handler on the plain io_context that io_ex names (each co_await has one) bypasses any_io_executor,
///               whose prefer, dispatch and work tracking cost some 60 ns; with work_tracking::elsewhere it counts none
/// \par Lifetime must be finished or destroyed before the contexts of both executors are (by a service's shutdown)
template <class Handler>
class completion {
public:
  using handler_type = Handler;
  using allocator_type = net::associated_allocator_t<Handler>;
  using cancellation_slot_type = net::associated_cancellation_slot_t<Handler>;

  completion(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking = work_tracking::here)
      : route_(choose(handler, io_ex, tracking)), handler_(std::move(handler)) {}

  allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler_); }
  cancellation_slot_type get_cancellation_slot() const noexcept {
    return net::get_associated_cancellation_slot(handler_);
  }

  /// Calls the handler on its executor, never inline. Argument types must be those of the signature, exactly.
  template <class... Args>
  void post(Args... args) && {
    detail::bound_handler<Handler, Args...> bound(std::move(handler_), std::move(args)...);
    std::visit([&](auto& r) { net::post(handler_executor(r), std::move(bound)); }, route_);
  }

  /// As post, but inline when the handler's executor allows that here and now.
  template <class... Args>
  void dispatch(Args... args) && {
    if (const auto* io = std::get_if<detail::io_executor>(&route_); io != nullptr && io->running_in_this_thread()) {
      detail::clear_slot(handler_);
      std::move(handler_)(std::move(args)...);
      return;
    }
    detail::bound_handler<Handler, Args...> bound(std::move(handler_), std::move(args)...);
    std::visit([&](auto& r) { net::dispatch(handler_executor(r), std::move(bound)); }, route_);
  }

private:
  using tracked_handler_executor = detail::tracked_executor<net::associated_executor_t<Handler, net::any_io_executor>>;

  struct general_route {
    net::any_io_executor io; // empty when the work of the I/O object is tracked elsewhere
    tracked_handler_executor handler;
  };

  using route = std::variant<detail::io_executor, detail::tracked_executor<detail::io_executor>, general_route>;

  static route choose(const Handler& handler, const net::any_io_executor& io_ex, work_tracking tracking) {
    const auto handler_ex = net::get_associated_executor(handler, io_ex);
    constexpr auto tracked = net::execution::outstanding_work.tracked;
    if (const detail::io_executor* common = detail::common_io_executor(handler_ex, io_ex)) {
      if (tracking == work_tracking::elsewhere) return route(std::in_place_index<0>, *common);
      return route(std::in_place_index<1>, net::prefer(*common, tracked));
    }
    return route(std::in_place_index<2>,
                 general_route{tracking == work_tracking::here ? net::any_io_executor(net::prefer(io_ex, tracked))
                                                               : net::any_io_executor(),
                               net::prefer(handler_ex, tracked)});
  }

  template <class Executor>
  static const Executor& handler_executor(const Executor& ex) noexcept {
    return ex;
  }
  static const tracked_handler_executor& handler_executor(const general_route& r) noexcept { return r.handler; }

  route route_; // before the handler is moved
  Handler handler_;
};

} // namespace coproc
