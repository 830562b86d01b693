// SPDX-License-Identifier: BSL-1.0
// One call as an asynchronous operation: encoded on the submitting thread, bound to a handler, completed once. Front end.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/net/pool_core.hpp>
#include <coproc/net/resolve_options.hpp>
#include <coproc/pool/loaned_views.hpp>

#include <csignal>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <stdexcept>
#include <utility>
#include <variant>

namespace coproc {

namespace detail {

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

inline double seconds(duration d) noexcept { return std::chrono::duration<double>(d).count(); }

inline std::string killed_at_timeout(const pool::task_record& t) {
  const std::string limit = fmt::format("the timeout is {} s", seconds(t.terms.timeout));
  if (!t.exit) return limit;
  const char* const how = t.exit->signal == SIGTERM   ? "SIGTERM"
                          : t.exit->signal == SIGKILL ? "SIGKILL, which it got because it outlived SIGTERM by kill_grace"
                                                      : "itself, after SIGTERM";
  return fmt::format("{}; worker {} was ended by {}", limit, t.exit->pid, how);
}

inline std::string retries_of(const pool::task_record& t) {
  if (t.terms.retries_refused) return "; not retried, because retry_on is not retry::idempotent and it may have run";
  if (t.special && t.retries != 0) return fmt::format("; it was run {} times", t.retries + 1);
  return {};
}

// A task that gave up when it saw the stop token timed out; any other exception of it stays what it is.
inline std::exception_ptr failure_after_soft_timeout(const pool::task_record& t) {
  const std::exception_ptr e = decode_exception(t.result_bytes());
  if (code_of(e) != net::error::operation_aborted) return e;
  return std::make_exception_ptr(
      task_timeout(make_error_code(errc::task_timeout),
                   fmt::format("it stopped itself at its soft_timeout of {} s", seconds(t.terms.soft_timeout))));
}

/// The exception for every end of a task but success.
inline std::exception_ptr failure_of(const pool::task_record& t) noexcept {
  try {
    switch (t.outcome) {
    case pool::verdict::exception:
      if (t.special && t.soft_expired) return failure_after_soft_timeout(t);
      return decode_exception(t.result_bytes());
    case pool::verdict::lost:
      if (!t.exit) return std::make_exception_ptr(std::bad_alloc());
      return std::make_exception_ptr(worker_lost(*t.exit, t.started, retries_of(t)));
    case pool::verdict::task_timeout:
      return std::make_exception_ptr(task_timeout(make_error_code(errc::task_timeout), killed_at_timeout(t)));
    case pool::verdict::queue_timeout:
      return std::make_exception_ptr(timed_out(make_error_code(errc::queue_timeout),
                                               fmt::format("queue_timeout is {} s", seconds(t.terms.queue_timeout))));
    case pool::verdict::failed:
      if (t.error_cause)
        return std::make_exception_ptr(pool_error(t.error, fmt::format("{} ({})", t.error_text, t.error_cause.message())));
      if (t.error_text != nullptr) return std::make_exception_ptr(pool_error(t.error, t.error_text));
      return std::make_exception_ptr(pool_error(t.error));
    default: return std::make_exception_ptr(net::system_error(net::error::operation_aborted));
    }
  } catch (...) {
    return std::current_exception();
  }
}

/// Calls a completion with (e) or (e, value-or-stand-in).
template <class R, class Completion, class... Value>
void finish(Completion&& c, bool post, std::exception_ptr e, Value&&... value) {
  const auto go = [&](auto&&... args) {
    post ? std::move(c).post(std::forward<decltype(args)>(args)...)
         : std::move(c).dispatch(std::forward<decltype(args)>(args)...);
  };
  if constexpr (std::is_void_v<R>)
    go(std::move(e));
  else if constexpr (sizeof...(Value) != 0)
    go(std::move(e), std::forward<Value>(value)...);
  else if constexpr (std::default_initializable<R>)
    go(std::move(e), R());
  else
    go(std::move(e), no_value<R>());
}

/// A completion kept with a record: inside it where it fits and wants no memory of its own, else where its allocator says.
template <class Handler>
class record_handler {
  using held = completion<Handler>;
  using allocator = typename std::allocator_traits<net::associated_allocator_t<Handler>>::template rebind_alloc<held>;
  using traits = std::allocator_traits<allocator>;
  static constexpr bool in_place = sizeof(held) <= pool::task_record::handler_bytes && alignof(held) <= alignof(std::max_align_t) &&
                                   std::is_same_v<allocator, std::allocator<held>>;

public:
  static held& put(pool::task_record& t, held&& c) {
    if constexpr (in_place) {
      return *::new (static_cast<void*>(t.handler)) held(std::move(c));
    } else {
      allocator a(c.get_allocator());
      held* p = traits::allocate(a, 1);
      ::new (static_cast<void*>(p)) held(std::move(c));
      ::new (static_cast<void*>(t.handler)) held*(p);
      return *p;
    }
  }

  static held take(pool::task_record& t) {
    held* const p = locate(t);
    held c(std::move(*p));
    p->~held();
    if constexpr (!in_place) {
      allocator a(c.get_allocator());
      traits::deallocate(a, p, 1);
    }
    return c;
  }

private:
  static held* locate(pool::task_record& t) noexcept {
    if constexpr (in_place)
      return std::launder(reinterpret_cast<held*>(t.handler));
    else
      return *std::launder(reinterpret_cast<held**>(t.handler));
  }
};

template <class R, class Handler>
void complete_record(pool::task_record& t, bool post) {
  std::exception_ptr e;
  std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> value;
  if (t.outcome == pool::verdict::value) {
    try {
      pool::loaned_views views(t);
      if constexpr (std::is_void_v<R>)
        decode_result<R>(t.result_bytes());
      else
        value.emplace(decode_result<R>(t.result_bytes(), &views));
    } catch (...) {
      e = std::current_exception();
    }
  } else {
    e = failure_of(t);
  }
  completion<Handler> c = record_handler<Handler>::take(t);
  t.store->recycle(t); // before the handler runs: it may start the next call at once
  if constexpr (std::is_void_v<R>) {
    finish<R>(std::move(c), post, std::move(e));
  } else {
    if (value)
      finish<R>(std::move(c), post, std::move(e), std::move(*value));
    else
      finish<R>(std::move(c), post, std::move(e));
  }
}

template <class Handler>
void destroy_record(pool::task_record& t) {
  completion<Handler> c = record_handler<Handler>::take(t);
  t.store->recycle(t);
}

} // namespace detail

/// An encoded call that has not been submitted. Never throws what goes wrong: the operation completes with it.
class prepared_call {
public:
  /// Encodes fn and args here and now. `options`: null for the usual ones.
  template <class F, class... A>
  static prepared_call make(const std::shared_ptr<pool_core>& core, const task_options* options, bool may_wait, const F& fn,
                            A&&... args) {
    prepared_call p(core);
    p.guarded([&] {
      core->expect_own_process();
      const auto entry = reinterpret_cast<std::uintptr_t>(detail::entry_of<F, A...>);
      if (!core->has_function(entry) || !core->has_function(code_of_callable(fn, entry)))
        throw pool_error(make_error_code(errc::unknown_function),
                         "fn is in a library that was loaded after the pool was made, so the workers do not have it: load "
                         "the library first, or make the pool later");
      pool::task_record& t = core->records().acquire();
      p.record_ = &t;
      t.call.limit_ns = 0;
      if (options != nullptr) {
        t.terms = detail::resolve(*options, core->options().host.limits.max_workers);
        t.special = true;
        t.call.limit_ns = detail::limit_of(t.terms);
      }
      t.may_wait = may_wait;
      t.call.entry = entry;
      (keep(*core, t, detail::take_argument<A>(args)), ...);
      argument_memory memory{*core, t};
      writer w(t.inline_bytes, sizeof t.inline_bytes, &argument_memory::grow, &memory);
      detail::encode_call(w, fn, std::forward<A>(args)...);
      memory.seal(w.size());
    });
    return p;
  }

  prepared_call(prepared_call&& o) noexcept
      : core_(std::move(o.core_)), record_(std::exchange(o.record_, nullptr)), error_(std::move(o.error_)) {}
  prepared_call& operator=(prepared_call&&) = delete;
  ~prepared_call() {
    if (record_ != nullptr) record_->store->recycle(*record_);
  }

  /// Binds a handler of signature void(std::exception_ptr[, R]) and submits. Completes exactly once, never inside.
  template <class R, class Handler>
  void start(Handler&& handler) && {
    using handler_type = std::decay_t<Handler>;
    completion<handler_type> c(std::forward<Handler>(handler), core_->executor(), work_tracking::elsewhere);
    if (error_) return detail::finish<R>(std::move(c), true, std::move(error_));
    pool::task_record& t = *record_;
    auto slot = c.get_cancellation_slot();
    if (slot.is_connected())
      slot.assign([weak = core_->weak_from_this(), &t, ticket = t.ticket.load(std::memory_order_relaxed)](
                      net::cancellation_type type) {
        if (const auto core = weak.lock()) core->cancel(t, ticket, type);
      });
    detail::record_handler<handler_type>::put(t, std::move(c));
    t.complete = &detail::complete_record<R, handler_type>;
    t.destroy = &detail::destroy_record<handler_type>;
    record_ = nullptr;
    // From here on another thread may complete the operation and destroy what owns this object.
    const auto core = std::move(core_);
    core->submit(t);
  }

  /// For cancelling it later without a slot: valid once started.
  std::pair<pool::task_record*, std::uint64_t> identity() const noexcept {
    return {record_, record_ ? record_->ticket.load(std::memory_order_relaxed) : 0};
  }

private:
  explicit prepared_call(std::shared_ptr<pool_core> core) noexcept : core_(std::move(core)) {}

  // Arguments that outgrow the slot move to a block of an argument segment, and from block to larger block.
  struct argument_memory {
    pool_core& core;
    pool::task_record& record;

    static void grow(void* self, writer& w, std::size_t more_bytes) {
      auto& m = *static_cast<argument_memory*>(self);
      m.check(w.size(), more_bytes);
      shm::argument_block block = m.core.segments()->allocate(w.size() + more_bytes);
      std::memcpy(block.data(), w.data(), w.size());
      m.record.block = std::move(block);
      w.rebase(m.record.block.data(), m.record.block.capacity());
    }

    void seal(std::size_t bytes) {
      check(0, bytes);
      record.call.length = bytes;
      if (!record.block) return;
      record.block.set_used(bytes);
      record.call.location = shm::packed_location{record.block.owner().id(), record.block.offset()}.pack();
    }

    void check(std::size_t have, std::size_t more) const {
      const auto over = [&](std::uint64_t limit) { return more > limit || have > limit - more; };
      if (over(core.options().host.max_payload))
        throw pool_error(make_error_code(errc::payload_too_large),
                         fmt::format("the arguments of this call take more than the {} bytes of pool_options::max_payload",
                                     core.options().host.max_payload));
      if (over(core.options().host.limits.max_queue_bytes))
        throw pool_error(make_error_code(errc::payload_too_large),
                         fmt::format("the arguments of this call take more than the {} bytes of pool_options::max_queue_bytes",
                                     core.options().host.limits.max_queue_bytes));
    }
  };

  template <class Body>
  void guarded(Body body) noexcept {
    try {
      body();
    } catch (...) {
      error_ = std::current_exception();
      if (record_ != nullptr) record_->store->recycle(*std::exchange(record_, nullptr));
    }
  }

  // An argument_array: the task shares its memory from now on.
  template <class A>
  static void keep(const pool_core& core, pool::task_record& t, const A& argument) {
    if constexpr (detail::is_argument_array<A>) {
      if (argument.memory()->block().pool() != core.segments().get())
        throw std::invalid_argument(
            "coproc: this argument_array was made for another pool, whose workers alone can map it: make it for the pool of "
            "this call, or pass a std::span of it, which is copied");
      t.call.location = pool::task_record::inline_and_lent;
      t.lent.push_back(argument.memory());
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

  std::shared_ptr<pool_core> core_;
  pool::task_record* record_ = nullptr;
  std::exception_ptr error_;
};

} // namespace coproc
