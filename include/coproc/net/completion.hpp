// SPDX-License-Identifier: BSL-1.0
// A handler that waits for its completion, in the hands of whoever knows its type: what it keeps alive, and where and
// how it is called at last. The pool uses it in the front end, on any thread. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>

#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::detail {

/// Who keeps the io_context running while a handler waits: the completion itself, or somebody who outlives it.
enum class work_tracking : bool { here, elsewhere };

/// A handler that is called has no use for its slot any more.
template <class Handler>
void clear_slot(const Handler& handler) {
  auto slot = net::get_associated_cancellation_slot(handler);
  if (slot.is_connected()) slot.clear();
}

/// A handler with its arguments, whose types are forgotten: what is posted. So the machinery of posting is compiled
/// once, and not for each handler.
struct bound_call {
  /// Frees its memory, then calls the handler if told so.
  void (*end)(bound_call*, bool call);
};

/// Owns a bound_call; the function object that executors get.
class posted_call {
public:
  explicit posted_call(bound_call* c) noexcept : call_(c) {}
  posted_call(posted_call&& o) noexcept : call_(std::exchange(o.call_, nullptr)) {}
  posted_call& operator=(posted_call&&) = delete;
  ~posted_call() {
    if (call_ != nullptr) call_->end(call_, false);
  }

  void operator()() {
    bound_call* const c = std::exchange(call_, nullptr);
    c->end(c, true);
  }

private:
  bound_call* call_;
};

// Asio's per-thread memory cache takes the place of operator new where the handler asks for nothing in particular.
template <class Allocator>
struct operation_allocator {
  using type = Allocator;
  static const type& get(const Allocator& a) noexcept { return a; }
};
template <class T>
struct operation_allocator<std::allocator<T>> {
  using type = net::recycling_allocator<T>;
  static type get(const std::allocator<T>&) noexcept { return type(); }
};

/// In memory of the handler's allocator, which is free again when the handler is called.
template <class Handler, class... Args>
class bound_handler final : bound_call {
  using memory = operation_allocator<net::associated_allocator_t<Handler>>;
  using allocator = typename std::allocator_traits<typename memory::type>::template rebind_alloc<bound_handler>;
  using traits = std::allocator_traits<allocator>;

public:
  static posted_call make(Handler&& handler, Args&&... args) {
    allocator a(memory::get(net::get_associated_allocator(handler)));
    bound_handler* const p = traits::allocate(a, 1);
    try {
      ::new (static_cast<void*>(p)) bound_handler(std::move(handler), std::move(args)...);
    } catch (...) {
      traits::deallocate(a, p, 1);
      throw;
    }
    return posted_call(p);
  }

private:
  bound_handler(Handler&& handler, Args&&... args)
      : bound_call{&finish}, handler_(std::move(handler)), args_(std::move(args)...) {}

  static void finish(bound_call* c, bool call) {
    auto* const self = static_cast<bound_handler*>(c);
    allocator a(memory::get(net::get_associated_allocator(self->handler_)));
    Handler handler(std::move(self->handler_));
    std::tuple<Args...> args(std::move(self->args_));
    std::destroy_at(self);
    traits::deallocate(a, self, 1);
    if (!call) return;
    clear_slot(handler); // of no use any more
    std::apply([&handler](Args&... each) { std::move(handler)(std::move(each)...); }, args);
  }

  Handler handler_;
  std::tuple<Args...> args_;
};

/// Where a handler is called at last, and what keeps the contexts of its executors running until then.
class route {
public:
  /// `handler_ex`: the handler's; `io_ex`: of the I/O object.
  COPROC_DECL route(const net::any_io_executor& handler_ex, const net::any_io_executor& io_ex, work_tracking tracking);

  /// Is this thread within the plain io_context that it is called on?
  bool runs_here() const noexcept {
    if (const auto* const io = std::get_if<0>(&where_)) return io->running_in_this_thread();
    if (const auto* const io = std::get_if<1>(&where_)) return io->running_in_this_thread();
    return false;
  }

  COPROC_DECL void post(posted_call c) const;
  COPROC_DECL void dispatch(posted_call c) const;

private:
  struct general {
    net::any_io_executor io; // empty when the work of the I/O object is tracked elsewhere
    net::any_io_executor handler;
  };
  using places = std::variant<io_executor, tracked_executor<io_executor>, general>;

  COPROC_DECL static places choose(const net::any_io_executor& handler_ex, const net::any_io_executor& io_ex,
                                   work_tracking tracking);

  places where_;
};

/// The same for an executor that is not to be had as an any_io_executor, such as that of use_future's handlers.
template <class Executor>
class typed_route {
public:
  typed_route(const Executor& handler_ex, const net::any_io_executor& io_ex, work_tracking tracking)
      : io_(tracking == work_tracking::here
                ? net::any_io_executor(net::prefer(io_ex, net::execution::outstanding_work.tracked))
                : net::any_io_executor()),
        handler_(net::prefer(handler_ex, net::execution::outstanding_work.tracked)) {}

  static bool runs_here() noexcept { return false; }
  void post(posted_call c) const { net::post(handler_, std::move(c)); }
  void dispatch(posted_call c) const { net::dispatch(handler_, std::move(c)); }

private:
  net::any_io_executor io_;
  tracked_executor<Executor> handler_;
};

template <class Executor>
using route_for =
    std::conditional_t<std::is_convertible_v<Executor, net::any_io_executor>, route, typed_route<Executor>>;

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
      : route_(net::get_associated_executor(handler, io_ex), io_ex, tracking), handler_(std::move(handler)) {}

  allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler_); }
  cancellation_slot_type get_cancellation_slot() const noexcept {
    return net::get_associated_cancellation_slot(handler_);
  }

  /// Gives the handler back instead.
  Handler take_handler() && { return std::move(handler_); }

  /// Calls the handler on its executor, never inline. Argument types must be those of the signature, exactly.
  template <class... Args>
  void post(Args... args) && {
    route_.post(bound_handler<Handler, Args...>::make(std::move(handler_), std::move(args)...));
  }

  /// As post, but inline when the handler's executor allows that here and now.
  template <class... Args>
  void dispatch(Args... args) && {
    if (!route_.runs_here())
      return route_.dispatch(bound_handler<Handler, Args...>::make(std::move(handler_), std::move(args)...));
    clear_slot(handler_);
    std::move(handler_)(std::move(args)...);
  }

  /// One of the two.
  template <class... Args>
  void finish(bool may_be_inline, Args... args) && {
    if (may_be_inline)
      std::move(*this).dispatch(std::move(args)...);
    else
      std::move(*this).post(std::move(args)...);
  }

private:
  route_for<net::associated_executor_t<Handler, net::any_io_executor>> route_; // before the handler is moved
  Handler handler_;
};

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/completion.ipp>
#endif
