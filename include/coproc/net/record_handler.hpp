// SPDX-License-Identifier: BSL-1.0
// How a handler waits with the record of its task, and how that ends: decoded result, recycled record, called handler. Front
// end, any thread. Layer net/.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/net/call_failure.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/pool/loaned_views.hpp>
#include <coproc/pool/record_store.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::detail {

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
  with_result<R>([&](auto&&... args) { std::move(c).post(std::forward<decltype(args)>(args)...); }, std::move(e),
                 std::forward<Value>(value)...);
}

/// What a task ended with.
template <class R>
struct task_result {
  std::exception_ptr exception;
  std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> value;

  explicit task_result(pool::task_record& t) noexcept {
    if (t.outcome != pool::verdict::value) [[unlikely]] {
      exception = failure_of(t);
      return;
    }
    try {
      pool::loaned_views views(t);
      if constexpr (std::is_void_v<R>)
        decode_result<R>(t.result_bytes());
      else
        value.emplace(decode_result<R>(t.result_bytes(), &views));
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

/// Keeps a Handler with a record. One that runs on the pool's own io_context, as that of each co_await does, needs nothing but
/// itself: such a small one lies in the record's hot lines, and is called in place. Any other is a completion<Handler>: far
/// in the record where it fits and wants no memory of its own, else where its allocator says.
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
  static constexpr bool may_be_near = fits<near>(pool::task_record::near_bytes);
  static constexpr bool far_in_place = fits<far>(pool::cold_part::far_bytes);

public:
  /// `executor`: the pool's; `context`: what it is the plain executor of, or null.
  static void put(pool::task_record& t, Handler&& handler, const net::any_io_executor& executor, net::io_context* context) {
    if constexpr (may_be_near) {
      if (context != nullptr && runs_on(handler, executor, context)) {
        ::new (static_cast<void*>(t.near_handler)) near{std::move(handler), context};
        t.end = &end_near;
        return;
      }
    }
    put_far(t, far(std::move(handler), executor, work_tracking::elsewhere));
    t.end = &end_far;
  }

private:
  static bool runs_on(const Handler& handler, const net::any_io_executor& executor, net::io_context* context) noexcept {
    const auto mine = net::get_associated_executor(handler, executor);
    if constexpr (std::is_same_v<decltype(mine), const net::any_io_executor>)
      if (mine == executor) return true; // a virtual call less than the look at what it is
    const io_executor* const io = as_io_executor(mine);
    return io != nullptr && context_of(*io) == context;
  }

  static void end_near(pool::task_record& t, pool::ending how) {
    near* const p = std::launder(reinterpret_cast<near*>(t.near_handler));
    if (how != pool::ending::invoke) [[unlikely]]
      return end_elsewhere(t, how, far(std::move(p->handler), p->context->get_executor(), work_tracking::elsewhere), p);
    task_result<R> result(t);
    Handler handler(std::move(p->handler));
    std::destroy_at(p);
    t.store->recycle(t); // before the handler runs: it may start the next call at once
    clear_slot(handler);
    std::move(result).pass_to([&handler](auto&&... args) {
      std::move(handler)(std::forward<decltype(args)>(args)...);
    });
  }

  static void end_far(pool::task_record& t, pool::ending how) {
    far* const p = locate_far(t);
    far c(std::move(*p));
    if (how != pool::ending::invoke) return end_elsewhere(t, how, std::move(c), p);
    task_result<R> result(t);
    drop(p, c);
    t.store->recycle(t);
    std::move(result).pass_to(
        [&c](auto&&... args) { std::move(c).dispatch(std::forward<decltype(args)>(args)...); });
  }

  // Not within a turn: posts, or destroys.
  template <class Held>
  static void end_elsewhere(pool::task_record& t, pool::ending how, far c, Held* p) {
    if (how == pool::ending::destroy) {
      drop(p, c);
      return t.store->recycle(t);
    }
    task_result<R> result(t);
    drop(p, c);
    t.store->recycle(t);
    std::move(result).pass_to([&c](auto&&... args) { std::move(c).post(std::forward<decltype(args)>(args)...); });
  }

  static void put_far(pool::task_record& t, far&& c) {
    if constexpr (far_in_place) {
      ::new (static_cast<void*>(t.make_cold().far_handler)) far(std::move(c));
    } else {
      allocator a(c.get_allocator());
      far* const p = traits::allocate(a, 1);
      ::new (static_cast<void*>(p)) far(std::move(c));
      ::new (static_cast<void*>(t.make_cold().far_handler)) far*(p);
    }
  }

  static far* locate_far(pool::task_record& t) noexcept {
    if constexpr (far_in_place)
      return std::launder(reinterpret_cast<far*>(t.cold().far_handler));
    else
      return *std::launder(reinterpret_cast<far**>(t.cold().far_handler));
  }

  // What was moved from; `c` has the handler, and so the allocator.
  static void drop(near* p, const far&) noexcept { std::destroy_at(p); }
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

} // namespace coproc::detail
