// SPDX-License-Identifier: BSL-1.0
// Tasks in the order in which they are to be begun: by priority, then by age. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>

#include <array>
#include <bit>
#include <cstdint>

namespace coproc::detail::front {

/// Is a to be begun before b?
inline bool precedes(const task_record& a, const task_record& b) noexcept {
  return a.priority != b.priority ? a.priority > b.priority : a.id < b.id;
}

/// A list for each priority, and a bit for each list that is not empty. Everything is O(1) but reinsert.
class task_queue {
public:
  bool empty() const noexcept { return present_ == 0; }
  std::size_t size() const noexcept { return size_; }
  COPROC_LAZY task_record* front() const noexcept;

  COPROC_LAZY void push_back(task_record& t) noexcept;

  /// A task that comes back keeps its place among those of its priority.
  COPROC_LAZY void reinsert(task_record& t) noexcept;

  COPROC_LAZY void erase(task_record& t) noexcept;

  COPROC_LAZY task_record* pop_front() noexcept;

private:
  static constexpr unsigned priorities = highest_priority - lowest_priority + 1;
  static_assert(priorities <= 32);

  // Rank 0 comes first.
  COPROC_LAZY static unsigned rank(const task_record& t) noexcept;
  unsigned first() const noexcept { return static_cast<unsigned>(std::countr_zero(present_)); }

  COPROC_LAZY void added(const task_record& t) noexcept;

  std::array<task_list, priorities> lists_;
  std::uint32_t present_ = 0;
  std::size_t size_ = 0;
};

} // namespace coproc::detail::front

#include <coproc/front/task_queue.ipp>
