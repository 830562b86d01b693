// SPDX-License-Identifier: BSL-1.0
// Numbers that follow each other, scattered: for choices that are to differ from one to the next, and to be the same
// each time.
#pragma once

#include <cstdint>

namespace coproc::detail::front {

/// The finaliser of splitmix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
constexpr std::uint64_t scramble(std::uint64_t x) noexcept {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

} // namespace coproc::detail::front
