// SPDX-License-Identifier: BSL-1.0
// Where operations wait for the end of a pool's shutdown. Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/waitable_state.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace coproc::detail {

/// Opens once; signature void(std::exception_ptr).
class shutdown_gate final : public waitable_state<shutdown_gate> {
  using base = waitable_state<shutdown_gate>;
  using signature = void(std::exception_ptr);

  struct waiter : operation<signature>, waiter_links<waiter> {
    explicit waiter(function f) : operation(f) {}
    static void abort(operation_ptr<waiter> op) {
      detail::post(std::move(op), std::make_exception_ptr(net::system_error(net::error::operation_aborted)));
    }
  };

public:
  explicit shutdown_gate(net::any_io_executor ex) : base(std::move(ex)) {}

  /// Cancelling the wait ends the wait, not the shutdown.
  template <class Handler>
  void wait(Handler handler) {
    if (!this->executor_) return; // the context is gone
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), this->executor_, work_tracking::here);
    op = this->settle_or_wait(&shutdown_gate::waiters_, std::move(op), slot, [&] { return open_; });
    if (op) detail::post(std::move(op), std::exception_ptr());
  }

  void open() {
    std::unique_lock lock(this->mutex_);
    open_ = true;
    end_waits(lock, {});
  }

  /// It will never open: ends the waits that there are with e.
  void fail(const std::exception_ptr& e) {
    std::unique_lock lock(this->mutex_);
    end_waits(lock, e);
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(this->mutex_);
    const auto waiting = waiters_.drain();
    lock.unlock();
  }

private:
  void end_waits(std::unique_lock<std::mutex>& lock, const std::exception_ptr& e) {
    auto waiting = waiters_.drain();
    const base::posting scope(*this, lock);
    while (auto op = waiting.pop_front()) detail::post(std::move(op), e);
  }

  bool open_ = false;
  waiter_list<waiter> waiters_;
};

} // namespace coproc::detail
