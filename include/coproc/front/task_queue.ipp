// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/task_queue.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF task_record* task_queue::front() const noexcept { return empty() ? nullptr : lists_[first()].front(); }

COPROC_LAZY_DEF void task_queue::push_back(task_record& t) noexcept {
  lists_[rank(t)].push_back(t);
  added(t);
}

COPROC_LAZY_DEF void task_queue::reinsert(task_record& t) noexcept {
  lists_[rank(t)].insert_by_id(t);
  added(t);
}

COPROC_LAZY_DEF void task_queue::erase(task_record& t) noexcept {
  task_list& list = lists_[rank(t)];
  list.erase(t);
  if (list.empty()) present_ &= ~(std::uint32_t{1} << rank(t));
  --size_;
}

COPROC_LAZY_DEF task_record* task_queue::pop_front() noexcept {
  if (empty()) return nullptr;
  task_list& list = lists_[first()];
  task_record* const t = list.pop_front();
  if (list.empty()) present_ &= present_ - 1; // the lowest bit
  --size_;
  return t;
}

COPROC_LAZY_DEF unsigned task_queue::rank(const task_record& t) noexcept {
  return static_cast<unsigned>(highest_priority - t.priority);
}

COPROC_LAZY_DEF void task_queue::added(const task_record& t) noexcept {
  present_ |= std::uint32_t{1} << rank(t);
  ++size_;
}

} // namespace coproc::detail::front
