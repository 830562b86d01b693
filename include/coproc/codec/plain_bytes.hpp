// SPDX-License-Identifier: BSL-1.0
// Which types may travel as the bytes they consist of. Compile time only; the codec layer.
#pragma once

#include <coproc/codec/aggregate.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace coproc::detail {

template <std::size_t N>
struct byte_pattern {
  unsigned char bytes[N]{};
};

template <class T>
consteval bool probe() {
  static_cast<void>(__builtin_bit_cast(T, byte_pattern<sizeof(T)>{}));
  return true;
}

template <class T>
concept bit_castable = requires { typename std::bool_constant<probe<T>()>; };

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
consteval bool hides_pointers();

/// An object without state, so there is nothing to prove.
template <class T>
concept stateless = std::is_empty_v<T> && std::is_trivially_copyable_v<T> && std::copy_constructible<T>;

/// The compiler proves it: bit_cast is no constant expression if T contains a pointer, a reference, a union or
/// something volatile, and it looks into private members and lambda captures too. Trivial copyability alone is not
/// enough: std::string_view, structs with pointers and libstdc++'s std::mutex have it. A class whose constructors are
/// all non-constexpr, bit-fields and std::complex (both on clang) are not provable: they need a codec.
template <class T>
concept plain_bytes = std::is_trivially_copyable_v<T> && std::copy_constructible<T> && !std::is_array_v<T> &&
                      bit_castable<T> && !hides_pointers<T>();

#if defined(__GNUC__) && !defined(__clang__)
// g++ does not look for pointers into arrays (not fixed in 12), so look there in other ways. What remains unseen are
// arrays of classes with private pointers, when they are captured or private themselves.

struct any_plain {
  template <plain_bytes U>
  operator U&() const {
    std::terminate();
  }
};

template <class T, std::size_t... I>
consteval bool takes_plain(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), any_plain())...}; };
}

template <auto Value>
struct constant;

// All pointers in it differ from null; long double has a value, with its padding zero.
template <class T>
consteval T nonzero() {
  byte_pattern<sizeof(T)> p;
  for (std::size_t i = 0; i != sizeof(T); ++i) p.bytes[i] = i % 16 < 10 ? 0x91 : 0;
  return __builtin_bit_cast(T, p);
}

template <class T>
concept zero_is_constant = requires { typename constant<__builtin_bit_cast(T, byte_pattern<sizeof(T)>{})>; };
template <class T>
concept nonzero_is_constant = requires { typename constant<nonzero<T>()>; };

template <class T>
consteval bool hides_pointers() {
  if constexpr (!std::is_class_v<T> || std::is_empty_v<T>)
    return false;
  else if constexpr (is_std_array<T>)
    return !plain_bytes<typename T::value_type>;
  else if constexpr (std::is_aggregate_v<T> && 0 < initializer_count<T> && initializer_count<T> <= max_members)
    return !takes_plain<T>(std::make_index_sequence<initializer_count<T>>());
  else if constexpr (sizeof(T) <= 1024 && zero_is_constant<T>) // g++ takes closures as template arguments
    return !nonzero_is_constant<T>;                            // a pointer there must point to something
  else
    return false;
}
#else
template <class T>
consteval bool hides_pointers() {
  return false;
}
#endif

} // namespace coproc::detail
