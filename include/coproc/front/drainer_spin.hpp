// SPDX-License-Identifier: BSL-1.0
// How the drainer spins for results before it sleeps: whether, for how long, when it looks first, and what time it is
// meanwhile. Rule W6, docs/protocol.md. Front end; the holder of the token only, for most of it without the mutex.
#pragma once

#include <coproc/front/head_set.hpp>
#include <coproc/os/first_look.hpp>
#include <coproc/os/spin.hpp>

#include <algorithm>
#include <chrono>

namespace coproc::detail::front {

class alignas(64) drainer_spin { // written without the mutex, under which what is beside it is
public:
  /// `limit`: 0 if it should never spin (one usable CPU); `busy_poll`: for how long it spins whatever there is to wait
  /// for.
  drainer_spin(std::chrono::nanoseconds limit, std::chrono::nanoseconds busy_poll) noexcept
      : gate_(limit), busy_poll_(busy_poll) {}

  /// May the drainer go on spinning at `now`? `due`: a result is, so it may. Under the mutex: takes down what to look
  /// at.
  template <class Waking>
  bool go_on(time_point now, const Waking& waking, bool due) noexcept {
    const auto spun = now - std::min(now, since_);
    const bool busy_poll = spun < busy_poll_;
    const bool may = busy_poll || (due && gate_.enabled()) || (spun < os::spin_limit && gate_.worthwhile());
    if (!may || !waking.worth_spinning(os::current_cpu(), busy_poll || due)) return false;
    begins_ = since_ == time_point::max();
    if (begins_) since_ = clock_uses_ == 0 ? now : clock_now();
    heads_.clear();
    waking.add_heads(heads_);
    return true;
  }

  /// Something was done, or there is nothing to spin for: the next spin is a new one.
  void end() noexcept { since_ = time_point::max(); }

  /// The sleep after it lasted so long.
  void slept(std::chrono::nanoseconds idle) noexcept { gate_.slept(idle); }

  /// Without the mutex; a slice at a time, so that io_context::poll() ends and the loop's other handlers needn't wait.
  /// True: there is a result. The memory is safe to look at: only the holder of the token buries workers.
  bool slice() noexcept {
    if (begins_ && first_look_.delay().count() != 0) looked_at_clock(os::wait_for(first_look_.delay()));
    for (int i = 0; i < os::looks_soon; ++i) {
      if (heads_.any_done()) {
        if (begins_ && i == 0) first_look_.came_in_time();
        if (begins_ && i != 0) first_look_.came_early();
        gate_.success();
        return true;
      }
      if (i % 4 == 0)
        looked_at_clock(clock_now());
      else
        os::cpu_relax();
    }
    return false;
  }

  /// The last look at the clock.
  time_point last_time() const noexcept { return clock_; }

  /// The time, after a slice. A look at the clock takes as long as a tenth of a round trip: none where slice() has just
  /// looked. But not for long, whatever a worker's words seem to say from one moment to the next.
  time_point time() noexcept {
    if (++clock_uses_ < 4) return clock_;
    return exact_time();
  }
  time_point exact_time() noexcept {
    looked_at_clock(clock_now());
    return clock_;
  }

private:
  void looked_at_clock(time_point now) noexcept {
    clock_ = now;
    clock_uses_ = 0;
  }

  os::spin_gate gate_;
  os::first_look first_look_;
  std::chrono::nanoseconds busy_poll_;
  time_point since_ = time_point::max(); // without success; max(): not spinning
  time_point clock_{};
  int clock_uses_ = 0; // rounds that clock_ has been good for
  bool begins_ = false;
  head_set heads_;
};

} // namespace coproc::detail::front
