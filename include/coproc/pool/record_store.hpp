// SPDX-License-Identifier: BSL-1.0
// Where task records come from: recycled, never freed before the pool, so that a cancellation that comes too late finds a
// record whose ticket has changed, and not freed memory. Front end, any thread.
#pragma once

#include <coproc/os/lock.hpp>
#include <coproc/pool/worker_record.hpp>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coproc::pool {

/// A template so that a file that runs no task does not compile it.
template <class Record>
class basic_record_store {
public:
  /// While it lives, this thread keeps one recycled record of `store` for its next acquire(), without a lock: in a turn of
  /// the pool most records are acquired by the handler that was called when one was recycled.
  class turn_cache {
  public:
    explicit turn_cache(basic_record_store& store) noexcept : outer_(std::exchange(current, {&store, nullptr})) {}
    ~turn_cache() {
      const cached mine = std::exchange(current, outer_);
      if (mine.record != nullptr) mine.store->put(*mine.record);
    }
    turn_cache(const turn_cache&) = delete;
    turn_cache& operator=(const turn_cache&) = delete;

  private:
    friend basic_record_store;
    struct cached {
      basic_record_store* store;
      Record* record;
    };
    static inline thread_local constinit cached current{};

    const cached outer_;
  };

  basic_record_store() = default;
  basic_record_store(const basic_record_store&) = delete;
  basic_record_store& operator=(const basic_record_store&) = delete;

  /// A free record, to be filled by the caller alone until it is submitted.
  Record& acquire() {
    Record* const kept = turn_cache::current.store == this ? std::exchange(turn_cache::current.record, nullptr) : nullptr;
    Record& t = kept != nullptr ? *kept : take();
    t.ticket.store(t.ticket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return t;
  }

  /// Takes a record back, with whatever it still holds.
  void recycle(Record& t) noexcept {
    if (t.encumbered || t.special || t.needs_segments()) [[unlikely]] unburden(t);
    if (turn_cache::current.store == this && turn_cache::current.record == nullptr)
      turn_cache::current.record = &t;
    else
      put(t);
  }

private:
  static constexpr std::size_t chunk = 32;

  Record& take() {
    std::lock_guard lock(mutex_);
    if (free_ == nullptr) grow();
    return *std::exchange(free_, free_->next);
  }

  void put(Record& t) noexcept {
    std::lock_guard lock(mutex_);
    t.next = free_;
    free_ = &t;
  }

  static void unburden(Record& t) noexcept {
    if (std::exchange(t.encumbered, false)) {
      if (t.result_owner) {
        if (!t.result_inline()) t.result_owner->free_result(t.result_group);
        if (t.loan != Record::no_loan) t.result_owner->give_back(std::exchange(t.loan, Record::no_loan));
        t.result_owner.reset();
      }
      t.exit.reset();
      t.error_text = nullptr;
      t.unprepared = nullptr;
      t.block.reset(); // also one that call.location never came to speak of
    }
    if (std::exchange(t.call.location, 0) != 0) {
      t.block.reset();
      t.lent.clear();
    }
    if (std::exchange(t.special, false)) t.terms = {};
  }

  void grow() {
    chunks_.push_back(std::make_unique<Record[]>(chunk));
    for (std::size_t i = 0; i < chunk; ++i) {
      chunks_.back()[i].store = this;
      chunks_.back()[i].next = free_;
      free_ = &chunks_.back()[i];
    }
  }

  os::spin_lock mutex_;
  Record* free_ = nullptr;
  std::vector<std::unique_ptr<Record[]>> chunks_;
};

} // namespace coproc::pool
