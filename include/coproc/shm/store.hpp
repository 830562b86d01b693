// SPDX-License-Identifier: BSL-1.0
// Every store of a protocol word to shared memory goes through here, under a name, so that crash points have a
// denominator and a reader can find all writers of a word. Front end and workers; layer shm, above os.
#pragma once

#include <coproc/os/fault.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace coproc::shm {

/// The stores there are: who writes it, what it does.
enum class site : unsigned {
  slot_arguments, ///< front end: inline argument bytes of a free slot
  slot_header,    ///< front end: entry, location, length of a free slot
  slot_ready,     ///< front end: EMPTY -> READY
  slot_revoked,   ///< front end: READY -> REVOKED (CAS)
  slot_empty,     ///< front end: DONE -> EMPTY
  slot_running,   ///< worker: READY -> RUNNING (CAS)
  slot_result,    ///< worker: location and length of the result, run time
  slot_done,      ///< worker: RUNNING or REVOKED -> DONE
  sleeping,       ///< worker: about to sleep
  awake,          ///< worker: no longer asleep
  phase,          ///< worker: initialiser done
  worker_cpu,     ///< worker: the CPU it is on, when it has nothing to do and after a longer task
  epoch,          ///< front end: wake-up generation
  armed,          ///< front end: wants a ring of the doorbell
  freed,          ///< front end: results given back
  returned,       ///< front end: loans given back
  stop,           ///< front end: raises the stop token of one task
  shutdown,       ///< front end: asks the worker to end
  sent_messages,  ///< front end: messages on the control socket
  front_end_cpu,  ///< front end: the CPU it runs on
  count_
};

/// One entry of the hooks around a store.
template <class F>
void hooked(site where, F f) noexcept {
#if COPROC_FAULT_POINTS
  if (os::faults.before_store) os::faults.before_store(static_cast<unsigned>(where));
  f();
  if (os::faults.after_store) os::faults.after_store(static_cast<unsigned>(where));
#else
  static_cast<void>(where);
  f();
#endif
}

template <class T>
void store(site where, std::atomic<T>& at, T value, std::memory_order order) noexcept {
  hooked(where, [&] { at.store(value, order); });
}

/// acq_rel, and acquire where it fails: a failed revoke has seen RUNNING, and what the caller then reads of other slots
/// must not be older: rule K, docs/protocol.md, reads the target after it has revoked what lies behind.
template <class T>
bool compare_exchange(site where, std::atomic<T>& at, T expected, T desired) noexcept {
  bool swapped = false;
  hooked(where, [&] {
    swapped = at.compare_exchange_strong(expected, desired, std::memory_order_acq_rel, std::memory_order_acquire);
  });
  return swapped;
}

/// std::memcpy, without a call for the few bytes that most tasks carry: two moves that overlap.
inline void copy_few_bytes(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  const auto both_ends = [&]<class Word>(Word first, Word last) {
    std::memcpy(&first, from, sizeof first);
    std::memcpy(&last, from + bytes - sizeof last, sizeof last);
    std::memcpy(to, &first, sizeof first);
    std::memcpy(to + bytes - sizeof last, &last, sizeof last);
  };
  if (bytes > 16 || bytes < 4)
    std::memcpy(to, from, bytes);
  else if (bytes >= 8)
    both_ends(std::uint64_t{}, std::uint64_t{});
  else
    both_ends(std::uint32_t{}, std::uint32_t{});
}

/// Plain bytes into shared memory; published by a later release store.
inline void copy_bytes(site where, std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  hooked(where, [&] { copy_few_bytes(to, from, bytes); });
}

} // namespace coproc::shm
