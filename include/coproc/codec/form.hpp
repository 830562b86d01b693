// SPDX-License-Identifier: BSL-1.0
// Decides in which of five forms a type travels, and declares the functions that encode and decode it. Compile time
// only; the codec layer.
#pragma once

#include <coproc/codec/aggregate.hpp>
#include <coproc/codec/plain_bytes.hpp>
#include <coproc/codec/reader.hpp>
#include <coproc/codec/writer.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace coproc {

/// Specialise it for a type that coproc cannot take apart by itself; it then wins over every built-in rule:
///
///     template <> struct coproc::codec<T> {
///       static void encode(writer& w, const T& value);  // w.put(part), for parts of any encodable type
///       static T decode(reader& r);                     // r.get<Part>(), in the same order; throws bad_payload
///     };
///
/// T need not be default-constructible. decode() may see any bytes whatever: it checks what it reads.
template <class T>
struct codec;

namespace detail {

template <class T>
concept custom_codec = requires { sizeof(codec<T>); };

/// How a class template of the standard library travels: encode, decode, min_bytes (which an encoding has at least),
/// and the types it is made of.
template <class T>
struct std_codec;

template <class T>
concept standard = requires { sizeof(std_codec<T>); };

template <class... T>
struct type_list {};

enum class form {
  none,
  custom,    // by codec<T>
  standard,  // by std_codec<T>
  nothing,   // an empty class: no bytes at all
  bytes,     // by memcpy
  aggregate, // member after member
};

// A plain type that contains an object with a codec<T> of its own must not travel as bytes.
template <class T>
consteval bool holds_custom_codec() {
  if constexpr (custom_codec<T>)
    return true;
  else if constexpr (is_std_array<T>)
    return holds_custom_codec<typename T::value_type>();
  else if constexpr (reflectable<T>)
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (holds_custom_codec<std::remove_all_extents_t<member_t<I, T>>>() || ...);
    }(std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
  else
    return false;
}

// Some bit patterns of these are no values. Private members cannot be looked into.
template <class T>
consteval bool holds_bool() {
  if constexpr (std::is_same_v<T, bool>)
    return true;
  else if constexpr (is_std_array<T>)
    return holds_bool<typename T::value_type>();
  else if constexpr (reflectable<T>)
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (holds_bool<std::remove_all_extents_t<member_t<I, T>>>() || ...);
    }(std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
  else
    return false;
}

template <class T>
consteval form find_form() {
  if constexpr (custom_codec<T>)
    return form::custom;
  else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
    return form::bytes;
  else if constexpr (standard<T> && !plain_bytes<T>)
    return form::standard;
  else if constexpr (stateless<T>)
    return form::nothing;
  else if constexpr (plain_bytes<T>)
    if constexpr (!holds_custom_codec<T>() && !requires { std_codec<T>::validates; })
      return form::bytes;
    else
      return standard<T> ? form::standard : form::aggregate;
  else if constexpr (reflectable<T>)
    return form::aggregate;
  else
    return form::none;
}

template <class T>
inline constexpr form form_of = find_form<std::remove_cv_t<T>>();

/// An array of T travels in one memcpy.
template <class T>
concept travels_as_bytes = form_of<T> == form::bytes;

template <class T>
void encode(writer& w, const T& value); // in codec.hpp

template <class T>
T decode(reader& r); // in codec.hpp

/// Bytes that an encoded T has at least; 0 where that is unknown. A T[n] is that of a member.
template <class T>
consteval std::size_t min_bytes() {
  if constexpr (std::is_array_v<T>)
    return std::extent_v<T> * min_bytes<std::remove_extent_t<T>>();
  else if constexpr (std::is_const_v<T>)
    return min_bytes<std::remove_const_t<T>>();
  else if constexpr (form_of<T> == form::bytes)
    return sizeof(T);
  else if constexpr (form_of<T> == form::standard)
    return std_codec<T>::min_bytes;
  else if constexpr (form_of<T> == form::aggregate)
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (std::size_t(0) + ... + min_bytes<member_t<I, T>>());
    }(std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
  else
    return 0;
}

/// The elements of a range take at least one byte each, so that a forged number of them is recognised.
template <class T>
void encode_element(writer& w, const T& value) {
  if constexpr (min_bytes<T>() == 0) *w.claim(1) = std::byte{0};
  encode<T>(w, value);
}

template <class T>
inline constexpr std::size_t min_element_bytes = min_bytes<T>() == 0 ? 1 : min_bytes<T>();

template <class T>
T decode_element(reader& r) {
  if constexpr (min_bytes<T>() == 0) r.take(1);
  return decode<T>(r);
}

/// Throws bad_payload for a bool that is neither.
template <class T>
void validate(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    if (reinterpret_cast<const unsigned char&>(value) > 1) reject("a bool is neither true nor false");
  } else if constexpr (is_std_array<T> || std::is_array_v<T>) {
    for (const auto& element : value) validate(element);
  } else {
    with_members(value, []<class... M>(const M&... member) {
      (
          [&] {
            if constexpr (holds_bool<std::remove_all_extents_t<M>>()) validate(member);
          }(),
          ...);
    });
  }
}

} // namespace detail
} // namespace coproc
