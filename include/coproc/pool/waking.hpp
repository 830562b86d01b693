// SPDX-License-Identifier: BSL-1.0
// Sleep and waking, on both sides, as far as the front end has a hand in it: which workers have something to do, who of them must
// be woken, who is to ring when the front end sleeps, and whether it should rather spin. The handshakes are in shm/sleep.hpp, their
// models in tests/model/. No system call, no clock. Front end, under the pool's mutex.
#pragma once

#include <coproc/pool/active_seats.hpp>
#include <coproc/pool/bell_moderation.hpp>
#include <coproc/pool/head_set.hpp>
#include <coproc/pool/pace.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace coproc::pool {

template <class Fleet>
class waking_state {
public:
  waking_state(Fleet& workers, unsigned max_workers) : fleet_(workers), active_(max_workers) {}

  // ---- who has something to do

  /// Calls f(worker) for each with a ring that is not empty, or a wake-up due, and perhaps for others.
  template <class F>
  void each_active(F f) const {
    for (const unsigned i : active_)
      if (worker_record* const w = fleet_.at(i)) f(*w);
  }

  bool is_active(const worker_record& w) const noexcept { return active_.contains(w.index); }
  void activate(worker_record& w) noexcept {
    if (active_.contains(w.index)) return;
    active_.add(w.index);
    if (front_end_cpu_ != 0) w.publish_front_end_cpu(front_end_cpu_);
  }

  /// Calls drain(worker) for those with tasks, while it returns true; the next call begins with those that were not reached, for
  /// else a few busy workers could use a drainer up for ever.
  template <class F>
  void drain_active(F drain) noexcept {
    std::size_t looked_at = 0;
    bool go_on = true;
    for (const unsigned i : active_) {
      if (!go_on) break;
      ++looked_at;
      if (worker_record* const w = fleet_.at(i); w != nullptr && w->load() != 0) go_on = drain(*w);
    }
    if (!go_on) active_.begin_with(looked_at);
    active_.prune([&](unsigned i) {
      const worker_record* const w = fleet_.at(i);
      return w == nullptr || (w->load() == 0 && !w->dirty && w->waker.looks_asleep(w->mailbox()));
    });
  }

  /// What the workers have to go on with, seen from `cpu`, where the front end runs.
  bell_moderation::workload workload(int cpu) const noexcept {
    std::size_t longest = 0, shortest = shm::ring_slots;
    unsigned busy = 0, here = 0;
    each_active([&](const auto& w) {
      if (w.load() == 0) return;
      ++busy;
      here += runs_on(w, cpu);
      longest = std::max(longest, w.unfinished());
      shortest = std::min(shortest, w.unfinished());
    });
    const unsigned cpus = fleet_.limits().usable_cpus;
    const bool all_here = here == busy;
    bell_moderation::workload l;
    if (fleet_.pace.task_ns() < (all_here ? rung_for_here_ns : rung_for_ns) && longest >= 8) l.short_backlog = time_of(longest);
    if (shortest >= 2 && shortest != shm::ring_slots && !all_here) l.long_backlog = time_of(shortest - 1);
    if (busy >= cpus) l.crowded_result_period = std::max(time_of(1) / cpus, std::chrono::nanoseconds(1));
    return l;
  }

  // ---- spinning

  void add_heads(head_set& set) const noexcept {
    each_active([&](const auto& w) {
      if (w.load() != 0) w.add_head(set);
    });
  }

  bool any_head_done() const noexcept {
    bool any = false;
    each_active([&](const auto& w) { any = any || w.head_done(); });
    return any;
  }

  /// When the first result is due, where tasks take too long to spin for from the beginning; max(): nobody knows, or the spinner
  /// would take a CPU from a worker: one works on `cpu`, where the front end runs, or they alone can keep all CPUs busy.
  time_point first_due(time_point now, int cpu) const noexcept {
    if (fleet_.pace.task_ns() < spun_for_ns) return time_point::max();
    time_point first = time_point::max();
    unsigned busy = 0;
    bool any_here = false;
    each_active([&](const auto& w) {
      if (w.load() == 0) return;
      ++busy;
      any_here = any_here || runs_on(w, cpu);
      if (w.head_since == time_point::max()) return;
      const auto due = w.head_since + (w.head_woke_it ? pace::wake_up : std::chrono::nanoseconds(0)) + time_of(1);
      if (due > now) first = std::min(first, due);
    });
    return busy < fleet_.limits().usable_cpus && !any_here ? first : time_point::max();
  }

  /// Is an answer likely sooner than a wake-up would take: does a worker that is awake, or just being woken, on another
  /// CPU than `cpu`, run short tasks, or `any_tasks`? Never while the workers alone can keep all CPUs busy: the spinner
  /// would take one from them.
  bool worth_spinning(int cpu, bool any_tasks) const noexcept {
    if (!any_tasks && fleet_.pace.task_ns() >= spun_for_ns) return false;
    bool any = false;
    unsigned busy = 0;
    each_active([&](const auto& w) {
      if (w.load() == 0) return;
      ++busy;
      any = any || (!w.waker.looks_asleep(w.mailbox()) && !runs_on(w, cpu));
    });
    return any && busy < fleet_.limits().usable_cpus;
  }

  /// Tells workers where the front end runs, so that none spins in its place.
  void publish_cpu(int cpu) noexcept {
    front_end_cpu_ = static_cast<std::uint32_t>(cpu) + 1;
    each_active([&](auto& w) { w.publish_front_end_cpu(front_end_cpu_); });
  }

  // ---- the front end sleeps

  /// Writes the armed words of all workers with issued slots. The caller fences, then looks at any_head_done().
  void arm(std::uint64_t arm_epoch) noexcept {
    arm_epoch_ = arm_epoch;
    only_idle_ring_ = false;
    each_active([&](auto& w) {
      if (w.load() != 0) w.arm(arm_epoch);
    });
  }

  /// Before a sleep that the clock ends: only those ring that are without work now, and get some meanwhile.
  void arm_idle(std::uint64_t arm_epoch) noexcept {
    arm_epoch_ = arm_epoch;
    only_idle_ring_ = true;
  }

  /// The front end polls. The words stay: a worker that has not rung for this epoch yet rings once more, to no harm.
  void disarm() noexcept { arm_epoch_ = 0; }

  /// Woken by the clock, before a result: nobody needs to ring until the next arm().
  void silence() noexcept {
    each_active([](auto& w) { w.arm(0); });
  }

  /// Before a task is published to `w`, perhaps while the front end sleeps: armed after READY, it could be through and not ring.
  void before_ready(worker_record& w) noexcept {
    if (arm_epoch_ != 0 && (!only_idle_ring_ || w.unfinished() == 0)) w.arm(arm_epoch_);
  }

  // ---- workers sleep

  /// The memory of a new worker: it tells when a result was given back, which a sleeper may be waiting for.
  void watch(worker_memory& m) const noexcept { m.freed_somewhere = freed_somewhere_; }

  /// Messages were sent to workers: those that sleep are owed a wake-up, too.
  void messages_sent() noexcept {
    fleet_.each_worker([&](auto& w) {
      if (w.dirty) activate(w);
    });
  }

  /// Calls f(worker) for each that must be woken; one fence for all. Owed after every batch of publications.
  /// `only_sleepers`: those who visibly sleep; the rest stays owed.
  template <class F>
  void flush(bool only_sleepers, F f) noexcept {
    if (freed_somewhere_->load(std::memory_order_relaxed) && freed_somewhere_->exchange(false, std::memory_order_acq_rel))
      fleet_.each_worker([&](auto& w) {
        if (w.memory->freed_since_flush.load(std::memory_order_relaxed)) activate(w);
      });
    bool any = false;
    each_active([&](auto& w) {
      // Taken before the fence: cleared after it, a result freed in between could be forgotten (tests/model/flush.pml).
      auto& freed = w.memory->freed_since_flush;
      if (freed.load(std::memory_order_relaxed) && freed.exchange(false, std::memory_order_acq_rel)) w.dirty = true;
      any |= w.dirty && (!only_sleepers || w.waker.looks_asleep(w.mailbox()));
    });
    if (!any) return;
    shm::full_fence();
    each_active([&](auto& w) {
      if (!w.dirty || (only_sleepers && !w.waker.looks_asleep(w.mailbox()))) return;
      w.dirty = false;
      if (w.waker.must_wake(w.mailbox())) f(w);
    });
  }

private:
  static constexpr double spun_for_ns = 40'000; // tasks below: about a wake-up

  // Tasks that are worth a ring each; the second where all that work are on the front end's own CPU. A ring gives it to the front
  // end for a moment. The clock does so, too, and to set the clock costs ten times as much where a hypervisor does it. Kernels do
  // leave front end and worker on one CPU while another is idle.
  static constexpr double rung_for_ns = 10'000, rung_for_here_ns = 4'000;

  // As far as it has said: when it last looked for tasks, or had run one that it timed and that took a while.
  static bool runs_on(const worker_record& w, int cpu) noexcept {
    return w.mailbox().worker.cpu.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(cpu) + 1;
  }

  std::chrono::nanoseconds time_of(std::size_t tasks) const noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(tasks) * fleet_.pace.task_ns()));
  }

  Fleet& fleet_;
  active_seats active_;
  std::uint64_t arm_epoch_ = 0; // 0: the front end polls
  bool only_idle_ring_ = false;
  std::shared_ptr<std::atomic<bool>> freed_somewhere_ = std::make_shared<std::atomic<bool>>(false);
  std::uint32_t front_end_cpu_ = 0; // 1 + its number; 0: unknown
};

} // namespace coproc::pool
