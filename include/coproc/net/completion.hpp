// SPDX-License-Identifier: BSL-1.0
// The one model of "a handler that waits for its completion": who keeps which executor alive, where the handler's memory
// comes from, how it is called at last. The pool, channels and semaphores use it in the front end, on any thread.
// Layer net/.
#pragma once

#include <coproc/net/asio.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
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

template <class Executor>
const io_executor* as_io_executor(const Executor& ex) noexcept {
  if constexpr (std::is_same_v<Executor, io_executor>)
    return &ex;
  else if constexpr (std::is_same_v<Executor, net::any_io_executor>)
    return ex.template target<io_executor>();
  else
    return nullptr;
}

/// ex as the io_context executor that it is, if io_ex is one of the same context; else null. Their blocking and
/// relationship properties are of no account: post and dispatch set their own.
template <class Executor>
const io_executor* common_io_executor(const Executor& ex, const net::any_io_executor& io_ex) noexcept {
  const io_executor* mine = as_io_executor(ex);
  if (mine == nullptr) return nullptr;
  const io_executor* other = as_io_executor(io_ex);
  if (other == nullptr) return nullptr;
  const auto context = [](const io_executor& e) { return std::addressof(net::query(e, net::execution::context)); };
  return context(*mine) == context(*other) ? mine : nullptr;
}

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

  static void clear_slot(Handler& handler) {
    auto slot = net::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.clear();
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
///               whose prefer, dispatch and work tracking cost some 60 ns; with work_tracking::elsewhere nothing is counted
/// \par Lifetime must be finished or destroyed before the contexts of both executors are (by a service's shutdown)
template <class Handler>
class completion {
public:
  using handler_type = Handler;
  using allocator_type = net::associated_allocator_t<Handler>;
  using cancellation_slot_type = net::associated_cancellation_slot_t<Handler>;

  completion(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking = work_tracking::here)
      : handler_(std::move(handler)), route_(choose(handler_, io_ex, tracking)) {}

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
      detail::bound_handler<Handler, Args...>::clear_slot(handler_);
      std::move(handler_)(std::move(args)...);
      return;
    }
    detail::bound_handler<Handler, Args...> bound(std::move(handler_), std::move(args)...);
    std::visit([&](auto& r) { net::dispatch(handler_executor(r), std::move(bound)); }, route_);
  }

private:
  using tracked_handler_executor =
      detail::tracked_executor<net::associated_executor_t<Handler, net::any_io_executor>>;

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
  static const Executor& handler_executor(const Executor& ex) noexcept { return ex; }
  static const tracked_handler_executor& handler_executor(const general_route& r) noexcept { return r.handler; }

  Handler handler_;
  route route_;
};

template <class Signature>
class operation;

/// A completion whose handler type is forgotten: base of what sits in queues. Data that travels with the waiting handler
/// goes into a class derived from this one, which takes the `function` as its constructor's first argument.
/// \par Lifetime post, dispatch and destroy end it; its memory goes back to the handler's allocator before the handler is called
template <class... Args>
class operation<void(Args...)> {
public:
  enum class ending : std::uint8_t { post, dispatch, destroy };
  using function = void (*)(operation*, ending, Args*...);

  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;

  void post(Args... args) { function_(this, ending::post, &args...); }
  void dispatch(Args... args) { function_(this, ending::dispatch, &args...); }
  void destroy() { function_(this, ending::destroy, static_cast<Args*>(nullptr)...); }

protected:
  explicit operation(function f) noexcept : function_(f) {}
  ~operation() = default;

private:
  function function_;
};

struct operation_destroyer {
  template <class Operation>
  void operator()(Operation* op) const { op->destroy(); }
};

/// Owns an operation; its destructor destroys the handler uninvoked.
template <class Operation>
using operation_ptr = std::unique_ptr<Operation, operation_destroyer>;

/// Finishes an owned operation by posting its handler.
template <class Operation, class... Args>
void post(operation_ptr<Operation> op, Args... args) { op.release()->post(std::move(args)...); }

namespace detail {

template <class Base, class Handler>
class stored_operation final : public Base {
  using memory = operation_allocator<net::associated_allocator_t<Handler>>;
  using allocator = typename std::allocator_traits<typename memory::type>::template rebind_alloc<stored_operation>;
  using traits = std::allocator_traits<allocator>;

public:
  template <class... BaseArgs>
  static operation_ptr<Base> make(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking,
                                  BaseArgs&&... base_args) {
    allocator a(memory::get(net::get_associated_allocator(handler)));
    stored_operation* p = traits::allocate(a, 1);
    try {
      ::new (static_cast<void*>(p))
          stored_operation(std::move(handler), io_ex, tracking, std::forward<BaseArgs>(base_args)...);
    } catch (...) {
      traits::deallocate(a, p, 1);
      throw;
    }
    return operation_ptr<Base>(p);
  }

private:
  template <class... BaseArgs>
  stored_operation(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking,
                   BaseArgs&&... base_args)
      : Base(function_for(static_cast<Base*>(nullptr)), std::forward<BaseArgs>(base_args)...),
        completion_(std::move(handler), io_ex, tracking) {}

  template <class... Args>
  static auto function_for(operation<void(Args...)>*) noexcept {
    return typename operation<void(Args...)>::function(&finish<Args...>);
  }

  template <class... Args>
  static void finish(operation<void(Args...)>* op, typename operation<void(Args...)>::ending how, Args*... args) {
    using ending = typename operation<void(Args...)>::ending;
    auto* self = static_cast<stored_operation*>(static_cast<Base*>(op));
    allocator a(memory::get(self->completion_.get_allocator()));
    completion<Handler> c(std::move(self->completion_));
    self->~stored_operation();
    traits::deallocate(a, self, 1);
    if (how == ending::post) std::move(c).post(Args(std::move(*args))...);
    if (how == ending::dispatch) std::move(c).dispatch(Args(std::move(*args))...);
  }

  completion<Handler> completion_;
};

} // namespace detail

/// Stores a handler as a Base, in memory of its associated allocator. May throw what that and Base's constructor throw.
template <class Base, class Handler, class... BaseArgs>
operation_ptr<Base> make_operation(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking,
                                   BaseArgs&&... base_args) {
  static_assert(!std::is_reference_v<Handler>, "coproc: pass the handler as an rvalue");
  return detail::stored_operation<Base, Handler>::make(std::move(handler), io_ex, tracking,
                                                       std::forward<BaseArgs>(base_args)...);
}

} // namespace coproc
