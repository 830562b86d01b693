// SPDX-License-Identifier: BSL-1.0
// Sleeping and waking, both ways, without a lost wake-up: store, full fence, look again, on both sides (Dekker). Rules
// W1 and W2, docs/protocol.md. The models in tests/model/ remove each fence and each second look and find the hang.
//
// Worker sleeps:     e = epoch; sleeping = tag(e); fence; nothing to do? futex_wait(epoch, e); sleeping = 0
// Front end wakes:   publish...; fence; sleeping == tag(its epoch)? epoch = ++its epoch; futex_wake
// Front end sleeps:  armed = n for each worker with issued slots; fence; no head DONE? epoll_wait
// Worker rings:      DONE; fence; armed != 0 and not rung for this n? write(eventfd)
#pragma once

#include <coproc/os/futex.hpp>
#include <coproc/shm/mailbox.hpp>
#include <coproc/shm/store.hpp>

#include <chrono>

namespace coproc::shm {

/// Never 0, and names the epoch slept on, so that the front end pays one wake-up per sleep.
constexpr std::uint64_t sleep_tag(std::uint32_t epoch) noexcept { return std::uint64_t{1} << 32 | epoch; }

/// The full fence of both Dekker pairs. ThreadSanitizer does not model fences (and g++ warns that it does not), but it
/// needs none to see the release/acquire pairs that carry the data.
inline void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

// ---- worker ----

/// Sleeps unless `anything_to_do()`, at most `limit`; may return without cause. `anything_to_do` must read with acquire
/// or stronger.
template <class Predicate>
void sleep_unless(mailbox& m, Predicate anything_to_do,
                  std::chrono::nanoseconds limit = std::chrono::nanoseconds::max()) noexcept {
  const std::uint32_t e = m.parent.epoch.load(std::memory_order_acquire);
  store(site::sleeping, m.worker.sleeping, sleep_tag(e), std::memory_order_relaxed);
  full_fence();
  if (!anything_to_do()) os::futex_wait(m.parent.epoch, e, limit);
  store(site::awake, m.worker.sleeping, std::uint64_t{0}, std::memory_order_relaxed);
}

/// After every DONE: is the front end to be rung? At most once per arm epoch; `last_rung` is the worker's own.
inline bool must_ring(const mailbox& m, std::uint64_t& last_rung) noexcept {
  full_fence();
  const std::uint64_t armed = m.doorbell.armed.load(std::memory_order_relaxed);
  if (armed == 0 || armed == last_rung) return false;
  last_rung = armed;
  return true;
}

// ---- front end ----

/// The front end's side of one worker's sleep; `epoch` is its private copy of the word.
class waker {
public:
  /// After a fence that follows the publications: must the worker be woken? Bumps the epoch if so; then call wake().
  bool must_wake(mailbox& m) noexcept {
    if (m.worker.sleeping.load(std::memory_order_relaxed) != sleep_tag(epoch_)) return false;
    store(site::epoch, m.parent.epoch, ++epoch_, std::memory_order_release);
    return true;
  }

  /// Bumps the epoch whatever the worker says: for shutdown, where a wrong `sleeping` must not keep it asleep.
  void force(mailbox& m) noexcept { store(site::epoch, m.parent.epoch, ++epoch_, std::memory_order_release); }

  static void wake(mailbox& m) noexcept { os::futex_wake(m.parent.epoch); }

  /// A hint, unordered: it said that it sleeps on the present epoch.
  bool looks_asleep(const mailbox& m) const noexcept {
    return m.worker.sleeping.load(std::memory_order_relaxed) == sleep_tag(epoch_);
  }

private:
  std::uint32_t epoch_ = 0;
};

} // namespace coproc::shm
