// SPDX-License-Identifier: BSL-1.0
// loop_monitor: says when an io_context did not come to what was due, because a handler kept it: the slow-callback
// warning of asyncio's debug mode. Runs on the context. A public header: may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/options.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace coproc {

/// A time in which the loop did not come to what was due.
struct stall {
  duration lasted{};                             ///< at least
  std::chrono::steady_clock::time_point since{}; ///< what was due then was run at since + lasted
};

namespace detail {

template <class Timer>
class loop_probe : public std::enable_shared_from_this<loop_probe<Timer>> {
public:
  loop_probe(net::io_context& io, duration threshold, std::function<void(stall)> report)
      : timer_(io), threshold_(threshold), period_(std::max(threshold / 4, duration(std::chrono::microseconds(100)))),
        report_(std::move(report)) {}

  void arm() {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    timer_.expires_after(period_);
    timer_.async_wait([self = this->shared_from_this()](net::error_code e) {
      if (!e) self->due();
    });
  }

  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    timer_.cancel();
  }

  duration lag() const noexcept { return duration(lag_.load(std::memory_order_relaxed)); }

private:
  void due() {
    const auto since = timer_.expiry(); // set in arm() alone
    const duration late = std::chrono::steady_clock::now() - since;
    lag_.store(late.count(), std::memory_order_relaxed);
    arm();
    if (late >= threshold_) report_({late, since});
  }

  Timer timer_;
  const duration threshold_, period_;
  const std::function<void(stall)> report_;
  std::atomic<duration::rep> lag_{0};
  std::mutex mutex_; // of the timer, which stop() uses from elsewhere
  bool stopped_ = false;
};

} // namespace detail

/// Measures how late the loop is, four times a threshold, and reports each time that it is later than that. A handler
/// that takes 1.25 thresholds is always found, a shorter one than the threshold never: it is late itself by less.
/// \par Threads    of a context that several threads run it measures how late the first of them is
/// \par Cost       a timer four times a threshold, 10,000 times a second at most
/// \par Lifetime   keeps io_context::run() going, as every timer does; the context must outlive it
class loop_monitor {
public:
  /// report(stall) is called on the context, after the stall. An exception leaves io_context::run().
  /// \par Errors  std::invalid_argument unless the threshold is positive, and there is a report
  loop_monitor(net::io_context& io, duration threshold, std::function<void(stall)> report) {
    if (threshold <= duration::zero() || threshold == unlimited)
      throw std::invalid_argument("coproc: loop_monitor: the threshold must be positive, and limited");
    if (!report)
      throw std::invalid_argument("coproc: loop_monitor: there must be a function that stalls are reported to");
    probe_ = std::make_shared<detail::loop_probe<net::steady_timer>>(io, threshold, std::move(report));
    probe_->arm();
  }

  loop_monitor(loop_monitor&&) = delete; ///< it stays where it was made
  loop_monitor& operator=(loop_monitor&&) = delete;

  /// No report begins after that, but for one that is under way on another thread.
  ~loop_monitor() { probe_->stop(); }

  /// How late the loop was when it was last measured. \par Threads  any
  duration lag() const noexcept { return probe_->lag(); }

private:
  std::shared_ptr<detail::loop_probe<net::steady_timer>> probe_;
};

} // namespace coproc
