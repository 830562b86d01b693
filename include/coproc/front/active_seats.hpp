// SPDX-License-Identifier: BSL-1.0
// The seats whose workers have something to do, so that a task costs the same whether two or two hundred others sleep.
// Front end, under the pool's mutex.
#pragma once

#include <algorithm>
#include <coproc/config.hpp>
#include <cstddef>
#include <vector>

namespace coproc::detail::front {

/// A set of seats, by index. Invariant of its user: a worker with a ring that is not empty, or with a wake-up due, is
/// in it; a seat may also be vacant, or its worker idle.
class active_seats {
public:
  COPROC_LAZY explicit active_seats(unsigned seats);

  /// So many seats, or more; allocates.
  COPROC_LAZY void reserve(unsigned seats);

  COPROC_LAZY bool contains(unsigned index) const noexcept;

  COPROC_LAZY void add(unsigned index) noexcept;

  /// The first n go to the end.
  COPROC_LAZY void begin_with(std::size_t n) noexcept;

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
  std::vector<unsigned> indexes_;
  std::vector<bool> listed_;
};

} // namespace coproc::detail::front

#include <coproc/front/active_seats.ipp>
