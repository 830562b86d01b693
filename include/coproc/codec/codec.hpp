// SPDX-License-Identifier: BSL-1.0
// Encodes and decodes a value by the form of its type: writer::put and reader::get. Include this one to use or to
// specialise a codec. The codec layer.
#pragma once

#include <coproc/codec/containers.hpp>
#include <coproc/codec/form.hpp>
#include <coproc/codec/reader.hpp>
#include <coproc/codec/std_types.hpp>
#include <coproc/codec/travels.hpp>
#include <coproc/codec/writer.hpp>

#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace coproc {
namespace detail {

template <class T>
concept overwritable = std::is_default_constructible_v<T> && std::is_copy_assignable_v<T>;

template <class T>
T decode_bytes(reader& r) {
  if constexpr (std::is_same_v<T, bool>) {
    const auto tag = r.get_raw<unsigned char>();
    if (tag > 1) reject("a bool is neither true nor false");
    return tag != 0;
  } else if constexpr (std::is_enum_v<T>) {
    return static_cast<T>(decode_bytes<std::underlying_type_t<T>>(r));
  } else if constexpr (std::is_integral_v<T>) {
    return r.get_raw<T>();
  } else if constexpr (overwritable<T>) {
    T value;
    r.get_bytes(static_cast<void*>(std::addressof(value)), sizeof value);
    if constexpr (holds_bool<T>()) validate(value);
    return value;
  } else {
    struct alignas(T) {
      std::byte bytes[sizeof(T)];
    } raw;
    r.get_bytes(raw.bytes, sizeof raw.bytes);
    const T value = std::bit_cast<T>(raw);
    if constexpr (holds_bool<T>()) validate(value);
    return value;
  }
}

// M: a member of an aggregate, or an element of one that is a C array.
template <class M>
void encode_member(writer& w, const M& member) {
  if constexpr (!std::is_array_v<M>)
    encode<M>(w, member);
  else if constexpr (travels_as_bytes<std::remove_all_extents_t<M>>)
    std::memcpy(w.claim(sizeof member), std::addressof(member), sizeof member);
  else
    for (const auto& element : member) encode_member(w, element);
}

template <class M>
void decode_into(reader& r, M& member) {
  if constexpr (!std::is_array_v<M>) {
    member = decode<M>(r);
  } else if constexpr (travels_as_bytes<std::remove_all_extents_t<M>>) {
    r.get_bytes(static_cast<void*>(std::addressof(member)), sizeof member);
    if constexpr (holds_bool<std::remove_all_extents_t<M>>()) validate(member);
  } else {
    for (auto& element : member) decode_into(r, element);
  }
}

template <class T, std::size_t... I>
T decode_members(reader& r, std::index_sequence<I...>) {
  if constexpr ((std::is_array_v<member_t<I, T>> || ...)) {
    T value{};
    with_members(value, [&r](auto&... member) { (decode_into(r, member), ...); });
    return value;
  } else {
    return T{decode<member_t<I, T>>(r)...}; // braces: in order
  }
}

template <class T>
void encode(writer& w, const T& value) {
  constexpr form f = form_of<T>;
  if constexpr (std::is_const_v<T>)
    encode<std::remove_const_t<T>>(w, value);
  else if constexpr (f == form::custom)
    codec<T>::encode(w, value);
  else if constexpr (f == form::bytes)
    std::memcpy(w.claim(sizeof value), std::addressof(value), sizeof value);
  else if constexpr (f == form::standard)
    std_codec<T>::encode(w, value);
  else if constexpr (f == form::aggregate)
    with_members(value, [&w]<class... M>(const M&... member) { (detail::encode_member<M>(w, member), ...); });
  else
    static_assert(f == form::nothing);
}

template <class T>
T decode(reader& r) {
  constexpr form f = form_of<T>;
  if constexpr (std::is_const_v<T>) { // in an array, an optional, a variant
    return decode<std::remove_const_t<T>>(r);
  } else if constexpr (f == form::custom) {
    const reader::nesting guard(r);
    return codec<T>::decode(r);
  } else if constexpr (f == form::bytes) {
    return decode_bytes<T>(r);
  } else if constexpr (f == form::standard) {
    return std_codec<T>::decode(r);
  } else if constexpr (f == form::aggregate) {
    return decode_members<T>(r, std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
  } else {
    static_assert(f == form::nothing);
    return std::bit_cast<T>(std::byte{});
  }
}

} // namespace detail

template <class T>
writer& writer::put(const T& value) {
  if constexpr (detail::travels<T>()) detail::encode<T>(*this, value);
  return *this;
}

template <class U>
U reader::get() {
  if constexpr (detail::travels<U>())
    return detail::decode<U>(*this);
  else
    std::terminate(); // not reached: the build has failed already
}

} // namespace coproc
