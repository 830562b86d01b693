// SPDX-License-Identifier: BSL-1.0
// interval: ticks that do not drift. every: a function at each of them. Run in the front end. A public header: may
// include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/join.hpp>
#include <coproc/options.hpp>
#include <coproc/thread_bridge.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coproc {

/// What becomes of ticks that nobody was there for when they were due.
enum class missed {
  skip,     ///< they are left out: the next tick is the next one that is due in the future
  catch_up, ///< they come one after the other, at once
};

namespace detail {

/// The times of an interval's ticks, without a clock of its own.
class tick_times {
public:
  using time_point = std::chrono::steady_clock::time_point;

  tick_times(duration period, missed what, time_point now) : period_(period), what_(what) {
    if (period <= duration::zero()) throw std::invalid_argument("coproc: interval: the period must be positive");
    next_ = later(now, period);
  }

  time_point next() const noexcept { return next_; }

  /// The next tick is taken at `now`, when it is due: how many more are. \pre now >= next()
  std::uint64_t take(time_point now) noexcept {
    const auto behind = (now - next_) / period_;
    next_ = later(next_, what_ == missed::skip ? (behind + 1) * period_ : period_);
    return static_cast<std::uint64_t>(behind);
  }

private:
  static time_point later(time_point t, duration by) noexcept {
    return time_point::max() - t > by ? t + by : time_point::max();
  }

  const duration period_;
  const missed what_;
  time_point next_;
};

struct interval_state {
  interval_state(net::any_io_executor ex, duration period, missed what)
      : times(period, what, std::chrono::steady_clock::now()), timer(std::move(ex)) {}

  tick_times times;
  net::steady_timer timer;
};

struct interval_initiation {
  using executor_type = net::any_io_executor;
  executor_type get_executor() const noexcept { return state->timer.get_executor(); }

  // The handler of the timer has what the handler has: executor, allocator, cancellation slot.
  template <class Handler>
  struct tick {
    using executor_type = net::associated_executor_t<Handler, net::any_io_executor>;
    using allocator_type = net::associated_allocator_t<Handler>;
    using cancellation_slot_type = net::associated_cancellation_slot_t<Handler>;

    executor_type get_executor() const noexcept {
      return net::get_associated_executor(handler, state->timer.get_executor());
    }
    allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler); }
    cancellation_slot_type get_cancellation_slot() const noexcept {
      return net::get_associated_cancellation_slot(handler);
    }

    void operator()(net::error_code e) {
      const std::uint64_t behind = e ? 0 : state->times.take(std::chrono::steady_clock::now());
      state = nullptr;
      std::move(handler)(e, behind);
    }

    std::shared_ptr<interval_state> state;
    Handler handler;
  };

  template <class Handler>
  void operator()(Handler handler) const {
    state->timer.expires_at(state->times.next());
    state->timer.async_wait(tick<Handler>{state, std::move(handler)});
  }

  std::shared_ptr<interval_state> state;
};

} // namespace detail

/// Ticks at the time when it was made plus one period, two periods and so on, however late each is taken. An I/O object
/// as net::steady_timer, which it is made of.
/// \par Threads    distinct objects: any; one object: one thread at a time
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor
/// \par Cancel     any type: operation_aborted, and the tick is still to come
/// \par Lifetime   of a timer: the context must outlive it. Destroying it completes what waits with operation_aborted
class interval {
public:
  using executor_type = net::any_io_executor; ///< of completions whose handlers have none

  /// The first tick is one period from now. \par Errors  std::invalid_argument unless the period is positive
  template <executor_or_context Where>
  interval(Where&& where, duration period, missed what = missed::skip)
      : state_(
            std::make_shared<detail::interval_state>(detail::executor_of(std::forward<Where>(where)), period, what)) {}

  /// The one that was moved from can only be destroyed or assigned to. One that is assigned to ends as by destruction.
  /// @{
  interval(interval&&) noexcept = default;
  interval& operator=(interval&& other) {
    if (const auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->timer.cancel();
    return *this;
  }
  /// @}
  ~interval() {
    if (state_) state_->timer.cancel();
  }

  /// Where handlers run that name no executor of their own.
  executor_type get_executor() const noexcept { return state_->timer.get_executor(); }

  /// As next. \par Signature  void(error_code, std::uint64_t)
  template <
      net::completion_token_for<void(net::error_code, std::uint64_t)> Token = detail::default_token_t<executor_type>>
  auto async_next(Token&& token = Token()) {
    return net::async_initiate<Token, void(net::error_code, std::uint64_t)>(detail::interval_initiation{state_}, token);
  }

  /// Waits for the next tick, or takes it at once if it is due. How many were missed: they are left out, or come next,
  /// as the constructor was told. One wait at a time: another ends the first with operation_aborted.
  net::awaitable<std::uint64_t> next() { return async_next(net::use_awaitable); }

private:
  std::shared_ptr<detail::interval_state> state_;
};

namespace detail {

template <class F>
net::awaitable<void> call_every(duration period, F fn, missed what) {
  const net::any_io_executor ex = co_await net::this_coro::executor;
  interval ticks(ex, period, what);
  for (;;) {
    auto tick = ticks.next();
    co_await std::move(tick);
    if constexpr (awaitable_like<std::invoke_result_t<F&>>) {
      auto done = std::invoke(fn);
      co_await coroutine_of(done);
    } else {
      std::invoke(fn);
    }
  }
}

} // namespace detail

/// Calls fn() one period from now, and then every period, without drift, until it is cancelled or fn throws. An fn that
/// returns an awaitable is awaited before the next call.
/// \par Errors    what fn throws; operation_aborted; std::invalid_argument, from the call itself, unless the period is
///                positive
/// \par Cancel    any type ends the wait for the next tick; while fn is awaited it gets the cancellation
/// \par Lifetime  fn is decay-copied, and runs on the caller's executor
template <class F>
  requires std::invocable<std::decay_t<F>&>
[[nodiscard]] net::awaitable<void> every(duration period, F&& fn, missed what = missed::skip) {
  static_assert(!detail::gcc12_closure_hazard<F>,
                "coproc: g++ 12 destroys this temporary twice inside co_await (GCC PR 99576): give the object a name "
                "and pass the name");
  if (period <= duration::zero()) throw std::invalid_argument("coproc: every: the period must be positive");
  return detail::call_every<std::decay_t<F>>(period, std::forward<F>(fn), what);
}

} // namespace coproc
