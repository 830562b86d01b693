// SPDX-License-Identifier: BSL-1.0
// Where operations wait for the end of a pool's shutdown. Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/exception_of.hpp>
#include <coproc/net/waitable_state.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace coproc::detail {

/// Opens once; signature void(std::exception_ptr).
class shutdown_gate final : public waitable_state<shutdown_gate> {
public:
  struct waiter : operation<void(std::exception_ptr)>, waiter_links {
    static void fail(operation_ptr<waiter> op, net::error_code e) noexcept {
      detail::post(std::move(op), exception_of(e));
    }
  };

  explicit shutdown_gate(net::any_io_executor ex) noexcept : waitable_state(std::move(ex)) {}

  /// Cancelling the wait ends the wait, not the shutdown.
  template <class Handler>
  void wait(Handler handler, operation_memory memory) {
    const use context(executor_);
    if (!context) return; // the handler is destroyed, as those that wait
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), std::move(memory), *context, work_tracking::here);
    op = settle_or_wait(&shutdown_gate::waiters_, std::move(op), slot, [&] { return open_; });
    if (op) detail::post(std::move(op), std::exception_ptr());
  }

  COPROC_DECL void open() noexcept;
  /// It will never open: ends the waits that there are with e.
  COPROC_DECL void fail(const std::exception_ptr& e) noexcept;
  COPROC_DECL void drop_waiters() noexcept;

private:
  COPROC_DECL void end_waits(bool opens, const std::exception_ptr& e) noexcept;

  bool open_ = false;
  waiter_list<waiter> waiters_;
};

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/shutdown_gate.ipp>
#endif
