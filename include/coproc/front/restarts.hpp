// SPDX-License-Identifier: BSL-1.0
// When a seat gets a new worker: at once, later, or not at all. It owns the restart budget, its back-off, and the
// recovery once it is exhausted. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/effects.hpp>
#include <coproc/front/ledger.hpp>
#include <coproc/front/roster.hpp>

#include <algorithm>
#include <chrono>

namespace coproc::detail::front {

class restarts {
public:
  using seat = roster::seat;

  restarts(const dispatcher_limits& limits, effects& kernel, ledger& books, roster& seats)
      : limits_(limits), effects_(kernel), ledger_(books), seats_(seats) {}

  /// Are workers started, now or later?
  bool enabled() const noexcept { return !ended_; }

  COPROC_LAZY void request(unsigned index) noexcept;

  /// A worker died, or could not be made, before it was initialized.
  COPROC_LAZY void after_failed_start(unsigned index, net::error_code why, const char* text, time_point now) noexcept;

  /// It was initialized and died before it began a task (of a thread that the initializer left behind). That is no
  /// reason to give up; but should it go on, the machine is not to be busy with forks alone.
  COPROC_LAZY void after_crash(unsigned index, time_point now) noexcept;

  /// The budget is exhausted: everything that is not running completes with the cause, which may have no code.
  COPROC_LAZY void fail(net::error_code why, const char* text, time_point now) noexcept;

  /// It was exhausted a while ago: tries again.
  COPROC_LAZY void try_to_recover(time_point now) noexcept;

  COPROC_LAZY void tick(time_point now) noexcept;

  /// No worker is started any more.
  COPROC_LAZY void end() noexcept;

private:
  static constexpr unsigned free_failures = 4; // of initialized workers: replaced at once

  // 10 ms, doubled each time, at most 640 ms.
  COPROC_LAZY static std::chrono::milliseconds back_off(unsigned failures) noexcept;

  COPROC_LAZY void forget() noexcept;

  const dispatcher_limits& limits_;
  effects& effects_;
  ledger& ledger_;
  roster& seats_;
  time_point recover_at_{};
  bool ended_ = false;
};

} // namespace coproc::detail::front

#include <coproc/front/restarts.ipp>
