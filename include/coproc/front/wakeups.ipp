// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/wakeups.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF std::chrono::nanoseconds wakeups::time_of(std::size_t tasks) const noexcept {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(tasks) * pace_.task_ns()));
}

COPROC_LAZY_DEF bool wakeups::is_active(const worker& w) const noexcept { return active_.contains(w.index); }

COPROC_LAZY_DEF void wakeups::activate(worker& w) noexcept {
  if (active_.contains(w.index)) return;
  active_.add(w.index);
  if (front_end_cpu_ != 0) w.publish_front_end_cpu(front_end_cpu_);
}

COPROC_LAZY_DEF bell_moderation::workload wakeups::workload(int cpu) const noexcept {
  std::size_t longest = 0, shortest = shm::ring_slots;
  unsigned busy = 0, here = 0;
  each_active([&](const auto& w) {
    if (w.load() == 0) return;
    ++busy;
    here += w.runs_on(cpu);
    longest = std::max(longest, w.unfinished());
    shortest = std::min(shortest, w.unfinished());
  });
  const unsigned cpus = fleet_.limits().usable_cpus;
  const bool all_here = here == busy;
  bell_moderation::workload l;
  if (pace_.task_ns() < (all_here ? bell_worth_here_ns : bell_worth_ns) && longest >= 8)
    l.short_backlog = time_of(longest);
  if (shortest >= 2 && shortest != shm::ring_slots && !all_here) l.long_backlog = time_of(shortest - 1);
  if (busy >= cpus) l.crowded_result_period = std::max(time_of(1) / cpus, std::chrono::nanoseconds(1));
  return l;
}

COPROC_LAZY_DEF void wakeups::add_heads(head_set& set) const noexcept {
  each_active([&](const auto& w) {
    if (w.load() != 0) w.add_head(set);
  });
}

COPROC_LAZY_DEF bool wakeups::any_head_done() const noexcept {
  bool any = false;
  each_active([&](const auto& w) { any = any || w.head_done(); });
  return any;
}

COPROC_LAZY_DEF time_point wakeups::first_due(time_point now, int cpu) const noexcept {
  if (pace_.task_ns() < spun_for_ns) return time_point::max();
  time_point first = time_point::max();
  unsigned busy = 0;
  bool any_here = false;
  each_active([&](const auto& w) {
    if (w.load() == 0) return;
    ++busy;
    any_here = any_here || w.runs_on(cpu);
    if (w.head_since() == time_point::max()) return;
    const auto due = w.head_since() + (w.head_woke_it() ? pace::wake_up : std::chrono::nanoseconds(0)) + time_of(1);
    if (due > now) first = std::min(first, due);
  });
  return busy < fleet_.limits().usable_cpus && !any_here ? first : time_point::max();
}

COPROC_LAZY_DEF bool wakeups::worth_spinning(int cpu, bool any_tasks) const noexcept {
  if (!any_tasks && pace_.task_ns() >= spun_for_ns) return false;
  bool any = false;
  unsigned busy = 0;
  each_active([&](const auto& w) {
    if (w.load() == 0) return;
    ++busy;
    any = any || (!w.looks_asleep() && !w.runs_on(cpu));
  });
  return any && busy < fleet_.limits().usable_cpus;
}

COPROC_LAZY_DEF void wakeups::publish_cpu(int cpu) noexcept {
  front_end_cpu_ = static_cast<std::uint32_t>(cpu) + 1;
  each_active([&](auto& w) { w.publish_front_end_cpu(front_end_cpu_); });
}

COPROC_LAZY_DEF void wakeups::arm(std::uint64_t arm_epoch) noexcept {
  arm_epoch_ = arm_epoch;
  only_idle_bells_ = false;
  each_active([&](auto& w) {
    if (w.load() != 0) w.arm(arm_epoch);
  });
}

COPROC_LAZY_DEF void wakeups::arm_idle(std::uint64_t arm_epoch) noexcept {
  arm_epoch_ = arm_epoch;
  only_idle_bells_ = true;
}

COPROC_LAZY_DEF void wakeups::silence() noexcept {
  each_active([](auto& w) { w.arm(0); });
}

COPROC_LAZY_DEF void wakeups::before_ready(worker& w) noexcept {
  if (arm_epoch_ != 0 && (!only_idle_bells_ || w.unfinished() == 0)) w.arm(arm_epoch_);
}

COPROC_LAZY_DEF void wakeups::messages_sent() noexcept {
  fleet_.each_worker([&](auto& w) {
    if (w.owes_wake_up()) activate(w);
  });
}

COPROC_LAZY_DEF wakeups::wakeups(fleet& workers, const pace& speed, unsigned max_workers)
    : fleet_(workers), pace_(speed), active_(max_workers) {}

} // namespace coproc::detail::front
