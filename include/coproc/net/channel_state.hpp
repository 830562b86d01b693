// SPDX-License-Identifier: BSL-1.0
// What is behind a bounded_channel: buffer, lines of senders and receivers, and who is woken when. Front end, any
// thread. Layer net/.
#pragma once

#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/waitable_state.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace coproc::detail {

// Senders wait only while the buffer is full, receivers only while it is empty, so never both. Handlers are posted
// outside the lock; T's move constructor runs inside it.
template <class T>
class channel_state final : public waitable_state<channel_state<T>> {
  using posting = typename waitable_state<channel_state<T>>::posting;

  struct sender : operation<void(net::error_code)>, waiter_links<sender> {
    sender(typename sender::operation::function f, T&& message) : sender::operation(f), value(std::move(message)) {}
    static void abort(operation_ptr<sender> op) { detail::post(std::move(op), canceled()); }
    T value;
  };

  // An empty optional whose emptiness the optimiser cannot see through: g++ 12 at -O3 would warn that what is moved out of
  // it may be uninitialised.
  static std::optional<T> nothing() noexcept {
    std::optional<T> none;
    asm volatile("" : : "r"(&none) : "memory");
    return none;
  }

  struct receiver : operation<void(net::error_code, std::optional<T>)>, waiter_links<receiver> {
    explicit receiver(typename receiver::operation::function f) : receiver::operation(f) {}
    static void abort(operation_ptr<receiver> op) {
      detail::post(std::move(op), canceled(), nothing());
    }
  };

  // A message on its way to a receiver that waited for it; posted when the lock is released.
  struct delivery {
    operation_ptr<receiver> to;
    std::optional<T> message;

    void post() {
      if (to) detail::post(std::move(to), net::error_code(), std::move(message));
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
    std::unique_lock lock(this->mutex_);
    if (!open_ || !put(value, handed_over)) return false;
    if (!handed_over.to) return true;
    const posting scope(*this, lock);
    handed_over.post();
    return true;
  }

  std::optional<T> try_receive() {
    operation_ptr<sender> relieved;
    std::optional<T> message;
    std::unique_lock lock(this->mutex_);
    take(message, relieved);
    if (!relieved) return message;
    const posting scope(*this, lock);
    detail::post(std::move(relieved), net::error_code());
    return message;
  }

  template <class Handler>
  void start_send(Handler handler, T value) {
    if (!this->executor_) return; // the context is gone
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<sender>(std::move(handler), this->executor_, work_tracking::here, std::move(value));
    net::error_code error;
    delivery handed_over;
    T& message = op->value; // while op has not been settled it stays where it is
    op = this->settle_or_wait(&channel_state::senders_, std::move(op), slot, [&] {
      if (!open_) error = abandoned_ ? canceled() : make_error_code(errc::channel_closed);
      return !open_ || put(message, handed_over);
    });
    if (op) detail::post(std::move(op), error);
    handed_over.post();
  }

  template <class Handler>
  void start_receive(Handler handler) {
    if (!this->executor_) return; // the context is gone
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<receiver>(std::move(handler), this->executor_, work_tracking::here);
    net::error_code error;
    std::optional<T> message;
    operation_ptr<sender> relieved;
    op = this->settle_or_wait(&channel_state::receivers_, std::move(op), slot, [&] {
      if (abandoned_) error = canceled();
      return take(message, relieved) || !open_;
    });
    if (relieved) detail::post(std::move(relieved), net::error_code());
    if (op) detail::post(std::move(op), error, std::move(message));
  }

  void close() {
    std::unique_lock lock(this->mutex_);
    open_ = false;
    auto refused = senders_.drain();
    auto ended = receivers_.drain();
    const posting scope(*this, lock);
    while (auto op = refused.pop_front()) detail::post(std::move(op), make_error_code(errc::channel_closed));
    while (auto op = ended.pop_front()) detail::post(std::move(op), net::error_code(), nothing());
  }

  void abandon() {
    std::unique_lock lock(this->mutex_);
    open_ = false;
    abandoned_ = true;
    auto sending = senders_.drain();
    auto receiving = receivers_.drain();
    const auto dropped = std::exchange(buffer_, {});
    const posting scope(*this, lock);
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

} // namespace coproc::detail
