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

/// The initialisers that T takes: one for each member, but one for each element of a C array. More than max_members: at
/// least so many.
template <class T>
inline constexpr std::size_t initializer_count = count_members<T>();

// How many initialisers the member at Index takes: those of a C array count as one where the array is initialised by
// {}, and one by one where brace elision spreads it.
template <class T, std::size_t Index, std::size_t... Fewer>
consteval std::size_t initializers_at(std::index_sequence<Fewer...>) {
  using before = std::make_index_sequence<Index>;
  constexpr std::size_t rest = initializer_count<T> - Index;
  if constexpr (takes_braces<T>(before(), std::make_index_sequence<rest - 1>())) {
    return 1;
  } else {
    std::size_t most_after = rest - 1; // of what is not initialised by {} nobody knows: one
    static_cast<void>(((takes_braces<T>(before(), std::make_index_sequence<rest - 2 - Fewer>()) &&
                        (most_after = rest - 2 - Fewer, true)) ||
                       ...));
    return rest - most_after;
  }
}

template <class T, std::size_t Index = 0>
consteval std::size_t count_from() {
  if constexpr (Index >= initializer_count<T>)
    return 0;
  else
    return 1 + count_from<T, Index + initializers_at<T, Index>(
                                         std::make_index_sequence<initializer_count<T> - Index - 1>())>();
}

template <class T>
consteval std::size_t find_member_count() {
  if constexpr (initializer_count<T> > max_members)
    return initializer_count<T>;
  else
    return count_from<T>();
}

/// The members of T; more than max_members: too many to be listed.
template <class T>
inline constexpr std::size_t member_count = find_member_count<T>();

template <class T>
inline constexpr bool has_base_class = requires { T{any_base_of<T>{}}; };

template <std::size_t Index, class T>
using member_t = std::remove_cvref_t<std::tuple_element_t<Index, member_types<member_count<T>, T>>>;

/// Is one of the members a C array?
template <class T>
consteval bool has_array_member() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return (std::is_array_v<member_t<I, T>> || ...);
  }(std::make_index_sequence<member_count<T>>());
}

/// Can the members of T be bound, and made again from their values? Not of classes with base classes, or with members
/// that cannot be assigned (references), nor with a hundred and more members, for which the elements of C arrays count.
template <class T>
consteval bool is_reflectable() {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>)
    return false; // closures too, before they are asked: g++ 12 no longer finds them trivially copyable after that
  else if constexpr (!std::is_move_assignable_v<T>)
    return false;
  else if constexpr (has_base_class<T>)
    return false;
  else if constexpr (std::is_empty_v<T>)
    return true;
  else if constexpr (member_count<T> == 0 || member_count<T> > max_members)
    return false;
  else if constexpr (member_count<T> == initializer_count<T>)
    return true;
  else
    return std::is_default_constructible_v<T>; // arrays are filled when they are there
}

template <class T>
concept reflectable = is_reflectable<T>();

/// Calls visit(member&...) once, with all members in order; of a const T they are const.
template <class T, class Visit>
decltype(auto) with_members(T&& value, Visit&& visit) {
  using type = std::remove_cvref_t<T>;
  if constexpr (std::is_empty_v<type>)
    return visit();
  else
    return bind_members<member_count<type>>(value, std::forward<Visit>(visit));
}

} // namespace coproc::detail
