// SPDX-License-Identifier: BSL-1.0
// Tasks in the order in which they are to be begun: by priority, then by age. Front end, under the pool's mutex.
#pragma once

#include <coproc/pool/task_record.hpp>

#include <array>
#include <bit>
#include <cstdint>

namespace coproc::pool {

/// Is a to be begun before b?
inline bool precedes(const task_record& a, const task_record& b) noexcept {
  return a.priority != b.priority ? a.priority > b.priority : a.id < b.id;
}

/// A list for each priority, and a bit for each list that is not empty. Everything is O(1) but reinsert.
class task_queue {
public:
  bool empty() const noexcept { return present_ == 0; }
  std::size_t size() const noexcept { return size_; }
  task_record* front() const noexcept { return empty() ? nullptr : lists_[first()].front(); }

  void push_back(task_record& t) noexcept {
    lists_[rank(t)].push_back(t);
    added(t);
  }

  /// A task that comes back keeps its place among those of its priority.
  void reinsert(task_record& t) noexcept {
    lists_[rank(t)].insert_by_id(t);
    added(t);
  }

  void erase(task_record& t) noexcept {
    task_list& list = lists_[rank(t)];
    list.erase(t);
    if (list.empty()) present_ &= ~(std::uint32_t{1} << rank(t));
    --size_;
  }

  task_record* pop_front() noexcept {
    if (empty()) return nullptr;
    task_list& list = lists_[first()];
    task_record* const t = list.pop_front();
    if (list.empty()) present_ &= present_ - 1; // the lowest bit
    --size_;
    return t;
  }

private:
  static constexpr unsigned priorities = highest_priority - lowest_priority + 1;
  static_assert(priorities <= 32);

  // Rank 0 comes first.
  static unsigned rank(const task_record& t) noexcept {
    return static_cast<unsigned>(highest_priority - t.priority);
  }
  unsigned first() const noexcept { return static_cast<unsigned>(std::countr_zero(present_)); }

  void added(const task_record& t) noexcept {
    present_ |= std::uint32_t{1} << rank(t);
    ++size_;
  }

  std::array<task_list, priorities> lists_;
  std::uint32_t present_ = 0;
  std::size_t size_ = 0;
};

} // namespace coproc::pool
