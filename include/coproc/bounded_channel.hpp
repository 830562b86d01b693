// SPDX-License-Identifier: BSL-1.0
// bounded_channel<T>: a queue of limited length between coroutines. Senders wait while it is full, receivers while it is
// empty. Lives in the front end, usable from all its threads. A public header: may include everything.
#pragma once

#include <coproc/codec/callable.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/waitable_state.hpp>
#include <coproc/options.hpp>

#include <concepts>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

namespace coproc {

namespace detail {

// Senders wait only while the buffer is full, receivers only while it is empty, so never both. Handlers are posted
// outside the lock; T's move constructor runs inside it.
template <class T>
class channel_state final : public waitable_state<channel_state<T>> {
  struct sender : operation<void(net::error_code)>, waiter_links<sender> {
    sender(typename sender::operation::function f, T&& message) : sender::operation(f), value(std::move(message)) {}
    static void abort(operation_ptr<sender> op) { coproc::post(std::move(op), canceled()); }
    T value;
  };

  struct receiver : operation<void(net::error_code, std::optional<T>)>, waiter_links<receiver> {
    explicit receiver(typename receiver::operation::function f) : receiver::operation(f) {}
    static void abort(operation_ptr<receiver> op) { coproc::post(std::move(op), canceled(), std::optional<T>(std::nullopt)); }
  };

  // A message on its way to a receiver that waited for it; posted when the lock is released.
  struct delivery {
    operation_ptr<receiver> to;
    std::optional<T> message;

    void post() {
      if (to) coproc::post(std::move(to), net::error_code(), std::move(message));
    }
  };

public:
  channel_state(net::any_io_executor ex, std::size_t capacity)
      : waitable_state<channel_state>(std::move(ex)), capacity_(capacity) {}

  bool is_open() const noexcept {
    std::lock_guard lock(this->mutex_);
    return open_;
  }

  bool try_send(T& value) {
    delivery handed_over;
    {
      std::lock_guard lock(this->mutex_);
      if (!open_ || !put(value, handed_over)) return false;
    }
    handed_over.post();
    return true;
  }

  std::optional<T> try_receive() {
    operation_ptr<sender> relieved;
    std::optional<T> message;
    {
      std::lock_guard lock(this->mutex_);
      take(message, relieved);
    }
    if (relieved) coproc::post(std::move(relieved), net::error_code());
    return message;
  }

  template <class Handler>
  void start_send(Handler handler, T value) {
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<sender>(std::move(handler), this->executor_, work_tracking::here, std::move(value));
    net::error_code error;
    delivery handed_over;
    T& message = op->value; // while op has not been settled it stays where it is
    op = this->settle_or_wait(&channel_state::senders_, std::move(op), slot, [&] {
      if (!open_) error = abandoned_ ? canceled() : make_error_code(errc::channel_closed);
      return !open_ || put(message, handed_over);
    });
    if (op) coproc::post(std::move(op), error);
    handed_over.post();
  }

  template <class Handler>
  void start_receive(Handler handler) {
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<receiver>(std::move(handler), this->executor_, work_tracking::here);
    net::error_code error;
    std::optional<T> message;
    operation_ptr<sender> relieved;
    op = this->settle_or_wait(&channel_state::receivers_, std::move(op), slot, [&] {
      if (abandoned_) error = canceled();
      return take(message, relieved) || !open_;
    });
    if (relieved) coproc::post(std::move(relieved), net::error_code());
    if (op) coproc::post(std::move(op), error, std::move(message));
  }

  void close() {
    std::unique_lock lock(this->mutex_);
    open_ = false;
    auto refused = senders_.drain();
    auto ended = receivers_.drain();
    lock.unlock();
    while (auto op = refused.pop_front()) coproc::post(std::move(op), make_error_code(errc::channel_closed));
    while (auto op = ended.pop_front()) coproc::post(std::move(op), net::error_code(), std::optional<T>(std::nullopt));
  }

  void abandon() {
    std::unique_lock lock(this->mutex_);
    open_ = false;
    abandoned_ = true;
    auto sending = senders_.drain();
    auto receiving = receivers_.drain();
    const auto dropped = std::exchange(buffer_, {});
    lock.unlock();
    while (auto op = sending.pop_front()) sender::abort(std::move(op));
    while (auto op = receiving.pop_front()) receiver::abort(std::move(op));
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(this->mutex_);
    const auto sending = senders_.drain();
    const auto receiving = receivers_.drain();
    lock.unlock();
  }

private:
  static net::error_code canceled() noexcept { return net::error::operation_aborted; }

  /// Moves from value when a receiver waits or there is room; else false. Under the lock.
  bool put(T& value, delivery& handed_over) {
    if (!receivers_.empty()) {
      handed_over.message.emplace(std::move(value));
      handed_over.to = receivers_.pop_front();
      return true;
    }
    if (buffer_.size() >= capacity_) return false;
    buffer_.push_back(std::move(value));
    return true;
  }

  /// Takes the oldest message, and lets the first waiting sender have its place. Under the lock.
  bool take(std::optional<T>& message, operation_ptr<sender>& relieved) {
    if (buffer_.empty()) return false;
    if (sender* next = senders_.front()) {
      buffer_.push_back(std::move(next->value));
      relieved = senders_.pop_front();
    }
    message.emplace(std::move(buffer_.front()));
    buffer_.pop_front();
    return true;
  }

  const std::size_t capacity_;
  bool open_ = true;
  bool abandoned_ = false; // the channel object is gone
  std::deque<T> buffer_;
  waiter_list<sender> senders_;
  waiter_list<receiver> receivers_;
};

} // namespace detail

/// A queue between coroutines that holds at most `capacity` messages. Messages arrive in the order in which their sends
/// were begun, each at one receiver.
/// \par Threads    safe to use from several threads; T is moved under the channel's mutex, and must not throw when moved
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor; waiting keeps run() going
/// \par Cancel     any type withdraws an operation that waits: operation_aborted, and a cancelled send has not
///                 delivered, a cancelled receive has not consumed
/// \par Lifetime   destroying the channel drops its messages and completes what waits with operation_aborted. The
///                 context may be destroyed first: what waits is then destroyed uninvoked.
template <class T>
class bounded_channel {
  using state = detail::channel_state<T>;

public:
  using executor_type = net::any_io_executor;
  using value_type = T;

  /// \par Errors  std::invalid_argument unless capacity is at least 1
  template <executor_or_context Where>
  bounded_channel(Where&& where, count capacity)
      : state_(state::make(executor_of(std::forward<Where>(where)), checked(capacity))) {}

  bounded_channel(bounded_channel&&) noexcept = default;
  bounded_channel& operator=(bounded_channel&& other) noexcept {
    if (auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
    return *this;
  }
  ~bounded_channel() {
    if (state_) state_->abandon();
  }

  executor_type get_executor() const noexcept { return state_->executor(); }

  /// Sends a message, waiting for room. The message is taken (copied, or moved from) before the call returns.
  /// \par Errors  net::system_error with errc::channel_closed when the channel is closed, also while waiting
  net::awaitable<void> send(const T& message)
    requires std::copy_constructible<T>
  {
    return async_send(message, net::use_awaitable);
  }
  net::awaitable<void> send(T&& message) {
    if constexpr (detail::verify_temporaries<T>()) return async_send(std::move(message), net::use_awaitable);
  }
  net::awaitable<void> send(moved_ref<T> message) { return async_send(T(message.get()), net::use_awaitable); }

  /// As send. \par Signature  void(error_code)
  template <net::completion_token_for<void(net::error_code)> Token>
  auto async_send(T message, Token&& token) {
    return net::async_initiate<Token, void(net::error_code)>(send_initiation(state_), token, std::move(message));
  }

  /// Receives a message, waiting for one; nullopt once the channel is closed and empty.
  net::awaitable<std::optional<T>> receive() { return async_receive(net::use_awaitable); }

  /// As receive. \par Signature  void(error_code, std::optional<T>); the end of the channel is no error
  template <net::completion_token_for<void(net::error_code, std::optional<T>)> Token>
  auto async_receive(Token&& token) {
    return net::async_initiate<Token, void(net::error_code, std::optional<T>)>(receive_initiation(state_), token);
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
    void operator()(Handler handler, T message) const {
      this->state_->start_send(std::move(handler), std::move(message));
    }
  };

  struct receive_initiation : initiation {
    using initiation::initiation;
    template <class Handler>
    void operator()(Handler handler) const { this->state_->start_receive(std::move(handler)); }
  };

  static std::size_t checked(count capacity) {
    if (capacity.value < 1) throw std::invalid_argument("coproc: bounded_channel: capacity must be at least 1");
    return static_cast<std::size_t>(capacity.value);
  }

  std::shared_ptr<state> state_;
};

} // namespace coproc
