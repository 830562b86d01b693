// SPDX-License-Identifier: BSL-1.0
// The state word of a slot and its transitions: rules R1 to R3, docs/protocol.md. Whoever loses a CAS has lost the race
// between starting, cancelling and moving a task. There is no third party and no lock.
//
//   EMPTY --front end--> READY --worker CAS--> RUNNING --worker--> DONE --front end--> EMPTY
//                           \--front end CAS--> REVOKED --worker acknowledges by storing DONE--/
//
// A worker executes its ring in order and acts only on its own cursor's seq. Only the front end writes EMPTY, in ring
// order, after it has consumed DONE. A revoked slot stays occupied until acknowledged, or the cursors would diverge.
#pragma once

#include <coproc/os/cache.hpp>
#include <coproc/shm/mailbox.hpp>
#include <coproc/shm/store.hpp>

#include <span>

namespace coproc::shm {

enum class slot_state : std::uint64_t { empty = 0, ready = 1, running = 2, done = 3, revoked = 4 };

/// seq is the ring position: a stale or repeated word is recognised. 61 bits last for 2,000 years at 40 M tasks/s.
constexpr std::uint64_t pack(std::uint64_t seq, slot_state s) noexcept {
  return seq << 3 | static_cast<std::uint64_t>(s);
}

/// Where a payload lies. Arguments: segment id (0: inline) and offset. Results: result_kind and offset.
struct packed_location {
  static constexpr unsigned offset_bits = 44;
  static constexpr std::uint64_t max_tag = (std::uint64_t{1} << 20) - 1;

  std::uint64_t tag = 0, offset = 0;

  static constexpr packed_location unpack(std::uint64_t w) noexcept {
    return {w >> offset_bits, w & ((std::uint64_t{1} << offset_bits) - 1)};
  }
  constexpr std::uint64_t pack() const noexcept { return tag << offset_bits | offset; }
};

/// What a DONE slot holds. `none` acknowledges a revocation. A value with views comes with a loan of view_arena.hpp,
/// whose number is the rest of the tag.
enum class result_kind : std::uint64_t {
  none = 0,
  value_inline = 1,
  exception_inline = 2,
  value_in_file = 3,
  exception_in_file = 4,
  views_inline = 5,
  views_in_file = 6,
};

struct result_tag {
  static constexpr unsigned kind_bits = 3;

  result_kind kind{};
  std::uint64_t loan = 0;

  static constexpr result_tag unpack(std::uint64_t tag) noexcept {
    return {static_cast<result_kind>(tag & ((1u << kind_bits) - 1)), tag >> kind_bits};
  }
  constexpr std::uint64_t pack() const noexcept { return loan << kind_bits | static_cast<std::uint64_t>(kind); }

  /// Where the value itself lies; `none` for what has no views.
  constexpr result_kind without_views() const noexcept {
    return kind == result_kind::views_inline    ? result_kind::value_inline
           : kind == result_kind::views_in_file ? result_kind::value_in_file
                                                : result_kind::none;
  }
};

/// READY: the length of the arguments, below 2^41, and the time that the task may take as a small floating-point number
/// above it: 18 bits of mantissa and 5 of a power of four. A task without limit has zeros there.
struct packed_length {
  static constexpr unsigned length_bits = 41, mantissa_bits = 18;

  std::uint64_t length = 0, limit_ns = 0; // limit 0: none

  /// Rounds the limit down, by less than 1/65,536, and never to "none".
  constexpr std::uint64_t pack() const noexcept {
    std::uint64_t mantissa = limit_ns, exponent = 0;
    for (; mantissa >> mantissa_bits != 0; mantissa >>= 2) ++exponent;
    return ((exponent << mantissa_bits | mantissa) << length_bits) | length;
  }
  static constexpr packed_length unpack(std::uint64_t w) noexcept {
    const std::uint64_t limit = w >> length_bits;
    return {w & ((std::uint64_t{1} << length_bits) - 1), (limit & ((1u << mantissa_bits) - 1))
                                                             << 2 * (limit >> mantissa_bits)};
  }
};

struct call_header {
  std::uint64_t entry = 0, location = 0, length = 0, limit_ns = 0;
};

/// So many bytes lie beside the state word.
inline constexpr std::size_t first_line_bytes = os::cache_line - offsetof(slot, bytes);

/// The other side waits for so many bytes: the lines of those that do not.
inline void demote_further_bytes(const slot& s, std::size_t length) noexcept {
  for (std::size_t at = first_line_bytes; at < length; at += os::cache_line) os::demote(s.bytes + at);
}

// ---- front end ----

/// Fills a free slot and hands it over. Pairs with the acquire of the worker's claim().
inline void publish(slot& s, std::uint64_t seq, const call_header& call,
                    std::span<const std::byte> inline_arguments) noexcept {
  if (!inline_arguments.empty())
    copy_bytes(site::slot_arguments, s.bytes, inline_arguments.data(), inline_arguments.size());
  hooked(site::slot_header, [&] {
    s.entry.store(call.entry, std::memory_order_relaxed);
    s.location.store(call.location, std::memory_order_relaxed);
    const std::uint64_t length = call.limit_ns == 0 ? call.length : packed_length{call.length, call.limit_ns}.pack();
    s.length.store(length, std::memory_order_relaxed);
  });
  store(site::slot_ready, s.state, pack(seq, slot_state::ready), std::memory_order_release);
}

/// Takes a task back. False: the worker was faster (RUNNING or DONE), or the word is not what the front end wrote.
inline bool revoke(slot& s, std::uint64_t seq) noexcept {
  return compare_exchange(site::slot_revoked, s.state, pack(seq, slot_state::ready), pack(seq, slot_state::revoked));
}

/// One load; acquire pairs with the worker's release of DONE, so location, length and payload may be read after it.
inline std::uint64_t load_state(const slot& s) noexcept { return s.state.load(std::memory_order_acquire); }

/// Frees a consumed slot. Relaxed is enough: the next publish() of this slot is a release store of the same word, and
/// the worker does nothing on EMPTY.
inline void release(slot& s, std::uint64_t seq) noexcept {
  store(site::slot_empty, s.state, pack(seq, slot_state::empty), std::memory_order_relaxed);
}

// ---- worker ----

enum class claim_result { nothing, claimed, revoked };

/// Tries to start the task at the cursor. Acquire pairs with publish(). One CAS; when it fails the word was READY a
/// moment ago and can only have become REVOKED.
inline claim_result claim(slot& s, std::uint64_t cursor) noexcept {
  const std::uint64_t w = s.state.load(std::memory_order_acquire);
  if (w == pack(cursor, slot_state::ready))
    return compare_exchange(site::slot_running, s.state, w, pack(cursor, slot_state::running)) ? claim_result::claimed
                                                                                               : claim_result::revoked;
  return w == pack(cursor, slot_state::revoked) ? claim_result::revoked : claim_result::nothing;
}

/// Is there something for the worker at its cursor? For the re-check before sleeping.
inline bool has_work(const slot& s, std::uint64_t cursor) noexcept {
  const std::uint64_t w = s.state.load(std::memory_order_acquire);
  return w == pack(cursor, slot_state::ready) || w == pack(cursor, slot_state::revoked);
}

/// Publishes the result of the task at the cursor, whose payload is written. Release pairs with load_state().
inline void finish(slot& s, std::uint64_t cursor, packed_location where, std::uint64_t length,
                   std::uint64_t ran_ns = 0) noexcept {
  hooked(site::slot_result, [&] {
    s.entry.store(ran_ns, std::memory_order_relaxed);
    s.location.store(where.pack(), std::memory_order_relaxed);
    s.length.store(length, std::memory_order_relaxed);
  });
  store(site::slot_done, s.state, pack(cursor, slot_state::done), std::memory_order_release);
}

/// Acknowledges a revoked slot, so that the front end may free it.
inline void acknowledge(slot& s, std::uint64_t cursor) noexcept {
  store(site::slot_done, s.state, pack(cursor, slot_state::done), std::memory_order_release);
}

} // namespace coproc::shm
