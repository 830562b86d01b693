// SPDX-License-Identifier: BSL-1.0
// A completion whose handler type is forgotten, with the data that waits with it: what sits in the lines of channels
// and semaphores. Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/completion.hpp>

#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace coproc::detail {

template <class Signature>
class operation;

/// A completion whose handler type is forgotten: base of what sits in queues. Data that waits with the handler goes
/// into a class derived from this one, which takes the `function` as its constructor's first argument.
/// \par Lifetime post, dispatch and destroy end it; its memory is back with the handler's allocator before the handler
///               is called
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
  void operator()(Operation* op) const {
    op->destroy();
  }
};

/// Owns an operation; its destructor destroys the handler uninvoked.
template <class Operation>
using operation_ptr = std::unique_ptr<Operation, operation_destroyer>;

/// Finishes an owned operation by posting its handler.
template <class Operation, class... Args>
void post(operation_ptr<Operation> op, Args... args) {
  op.release()->post(std::move(args)...);
}

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

/// Stores a handler as a Base, in memory of its associated allocator. May throw what that and Base's constructor throw.
template <class Base, class Handler, class... BaseArgs>
operation_ptr<Base> make_operation(Handler&& handler, const net::any_io_executor& io_ex, work_tracking tracking,
                                   BaseArgs&&... base_args) {
  static_assert(!std::is_reference_v<Handler>, "coproc: pass the handler as an rvalue");
  return stored_operation<Base, Handler>::make(std::move(handler), io_ex, tracking, std::forward<BaseArgs>(base_args)...);
}

} // namespace coproc::detail
