// SPDX-License-Identifier: BSL-1.0
// Where task records come from: recycled, never freed before the pool, so that a cancellation that comes too late finds a
// record whose ticket has changed, and not freed memory. Front end, any thread.
#pragma once

#include <coproc/pool/spin.hpp>
#include <coproc/pool/worker_record.hpp>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coproc::pool {

class record_store {
public:
  /// A free record, to be filled by the caller alone until it is submitted.
  task_record& acquire() {
    std::lock_guard lock(mutex_);
    if (free_ == nullptr) grow();
    task_record* const t = free_;
    free_ = t->next;
    t->next = nullptr;
    t->ticket.store(++last_ticket_, std::memory_order_relaxed);
    return *t;
  }

  /// Takes a record back, with whatever it still holds.
  void recycle(task_record& t) noexcept {
    if (t.result_owner) {
      if (!t.result_inline()) t.result_owner->free_result(t.result_group);
      if (t.loan != task_record::no_loan) t.result_owner->give_back(std::exchange(t.loan, task_record::no_loan));
      t.result_owner.reset();
    }
    if (t.block) t.block.reset();
    if (t.needs_segments()) {
      t.call.location = 0;
      t.lent.clear();
    }
    t.exit.reset();
    t.error_text = nullptr;
    if (std::exchange(t.special, false)) t.terms = {};
    std::lock_guard lock(mutex_);
    t.next = free_;
    free_ = &t;
  }

private:
  static constexpr std::size_t chunk = 32;

  void grow() {
    chunks_.push_back(std::make_unique<task_record[]>(chunk));
    for (std::size_t i = 0; i < chunk; ++i) {
      chunks_.back()[i].store = this;
      chunks_.back()[i].next = free_;
      free_ = &chunks_.back()[i];
    }
  }

  spin_lock mutex_;
  std::uint64_t last_ticket_ = 0;
  task_record* free_ = nullptr;
  std::vector<std::unique_ptr<task_record[]>> chunks_;
};

} // namespace coproc::pool
