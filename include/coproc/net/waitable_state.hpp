// SPDX-License-Identifier: BSL-1.0
// What channel, semaphore and their like share: a mutex, an executor, lines of waiting operations, and the three ways
// to leave a line besides success: cancellation, destruction of the object, destruction of the context. Front end, any
// thread. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/lent_executor.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/net/waiter_list.hpp>

#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace coproc::detail {

/// Base of the state behind such an object, which is shared with the operations that were begun and not yet awaited.
///
/// Derived has `void drop_waiters() noexcept`, which destroys every waiting operation uninvoked. A Waiter has
/// `static void fail(operation_ptr<Waiter>, net::error_code) noexcept`, which posts the error.
/// \par Lifetime  the context may be destroyed before or after the object: handlers that still wait when it goes are
///                destroyed uninvoked by its shutdown, while those executors exist whose work they count. From then on
///                the object has no executor any more. Whoever begins an operation, or takes one out of a line, does so
///                within a use of the executor, for which the shutdown waits
template <class Derived>
class waitable_state : public std::enable_shared_from_this<Derived>, public shutdown_listener {
public:
  /// \pre the context of ex lives
  template <class... Args>
  static std::shared_ptr<Derived> make(const net::any_io_executor& ex, Args&&... args) {
    auto state = std::make_shared<Derived>(ex, std::forward<Args>(args)...);
    state->registration_.join(ex, std::weak_ptr<shutdown_listener>(state));
    return state;
  }

  net::any_io_executor executor() noexcept { return executor_.get(); }

protected:
  using use = lent_executor::use;

  template <class Waiter>
  using line = waiter_list<Waiter> Derived::*;

  explicit waitable_state(net::any_io_executor ex) noexcept : executor_(std::move(ex)) {}
  ~waitable_state() = default;

  /// Calls attempt() under the lock; when that returns true, gives op back, to be posted by the caller. Otherwise op
  /// waits in the line, from which cancellation of any type withdraws it; or fails, for want of memory. attempt() may
  /// be called twice, and have no effect when it throws.
  /// \pre within a use of the executor
  template <class Waiter, class Slot, class Attempt>
  operation_ptr<Waiter> settle_or_wait(line<Waiter> where, operation_ptr<Waiter> op, Slot slot, Attempt attempt) {
    auto& waiting = static_cast<Derived*>(this)->*where;
    waiter_ticket ticket;
    std::unique_lock lock(mutex_);
    try {
      if (op->is_starved()) throw std::bad_alloc();
      if (attempt()) return op;
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
    } catch (const std::bad_alloc&) {
      if (!lock) lock.lock();
      waiting.release(ticket);
      lock.unlock();
      Waiter::fail(std::move(op), net::error::no_memory);
      return nullptr;
    }
    waiting.push_back(std::move(op), ticket);
    return nullptr;
  }

  std::mutex mutex_;
  lent_executor executor_;

private:
  template <class Waiter>
  void cancel(line<Waiter> where, waiter_ticket ticket) noexcept {
    const use context(executor_);
    if (!context) return;
    std::unique_lock lock(mutex_);
    auto op = (static_cast<Derived*>(this)->*where).remove(ticket);
    lock.unlock();
    if (op) Waiter::fail(std::move(op), net::error::operation_aborted);
  }

  void context_shutting_down() noexcept override {
    executor_.take_back();
    static_cast<Derived*>(this)->drop_waiters();
  }

  shutdown_service::registration registration_;
};

} // namespace coproc::detail
