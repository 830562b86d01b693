// SPDX-License-Identifier: BSL-1.0
// The life of one call as an asynchronous operation: encoded on the submitting thread, bound to a handler, submitted,
// completed once. What the completion does is in record_handler.hpp. Front end.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/front/record_handler.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace coproc::detail::front {

/// An encoded call that has not been submitted. It keeps its engine alive. What goes wrong is not thrown: the operation
/// completes with it.
class prepared_call {
public:
  /// Encodes fn and args here and now. `options`: null for the usual ones.
  template <class F, class... A>
  static prepared_call make(std::shared_ptr<engine> pool, const task_options* options, bool may_wait, const F& fn,
                            A&&... args) noexcept {
    prepared_call p(std::move(pool));
    try {
      const auto entry = reinterpret_cast<std::uintptr_t>(entry_of<F, A...>);
      p.record_ = &p.engine_->acquire(entry, code_of_callable(fn, entry), options);
      p.record_->may_wait = may_wait;
      p.encode(fn, std::forward<A>(args)...);
    } catch (...) {
      p.fail(std::current_exception());
    }
    return p;
  }

  prepared_call(prepared_call&& o) noexcept
      : engine_(std::move(o.engine_)), record_(std::exchange(o.record_, nullptr)), why_(std::move(o.why_)) {}
  prepared_call& operator=(prepared_call&&) = delete;
  ~prepared_call() {
    // Not in a forked copy of the process that made the call: the lock of the records may be held there for ever.
    if (record_ != nullptr && engine_->is_own_process()) engine_->recycle(*record_);
  }

  /// Binds a handler of signature void(std::exception_ptr[, R]) and submits. Completes exactly once, never inside. A
  /// handler that can be called nowhere, because its context is gone, is destroyed.
  template <class R, class Handler>
  void start(Handler&& handler) && {
    static_assert(!std::is_reference_v<Handler>, "coproc: pass the handler as an rvalue");
    // From submit on, another thread may complete the operation and destroy what owns this object.
    const std::shared_ptr<engine> pool = std::move(engine_);
    task_record* const t = std::exchange(record_, nullptr);
    if (t == nullptr) return complete_with<R>(*pool, std::move(why_), std::move(handler));
    if (!pool->is_own_process()) return complete_with<R>(*pool, failure(errc::wrong_process), std::move(handler));
    using bound = record_handler<R, Handler>;
    std::optional<engine::executor_use> use; // until the handler is submitted, or taken back
    try {
      if (auto slot = net::get_associated_cancellation_slot(handler); slot.is_connected())
        slot.assign([weak = pool->weak_from_this(), t,
                     ticket = t->ticket.load(std::memory_order_relaxed)](net::cancellation_type type) {
          if (const auto alive = weak.lock()) alive->cancel(*t, ticket, type);
        });
      if (!bound::put(*t, std::move(handler), *pool, use)) {
        pool->recycle(*t);
        return complete_with<R>(*pool, failure(errc::pool_closed), std::move(handler));
      }
    } catch (...) { // no memory, or what the handler's move throws
      pool->recycle(*t);
      throw;
    }
    try {
      pool->submit(*t);
    } catch (...) {
      Handler mine = bound::take_back(*t);
      pool->recycle(*t);
      complete_with<R>(*pool, std::current_exception(), std::move(mine));
    }
  }

  /// Completes with why when it is started, if that is not null. \pre not started
  void refuse(std::exception_ptr why) noexcept {
    if (why && record_ != nullptr) fail(std::move(why));
  }

  /// Of the pool.
  const engine& pool() const noexcept { return *engine_; }

  /// For cancelling it later without a slot: valid once started.
  std::pair<task_record*, std::uint64_t> identity() const noexcept {
    return {record_, record_ ? record_->ticket.load(std::memory_order_relaxed) : 0};
  }

private:
  explicit prepared_call(std::shared_ptr<engine> pool) noexcept : engine_(std::move(pool)) {}

  template <class F, class... A>
  void encode(const F& fn, A&&... args) {
    task_record& t = *record_;
    if constexpr (constexpr std::size_t bytes = fixed_call_bytes<F, A...>; bytes != 0 && bytes <= shm::inline_bytes) {
      encode_fixed_call(t.make_inline_room(bytes), fn, std::forward<A>(args)...);
      if (bytes > engine_->argument_limit()) [[unlikely]]
        engine_->refuse_arguments(bytes);
      t.call.length = bytes;
    } else {
      (keep(take_argument<A>(args)), ...);
      writer w(t.bytes, sizeof t.bytes, &grow, this);
      encode_call(w, fn, std::forward<A>(args)...);
      if (w.data() != t.bytes || w.size() > engine_->argument_limit()) [[unlikely]]
        engine_->seal_arguments(t, w);
      else
        t.call.length = w.size();
    }
  }

  static void grow(void* self, writer& w, std::size_t more_bytes) {
    auto& call = *static_cast<prepared_call*>(self);
    call.engine_->grow_arguments(*call.record_, w, more_bytes);
  }

  template <class A>
  void keep(const A& argument) {
    if constexpr (is_argument_array<A>) engine_->keep(*record_, array_access::memory_of(argument));
  }

  void fail(std::exception_ptr why) noexcept {
    why_ = std::move(why);
    if (record_ != nullptr) engine_->recycle(*std::exchange(record_, nullptr));
  }

  // Where a function pointer points; anything else lives in the code of the entry.
  template <class F>
  static std::uintptr_t code_of_callable(const F& fn, std::uintptr_t entry) noexcept {
    if constexpr (std::is_pointer_v<F>)
      return reinterpret_cast<std::uintptr_t>(fn);
    else
      return entry;
  }

  static std::exception_ptr failure(errc e) { return std::make_exception_ptr(pool_error(make_error_code(e))); }

  // A coroutine of another context has an executor, when the pool's context is gone, or going: nothing is posted there
  // any more.

  template <class R, class Handler>
  static void complete_with(const engine& pool, std::exception_ptr why, Handler&& handler) {
    const engine::executor_use context(pool);
    net::any_io_executor ex;
    if (context) ex = *context;
    if constexpr (std::is_same_v<net::associated_executor_t<Handler>, net::any_io_executor>)
      if (!ex) ex = net::get_associated_executor(handler);
    if (!ex) return;
    completion<Handler> c(std::move(handler), ex, work_tracking::elsewhere);
    post_result<R>(std::move(c), std::move(why));
  }

  std::shared_ptr<engine> engine_;
  task_record* record_ = nullptr; // null: it could not be encoded
  std::exception_ptr why_;
};

} // namespace coproc::detail::front
