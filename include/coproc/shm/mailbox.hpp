// SPDX-License-Identifier: BSL-1.0
// The layout of one worker's mailbox: one sealed memfd, one incarnation, mapped by the front end and that worker alone.
//
//   0      worker_words    written by the worker
//   128    parent_words    written by the front end, read by the worker when idle, and before it looks into a segment
//   256    doorbell_words  written by the front end, read by the worker after every task
//   512    slot[64]        256 bytes each; the state word changes hands by the rules of slot.hpp
//
// Every word has one writer (but for the slot state, whose CASes decide races). The front end never reads back what it
// alone writes, and loads each worker-writable word once: rule R3, docs/protocol.md. Zero-filled memory is a
// valid mailbox, so the memfd needs no initialisation.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace coproc::shm {

using word = std::atomic<std::uint64_t>;
static_assert(word::is_always_lock_free && sizeof(word) == 8);

inline constexpr std::uint64_t ring_slots = 64;
inline constexpr unsigned max_loans = 64; // of view_arena.hpp
inline constexpr std::size_t inline_bytes = 224;

/// Two pairs of cache lines: the adjacent-line prefetcher fetches them two by two.
struct alignas(256) slot {
  word state;                    ///< (seq << 3) | slot_state
  word entry;                    ///< the function to run (READY); how long it ran (DONE), in ns, 0: not measured
  word location;                 ///< where arguments (READY) or result (DONE) are: see packed_location
  word length;                   ///< their bytes
  std::byte bytes[inline_bytes]; ///< inline arguments, then inline result
};
static_assert(sizeof(slot) == 256 && offsetof(slot, bytes) == 32 && std::is_standard_layout_v<slot>);

/// One writer each: whoever has that loan.
using loan_flags = std::atomic<std::uint8_t>[max_loans];
static_assert(std::atomic<std::uint8_t>::is_always_lock_free && sizeof(loan_flags) == 64);

enum class worker_phase : std::uint32_t { starting = 0, initialized = 1, left = 2 };

struct alignas(128) worker_words {
  word sleeping;                    ///< 0, or sleep_tag(epoch the worker sleeps on)
  std::atomic<std::uint32_t> phase; ///< worker_phase
  std::atomic<std::uint32_t> cpu;   ///< 1 + the CPU it last ran on; 0: unknown
};

struct alignas(128) parent_words {
  std::atomic<std::uint32_t> epoch;    ///< futex word; bumped to wake the worker
  std::atomic<std::uint32_t> shutdown; ///< 1: end in an orderly way once the ring is empty
  word freed;                          ///< results given back since the incarnation began
  word stop;                           ///< 1 + seq of the task whose stop token is raised; 0: none
  word sent_messages;                  ///< messages sent on the control socket
  std::atomic<std::uint32_t> cpu;      ///< 1 + the CPU that the drainer last ran on; 0: unknown
  alignas(64) loan_flags returned;     ///< [k] changes between 0 and 1 when loan k is given back
};

struct alignas(256) doorbell_words {
  word armed; ///< arm epoch while the front end sleeps or is about to; 0: it is polling
};

struct mailbox {
  worker_words worker;
  parent_words parent;
  doorbell_words doorbell;
  slot ring[ring_slots];

  slot& at(std::uint64_t seq) noexcept { return ring[seq % ring_slots]; }
};
static_assert(offsetof(mailbox, parent) == 128 && offsetof(mailbox, doorbell) == 256 && offsetof(mailbox, ring) == 512);
static_assert(std::is_trivially_destructible_v<mailbox>);

inline constexpr std::size_t mailbox_bytes = (sizeof(mailbox) + 4095) / 4096 * 4096;

} // namespace coproc::shm
