// SPDX-License-Identifier: BSL-1.0
// The members of plain aggregates, and the only header that includes Boost.PFR. Compile time, apart from visiting the
// members of a value. The codec layer.
#pragma once

#include <boost/pfr/core.hpp>

#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace coproc::detail {

// Converts to a base class of T and to nothing else.
template <class T>
struct any_base_of {
  template <class Base>
    requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>)
  operator Base() const {
    std::terminate();
  }
};

// Convert to anything; never called, but clang wants them defined.
struct any_copyable {
  template <class U>
  operator U&() const&& {
    std::terminate();
  }
  template <class U>
  operator U&() const& {
    std::terminate();
  }
};

struct any_movable {
  template <class U>
  operator U() const&& {
    std::terminate();
  }
};

template <class T>
using any_member_of = std::conditional_t<std::is_copy_constructible_v<T>, any_copyable, any_movable>;

template <class T, std::size_t... I>
consteval bool takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), any_member_of<T>())...}; };
}

// T{value, value, ..., {}, value, value, ...}
template <class T, std::size_t... Before, std::size_t... After>
consteval bool takes_braces(std::index_sequence<Before...>, std::index_sequence<After...>) {
  return requires {
    T{(static_cast<void>(Before), any_member_of<T>())..., {}, (static_cast<void>(After), any_member_of<T>())...};
  };
}

inline constexpr std::size_t max_members = 100;

// The largest number of initialisers that T takes. Boost.PFR's own count tries up to eight for each byte of T, which
// takes minutes for a struct with a large array in it, and crashes g++ 12 on some recursive types.
template <class T, std::size_t N = 0, bool Found = false>
consteval std::size_t count_members() {
  if constexpr (N > max_members)
    return N;
  else if constexpr (takes<T>(std::make_index_sequence<N>()))
    return count_members<T, N + 1, true>();
  else if constexpr (Found)
    return N - 1;
  else
    return count_members<T, N + 1, false>();
}

template <class T>
inline constexpr std::size_t member_count = count_members<T>();

// A C array counts as all its elements where brace elision spreads it, and as one where it is initialised by {}.
template <class T, std::size_t Index, std::size_t Count, std::size_t... Fewer>
consteval bool is_array_member(std::index_sequence<Fewer...>) {
  using before = std::make_index_sequence<Index>;
  if constexpr (takes_braces<T>(before(), std::make_index_sequence<Count - Index - 1>()))
    return false;
  else
    return (takes_braces<T>(before(), std::make_index_sequence<Fewer>()) || ...);
}

template <class T, std::size_t... Index>
consteval bool has_array_member(std::index_sequence<Index...>) {
  return (is_array_member<T, Index, sizeof...(Index)>(std::make_index_sequence<sizeof...(Index) - Index - 1>()) || ...);
}

/// Boost.PFR sees the members of T as they are. Left out, because it cannot tell or fails in its own depths: base
/// classes; reference members, which it reports as values (they are not assignable); C arrays (say std::array).
template <class T>
consteval bool is_reflectable() {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>)
    return false; // closures too, before they are asked: g++ 12 no longer finds them trivially copyable after that
  else if constexpr (!std::is_move_assignable_v<T>)
    return false;
  else if constexpr (requires { T{any_base_of<T>{}}; })
    return false;
  else if constexpr (std::is_empty_v<T>)
    return true;
  else if constexpr (member_count<T> == 0 || member_count<T> > max_members)
    return false;
  else
    return !has_array_member<T>(std::make_index_sequence<member_count<T>>());
}

template <class T>
concept reflectable = is_reflectable<T>();

template <class T>
auto tie_members(T& value) {
  return boost::pfr::detail::tie_as_tuple(value, boost::pfr::detail::size_t_<member_count<std::remove_cv_t<T>>>());
}

template <std::size_t Index, class T>
using member_t = std::remove_cvref_t<decltype(boost::pfr::detail::sequence_tuple::get<Index>(
    boost::pfr::detail::tie_as_tuple(std::declval<T&>(), boost::pfr::detail::size_t_<member_count<T>>())))>;

/// Calls visit(const member&...) once, with all members in order.
template <class T, class Visit>
decltype(auto) with_members(const T& value, Visit&& visit) {
  if constexpr (std::is_empty_v<T>) {
    return visit();
  } else {
    const auto members = tie_members(value);
    return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
      return visit(boost::pfr::detail::sequence_tuple::get<I>(members)...);
    }(std::make_index_sequence<member_count<T>>());
  }
}

} // namespace coproc::detail
