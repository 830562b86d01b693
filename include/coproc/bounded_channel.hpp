// SPDX-License-Identifier: BSL-1.0
// bounded_channel<T>: a queue of limited length between coroutines. Senders wait while it is full, receivers while it
// is empty. Lives in the front end, usable from all its threads. A public header: may include everything.
#pragma once

#include <coproc/codec/callable.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/channel_state.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/options.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

namespace coproc {

/// A queue between coroutines that holds at most `capacity` messages. Messages arrive in the order in which their sends
/// were begun, each at one receiver. `bounded_channel<T>` is one for coroutines of the usual type.
/// \par Threads    safe to use from several threads; T is moved under the channel's mutex, and must not throw then
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor; waiting keeps run() going
/// \par Cancel     any type withdraws an operation that waits: operation_aborted, and a cancelled send has not
///                 delivered, a cancelled receive has not consumed
/// \par Errors     no_memory; std::bad_alloc from an initiating function that cannot begin, and from try_send and
///                 try_receive. Then nothing was delivered or consumed
/// \par Lifetime   destroying the channel drops its messages and completes what waits with operation_aborted. The
///                 context may be destroyed first: what waits is then destroyed uninvoked, and get_executor() is empty
///                 from then on
/// \tparam Executor  of completions whose handlers have none; `send` and `receive` can be awaited in a
///                 net::awaitable<R, Executor>, or <R, E> where use_awaitable_t<E> is the executor's default token
template <class T, class Executor>
class basic_bounded_channel {
  using state = detail::channel_state<T>;
  using awaiting_executor = detail::awaiting_executor_t<Executor>;

  template <class R>
  using awaitable = net::awaitable<R, awaiting_executor>;
  using token = net::use_awaitable_t<awaiting_executor>;

public:
  using executor_type = Executor; ///< of completions whose handlers have none
  using value_type = T;           ///< of a message

  /// The same with another executor, for use_awaitable_t<E>::as_default_on_t and its like.
  template <class OtherExecutor>
  struct rebind_executor {
    using other = basic_bounded_channel<T, OtherExecutor>; ///< that type
  };

  /// \par Errors  std::invalid_argument unless capacity is at least 1
  template <executor_or_context<Executor> Where>
  basic_bounded_channel(Where&& where, count capacity)
      : state_(state::make(detail::any_executor_of(detail::executor_of<Executor>(std::forward<Where>(where))),
                           checked(capacity))) {}

  /// One with another executor, which it takes the place of.
  template <class OtherExecutor>
    requires std::convertible_to<OtherExecutor, Executor>
  basic_bounded_channel(basic_bounded_channel<T, OtherExecutor>&& other) noexcept : state_(std::move(other.state_)) {}

  /// The one that was moved from can only be destroyed or assigned to.
  basic_bounded_channel(basic_bounded_channel&&) noexcept = default;
  /// The one that is assigned to ends as by destruction.
  basic_bounded_channel& operator=(basic_bounded_channel&& other) noexcept {
    if (auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
    return *this;
  }
  ~basic_bounded_channel() {
    if (state_) state_->abandon();
  }

  /// Where handlers run that name no executor of their own. \pre the context lives, unless it is an any_io_executor
  executor_type get_executor() const noexcept { return detail::executor_as<Executor>(state_->executor()); }

  /// Sends a message, waiting for room. The message is taken (copied, or moved from) before the call returns.
  /// \par Errors  net::system_error with errc::channel_closed when the channel is closed, also while waiting
  awaitable<void> send(const T& message)
    requires std::copy_constructible<T>
  {
    return async_send(message, token());
  }
  /// The same with a message that is moved from.
  awaitable<void> send(T&& message) {
    if constexpr (detail::verify_temporaries<T>()) return async_send(std::move(message), token());
  }
  /// The same with coproc::moved(message).
  awaitable<void> send(moved_ref<T> message) { return async_send(T(message.get()), token()); }

  /// As send. \par Signature  void(error_code)
  template <net::completion_token_for<void(net::error_code)> Token = detail::default_token_t<Executor>>
  auto async_send(T message, Token&& t = Token()) {
    return net::async_initiate<Token, void(net::error_code)>(
        send_initiation(state_), t, detail::memory_for_operation<typename state::sender>(), std::move(message));
  }

  /// Receives a message, waiting for one; nullopt once the channel is closed and empty.
  awaitable<std::optional<T>> receive() { return async_receive(token()); }

  /// As receive. \par Signature  void(error_code, std::optional<T>); the end of the channel is no error
  template <
      net::completion_token_for<void(net::error_code, std::optional<T>)> Token = detail::default_token_t<Executor>>
  auto async_receive(Token&& t = Token()) {
    return net::async_initiate<Token, void(net::error_code, std::optional<T>)>(
        receive_initiation(state_), t, detail::memory_for_operation<typename state::receiver>());
  }

  /// Sends if there is room and the channel is open; otherwise false, and message is untouched.
  [[nodiscard]] bool try_send(T&& message) { return state_->try_send(message); }

  /// Receives if there is a message.
  [[nodiscard]] std::optional<T> try_receive() { return state_->try_receive(); }

  /// No more sends: those that wait, and later ones, fail with channel_closed. Receivers still get what is in the
  /// channel, then nullopt. May be called again.
  void close() noexcept { state_->close(); }

  /// False once close was called.
  bool is_open() const noexcept { return state_->is_open(); }

private:
  template <class OtherT, class OtherExecutor>
  friend class basic_bounded_channel;

  class initiation {
  public:
    using executor_type = net::any_io_executor;
    explicit initiation(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    executor_type get_executor() const noexcept { return state_->executor(); }

  protected:
    std::shared_ptr<state> state_;
  };

  struct send_initiation : initiation {
    using initiation::initiation;
    template <class Handler>
    void operator()(Handler handler, detail::operation_memory memory, T message) const {
      this->state_->start_send(std::move(handler), std::move(memory), std::move(message));
    }
  };

  struct receive_initiation : initiation {
    using initiation::initiation;
    template <class Handler>
    void operator()(Handler handler, detail::operation_memory memory) const {
      this->state_->start_receive(std::move(handler), std::move(memory));
    }
  };

  static std::size_t checked(count capacity) {
    if (capacity.value < 1) throw std::invalid_argument("coproc: bounded_channel: capacity must be at least 1");
    return static_cast<std::size_t>(capacity.value);
  }

  std::shared_ptr<state> state_;
};

/// A basic_bounded_channel for coroutines of the usual type, net::awaitable<T>.
template <class T>
class bounded_channel : public basic_bounded_channel<T, net::any_io_executor> {
public:
  using basic_bounded_channel<T, net::any_io_executor>::basic_bounded_channel;
};

} // namespace coproc
