// SPDX-License-Identifier: BSL-1.0
// The members of an aggregate as a list, by a structured binding of each length: C++20 has none for any number. Compile
// time. The codec layer.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coproc::detail {

inline constexpr std::size_t max_members = 100;

// Names for so many members: tens, and what is left over.
// clang-format off
#define COPROC_ONES_1 a
#define COPROC_ONES_2 a, b
#define COPROC_ONES_3 a, b, c
#define COPROC_ONES_4 a, b, c, d
#define COPROC_ONES_5 a, b, c, d, e
#define COPROC_ONES_6 a, b, c, d, e, f
#define COPROC_ONES_7 a, b, c, d, e, f, g
#define COPROC_ONES_8 a, b, c, d, e, f, g, h
#define COPROC_ONES_9 a, b, c, d, e, f, g, h, i
#define COPROC_TENS_1 a0, a1, a2, a3, a4, a5, a6, a7, a8, a9
#define COPROC_TENS_2 COPROC_TENS_1, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9
#define COPROC_TENS_3 COPROC_TENS_2, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9
#define COPROC_TENS_4 COPROC_TENS_3, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9
#define COPROC_TENS_5 COPROC_TENS_4, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9
#define COPROC_TENS_6 COPROC_TENS_5, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9
#define COPROC_TENS_7 COPROC_TENS_6, g0, g1, g2, g3, g4, g5, g6, g7, g8, g9
#define COPROC_TENS_8 COPROC_TENS_7, h0, h1, h2, h3, h4, h5, h6, h7, h8, h9
#define COPROC_TENS_9 COPROC_TENS_8, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9
#define COPROC_TENS_10 COPROC_TENS_9, j0, j1, j2, j3, j4, j5, j6, j7, j8, j9

#define COPROC_BIND(n, ...)                                    \
  if constexpr (N == n) {                                      \
    auto& [__VA_ARGS__] = value;                               \
    return std::forward<Visit>(visit)(__VA_ARGS__);            \
  }
#define COPROC_BIND_FROM(n, tens)                                                                    \
  COPROC_BIND(n, tens)                                                                               \
  COPROC_BIND(n + 1, tens, COPROC_ONES_1) COPROC_BIND(n + 2, tens, COPROC_ONES_2)                    \
  COPROC_BIND(n + 3, tens, COPROC_ONES_3) COPROC_BIND(n + 4, tens, COPROC_ONES_4)                    \
  COPROC_BIND(n + 5, tens, COPROC_ONES_5) COPROC_BIND(n + 6, tens, COPROC_ONES_6)                    \
  COPROC_BIND(n + 7, tens, COPROC_ONES_7) COPROC_BIND(n + 8, tens, COPROC_ONES_8)                    \
  COPROC_BIND(n + 9, tens, COPROC_ONES_9)

/// visit(member&...), once, with all members of value in order: N of them, 1..max_members.
template <std::size_t N, class T, class Visit>
constexpr decltype(auto) bind_members(T& value, Visit&& visit) {
  COPROC_BIND(1, COPROC_ONES_1) COPROC_BIND(2, COPROC_ONES_2) COPROC_BIND(3, COPROC_ONES_3)
  COPROC_BIND(4, COPROC_ONES_4) COPROC_BIND(5, COPROC_ONES_5) COPROC_BIND(6, COPROC_ONES_6)
  COPROC_BIND(7, COPROC_ONES_7) COPROC_BIND(8, COPROC_ONES_8) COPROC_BIND(9, COPROC_ONES_9)
  COPROC_BIND_FROM(10, COPROC_TENS_1) COPROC_BIND_FROM(20, COPROC_TENS_2) COPROC_BIND_FROM(30, COPROC_TENS_3)
  COPROC_BIND_FROM(40, COPROC_TENS_4) COPROC_BIND_FROM(50, COPROC_TENS_5) COPROC_BIND_FROM(60, COPROC_TENS_6)
  COPROC_BIND_FROM(70, COPROC_TENS_7) COPROC_BIND_FROM(80, COPROC_TENS_8) COPROC_BIND_FROM(90, COPROC_TENS_9)
  COPROC_BIND(100, COPROC_TENS_10)
}
// clang-format on

#undef COPROC_BIND_FROM
#undef COPROC_BIND
#undef COPROC_TENS_1
#undef COPROC_TENS_2
#undef COPROC_TENS_3
#undef COPROC_TENS_4
#undef COPROC_TENS_5
#undef COPROC_TENS_6
#undef COPROC_TENS_7
#undef COPROC_TENS_8
#undef COPROC_TENS_9
#undef COPROC_TENS_10
#undef COPROC_ONES_1
#undef COPROC_ONES_2
#undef COPROC_ONES_3
#undef COPROC_ONES_4
#undef COPROC_ONES_5
#undef COPROC_ONES_6
#undef COPROC_ONES_7
#undef COPROC_ONES_8
#undef COPROC_ONES_9

struct collect_member_types {
  template <class... M>
  constexpr std::type_identity<std::tuple<M...>> operator()(M&...) const noexcept {
    return {};
  }
};

/// The types of the N members of T.
template <std::size_t N, class T>
using member_types = typename decltype(bind_members<N>(std::declval<T&>(), collect_member_types()))::type;

} // namespace coproc::detail
