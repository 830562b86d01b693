// SPDX-License-Identifier: BSL-1.0
// One task, as the front end knows it: all truth about it lives here, in private memory. A worker's mailbox only ever holds
// copies. Records are recycled and never freed before their pool, so a stale pointer with its ticket is always safe to look at.
#pragma once

#include <coproc/error.hpp>
#include <coproc/options.hpp>
#include <coproc/pool/clock.hpp>
#include <coproc/pool/lent_block.hpp>
#include <coproc/shm/segment.hpp>
#include <coproc/shm/slot.hpp>

#include <atomic>
#include <cassert>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace coproc::pool {

struct task_record;
template <class Task>
class basic_worker_record;
using worker_record = basic_worker_record<task_record>;
struct worker_memory;

/// Where a record is; decides what cancelling it means.
enum class place : std::uint8_t {
  idle,      ///< free, or being prepared: not yet submitted
  waiting,   ///< waiting for room in the queue; not accepted
  queued,    ///< accepted, in the dispatcher's queue
  issued,    ///< in a worker's ring: READY or RUNNING
  finished,  ///< its verdict is fixed; being completed
};

/// How a task ended; decides what its completion gets.
enum class verdict : std::uint8_t {
  value,         ///< result bytes decode to the value
  exception,     ///< result bytes decode to an exception
  lost,          ///< worker_lost: exit, started
  task_timeout,  ///< killed at its deadline: exit
  queue_timeout, ///< had not begun at its deadline
  aborted,       ///< cancelled, or the pool was destroyed
  failed,        ///< error says why: queue_full, pool_closed, worker_start_failed ...
};

/// task_options as the dispatcher wants them: checked, and small.
struct task_terms {
  duration timeout = unlimited, queue_timeout = unlimited, soft_timeout = unlimited;
  duration kill_grace = duration::zero();       // zero: the pool's
  std::uint32_t max_retries = 0;                // 0 unless retry::idempotent: what never began moves in any case
  bool retries_refused = false;                 // max_retries was given without retry::idempotent
  std::int8_t priority = 0;                     // lowest_priority .. highest_priority
  std::int16_t home = -1;                       // index of the worker it must run in; -1: any
  on_cancel when_cancelled = on_cancel::kill;
};

inline constexpr int lowest_priority = -10, highest_priority = 10;

template <class Record>
class basic_record_store;
using record_store = basic_record_store<task_record>;

/// How a record that has left the dispatcher ends its handler's wait.
enum class ending : std::uint8_t {
  invoke,  ///< calls the handler: in place where its executor is the pool's own context, else by dispatch. Within a turn
  post,    ///< posts the handler
  destroy, ///< destroys it uninvoked
};

/// When a queue_timeout is over, and the links of expiry_heap.
struct expiry_node {
  time_point at = time_point::max();
  task_record* task = nullptr;
  expiry_node *parent = nullptr, *child = nullptr, *sibling = nullptr;
};

/// What most tasks do not have, or not so much of: an empty task does not even look here. It has been made if `special` (terms),
/// `encumbered` (what recycling must let go of), needs_segments() (block, lent), a length over near_bytes, or `end` (a handler that
/// is not near) tells of it.
struct cold_part {
  alignas(32) std::byte bytes[shm::inline_bytes]; // arguments that do not fit near, until such a result is copied over them
  const std::byte* far_result = nullptr;        // inside the worker's result file
  std::shared_ptr<worker_memory> result_owner;  // set while the result lies in that worker's result file, or has views there
  std::optional<worker_exit> exit;              // lost, task_timeout
  const char* error_text = nullptr;             // failed: static storage
  unsigned result_group = 0;                    // for result_owner->free_result()
  static constexpr unsigned no_loan = ~0u;
  unsigned loan = no_loan;                      // for result_owner->give_back()
  net::error_code error{}, error_cause{};       // failed; the system's, if any
  std::exception_ptr unprepared;                // why it could not be encoded: it is never submitted
  bool started = true;                          // lost

  bool soft_expired = false;                    // the stop token was raised at its soft_timeout
  std::uint32_t retries = 0;
  shm::argument_block block;                    // arguments too large for a slot: call.location
  std::vector<std::shared_ptr<const lent_block>> lent; // what the arguments refer to; emptied by the store, with its capacity
  task_terms terms;
  expiry_node expiry;                           // in the heap unless its time is max()
  static constexpr std::size_t far_bytes = 192;
  alignas(std::max_align_t) std::byte far_handler[far_bytes]; // with executors of its own, or large
};

/// Three cache lines, which are all that an empty task needs; a pool with thousands of tasks in flight has its records in the
/// second-level cache or beyond, and one with a million queued has nothing in memory but these. The rest lies elsewhere, in
/// memory that is not even touched before the first task of that record that needs it.
struct alignas(64) task_record {
  // ---- where it is; the dispatcher's, under its mutex
  record_store* store = nullptr;                // where it goes back to
  /// Which life of the record this is; tells a late cancellation that its task is gone. Written by the store alone;
  /// relaxed, because whoever holds the right ticket has it from the thread that filled the record.
  std::atomic<std::uint64_t> ticket{0};
  task_record* previous = nullptr;              // links of the list it is in
  task_record* next = nullptr;
  std::uint64_t id = 0;                         // order of submission; 0: none. A moved task keeps it, and so its place
  worker_record* worker = nullptr;              // issued: whose ring
  std::uint64_t seq = 0;                        // issued: which position
  place where = place::idle;
  verdict outcome = verdict::aborted;
  std::int8_t priority = 0;                     // of terms
  bool may_wait = true;                         // for room in the queue
  // One byte, which an empty task only reads: recycling clears what others set, but for the last.
  bool special : 1 = false;                     // terms are not the usual ones; else they are not even looked at
  bool encumbered : 1 = false;                  // the cold part has what recycling must let go of
  bool result_in_file : 1 = false;              // and not in the record; encumbered
  bool has_cold_part : 1 = false;
  std::int16_t home = -1;                       // of terms

  // ---- what was asked for, and the result: written once, by the submitter before submission, by the drainer at the end
  shm::call_header call{};                      // length counts the argument bytes, wherever they are; location: see below
  time_point submitted_at{};
  void (*end)(task_record&, ending) = nullptr;  // recycles the record, then does that to its handler
  void* cold_place = nullptr;                   // the store's: room for a cold_part
  std::uint64_t result_length = 0;

  // ---- the handler, where it is small, and the bytes of small arguments and results
  static constexpr std::size_t near_bytes = 32;
  alignas(std::max_align_t) std::byte near_handler[near_bytes]; // before submission: who keeps the pool alive, or null
  std::byte bytes[near_bytes];                  // arguments, until such a result is copied over them

  /// The location of inline arguments with `lent` memory: its tag is 0, so a worker finds them inline all the same.
  static constexpr std::uint64_t inline_and_lent = shm::packed_location{0, 1}.pack();

  task_record() = default;
  task_record(const task_record&) = delete;
  task_record& operator=(const task_record&) = delete;

  /// Makes it if need be; the store, whose room it is in, ends it. Only where the record is the caller's, as its flags are.
  /// A template so that a file that runs no task does not compile it.
  template <class Cold = cold_part>
  [[gnu::noinline]] Cold& make_cold() noexcept { // a call, which keeps the code of empty tasks short
    static_assert(std::is_nothrow_default_constructible_v<Cold>);
    if (!has_cold_part) {
      ::new (cold_place) Cold;
      has_cold_part = true;
    }
    return cold();
  }
  /// The same where something tells that it has been made.
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
  template <class Cold = cold_part>
  std::byte* make_inline_room(std::size_t length) noexcept {
    if (length <= near_bytes) [[likely]] return bytes;
    return make_cold<Cold>().bytes;
  }
  std::span<const std::byte> inline_bytes(std::size_t length) const noexcept {
    return {length <= near_bytes ? bytes : cold().bytes, length};
  }
  bool arguments_inline() const noexcept { return shm::packed_location::unpack(call.location).tag == 0; }
  /// Must be mapped before the worker runs it: `block` or `lent`. Tells without a look at these, which are far away.
  bool needs_segments() const noexcept { return call.location != 0; }
  std::span<const std::byte> result_bytes() const noexcept {
    if (result_in_file) [[unlikely]] return {cold().far_result, result_length};
    return inline_bytes(result_length);
  }
};
static_assert(sizeof(task_record) == 3 * 64);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof" // no standard-layout class; both compilers know its offsets
static_assert(offsetof(task_record, call) == 64 && offsetof(task_record, near_handler) == 128);
#pragma GCC diagnostic pop

/// FIFO of records through their links; a record is in at most one list.
class task_list {
public:
  bool empty() const noexcept { return head_ == nullptr; }
  std::size_t size() const noexcept { return size_; }
  task_record* front() const noexcept { return head_; }

  void push_back(task_record& t) noexcept {
    t.next = nullptr;
    t.previous = tail_;
    (tail_ ? tail_->next : head_) = &t;
    tail_ = &t;
    ++size_;
  }

  /// Before the first record with a larger id: a task that moves keeps its place.
  void insert_by_id(task_record& t) noexcept {
    task_record* at = head_;
    while (at != nullptr && at->id < t.id) at = at->next;
    if (at == nullptr) return push_back(t);
    t.next = at;
    t.previous = at->previous;
    (at->previous ? at->previous->next : head_) = &t;
    at->previous = &t;
    ++size_;
  }

  void erase(task_record& t) noexcept {
    (t.previous ? t.previous->next : head_) = t.next;
    (t.next ? t.next->previous : tail_) = t.previous;
    t.previous = t.next = nullptr;
    --size_;
  }

  task_record* pop_front() noexcept {
    task_record* const t = head_;
    if (t == nullptr) return nullptr;
    head_ = t->next;
    (head_ ? head_->previous : tail_) = nullptr;
    t->next = nullptr;
    --size_;
    return t;
  }

  void splice_back(task_list& other) noexcept {
    if (other.empty()) return;
    other.head_->previous = tail_;
    (tail_ ? tail_->next : head_) = other.head_;
    tail_ = other.tail_;
    size_ += other.size_;
    other.head_ = other.tail_ = nullptr;
    other.size_ = 0;
  }

private:
  task_record* head_ = nullptr;
  task_record* tail_ = nullptr;
  std::size_t size_ = 0;
};

} // namespace coproc::pool
