// SPDX-License-Identifier: BSL-1.0
// The seats whose workers have something to do, so that a task costs the same whether two or two hundred others sleep. Front
// end, under the pool's mutex.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace coproc::pool {

/// A set of seats, by index. Invariant of its user: a worker with a ring that is not empty, or with a wake-up due, is in it;
/// a seat may also be vacant, or its worker idle.
template <class Index>
class basic_active_seats {
public:
  explicit basic_active_seats(unsigned seats) : listed_(seats, false) { indexes_.reserve(seats); }

  bool contains(Index index) const noexcept { return listed_[index]; }

  void add(Index index) noexcept {
    listed_[index] = true;
    indexes_.push_back(index); // reserved
  }

  /// The first n go to the end.
  void begin_with(std::size_t n) noexcept {
    std::rotate(indexes_.begin(), indexes_.begin() + static_cast<std::ptrdiff_t>(n), indexes_.end());
  }

  /// Forgets those for which `idle(index)`.
  template <class Predicate>
  void prune(Predicate idle) noexcept {
    for (std::size_t i = 0; i < indexes_.size();) {
      if (!idle(indexes_[i])) {
        ++i;
        continue;
      }
      listed_[indexes_[i]] = false;
      indexes_[i] = indexes_.back();
      indexes_.pop_back();
    }
  }

  auto begin() const noexcept { return indexes_.begin(); }
  auto end() const noexcept { return indexes_.end(); }

private:
  std::vector<Index> indexes_;
  std::vector<bool> listed_;
};

using active_seats = basic_active_seats<unsigned>;

} // namespace coproc::pool
