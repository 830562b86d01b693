// SPDX-License-Identifier: BSL-1.0
// What channel, semaphore and their like share: a mutex, an executor, lines of waiting operations, and the three ways
// to leave a line besides success: cancellation, destruction of the object, destruction of the context. Front end, any
// thread. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/net/waiter_list.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace coproc::detail {

/// Base of the state behind such an object, which is shared with the operations that were begun and not yet awaited.
///
/// Derived has `void drop_waiters() noexcept`, which destroys every waiting operation uninvoked. A Waiter has
/// `static void abort(operation_ptr<Waiter>)`, which posts operation_aborted.
/// \par Lifetime  the context may be destroyed before or after the object: handlers that still wait when it goes are
///                destroyed uninvoked by its shutdown, while those executors exist whose work they count. From then on
///                the object has no executor any more, for a strand cannot be destroyed later
template <class Derived>
class waitable_state : public std::enable_shared_from_this<Derived>, public shutdown_listener {
public:
  /// \pre the context of ex lives
  template <class... Args>
  static std::shared_ptr<Derived> make(net::any_io_executor ex, Args&&... args) {
    auto state = std::make_shared<Derived>(std::move(ex), std::forward<Args>(args)...);
    state->registration_.join(state->executor_, std::weak_ptr<shutdown_listener>(state));
    return state;
  }

  const net::any_io_executor& executor() const noexcept { return executor_; }

protected:
  template <class Waiter>
  using line = waiter_list<Waiter> Derived::*;

  explicit waitable_state(net::any_io_executor ex) : executor_(std::move(ex)) {}
  ~waitable_state() = default;

  /// While it lives, so does the context: its shutdown waits. Whoever takes operations out of a line and may be on another
  /// thread than the context's posts them within one. Releases the lock under which they were taken out.
  class posting {
  public:
    posting(waitable_state& state, std::unique_lock<std::mutex>& lock) noexcept : postings_(state.postings_) {
      postings_.fetch_add(1, std::memory_order_relaxed);
      lock.unlock();
    }
    posting(const posting&) = delete;
    posting& operator=(const posting&) = delete;
    ~posting() {
      if (postings_.fetch_sub(1, std::memory_order_release) == 1) postings_.notify_all();
    }

  private:
    std::atomic<int>& postings_;
  };

  /// Calls attempt() under the lock; when that returns true, gives op back, to be posted by the caller. Otherwise op
  /// waits in the line, from which cancellation of any type withdraws it. attempt() may be called twice.
  template <class Waiter, class Slot, class Attempt>
  operation_ptr<Waiter> settle_or_wait(line<Waiter> where, operation_ptr<Waiter> op, Slot slot, Attempt attempt) {
    auto& waiting = static_cast<Derived*>(this)->*where;
    std::unique_lock lock(mutex_);
    if (attempt()) return op;
    waiter_ticket ticket;
    if (slot.is_connected()) {
      // The slot is filled before others can complete op, and outside the lock, because that destroys the slot's
      // previous handler.
      ticket = waiting.reserve();
      lock.unlock();
      slot.assign([weak = this->weak_from_this(), where, ticket](net::cancellation_type type) {
        if (type == net::cancellation_type::none) return;
        if (auto self = weak.lock()) static_cast<waitable_state&>(*self).template cancel<Waiter>(where, ticket);
      });
      lock.lock();
      if (attempt()) {
        waiting.release(ticket);
        return op;
      }
    }
    if (!shut_down_) {
      waiting.push_back(std::move(op), ticket);
    } else {
      waiting.release(ticket);
      lock.unlock();
      op.reset();
    }
    return nullptr;
  }

  mutable std::mutex mutex_;
  net::any_io_executor executor_;

private:
  template <class Waiter>
  void cancel(line<Waiter> where, waiter_ticket ticket) {
    std::unique_lock lock(mutex_);
    auto op = (static_cast<Derived*>(this)->*where).remove(ticket);
    if (!op) return;
    const posting scope(*this, lock);
    Waiter::abort(std::move(op));
  }

  void context_shutting_down() noexcept override {
    {
      std::lock_guard lock(mutex_);
      shut_down_ = true;
    }
    static_cast<Derived*>(this)->drop_waiters();
    for (int n; (n = postings_.load(std::memory_order_acquire)) != 0;) postings_.wait(n, std::memory_order_acquire);
    executor_ = {};
  }

  bool shut_down_ = false;
  std::atomic<int> postings_{0}; // counted up under the lock
  shutdown_service::registration registration_;
};

} // namespace coproc::detail
