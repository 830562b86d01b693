// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/record_store.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF task_record& record_store::acquire() {
  task_record* const kept =
      turn_cache::current.store == this ? std::exchange(turn_cache::current.record, nullptr) : nullptr;
  task_record& t = kept != nullptr ? *kept : take();
  t.ticket.store(t.ticket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return t;
}

COPROC_LAZY_DEF void record_store::recycle(task_record& t) noexcept {
  if (t.encumbered || t.special || t.needs_segments()) [[unlikely]]
    unburden(t);
  if (turn_cache::current.store == this && turn_cache::current.record == nullptr)
    turn_cache::current.record = &t;
  else
    put(t);
}

COPROC_LAZY_DEF task_record& record_store::take() {
  {
    std::lock_guard lock(mutex_);
    if (free_ != nullptr) {
      return *std::exchange(free_, free_->next);
    }
  }
  return fresh();
}

COPROC_LAZY_DEF void record_store::put(task_record& t) noexcept {
  std::lock_guard lock(mutex_);
  t.next = free_;
  free_ = &t;
}

COPROC_LAZY_DEF void record_store::unburden(task_record& t) noexcept {
  task_details& cold = details(t);
  if (t.encumbered) {
    if (cold.result_owner) {
      if (t.result_in_file) cold.result_owner->free_result(cold.result_group);
      if (cold.loan != task_details::no_loan)
        cold.result_owner->give_back(std::exchange(cold.loan, task_details::no_loan));
      cold.result_owner.reset();
    }
    cold.exit.reset();
    cold.error_text = nullptr;
    cold.block.reset(); // also one that call.location never came to speak of
    t.encumbered = t.result_in_file = false;
  }
  if (std::exchange(t.call.location, 0) != 0) {
    cold.block.reset();
    cold.arrays.clear();
  }
  if (t.special) {
    t.special = false;
    cold.terms = {};
  }
}

template <class>
task_record& record_store::fresh() {
  const std::size_t n = std::clamp<std::size_t>(records_.load(std::memory_order_relaxed) / 4, 32, 1024);
  chunk c{std::make_unique_for_overwrite<cold_place[]>(n), std::make_unique<task_record[]>(n), n};
  task_record* const all = c.records.get();
  for (std::size_t i = 0; i != n; ++i) {
    all[i].home = home_;
    all[i].cold_place = &c.cold_places[i];
    all[i].next = all + i + 1; // but for the last
  }
  std::lock_guard lock(mutex_);
  chunks_.push_back(std::move(c));
  records_.fetch_add(n, std::memory_order_relaxed);
  all[n - 1].next = free_;
  free_ = all[0].next;
  return all[0];
}

COPROC_LAZY_DEF record_store::record_store(engine* home) noexcept : home_(home) {}

} // namespace coproc::detail::front
