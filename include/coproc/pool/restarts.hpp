// SPDX-License-Identifier: BSL-1.0
// When a seat gets a new worker: at once, later, or not at all. It owns the restart budget, its back-off, and the recovery
// once it is exhausted. Front end, under the pool's mutex.
#pragma once

#include <coproc/pool/dispatcher_policy.hpp>
#include <coproc/pool/ledger.hpp>

#include <algorithm>
#include <chrono>

namespace coproc::pool {

template <dispatcher_policy Policy, class Roster>
class restarts {
public:
  using seat = typename Roster::seat;

  restarts(const dispatcher_limits& limits, Policy& policy, ledger& books, Roster& seats)
      : limits_(limits), policy_(policy), ledger_(books), seats_(seats) {}

  /// Are workers started, now or later?
  bool enabled() const noexcept { return !ended_; }

  void request(unsigned index) noexcept {
    seat& s = seats_[index];
    if (s.requested) return;
    s.requested = true;
    s.restart_at = time_point::max();
    policy_.request_start(index);
  }

  /// A worker died, or could not be made, before it was initialized.
  void after_failed_start(unsigned index, net::error_code why, const char* text, time_point now) noexcept {
    ++ledger_.counters().start_failures;
    if (ledger_.failed() || ended_) return;
    seat& s = seats_[index];
    if (++s.failures > limits_.max_start_failures && !seats_.any_initialized()) return fail(why, text, now);
    s.restart_at = now + back_off(s.failures);
  }

  /// It died of its first task, or of something else (a thread that the initializer left behind). That costs one task at
  /// most, and is no reason to give up; but should it go on, the machine is not to be busy with forks alone.
  void after_crash(unsigned index, time_point now) noexcept {
    seat& s = seats_[index];
    if (++s.failures <= free_failures) return request(index);
    if (!s.requested) s.restart_at = now + back_off(s.failures - free_failures);
  }

  /// The budget is exhausted: everything that is not running completes with the cause, which may have no code.
  void fail(net::error_code why, const char* text, time_point now) noexcept {
    forget();
    recover_at_ = after(now, limits_.recovery_wait);
    ledger_.fail(why, text);
  }

  /// It was exhausted a while ago: tries again.
  void try_to_recover(time_point now) noexcept {
    if (!ledger_.failed() || ended_ || now < recover_at_) return;
    ledger_.recover();
    for (unsigned i = 0; i < limits_.min_workers; ++i)
      if (seats_[i].vacant()) request(i);
  }

  void tick(time_point now) noexcept {
    for (unsigned i = 0; i < seats_.size(); ++i) {
      if (now < seats_[i].restart_at) continue;
      seats_[i].restart_at = time_point::max();
      if (!ledger_.failed() && !ended_) request(i);
    }
  }

  /// No worker is started any more.
  void end() noexcept {
    ended_ = true;
    forget();
  }

private:
  static constexpr unsigned free_failures = 4; // of initialized workers: replaced at once

  // 10 ms, doubled each time, at most 640 ms.
  static std::chrono::milliseconds back_off(unsigned failures) noexcept {
    return std::chrono::milliseconds(10ll << (std::min(failures, 7u) - 1));
  }

  void forget() noexcept {
    policy_.forget_starts();
    for (seat& s : seats_) {
      s.restart_at = time_point::max();
      s.requested = false;
    }
  }

  const dispatcher_limits& limits_;
  Policy& policy_;
  ledger& ledger_;
  Roster& seats_;
  time_point recover_at_{};
  bool ended_ = false;
};

} // namespace coproc::pool
