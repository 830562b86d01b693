// SPDX-License-Identifier: BSL-1.0
// What the drainer does when there is nothing to do for it: it spins, or sleeps until a doorbell or the clock wakes it.
// Puts drainer_spin, bell_moderation and early_wake to use, and tells the workers. No system call but the host's timer.
// Front end, the holder of the token only; under the pool's mutex, but for spin().slice() and what that found the time
// to be.
#pragma once

#include <coproc/front/bell_moderation.hpp>
#include <coproc/front/drainer_spin.hpp>
#include <coproc/front/early_wake.hpp>
#include <coproc/shm/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace coproc::detail::front {

template <class Host, class Wakeups>
class idle_strategy {
public:
  /// `spin_for`, `busy_poll`: the limits of drainer_spin.
  idle_strategy(Host& host, Wakeups& waking, std::chrono::nanoseconds spin_for,
                std::chrono::nanoseconds busy_poll) noexcept
      : host_(host), waking_(waking), spin_(spin_for, busy_poll) {}

  /// The slices of a spin, and the time.
  drainer_spin& spin() noexcept { return spin_; }

  /// A round brought so many results.
  void moved(std::size_t results) noexcept {
    bells_.moved(results);
    if (results == 0) return;
    spin_.end();
    early_wake_.came();
  }

  /// Nothing to do: is that a time to spin? Then a slice comes next, and another round.
  bool spins(time_point now) noexcept {
    if (spin_.go_on(now, waking_, early_wake_.watching(now))) return true;
    spin_.end();
    return false;
  }

  /// Prepares a sleep, of a thread on `cpu`: arms, fences, looks again (rule W4, docs/protocol.md). False: a worker was
  /// faster, or is about to be through, so go on polling. True: what the host waits on ends the sleep; then call
  /// woken().
  bool falls_asleep(time_point now, int cpu) noexcept {
    const auto pause = bells_.pause(waking_.workload(cpu));
    const bool silent = pause.count() != 0 && host_.set_timer(std::min(now + pause, host_.next_deadline()));
    const auto alarm = early_wake_.alarm(now, silent ? time_point::max() : waking_.first_due(now, cpu));
    if (alarm == now) return false;
    if (silent) {
      waking_.arm_idle(++arm_epoch_);
    } else {
      waking_.arm(++arm_epoch_);
      shm::full_fence(); // pairs with the workers' fence between DONE and reading `armed`
      if (waking_.any_head_done()) {
        waking_.disarm();
        return false;
      }
      host_.set_timer(std::min(host_.next_deadline(), alarm));
    }
    asleep_since_ = now;
    bells_.sleeps(silent);
    return true;
  }

  /// By a doorbell, the clock, or whoever interrupted the wait.
  void woken(time_point now) noexcept {
    waking_.disarm();
    if (early_wake_.woken(now))
      waking_.silence();
    else if (!bells_.slept_silently())
      spin_.slept(now - asleep_since_); // a sleep that the clock was to end says nothing about tasks
  }

private:
  Host& host_;
  Wakeups& waking_;
  std::uint64_t arm_epoch_ = 0;
  time_point asleep_since_{};
  drainer_spin spin_;
  bell_moderation bells_;
  early_wake early_wake_;
};

} // namespace coproc::detail::front
