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
  using use = typename waitable_state<channel_state>::use;

  // An empty optional whose emptiness the optimiser cannot see through: g++ 12 at -O3 would warn that what is moved out
  // of it may be uninitialised.
  static std::optional<T> nothing() noexcept {
    std::optional<T> none;
    asm volatile("" : : "r"(&none) : "memory");
    return none;
  }

public:
  struct sender : operation<void(net::error_code)>, waiter_links {
    explicit sender(T&& message) : value(std::move(message)) {}
    static void fail(operation_ptr<sender> op, net::error_code e) noexcept { detail::post(std::move(op), e); }
    T value;
  };

  struct receiver : operation<void(net::error_code, std::optional<T>)>, waiter_links {
    static void fail(operation_ptr<receiver> op, net::error_code e) noexcept {
      detail::post(std::move(op), e, nothing());
    }
  };

  channel_state(net::any_io_executor ex, std::size_t capacity)
      : waitable_state<channel_state>(std::move(ex)), capacity_(capacity) {}

  bool is_open() noexcept {
    std::lock_guard lock(this->mutex_);
    return open_;
  }

  bool try_send(T& value) {
    const use context(this->executor_);
    delivery handed_over;
    {
      std::lock_guard lock(this->mutex_);
      if (!open_ || !put(value, handed_over, context)) return false;
    }
    handed_over.post();
    return true;
  }

  std::optional<T> try_receive() {
    const use context(this->executor_);
    operation_ptr<sender> relieved;
    std::optional<T> message;
    {
      std::lock_guard lock(this->mutex_);
      take(message, relieved, context);
    }
    if (relieved) detail::post(std::move(relieved), net::error_code());
    return message;
  }

  template <class Handler>
  void start_send(Handler handler, operation_memory memory, T value) {
    const use context(this->executor_);
    if (!context) return; // the handler is destroyed, as those that wait
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op =
        make_operation<sender>(std::move(handler), std::move(memory), *context, work_tracking::here, std::move(value));
    net::error_code error;
    delivery handed_over;
    T& message = op->value; // while op has not been settled it stays where it is
    op = this->settle_or_wait(&channel_state::senders_, std::move(op), slot, [&] {
      if (!open_) error = abandoned_ ? canceled() : make_error_code(errc::channel_closed);
      return !open_ || put(message, handed_over, context);
    });
    if (op) detail::post(std::move(op), error);
    handed_over.post();
  }

  template <class Handler>
  void start_receive(Handler handler, operation_memory memory) {
    const use context(this->executor_);
    if (!context) return;
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<receiver>(std::move(handler), std::move(memory), *context, work_tracking::here);
    net::error_code error;
    std::optional<T> message;
    operation_ptr<sender> relieved;
    op = this->settle_or_wait(&channel_state::receivers_, std::move(op), slot, [&] {
      if (abandoned_) error = canceled();
      return abandoned_ || take(message, relieved, context) || !open_;
    });
    if (relieved) detail::post(std::move(relieved), net::error_code());
    if (op) detail::post(std::move(op), error, std::move(message));
  }

  void close() noexcept {
    const use context(this->executor_);
    std::unique_lock lock(this->mutex_);
    open_ = false;
    if (!context) return;
    auto refused = senders_.drain();
    auto ended = receivers_.drain();
    lock.unlock();
    while (auto op = refused.pop_front()) sender::fail(std::move(op), make_error_code(errc::channel_closed));
    while (auto op = ended.pop_front()) receiver::fail(std::move(op), net::error_code());
  }

  void abandon() noexcept {
    {
      std::lock_guard lock(this->mutex_);
      open_ = false;
      abandoned_ = true;
    }
    drop_messages();
    const use context(this->executor_);
    if (!context) return;
    std::unique_lock lock(this->mutex_);
    auto sending = senders_.drain();
    auto receiving = receivers_.drain();
    lock.unlock();
    while (auto op = sending.pop_front()) sender::fail(std::move(op), canceled());
    while (auto op = receiving.pop_front()) receiver::fail(std::move(op), canceled());
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(this->mutex_);
    const auto sending = senders_.drain();
    const auto receiving = receivers_.drain();
    lock.unlock();
  }

private:
  // A message on its way to a receiver that waited for it; posted when the lock is released.
  struct delivery {
    operation_ptr<receiver> to;
    std::optional<T> message;

    void post() noexcept {
      if (to) detail::post(std::move(to), net::error_code(), std::move(message));
    }
  };

  static net::error_code canceled() noexcept { return net::error::operation_aborted; }

  // One by one: what a message does when it is destroyed it must not do under the lock, and an empty deque takes
  // memory.
  // \pre abandoned, so that nobody adds one
  void drop_messages() noexcept {
    for (std::optional<T> dropped;; dropped.reset()) {
      std::lock_guard lock(this->mutex_);
      if (buffer_.empty()) return;
      dropped.emplace(std::move(buffer_.front()));
      buffer_.pop_front();
    }
  }

  /// Moves from value when a receiver waits or there is room; else false. Under the lock.
  bool put(T& value, delivery& handed_over, const use& context) {
    if (context && !receivers_.empty()) {
      handed_over.message.emplace(std::move(value));
      handed_over.to = receivers_.pop_front();
      return true;
    }
    if (buffer_.size() >= capacity_) return false;
    buffer_.push_back(std::move(value));
    return true;
  }

  /// Takes the oldest message, and lets the first waiting sender have its place. Under the lock.
  bool take(std::optional<T>& message, operation_ptr<sender>& relieved, const use& context) {
    if (buffer_.empty()) return false;
    if (sender* next = context ? senders_.front() : nullptr) {
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
