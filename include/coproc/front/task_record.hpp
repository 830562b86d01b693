// SPDX-License-Identifier: BSL-1.0
// One task, as the front end knows it: all truth about it lives here, in private memory. A worker's mailbox only ever
// holds copies. Records are recycled and never freed before their engine, so a stale pointer with its ticket is always
// safe to look at. A call fills the record and reads the result from it; what only the engine needs of it is in
// task_details.hpp.
#pragma once

#include <coproc/options.hpp>
#include <coproc/os/clock.hpp>
#include <coproc/shm/slot.hpp>

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

namespace coproc::detail::front {

class engine;
class worker;

/// Where a record is; decides what cancelling it means.
enum class place : std::uint8_t {
  idle,     ///< free, or being prepared: not yet submitted
  waiting,  ///< waiting for room in the queue; not accepted
  queued,   ///< accepted, in the dispatcher's queue
  issued,   ///< in a worker's ring: READY or RUNNING
  finished, ///< its verdict is fixed; being completed
};

/// How a task ended; decides what its completion gets.
enum class verdict : std::uint8_t {
  value,         ///< result bytes decode to the value
  exception,     ///< result bytes decode to an exception
  lost,          ///< worker_lost
  task_timeout,  ///< killed at its deadline
  queue_timeout, ///< had not begun at its deadline
  aborted,       ///< cancelled, or the pool was destroyed
  failed,        ///< queue_full, pool_closed, worker_start_failed ...
};

/// How a record that has left the dispatcher ends its handler's wait.
enum class ending : std::uint8_t {
  /// calls the handler: in place where its executor is the pool's own context, else by dispatch. Within a turn
  invoke,
  post,    ///< posts the handler
  destroy, ///< destroys it uninvoked
};

/// What most tasks do not have, or not so much of: an empty task does not even look here. The engine makes it, as the
/// base of its own task_details, and destroys it with the record.
struct cold_part {
  static constexpr std::size_t far_bytes = 192;

  // arguments that do not fit near, until such a result is copied over them
  alignas(32) std::byte bytes[shm::inline_bytes];
  alignas(std::max_align_t) std::byte far_handler[far_bytes]; // with executors of its own, or large
};

/// Three cache lines, which are all that an empty task needs; a pool with thousands of tasks in flight has its records
/// in the second-level cache or beyond, and one with a million queued has nothing in memory but these. The rest lies
/// elsewhere, in memory that is not even touched before the first task of that record that needs it.
struct alignas(64) task_record {
  // ---- where it is; the dispatcher's, under its mutex
  engine* home = nullptr; // where it goes back to
  /// Which life of the record this is; tells a late cancellation that its task is gone. Written by the engine alone;
  /// relaxed, because whoever holds the right ticket has it from the thread that filled the record.
  std::atomic<std::uint64_t> ticket{0};
  task_record* previous = nullptr; // links of the list it is in
  task_record* next = nullptr;
  std::uint64_t id = 0;            // order of submission; 0: none. A moved task keeps it, and so its place
  front::worker* worker = nullptr; // issued: whose ring
  std::uint64_t seq = 0;           // issued: which position
  place where = place::idle;
  verdict outcome = verdict::aborted;
  std::int8_t priority = 0; // of its terms
  bool may_wait = true;     // for room in the queue
  // One byte, which an empty task only reads: recycling clears what others set, but for the last.
  bool special : 1 = false;        // its terms are not the usual ones; else they are not even looked at
  bool encumbered : 1 = false;     // the details have what recycling must let go of
  bool result_in_file : 1 = false; // and not in the record; encumbered
  bool has_cold_part : 1 = false;
  std::int16_t home_worker = -1; // of its terms

  // ---- what was asked for, and the result: written once, by the submitter before, by the drainer at the end

  // length counts the argument bytes, wherever they are; location: see below
  shm::call_header call{};
  os::time_point submitted_at{};
  void (*end)(task_record&, ending) = nullptr; // recycles the record, then does that to its handler
  void* cold_place = nullptr;                  // the engine's: room for task_details
  std::uint64_t result_length = 0;

  // ---- the handler, where it is small, and the bytes of small arguments and results
  static constexpr std::size_t near_bytes = 32;
  alignas(std::max_align_t) std::byte near_handler[near_bytes];
  std::byte bytes[near_bytes]; // arguments, until such a result is copied over them

  /// The location of inline arguments with argument_arrays: its tag is 0, so a worker finds them inline all the same.
  static constexpr std::uint64_t inline_and_lent = shm::packed_location{0, 1}.pack();

  task_record() = default;
  task_record(const task_record&) = delete;
  task_record& operator=(const task_record&) = delete;

  /// Makes it if need be. Only where the record is the caller's, as its flags are.
  cold_part& make_cold() noexcept;
  /// The same where something tells that it has been made: special, encumbered, needs_segments(), a length over
  /// near_bytes, or a handler that is not near.
  cold_part& cold() noexcept {
    assert(has_cold_part);
    return *std::launder(static_cast<cold_part*>(cold_place));
  }
  const cold_part& cold() const noexcept {
    assert(has_cold_part);
    return *std::launder(static_cast<const cold_part*>(cold_place));
  }

  void prefetch() const noexcept {
    const char* const p = reinterpret_cast<const char*>(this);
    __builtin_prefetch(p, 1);
    __builtin_prefetch(p + 64, 1);
    __builtin_prefetch(p + 128, 1);
  }

  /// Room for so many bytes of arguments or result, not more than a slot has; and where they are then.
  std::byte* make_inline_room(std::size_t length) noexcept {
    if (length <= near_bytes) [[likely]]
      return bytes;
    return make_cold().bytes;
  }
  std::span<const std::byte> inline_bytes(std::size_t length) const noexcept {
    return {length <= near_bytes ? bytes : cold().bytes, length};
  }
  bool arguments_inline() const noexcept { return shm::packed_location::unpack(call.location).tag == 0; }
  /// Must be mapped before the worker runs it: a block or an argument_array. Tells without a look at these, which are
  /// far away.
  bool needs_segments() const noexcept { return call.location != 0; }
};
static_assert(sizeof(task_record) == 3 * 64);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof" // no standard-layout class; both compilers know its offsets
static_assert(offsetof(task_record, call) == 64 && offsetof(task_record, near_handler) == 128);
#pragma GCC diagnostic pop

} // namespace coproc::detail::front
