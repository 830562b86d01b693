// SPDX-License-Identifier: BSL-1.0
// semaphore: at most n coroutines at a time do something; the others wait in line. Lives in the front end, usable from
// all its threads. A public header: may include everything.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/net/waitable_state.hpp>
#include <coproc/options.hpp>

#include <concepts>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

namespace coproc {

namespace detail {
class semaphore_state;
}

/// The right to go on that a semaphore gives, given back by its destructor. Move-only; a moved-from or default-made one
/// is empty.
class semaphore_permit {
public:
  semaphore_permit() noexcept = default; ///< empty
  /// A permit that is assigned to is given back first.
  /// @{
  semaphore_permit(semaphore_permit&& other) noexcept = default;
  semaphore_permit& operator=(semaphore_permit&& other) noexcept {
    const semaphore_permit old(std::move(*this));
    from_ = std::move(other.from_);
    return *this;
  }
  /// @}
  ~semaphore_permit() { release(); }

  /// Is it a permit, and not empty?
  explicit operator bool() const noexcept { return from_ != nullptr; }

  /// Gives it back now; the next in line, if any, is posted. \par Threads  any
  COPROC_DECL void release() noexcept;

private:
  friend class detail::semaphore_state;
  explicit semaphore_permit(std::shared_ptr<detail::semaphore_state> from) noexcept : from_(std::move(from)) {}

  std::shared_ptr<detail::semaphore_state> from_;
};

namespace detail {

// Whoever waits does so because free_ == 0.
class semaphore_state final : public waitable_state<semaphore_state> {
public:
  struct waiter : operation<void(net::error_code, semaphore_permit)>, waiter_links {
    static void fail(operation_ptr<waiter> op, net::error_code e) noexcept {
      detail::post(std::move(op), e, semaphore_permit());
    }
  };

  semaphore_state(net::any_io_executor ex, long long permits) noexcept
      : waitable_state(std::move(ex)), free_(permits) {}

  COPROC_DECL std::optional<semaphore_permit> try_acquire();

  template <class Handler>
  void start_acquire(Handler handler, operation_memory memory) {
    const use context(executor_);
    if (!context) return; // the handler is destroyed, as those that wait
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), std::move(memory), *context, work_tracking::here);
    bool granted = false;
    op = settle_or_wait(&semaphore_state::waiters_, std::move(op), slot, [&] {
      granted = !abandoned_ && free_ > 0;
      if (granted) --free_;
      return granted || abandoned_;
    });
    if (!op) return;
    if (granted)
      detail::post(std::move(op), net::error_code(), semaphore_permit(shared_from_this()));
    else
      waiter::fail(std::move(op), net::error::operation_aborted);
  }

  /// Of one permit.
  COPROC_DECL void give_back() noexcept;
  /// The semaphore object is gone.
  COPROC_DECL void abandon() noexcept;
  COPROC_DECL void drop_waiters() noexcept;

private:
  struct handing_out {
    const semaphore_state* of;
    long long permits; // given back to this thread's loop, and not handed out yet
    handing_out* outer;
  };

  COPROC_LAZY void hand_out_one() noexcept;

  COPROC_VISIBLE static inline thread_local constinit handing_out* innermost_ = nullptr;

  long long free_;
  bool abandoned_ = false;
  waiter_list<waiter> waiters_;
};

} // namespace detail

/// n permits, handed out in the order in which they were asked for. `semaphore` is one for coroutines of the usual
/// type.
/// \par Threads    safe to use from several threads
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor; waiting keeps run() going
/// \par Cancel     any type withdraws an operation that waits: operation_aborted, and no permit is lost
/// \par Errors     no_memory; std::bad_alloc from an initiating function that cannot begin. No permit is lost
/// \par Lifetime   permits may outlive the semaphore and the context. Destroying the semaphore completes what waits
///                 with operation_aborted; destroying the context first destroys it uninvoked, and get_executor() is
///                 empty from then on
/// \tparam Executor  of completions whose handlers have none; `acquire` can be awaited in a net::awaitable<T,
///                 Executor>, or <T, E> where use_awaitable_t<E> is the executor's default token
template <class Executor>
class basic_semaphore {
public:
  using executor_type = Executor;  ///< of completions whose handlers have none
  using permit = semaphore_permit; ///< what is waited for

  /// The same with another executor, for use_awaitable_t<E>::as_default_on_t and its like.
  template <class OtherExecutor>
  struct rebind_executor {
    using other = basic_semaphore<OtherExecutor>; ///< that type
  };

  /// \par Errors  std::invalid_argument unless n is at least 1
  template <executor_or_context<Executor> Where>
  basic_semaphore(Where&& where, count n)
      : state_(detail::semaphore_state::make(
            detail::any_executor_of(detail::executor_of<Executor>(std::forward<Where>(where))), checked(n))) {}

  /// One with another executor, which it takes the place of.
  template <class OtherExecutor>
    requires std::convertible_to<OtherExecutor, Executor>
  basic_semaphore(basic_semaphore<OtherExecutor>&& other) noexcept : state_(std::move(other.state_)) {}

  /// The one that was moved from can only be destroyed or assigned to.
  basic_semaphore(basic_semaphore&&) noexcept = default;
  /// The one that is assigned to ends as by destruction.
  basic_semaphore& operator=(basic_semaphore&& other) noexcept {
    if (auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
    return *this;
  }
  ~basic_semaphore() {
    if (state_) state_->abandon();
  }

  /// Where handlers run that name no executor of their own. \pre the context lives, unless it is an any_io_executor
  executor_type get_executor() const noexcept { return detail::executor_as<Executor>(state_->executor()); }

  /// Waits for a permit.
  auto acquire() -> net::awaitable<permit, detail::awaiting_executor_t<Executor>> {
    return async_acquire(net::use_awaitable_t<detail::awaiting_executor_t<Executor>>());
  }

  /// As acquire. \par Signature  void(error_code, semaphore::permit); the permit is empty when there is an error
  template <net::completion_token_for<void(net::error_code, permit)> Token = detail::default_token_t<Executor>>
  auto async_acquire(Token&& token = Token()) {
    return net::async_initiate<Token, void(net::error_code, permit)>(
        initiation{state_}, token, detail::memory_for_operation<detail::semaphore_state::waiter>());
  }

  /// A permit if one is free; never overtakes those who wait.
  [[nodiscard]] std::optional<permit> try_acquire() { return state_->try_acquire(); }

private:
  template <class OtherExecutor>
  friend class basic_semaphore;

  struct initiation {
    using executor_type = net::any_io_executor;
    executor_type get_executor() const noexcept { return state->executor(); }
    template <class Handler>
    void operator()(Handler handler, detail::operation_memory memory) const {
      state->start_acquire(std::move(handler), std::move(memory));
    }

    std::shared_ptr<detail::semaphore_state> state;
  };

  static long long checked(count n) {
    if (n.value < 1) throw std::invalid_argument("coproc: semaphore: n must be at least 1");
    return n.value;
  }

  std::shared_ptr<detail::semaphore_state> state_;
};

/// A basic_semaphore for coroutines of the usual type, net::awaitable<T>.
class semaphore : public basic_semaphore<net::any_io_executor> {
public:
  using basic_semaphore::basic_semaphore;
};

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/semaphore.ipp>
#endif
