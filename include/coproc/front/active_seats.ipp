// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/active_seats.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF active_seats::active_seats(unsigned seats) { reserve(seats); }

COPROC_LAZY_DEF void active_seats::reserve(unsigned seats) {
  indexes_.reserve(seats);
  if (listed_.size() < seats) listed_.resize(seats, false);
}

COPROC_LAZY_DEF bool active_seats::contains(unsigned index) const noexcept { return listed_[index]; }

COPROC_LAZY_DEF void active_seats::add(unsigned index) noexcept {
  listed_[index] = true;
  indexes_.push_back(index); // reserved
}

COPROC_LAZY_DEF void active_seats::begin_with(std::size_t n) noexcept {
  std::rotate(indexes_.begin(), indexes_.begin() + static_cast<std::ptrdiff_t>(n), indexes_.end());
}

} // namespace coproc::detail::front
