// SPDX-License-Identifier: BSL-1.0
// Which types may travel as the bytes they consist of. Compile time only; the codec layer, standard headers only.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace coproc::detail {

template <std::size_t N>
struct zeros {
  unsigned char bytes[N]{};
};

template <class T>
consteval bool probe() {
  static_cast<void>(__builtin_bit_cast(T, zeros<sizeof(T)>{}));
  return true;
}

/// The compiler proves it: bit_cast is no constant expression if T contains a pointer, a reference, a union or something
/// volatile, and it looks into private members and lambda captures too. Trivial copyability alone is not enough:
/// std::string_view, structs with pointers and libstdc++'s std::mutex have it. A class whose constructors are all
/// non-constexpr, bit-fields and std::complex (both on clang) are not provable: they need a codec.
template <class T>
concept plain_bytes = std::is_trivially_copyable_v<T> && std::copy_constructible<T> && !std::is_array_v<T> &&
                      requires { typename std::bool_constant<probe<T>()>; };

} // namespace coproc::detail
