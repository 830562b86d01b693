// SPDX-License-Identifier: BSL-1.0
// Checks that a type can travel, and says in the build error what to do where it cannot. The instantiation trace of
// such an error names each aggregate and the index of its member. Compile time only; the codec layer.
#pragma once

#include <coproc/codec/containers.hpp>
#include <coproc/codec/far_range.hpp>
#include <coproc/codec/form.hpp>
#include <coproc/codec/std_types.hpp>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace coproc::detail {

/// Views of memory, which a parameter may be: their elements, and the number of them where the type fixes it.
template <class T>
struct view_traits;

template <class C, class Traits>
struct view_traits<std::basic_string_view<C, Traits>> {
  using element = C;
  static constexpr std::size_t extent = std::dynamic_extent;
};

template <class T, std::size_t N>
struct view_traits<std::span<T, N>> {
  using element = std::remove_cv_t<T>;
  static constexpr std::size_t extent = N;
};

template <class T>
concept viewable = requires { sizeof(view_traits<T>); };

template <class T>
inline constexpr bool is_view = viewable<T>;
template <class T>
inline constexpr bool is_view<std::initializer_list<T>> = true;

template <class T>
inline constexpr bool is_pointer_like =
    std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T>;
template <class T>
inline constexpr bool is_pointer_like<T&> = true;
template <class T>
inline constexpr bool is_pointer_like<T&&> = true;
template <class T, class D>
inline constexpr bool is_pointer_like<std::unique_ptr<T, D>> = true;
template <class T>
inline constexpr bool is_pointer_like<std::shared_ptr<T>> = true;
template <class T>
inline constexpr bool is_pointer_like<std::weak_ptr<T>> = true;
template <class T>
inline constexpr bool is_pointer_like<std::reference_wrapper<T>> = true;

// T may be incomplete here: a recursive type is looked into once.
template <class T, class... Seen>
consteval bool travels();

template <class Owner, std::size_t Member, class... Seen>
consteval bool member_travels() {
  return travels<std::remove_all_extents_t<member_t<Member, Owner>>, Owner, Seen...>();
}

template <class Owner, class... Seen, class... Element>
consteval bool elements_travel(type_list<Element...>) {
  return (true & ... & travels<std::remove_cv_t<Element>, Owner, Seen...>());
}

// Why an aggregate cannot be taken apart.
template <class T>
consteval bool aggregate_travels() {
  constexpr bool movable = std::is_move_constructible_v<T>, assignable = std::is_move_assignable_v<T>;
  static_assert(movable, "coproc: this type has no codec: make it an aggregate of types that have one, or specialise "
                         "coproc::codec<T> (locks, threads, files and other handles cannot travel)");
  static_assert(!movable || assignable,
                "coproc: a member of this aggregate is a reference or const, and cannot be decoded: make it "
                "a plain value, or specialise coproc::codec<T>");
  static_assert(
      !movable || !assignable || !has_base_class<T>,
      "coproc: this aggregate has a base class, so its members cannot be listed: make the base its first member, or "
      "specialise coproc::codec<T>");
  static_assert(
      !movable || !assignable || has_base_class<T>,
      "coproc: this aggregate has too many members to be listed (100, and the elements of C arrays count): use "
      "std::array for C arrays, put members into structs, or specialise coproc::codec<T>");
  return false;
}

/// True if values of T can be encoded and decoded; otherwise the build fails with the reason.
template <class T, class... Seen>
consteval bool travels() {
  if constexpr ((std::is_same_v<T, Seen> || ...)) {
    return true;
  } else if constexpr (is_pointer_like<T>) {
    static_assert(!is_pointer_like<T>,
                  "coproc: a pointer means nothing in another process: pass the object itself, std::string for text, "
                  "std::vector or std::span<const T> for arrays");
    return false;
  } else if constexpr (is_argument_array<T>) {
    static_assert(!is_argument_array<T>,
                  "coproc: an argument_array travels only as an argument of its own: take it as std::span<const T> in "
                  "fn, and use std::vector<T> within other objects and as a result");
    return false;
  } else if constexpr (is_view<T>) {
    static_assert(
        !is_view<T>,
        "coproc: a view cannot be part of a result or of another object: use std::string or std::vector (as the "
        "type of a parameter of fn, std::string_view and std::span<const T> are fine)");
    return false;
  } else if constexpr (standard<T> && !custom_codec<T>) {
    return elements_travel<T, Seen...>(typename std_codec<T>::elements());
  } else if constexpr (form_of<T> == form::aggregate) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (true & ... & member_travels<T, I, Seen...>());
    }(std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
  } else if constexpr (form_of<T> == form::none && std::is_class_v<T> && std::is_aggregate_v<T>) {
    return aggregate_travels<T>();
  } else {
    static_assert(
        !std::is_union_v<T> || form_of<T> != form::none,
        "coproc: a union does not say which of its members it holds: use std::variant, or specialise coproc::codec<T>");
    static_assert(std::is_union_v<T> || form_of<T> != form::none,
                  "coproc: this type has no codec: make it an aggregate of types that have one, or specialise "
                  "coproc::codec<T> (locks, threads, files and other handles cannot travel)");
    return form_of<T> != form::none;
  }
}

/// The same for the parameter of a function, which may also view the payload: std::string_view, std::span<const T>.
template <class T>
consteval bool travels_as_parameter() {
  if constexpr (viewable<T>)
    return travels<typename view_traits<T>::element>();
  else
    return travels<T>();
}

} // namespace coproc::detail
