// SPDX-License-Identifier: BSL-1.0
// One call as an asynchronous operation: encoded on the submitting thread, bound to a handler, completed once. Front end.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/net/pool_core.hpp>
#include <coproc/net/record_handler.hpp>
#include <coproc/net/resolve_options.hpp>

#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coproc {

/// An encoded call that has not been submitted: a record, which until then keeps its pool alive, unless it was made within a turn
/// of the pool. What goes wrong is not thrown: the operation completes with it.
template <class Core>
class basic_prepared_call {
public:
  /// Encodes fn and args here and now. `options`: null for the usual ones. Throws std::bad_alloc only if there is no record.
  template <class F, class... A>
  static basic_prepared_call make(const std::shared_ptr<Core>& core, const task_options* options, bool may_wait, const F& fn,
                                  A&&... args) {
    pool::task_record& t = core->records().acquire();
    ::new (static_cast<void*>(t.near_handler)) keeper(Core::in_turn_with(*t.store) != nullptr ? nullptr : core);
    basic_prepared_call p(t);
    try {
      core->expect_own_process();
      const auto entry = reinterpret_cast<std::uintptr_t>(detail::entry_of<F, A...>);
      if (!core->has_function(entry) || !core->has_function(code_of_callable(fn, entry)))
        throw pool_error(make_error_code(errc::unknown_function),
                         "fn is in a library that was loaded after the pool was made, so the workers do not have it: load "
                         "the library first, or make the pool later");
      t.call.limit_ns = 0;
      if (options != nullptr) {
        t.make_cold().terms = detail::resolve(*options, core->options().host.limits.max_workers);
        t.special = true;
        t.call.limit_ns = detail::limit_of(t.cold().terms);
      }
      t.may_wait = may_wait;
      t.call.entry = entry;
      argument_memory memory{*core, t};
      if constexpr (constexpr std::size_t bytes = detail::fixed_call_bytes<F, A...>; bytes != 0 && bytes <= shm::inline_bytes) {
        detail::encode_fixed_call(t.make_inline_room(bytes), fn, std::forward<A>(args)...);
        memory.seal(bytes);
      } else {
        (keep(*core, t, detail::take_argument<A>(args)), ...);
        writer w(t.bytes, sizeof t.bytes, &argument_memory::grow, &memory);
        detail::encode_call(w, fn, std::forward<A>(args)...);
        if (w.data() != t.bytes && w.size() <= sizeof t.bytes) // it was rewound after it had grown
          std::memcpy(t.bytes, w.data(), w.size());
        memory.seal(w.size());
      }
    } catch (...) {
      t.make_cold().unprepared = std::current_exception();
      t.encumbered = true;
    }
    return p;
  }

  basic_prepared_call(basic_prepared_call&& o) noexcept : record_(std::exchange(o.record_, nullptr)) {}
  basic_prepared_call& operator=(basic_prepared_call&&) = delete;
  ~basic_prepared_call() {
    if (record_ == nullptr) return;
    const keeper core = take_keeper();
    recycle(*record_);
  }

  /// Binds a handler of signature void(std::exception_ptr[, R]) and submits. Completes exactly once, never inside.
  template <class R, class Handler>
  void start(Handler&& handler) && {
    static_assert(!std::is_reference_v<Handler>, "coproc: pass the handler as an rvalue");
    const keeper core = find_pool(); // from submit on, another thread may complete it and destroy what owns this object
    pool::task_record& t = *std::exchange(record_, nullptr);
    if (t.encumbered || !core || core->context_is_gone() || !t.store->is_own_process()) [[unlikely]]
      return fail<R>(core.get(), t, std::move(handler));
    try {
      if (auto slot = net::get_associated_cancellation_slot(handler); slot.is_connected())
        slot.assign([weak = core->weak_from_this(), &t, ticket = t.ticket.load(std::memory_order_relaxed)](
                        net::cancellation_type type) {
          if (const auto pool = weak.lock()) pool->cancel(t, ticket, type);
        });
      detail::record_handler<R, Handler>::put(t, std::move(handler), core->executor(), core->context());
    } catch (...) {
      t.store->recycle(t);
      throw;
    }
    core->submit(t);
  }

  /// For cancelling it later without a slot: valid once started.
  std::pair<pool::task_record*, std::uint64_t> identity() const noexcept {
    return {record_, record_ ? record_->ticket.load(std::memory_order_relaxed) : 0};
  }

private:
  // Lies where the handler will. Null for a call that is made within a turn of its pool: most of those are submitted before that
  // turn is over, so that no reference needs to be counted, which is two atomic operations where there are several threads.
  using keeper = std::shared_ptr<Core>;
  static_assert(sizeof(keeper) <= pool::task_record::near_bytes);

  explicit basic_prepared_call(pool::task_record& t) noexcept : record_(&t) {}

  keeper take_keeper() const noexcept {
    keeper* const p = std::launder(reinterpret_cast<keeper*>(record_->near_handler));
    keeper core = std::move(*p);
    std::destroy_at(p);
    return core;
  }

  // Null if it is gone, and the call was made within a turn of it.
  keeper find_pool() const noexcept {
    if (keeper core = take_keeper()) return core;
    if (Core* const here = Core::in_turn_with(*record_->store)) return keeper(std::shared_ptr<void>(), here);
    return std::static_pointer_cast<Core>(record_->store->owner());
  }

  // Not in a forked copy of the process that made the call: the store's lock may be held there for ever.
  static void recycle(pool::task_record& t) noexcept {
    if (t.store->is_own_process()) t.store->recycle(t);
  }

  // Empty where there is none any more: a coroutine of another context has one, when the pool or its context is gone.
  template <class Handler>
  static net::any_io_executor executor_for(const Core* core, const Handler& handler) {
    if (core != nullptr && !core->context_is_gone()) return core->executor();
    if constexpr (std::is_same_v<net::associated_executor_t<Handler>, net::any_io_executor>)
      return net::get_associated_executor(handler);
    else
      return {};
  }

  // `core`: null if it is gone. A handler that can be called nowhere is destroyed, as those are that wait when their context goes.
  template <class R, class Handler>
  static void fail(const Core* core, pool::task_record& t, Handler&& handler) {
    auto ex = executor_for(core, handler);
    if (!ex) return recycle(t);
    completion<Handler> c(std::move(handler), std::move(ex), work_tracking::elsewhere);
    std::exception_ptr why;
    if (t.encumbered)
      why = std::move(t.cold().unprepared);
    else
      why = std::make_exception_ptr(t.store->is_own_process() ? pool_error(make_error_code(errc::pool_closed))
                                                              : Core::wrong_process());
    recycle(t);
    detail::post_result<R>(std::move(c), std::move(why));
  }

  // Arguments move from the record's near bytes to its cold ones, from there, if they outgrow a slot, to a block of an argument
  // segment, and from block to larger block.
  struct argument_memory {
    Core& core;
    pool::task_record& record;
    bool in_segment = false;

    static void grow(void* self, writer& w, std::size_t more_bytes) {
      auto& m = *static_cast<argument_memory*>(self);
      m.check(w.size(), more_bytes);
      pool::cold_part& cold = m.record.make_cold();
      if (w.size() + more_bytes <= sizeof cold.bytes) {
        std::memcpy(cold.bytes, w.data(), w.size());
        return w.rebase(cold.bytes, sizeof cold.bytes);
      }
      shm::argument_block block = m.core.segments()->allocate(w.size() + more_bytes);
      std::memcpy(block.data(), w.data(), w.size());
      cold.block = std::move(block);
      m.in_segment = true;
      w.rebase(cold.block.data(), cold.block.capacity());
    }

    void seal(std::size_t bytes) {
      check(0, bytes);
      record.call.length = bytes;
      if (!in_segment) return;
      shm::argument_block& block = record.cold().block;
      block.set_used(bytes);
      record.call.location = shm::packed_location{block.owner().id(), block.offset()}.pack();
    }

    void check(std::size_t have, std::size_t more) const {
      const auto over = [&](std::uint64_t limit) { return more > limit || have > limit - more; };
      if (!over(core.argument_limit())) [[likely]] return;
      const bool payload = over(core.options().host.max_payload);
      throw pool_error(make_error_code(errc::payload_too_large),
                       fmt::format("the arguments of this call take more than the {} bytes of pool_options::{}",
                                   payload ? core.options().host.max_payload : core.options().host.limits.max_queue_bytes,
                                   payload ? "max_payload" : "max_queue_bytes"));
    }
  };

  // An argument_array: the task shares its memory from now on.
  template <class A>
  static void keep(const Core& core, pool::task_record& t, const A& argument) {
    if constexpr (detail::is_argument_array<A>) {
      if (argument.memory()->block().pool() != core.segments().get())
        throw std::invalid_argument(
            "coproc: this argument_array was made for another pool, whose workers alone can map it: make it for the pool of "
            "this call, or pass a std::span of it, which is copied");
      t.call.location = pool::task_record::inline_and_lent;
      t.make_cold().lent.push_back(argument.memory());
    }
  }

  // Where a function pointer points; anything else lives in the code of the entry.
  template <class F>
  static std::uintptr_t code_of_callable(const F& fn, std::uintptr_t entry) noexcept {
    if constexpr (std::is_pointer_v<F>)
      return reinterpret_cast<std::uintptr_t>(fn);
    else
      return entry;
  }

  pool::task_record* record_;
};

using prepared_call = basic_prepared_call<pool_core>;

} // namespace coproc
