// SPDX-License-Identifier: BSL-1.0
// Sleep and waking, on both sides, as far as the front end has a hand in it: which workers have something to do, who of
// them must be woken, whose bell is to wake the front end, and whether it should rather spin. The handshakes are
// in shm/sleep.hpp, their models in tests/model/. No system call, no clock. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/active_seats.hpp>
#include <coproc/front/bell_moderation.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/head_set.hpp>
#include <coproc/front/pace.hpp>
#include <coproc/front/worker.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace coproc::detail::front {

class wakeups {
public:
  COPROC_LAZY wakeups(fleet& workers, const pace& speed, unsigned max_workers);

  /// There will be so many workers, or more; allocates.
  void reserve(unsigned max_workers) { active_.reserve(max_workers); }

  // ---- who has something to do

  /// Calls f(worker) for each with a ring that is not empty, or a wake-up due, and perhaps for others.
  template <class F>
  void each_active(F f) const {
    for (const unsigned i : active_)
      if (worker* const w = fleet_.at(i)) f(*w);
  }

  COPROC_LAZY bool is_active(const worker& w) const noexcept;
  COPROC_LAZY void activate(worker& w) noexcept;

  /// Calls drain(worker) for those with tasks, while it returns true; the next call begins with those that were not
  /// reached, for else a few busy workers could use a drainer up for ever.
  template <class F>
  void drain_active(F drain) noexcept {
    std::size_t looked_at = 0;
    bool go_on = true;
    for (const unsigned i : active_) {
      if (!go_on) break;
      ++looked_at;
      if (worker* const w = fleet_.at(i); w != nullptr && w->load() != 0) go_on = drain(*w);
    }
    if (!go_on) active_.begin_with(looked_at);
    active_.prune([&](unsigned i) {
      const worker* const w = fleet_.at(i);
      return w == nullptr || (w->load() == 0 && !w->owes_wake_up() && w->looks_asleep());
    });
  }

  /// What the workers have to go on with, seen from `cpu`, where the front end runs.
  COPROC_LAZY bell_moderation::workload workload(int cpu) const noexcept;

  // ---- spinning

  COPROC_LAZY void add_heads(head_set& set) const noexcept;

  COPROC_LAZY bool any_head_done() const noexcept;

  /// When the first result is due, where tasks take too long to spin for from the beginning; max(): nobody knows, or
  /// the spinner would take a CPU from a worker: one works on `cpu`, where the front end runs, or they alone can keep
  /// all CPUs busy.
  COPROC_LAZY time_point first_due(time_point now, int cpu) const noexcept;

  /// Is an answer likely sooner than a wake-up would take: does a worker that is awake, or just being woken, on another
  /// CPU than `cpu`, run short tasks, or `any_tasks`? Never while the workers alone can keep all CPUs busy: the spinner
  /// would take one from them.
  COPROC_LAZY bool worth_spinning(int cpu, bool any_tasks) const noexcept;

  /// Tells workers where the front end runs, so that none spins in its place.
  COPROC_LAZY void publish_cpu(int cpu) noexcept;

  // ---- the front end sleeps

  /// Writes the armed words of all workers with issued slots (rule W2, docs/protocol.md). The caller fences, then looks
  /// at any_head_done().
  COPROC_LAZY void arm(std::uint64_t arm_epoch) noexcept;

  /// Before a sleep that the clock ends: only those use their bell that are without work now, and get some meanwhile.
  COPROC_LAZY void arm_idle(std::uint64_t arm_epoch) noexcept;

  /// The front end polls. The words stay: a worker that has not used its bell for this epoch yet does so once, to no
  /// harm.
  void disarm() noexcept { arm_epoch_ = 0; }

  /// Woken by the clock, before a result: no bell is needed until the next arm() (rule W2, docs/protocol.md).
  COPROC_LAZY void silence() noexcept;

  /// Before a task is published to `w`, perhaps while the front end sleeps: armed after READY, it could be through and
  /// not use its bell (rules W2 and W4, docs/protocol.md).
  COPROC_LAZY void before_ready(worker& w) noexcept;

  // ---- workers sleep

  /// The memory of a new worker: it tells when a result was given back, which a sleeper may be waiting for.
  void watch(worker_memory& m) const noexcept { m.freed_somewhere = freed_somewhere_; }

  /// Messages were sent to workers: those that sleep are owed a wake-up, too.
  COPROC_LAZY void messages_sent() noexcept;

  /// Calls f(worker) for each that must be woken; one fence for all. Owed after every batch of publications (rule W1,
  /// docs/protocol.md). `only_sleepers`: those who visibly sleep; the rest stays owed.
  template <class F>
  void flush(bool only_sleepers, F f) noexcept {
    if (freed_somewhere_->load(std::memory_order_relaxed) &&
        freed_somewhere_->exchange(false, std::memory_order_acq_rel))
      fleet_.each_worker([&](auto& w) {
        if (w.freed_since_flush()) activate(w);
      });
    bool any = false;
    each_active([&](auto& w) {
      w.owe_for_freed();
      any |= w.owes_wake_up() && (!only_sleepers || w.looks_asleep());
    });
    if (!any) return;
    shm::full_fence();
    each_active([&](auto& w) {
      if (w.owes_wake_up() && (!only_sleepers || w.looks_asleep()) && w.take_debt()) f(w);
    });
  }

private:
  static constexpr double spun_for_ns = 40'000; // tasks below: about a wake-up

  // Tasks that are worth a bell each; the second where all that work are on the front end's own CPU. A bell gives it to
  // the front end for a moment. The clock does so, too, and to set the clock costs ten times as much where a hypervisor
  // does it. Kernels do leave front end and worker on one CPU while another is idle.
  static constexpr double bell_worth_ns = 10'000, bell_worth_here_ns = 4'000;

  COPROC_LAZY std::chrono::nanoseconds time_of(std::size_t tasks) const noexcept;

  fleet& fleet_;
  const pace& pace_;
  active_seats active_;
  std::uint64_t arm_epoch_ = 0; // 0: the front end polls
  bool only_idle_bells_ = false;
  std::shared_ptr<std::atomic<bool>> freed_somewhere_ = std::make_shared<std::atomic<bool>>(false);
  std::uint32_t front_end_cpu_ = 0; // 1 + its number; 0: unknown
};

} // namespace coproc::detail::front

#include <coproc/front/wakeups.ipp>
