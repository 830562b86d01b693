// SPDX-License-Identifier: BSL-1.0
// event: something that has happened, or not yet; coroutines wait until it has. Lives in the front end, usable from all
// its threads. A public header: may include everything.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/net/waitable_state.hpp>

#include <memory>
#include <mutex>
#include <utility>

namespace coproc {

namespace detail {

class event_state final : public waitable_state<event_state> {
public:
  struct waiter : operation<void(net::error_code)>, waiter_links {
    static void fail(operation_ptr<waiter> op, net::error_code e) noexcept { detail::post(std::move(op), e); }
  };

  explicit event_state(net::any_io_executor ex) noexcept : waitable_state(std::move(ex)) {}

  template <class Handler>
  void start_wait(Handler handler, operation_memory memory) {
    const use context(executor_);
    if (!context) return; // the handler is destroyed, as those that wait
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), std::move(memory), *context, work_tracking::here);
    net::error_code e;
    op = settle_or_wait(&event_state::waiters_, std::move(op), slot, [&] {
      if (abandoned_) e = net::error::operation_aborted;
      return abandoned_ || set_;
    });
    if (op) detail::post(std::move(op), e);
  }

  COPROC_DECL void set() noexcept;
  COPROC_DECL void clear() noexcept;
  COPROC_DECL bool is_set() noexcept;
  /// The event object is gone.
  COPROC_DECL void abandon() noexcept;
  COPROC_DECL void drop_waiters() noexcept;

private:
  COPROC_LAZY void finish_all(bool& flag, net::error_code with) noexcept;

  bool set_ = false;
  bool abandoned_ = false;
  waiter_list<waiter> waiters_;
};

} // namespace detail

/// A flag that coroutines wait for, as asyncio.Event.
/// \par Threads    safe to use from several threads
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor, in the order in which the
///                 waits were begun
/// \par Cancel     any type withdraws a wait: operation_aborted
/// \par Errors     no_memory; std::bad_alloc from an initiating function that cannot begin
/// \par Lifetime   destroying the event completes what waits with operation_aborted; destroying the context first
///                 destroys it uninvoked, and get_executor() is empty from then on
class event {
  using state = detail::event_state;

public:
  using executor_type = net::any_io_executor; ///< of completions whose handlers have none

  /// Not set.
  template <executor_or_context Where>
  explicit event(Where&& where) : state_(state::make(detail::executor_of(std::forward<Where>(where)))) {}

  /// The one that was moved from can only be destroyed or assigned to. One that is assigned to ends as by destruction.
  /// @{
  event(event&&) noexcept = default;
  event& operator=(event&& other) noexcept {
    if (const auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
    return *this;
  }
  /// @}
  ~event() {
    if (state_) state_->abandon();
  }

  /// Where handlers run that name no executor of their own.
  executor_type get_executor() const noexcept { return state_->executor(); }

  /// Waits until the event is set, as wait. \par Signature  void(error_code)
  template <net::completion_token_for<void(net::error_code)> Token = detail::default_token_t<executor_type>>
  auto async_wait(Token&& token = Token()) {
    return net::async_initiate<Token, void(net::error_code)>(
        initiation{state_}, token, detail::memory_for_operation<detail::event_state::waiter>());
  }

  /// Waits until the event is set. Who has begun to wait is woken by set() also when clear() follows at once.
  net::awaitable<void> wait() { return async_wait(net::use_awaitable); }

  /// Sets it, and wakes all who wait. \par Threads  any
  void set() noexcept { state_->set(); }
  /// Later waits wait for the next set(). \par Threads  any
  void clear() noexcept { state_->clear(); }
  /// Is it set? \par Threads  any
  bool is_set() const noexcept { return state_->is_set(); }

private:
  struct initiation {
    using executor_type = net::any_io_executor;
    executor_type get_executor() const noexcept { return of->executor(); }
    template <class Handler>
    void operator()(Handler handler, detail::operation_memory memory) const {
      of->start_wait(std::move(handler), std::move(memory));
    }

    std::shared_ptr<state> of;
  };

  std::shared_ptr<state> state_;
};

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/event.ipp>
#endif
