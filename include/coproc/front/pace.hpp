// SPDX-License-Identifier: BSL-1.0
// How long the tasks of a pool take, how deep a ring should be for that, and whether waking another worker pays.
// Learned from what workers report, which decides nothing but scheduling; one for all workers, since any may get the
// next task. Front end, under the pool's mutex.
#pragma once

#include <coproc/shm/mailbox.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace coproc::detail::front {

class pace {
public:
  /// From a sleeping worker to its first task. Tasks that are through by then need no other worker to be woken.
  static constexpr std::chrono::microseconds wake_up{25};

  /// `crowded`: the workers alone can keep all CPUs busy, so that the front end may have to wait for one.
  explicit pace(bool crowded) noexcept : crowded_(crowded) {}

  /// The same, from the next lesson on.
  void set_crowded(bool crowded) noexcept { crowded_ = crowded; }

  double task_ns() const noexcept { return task_ns_; }

  /// How many tasks the ring of a worker should hold.
  std::size_t depth() const noexcept { return depth_; }

  /// Would so many be through before another worker could be woken?
  bool through_before_wake_up(std::size_t tasks) const noexcept { return tasks <= before_wake_up_; }
  std::size_t before_wake_up() const noexcept { return before_wake_up_; }

  /// Does one worker do as many as the front end hands out and takes back in that time?
  bool outruns_front_end() const noexcept { return task_ns_ < 200; }

  /// Too short to wait for anything but a CPU?
  bool is_short() const noexcept { return task_ns_ < short_ns; }

  /// One took so long. One that lost its CPU for a while is no new rule.
  void learn(double ran_ns) noexcept {
    task_ns_ += ran_ns < task_ns_ ? (ran_ns - task_ns_) * 0.5 : std::min((ran_ns - task_ns_) * 0.125, 3 * task_ns_);
    task_ns_ = std::clamp(task_ns_, 1.0, longest_ns);
    depth_ = depth_for(task_ns_, crowded_);
    before_wake_up_ = tasks_in(wake_up_ns, task_ns_);
  }

private:
  /// About one wake-up's worth of work: what a ring should hold to hide the latency of refilling it; and the same where
  /// the front end has no CPU of its own.
  static constexpr double ring_work_ns = 60'000, crowded_ring_work_ns = 480'000;

  /// Up to here a wake-up counts: such a task has a successor in the ring. A longer one has none, which could not be
  /// overtaken.
  static constexpr double pipelined_ns = 500'000;

  static constexpr double wake_up_ns = std::chrono::duration<double, std::nano>(wake_up).count();

  static constexpr std::size_t tasks_in(double ns, double task_ns) noexcept {
    return static_cast<std::size_t>(ns / task_ns); // task_ns is at least 1
  }
  static constexpr std::size_t depth_for(double task_ns, bool crowded) noexcept {
    const double work_ns = crowded && task_ns < pipelined_ns ? crowded_ring_work_ns : ring_work_ns;
    const std::size_t depth = std::min<std::size_t>(1 + tasks_in(work_ns, task_ns), shm::ring_slots);
    return std::max<std::size_t>(depth, task_ns < pipelined_ns ? 2 : 1);
  }

  static constexpr double short_ns = 20'000, first_guess_ns = 20'000;

  /// Whatever a worker says, so that a ring's time is a time: some sixteen minutes.
  static constexpr double longest_ns = 1e12;

  bool crowded_;
  double task_ns_ = first_guess_ns;
  std::size_t depth_ = depth_for(first_guess_ns, false), before_wake_up_ = tasks_in(wake_up_ns, first_guess_ns);
};

} // namespace coproc::detail::front
