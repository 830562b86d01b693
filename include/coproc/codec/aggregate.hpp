// SPDX-License-Identifier: BSL-1.0
// The members of plain aggregates: which types have them, how many, and a visit to them. Compile time, apart from that.
// The codec layer.
#pragma once

#include <coproc/codec/bind_members.hpp>

#include <cstddef>
#include <exception>
#include <tuple>
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

// The largest number of initialisers that T takes, from the least on. (Boost.PFR 1.81 searches from the other end, up
// to eight for each byte of T. That takes a minute for a struct with a large array in it.)
template <class T, std::size_t N = 0, bool Found = false>
consteval std::size_t count_members() {
  if constexpr (N > max_members + 1)
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

/// Can the members of T be bound, and made again from their values? Not of classes with base classes, reference members
/// (they are not assignable) or C arrays (say std::array).
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

template <std::size_t Index, class T>
using member_t = std::remove_cvref_t<std::tuple_element_t<Index, member_types<member_count<T>, T>>>;

/// Calls visit(const member&...) once, with all members in order.
template <class T, class Visit>
decltype(auto) with_members(const T& value, Visit&& visit) {
  if constexpr (std::is_empty_v<T>)
    return visit();
  else
    return bind_members<member_count<T>>(value, std::forward<Visit>(visit));
}

} // namespace coproc::detail
