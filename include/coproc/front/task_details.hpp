// SPDX-License-Identifier: BSL-1.0
// What a task may have beside its record: terms of its own, memory that its arguments or its result lie in, why it
// failed. And lists of records. Front end; the engine's, under its mutex unless the record is the caller's.
#pragma once

#include <coproc/error.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/shm/segment.hpp>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc::detail::front {

struct worker_memory;

/// Argument memory that an argument_array, and the tasks which have it as an argument, share.
class array_block final : public array_memory {
public:
  /// The first `bytes` of the block are what will be written.
  array_block(shm::argument_block block, std::size_t bytes) noexcept : block_(std::move(block)) {
    block_.set_used(bytes);
    data = block_.data();
    place = shm::packed_location{block_.owner().id(), block_.offset()}.pack();
    owner = block_.pool();
  }
  array_block(const array_block&) = delete;
  array_block& operator=(const array_block&) = delete;
  ~array_block() override {
    // A forked copy does not map the segment, and may find the segment pool locked for ever: leaked there on purpose.
    if (!process_.is_own()) static_cast<void>(new shm::argument_block(std::move(block_)));
  }

  const shm::argument_block& block() const noexcept { return block_; }

private:
  shm::argument_block block_;
  os::process_mark process_;
};

/// task_options as the dispatcher wants them: checked, and small.
struct task_terms {
  duration timeout = unlimited, queue_timeout = unlimited, soft_timeout = unlimited;
  duration deadline_from_submission = unlimited;
  time_point deadline = time_point::max(); // from its submission on, with that
  duration kill_grace = duration::zero();  // zero: the pool's
  std::uint32_t max_retries = 0;           // what never began moves in any case
  std::int8_t priority = 0;                // lowest_priority .. highest_priority
  std::optional<std::uint64_t> key;        // scrambled: which worker it must run in
  on_cancel when_cancelled = on_cancel::kill;
};

inline constexpr int lowest_priority = -10, highest_priority = 10;

/// When a queue_timeout is over, and the links of expiry_heap.
struct expiry_node {
  time_point at = time_point::max();
  task_record* task = nullptr;
  expiry_node *parent = nullptr, *child = nullptr, *sibling = nullptr;
};

/// The cold part of a record, in full.
struct task_details final : cold_part {
  const std::byte* far_result = nullptr; // inside the worker's result file
  // set while the result lies in that worker's result file, or has views there
  std::shared_ptr<worker_memory> result_owner;
  std::optional<worker_exit> exit;  // lost, task_timeout
  const char* error_text = nullptr; // failed: static storage
  unsigned result_group = 0;        // for result_owner->free_result()
  static constexpr unsigned no_loan = ~0u;
  unsigned loan = no_loan;                // for result_owner->give_back()
  net::error_code error{}, error_cause{}; // failed; the system's, if any
  bool soft_expired = false;              // the stop token was raised at its soft_timeout
  bool deadline_passed = false;           // task_timeout: not its timeout but its deadline was over
  std::uint32_t retries = 0;
  shm::argument_block block; // arguments too large for a slot: call.location
  // what the arguments refer to; emptied when recycled, with its capacity
  std::vector<std::shared_ptr<const array_memory>> arrays;
  task_terms terms;
  expiry_node expiry; // in the heap unless its time is max()
};
static_assert(std::is_nothrow_default_constructible_v<task_details>);

inline task_details& details(task_record& t) noexcept { return static_cast<task_details&>(t.cold()); }
inline const task_details& details(const task_record& t) noexcept { return static_cast<const task_details&>(t.cold()); }

/// The same, made if need be.
// a call, which keeps the code of empty tasks short
[[gnu::noinline]] inline task_details& make_details(task_record& t) noexcept {
  if (!t.has_cold_part) {
    ::new (t.cold_place) task_details;
    t.has_cold_part = true;
  }
  return details(t);
}

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

} // namespace coproc::detail::front
