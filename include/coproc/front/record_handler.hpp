// SPDX-License-Identifier: BSL-1.0
// How a handler waits with the record of its task, and how that ends: decoded result, recycled record, called handler.
// Front end, any thread.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/codec/far_memory.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/net/completion.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::detail::front {

template <class R>
struct completion_signature_of {
  using type = void(std::exception_ptr, R);
};
template <>
struct completion_signature_of<void> {
  using type = void(std::exception_ptr);
};

/// void(std::exception_ptr[, R]), as co_spawn's.
template <class R>
using completion_signature = typename completion_signature_of<R>::type;

/// Stands in for the R that a failed operation does not have, where R cannot be value-initialised. Never converted:
/// awaitables look at the exception first.
template <class R>
struct no_value {
  [[noreturn]] operator R() const { std::terminate(); }
};

/// Calls call(e) or call(e, value-or-stand-in), with the types of the signature exactly.
template <class R, class Call, class... Value>
void with_result(Call call, std::exception_ptr e, Value&&... value) {
  if constexpr (std::is_void_v<R>)
    call(std::move(e));
  else if constexpr (sizeof...(Value) != 0)
    call(std::move(e), std::forward<Value>(value)...);
  else if constexpr (std::default_initializable<R>)
    call(std::move(e), R());
  else
    call(std::move(e), no_value<R>());
}

/// Posts a completion, with the result or a stand-in for it.
template <class R, class Completion, class... Value>
void post_result(Completion&& c, std::exception_ptr e, Value&&... value) {
  with_result<R>([&](auto&&... args) { std::move(c).finish(false, std::forward<decltype(args)>(args)...); },
                 std::move(e), std::forward<Value>(value)...);
}

/// The memory of the worker that a result views. A loan is taken with the first view, and shared by all.
class viewed_memory final : public far_memory {
public:
  explicit viewed_memory(task_record& t) noexcept : task_(t) {}

  std::shared_ptr<const std::byte> borrow(std::uint64_t place, std::uint64_t bytes) override {
    return task_.home->borrow(task_, loan_, place, bytes);
  }

private:
  task_record& task_;
  std::shared_ptr<void> loan_;
};

inline std::span<const std::byte> result_bytes(const task_record& t) noexcept {
  if (t.result_in_file) [[unlikely]]
    return t.home->result_in_file(t);
  return t.inline_bytes(t.result_length);
}

/// What a task ended with.
template <class R>
struct task_result {
  std::exception_ptr exception;
  std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> value;

  explicit task_result(task_record& t) noexcept {
    if (t.outcome != verdict::value) [[unlikely]] {
      exception = t.home->failure(t);
      return;
    }
    try {
      viewed_memory views(t);
      if constexpr (std::is_void_v<R>)
        decode_result<R>(result_bytes(t));
      else
        value.emplace(decode_result<R>(result_bytes(t), &views));
    } catch (...) {
      exception = std::current_exception();
    }
  }

  /// As with_result.
  template <class Call>
  void pass_to(Call call) && {
    if constexpr (!std::is_void_v<R>)
      if (value) return with_result<R>(std::move(call), std::move(exception), std::move(*value));
    with_result<R>(std::move(call), std::move(exception));
  }
};

/// Keeps a Handler with a record. One that runs on the pool's own io_context, as that of each co_await does, needs
/// nothing but itself: such a small one lies in the record's hot lines, and is called in place. Any other is a
/// completion<Handler>: far in the record where it fits and wants no memory of its own, else where its allocator says.
template <class R, class Handler>
class record_handler {
  struct near {
    Handler handler;
    net::io_context* context;
  };
  using far = completion<Handler>;
  using associated_allocator = net::associated_allocator_t<Handler>;
  using allocator = typename std::allocator_traits<associated_allocator>::template rebind_alloc<far>;
  using traits = std::allocator_traits<allocator>;

  static constexpr bool wants_no_memory = std::is_same_v<allocator, std::allocator<far>>;
  template <class T>
  static constexpr bool fits(std::size_t bytes) noexcept {
    return wants_no_memory && sizeof(T) <= bytes && alignof(T) <= alignof(std::max_align_t);
  }
  static constexpr bool may_be_near = fits<near>(task_record::near_bytes);
  static constexpr bool far_in_place = fits<far>(cold_part::far_bytes);

public:
  /// `use`: filled where executors are kept with the handler, which only a submitted task gives up in time. False: the
  /// pool's context is gone, and nothing was done.
  static bool put(task_record& t, Handler&& handler, const engine& pool, std::optional<engine::executor_use>& use) {
    if constexpr (may_be_near) {
      if (net::io_context* const context = pool.context(); context != nullptr && runs_on(handler, context)) {
        ::new (static_cast<void*>(t.near_handler)) near{std::move(handler), context};
        t.end = &end_near;
        return true;
      }
    }
    if (!use.emplace(pool)) return false;
    put_far(t, far(std::move(handler), **use, work_tracking::elsewhere));
    t.end = &end_far;
    return true;
  }

  /// Undoes put(): the record was not submitted.
  static Handler take_back(task_record& t) {
    if (t.end == &end_far) {
      far* const p = locate_far(t);
      far c(std::move(*p));
      drop(p, c);
      return std::move(c).take_handler();
    }
    near* const p = std::launder(reinterpret_cast<near*>(t.near_handler));
    Handler handler(std::move(p->handler));
    std::destroy_at(p);
    return handler;
  }

private:
  static bool runs_on(const Handler& handler, net::io_context* context) noexcept {
    const auto mine = net::get_associated_executor(handler, context->get_executor());
    const io_executor* const io = as_io_executor(mine);
    return io != nullptr && context_of(*io) == context;
  }

  static void end_near(task_record& t, ending how) {
    near* const p = std::launder(reinterpret_cast<near*>(t.near_handler));
    if (how != ending::invoke) [[unlikely]] {
      far c(std::move(p->handler), p->context->get_executor(), work_tracking::elsewhere);
      std::destroy_at(p);
      return finish(t, how, std::move(c));
    }
    task_result<R> result(t);
    Handler handler(std::move(p->handler));
    std::destroy_at(p);
    t.home->recycle(t); // before the handler runs: it may start the next call at once
    clear_slot(handler);
    std::move(result).pass_to(
        [&handler](auto&&... args) { std::move(handler)(std::forward<decltype(args)>(args)...); });
  }

  static void end_far(task_record& t, ending how) {
    far* const p = locate_far(t);
    far c(std::move(*p));
    drop(p, c);
    finish(t, how, std::move(c));
  }

  static void finish(task_record& t, ending how, far c) {
    if (how == ending::destroy) return t.home->recycle(t);
    task_result<R> result(t);
    t.home->recycle(t);
    std::move(result).pass_to([&c, may_be_inline = how == ending::invoke](auto&&... args) {
      std::move(c).finish(may_be_inline, std::forward<decltype(args)>(args)...);
    });
  }

  static void put_far(task_record& t, far&& c) {
    if constexpr (far_in_place) {
      ::new (static_cast<void*>(t.make_cold().far_handler)) far(std::move(c));
    } else {
      allocator a(c.get_allocator());
      far* const p = traits::allocate(a, 1);
      ::new (static_cast<void*>(p)) far(std::move(c));
      ::new (static_cast<void*>(t.make_cold().far_handler)) far*(p);
    }
  }

  static far* locate_far(task_record& t) noexcept {
    if constexpr (far_in_place)
      return std::launder(reinterpret_cast<far*>(t.cold().far_handler));
    else
      return *std::launder(reinterpret_cast<far**>(t.cold().far_handler));
  }

  // What was moved from; `c` has the handler, and so the allocator.
  static void drop(far* p, const far& c) noexcept {
    if constexpr (far_in_place) {
      std::destroy_at(p);
    } else {
      allocator a(c.get_allocator());
      std::destroy_at(p);
      traits::deallocate(a, p, 1);
    }
  }
};

} // namespace coproc::detail::front
