// SPDX-License-Identifier: BSL-1.0
// Where operations wait for the end of a pool's shutdown. Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/waitable_state.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace coproc {

/// Opens once; signature void(std::exception_ptr).
/// A template so that a file that makes no pool does not compile it.
template <class Executor>
class basic_shutdown_gate final : public waitable_state<basic_shutdown_gate<Executor>> {
  using base = waitable_state<basic_shutdown_gate>;
  using signature = void(std::exception_ptr);

  struct waiter : operation<signature>, waiter_links<waiter> {
    explicit waiter(function f) : operation(f) {}
    static void abort(operation_ptr<waiter> op) {
      coproc::post(std::move(op), std::make_exception_ptr(net::system_error(net::error::operation_aborted)));
    }
  };

public:
  explicit basic_shutdown_gate(Executor ex) : base(std::move(ex)) {}

  /// Cancelling the wait ends the wait, not the shutdown.
  template <class Handler>
  void wait(Handler handler) {
    if (!this->executor_) return; // the context is gone
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), this->executor_, work_tracking::here);
    op = this->settle_or_wait(&basic_shutdown_gate::waiters_, std::move(op), slot, [&] { return open_; });
    if (op) coproc::post(std::move(op), std::exception_ptr());
  }

  void open() {
    std::unique_lock lock(this->mutex_);
    open_ = true;
    auto waiting = waiters_.drain();
    const typename base::posting scope(*this, lock);
    while (auto op = waiting.pop_front()) coproc::post(std::move(op), std::exception_ptr());
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(this->mutex_);
    const auto waiting = waiters_.drain();
    lock.unlock();
  }

private:
  bool open_ = false;
  waiter_list<waiter> waiters_;
};

using shutdown_gate = basic_shutdown_gate<net::any_io_executor>;

} // namespace coproc
