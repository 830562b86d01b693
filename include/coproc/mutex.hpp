// SPDX-License-Identifier: BSL-1.0
// mutex: one coroutine at a time, across what it awaits. Lives in the front end, usable from all its threads. A public
// header: may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/semaphore.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace coproc {

/// A lock that coroutines wait for in line, and may hold while they await. A semaphore of one permit.
/// \par Threads    safe to use from several threads; guards, too
/// \par Order      who asked first is first: who gives a mutex back and asks for it again comes last. A free one is had
///                 at once
/// \par Cancel     any type withdraws who waits: operation_aborted, and the lock goes to the next
/// \par Errors     no_memory; std::bad_alloc from an initiating function that cannot begin
/// \par Lifetime   a guard may outlive mutex and context. Destroying a mutex completes what waits with
///                 operation_aborted, and does nothing to who holds it. Destroying the context first destroys
///                 what waits uninvoked, and get_executor() is empty from then on
class mutex {
  using state = detail::semaphore_state;

public:
  using executor_type = net::any_io_executor; ///< of completions whose handlers have none

  /// The lock, given back by its destructor or by release(). Move-only; a default-made or moved-from one is empty.
  using guard = semaphore_permit;

  /// Free.
  template <executor_or_context Where>
  explicit mutex(Where&& where) : state_(state::make(detail::executor_of(std::forward<Where>(where)), 1)) {}

  /// The one that was moved from can only be destroyed or assigned to. One that is assigned to ends as by destruction.
  /// @{
  mutex(mutex&&) noexcept = default;
  mutex& operator=(mutex&& other) noexcept {
    if (const auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
    return *this;
  }
  /// @}
  ~mutex() {
    if (state_) state_->abandon();
  }

  /// Where handlers run that name no executor of their own.
  executor_type get_executor() const noexcept { return state_->executor(); }

  /// Waits for the lock. A coroutine that finds it free goes on at once.
  net::awaitable<guard> lock() { return take(state_); }

  /// As lock. \par Signature  void(error_code, mutex::guard); the guard is empty when there is an error
  /// \par Completes  exactly once, never inside the initiating call, on the handler's executor
  template <net::completion_token_for<void(net::error_code, guard)> Token = detail::default_token_t<executor_type>>
  auto async_lock(Token&& token = Token()) {
    return wait(state_, std::forward<Token>(token));
  }

  /// The lock if it is free; never overtakes those who wait.
  [[nodiscard]] std::optional<guard> try_lock() { return state_->try_acquire(); }

private:
  struct initiation {
    using executor_type = net::any_io_executor;
    executor_type get_executor() const noexcept { return of->executor(); }
    template <class Handler>
    void operator()(Handler handler, detail::operation_memory memory) const {
      of->start_acquire(std::move(handler), std::move(memory));
    }

    std::shared_ptr<state> of;
  };

  template <class Token>
  static auto wait(std::shared_ptr<state> of, Token&& token) {
    return net::async_initiate<Token, void(net::error_code, guard)>(
        initiation{std::move(of)}, token, detail::memory_for_operation<detail::semaphore_state::waiter>());
  }

  template <class State>
  static net::awaitable<guard> take_free(std::shared_ptr<State> of) {
    if (auto free = of->try_acquire()) co_return std::move(*free);
    auto waiting = wait(std::move(of), net::use_awaitable);
    co_return co_await std::move(waiting);
  }
  static net::awaitable<guard> take(const std::shared_ptr<state>& of) { return take_free(of); }

  std::shared_ptr<state> state_;
};

} // namespace coproc
