// SPDX-License-Identifier: BSL-1.0
// How the other types of the standard library travel: array, pair, tuple, optional, variant, path, chrono, complex,
// bitset. Runs on both sides of the mailbox; the codec layer.
#pragma once

#include <coproc/codec/form.hpp>

#include <array>
#include <bitset>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::detail {

// Only where the whole array is not plain bytes.
template <class T, std::size_t N>
struct std_codec<std::array<T, N>> {
  using array = std::array<T, N>;
  using elements = type_list<T>;
  static constexpr std::size_t min_bytes = N * detail::min_bytes<T>();

  static void encode(writer& w, const array& a) {
    for (const T& element : a) detail::encode<T>(w, element);
  }
  static array decode(reader& r) {
    if constexpr (std::is_default_constructible_v<T> && std::is_move_assignable_v<T>) {
      array a;
      for (T& element : a) element = detail::decode<T>(r);
      return a;
    } else {
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return array{(static_cast<void>(I), detail::decode<T>(r))...};
      }(std::make_index_sequence<N>());
    }
  }
};

// Member after member; the braces keep the order.
template <class Product, class... T>
struct product_codec {
  using elements = type_list<T...>;
  static constexpr std::size_t min_bytes = (std::size_t(0) + ... + detail::min_bytes<T>());

  static void encode(writer& w, const Product& p) {
    std::apply([&w](const T&... element) { (detail::encode<T>(w, element), ...); }, p);
  }
  static Product decode(reader& r) { return Product{detail::decode<T>(r)...}; }
};

template <class A, class B>
struct std_codec<std::pair<A, B>> : product_codec<std::pair<A, B>, std::remove_const_t<A>, std::remove_const_t<B>> {};
template <class... T>
struct std_codec<std::tuple<T...>> : product_codec<std::tuple<T...>, std::remove_const_t<T>...> {};

template <class T>
struct std_codec<std::optional<T>> {
  using elements = type_list<T>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const std::optional<T>& o) {
    *w.claim(1) = static_cast<std::byte>(o.has_value());
    if (o) detail::encode<T>(w, *o);
  }
  static std::optional<T> decode(reader& r) {
    const auto tag = r.get_raw<unsigned char>();
    if (tag > 1) reject("an optional is neither full nor empty");
    if (tag == 0) return std::nullopt;
    return std::optional<T>(std::in_place, detail::decode<T>(r));
  }
};

template <class... T>
struct std_codec<std::variant<T...>> {
  using variant = std::variant<T...>;
  using elements = type_list<T...>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const variant& v) {
    if (v.valueless_by_exception()) throw std::bad_variant_access();
    w.put_length(v.index());
    std::visit([&w]<class A>(const A& alternative) { detail::encode<A>(w, alternative); }, v);
  }

  static variant decode(reader& r) {
    const std::uint64_t index = r.get_unchecked_length();
    if (index >= sizeof...(T)) reject("a variant holds none of its alternatives");
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      using decoder = variant (*)(reader&);
      static constexpr decoder decoders[] = {
          [](reader& from) { return variant(std::in_place_index<I>, detail::decode<T>(from)); }...};
      return decoders[index](r);
    }(std::index_sequence_for<T...>());
  }
};

template <class Rep, class Period>
struct std_codec<std::chrono::duration<Rep, Period>> {
  using duration = std::chrono::duration<Rep, Period>;
  using elements = type_list<Rep>;
  static constexpr std::size_t min_bytes = detail::min_bytes<Rep>();

  static void encode(writer& w, const duration& d) { detail::encode<Rep>(w, d.count()); }
  static duration decode(reader& r) { return duration(detail::decode<Rep>(r)); }
};

template <class Clock, class Duration>
struct std_codec<std::chrono::time_point<Clock, Duration>> {
  using time_point = std::chrono::time_point<Clock, Duration>;
  using elements = type_list<Duration>;
  static constexpr std::size_t min_bytes = detail::min_bytes<Duration>();

  static void encode(writer& w, const time_point& t) { detail::encode<Duration>(w, t.time_since_epoch()); }
  static time_point decode(reader& r) { return time_point(detail::decode<Duration>(r)); }
};

/// std::complex<T>, known by what it does, because <complex> costs the compiler a tenth of Asio. Whatever type this is,
/// it has room for two numbers, and real() and imag() return those that it was made of: so it is nothing but these.
template <class T>
concept complex_number = std::is_trivially_copyable_v<T> && requires(const T& c) {
  requires std::is_floating_point_v<typename T::value_type> && sizeof(T) == 2 * sizeof(typename T::value_type);
  requires std::is_same_v<decltype(c.real()), typename T::value_type>;
  requires std::is_same_v<decltype(c.imag()), typename T::value_type>;
  requires std::bool_constant<T(1, 2).real() == 1 && T(1, 2).imag() == 2>::value;
};

template <complex_number T>
struct std_codec<T> {
  using number = typename T::value_type;
  using elements = type_list<number>;
  static constexpr std::size_t min_bytes = 2 * detail::min_bytes<number>();

  static void encode(writer& w, const T& c) {
    detail::encode<number>(w, c.real());
    detail::encode<number>(w, c.imag());
  }
  static T decode(reader& r) {
    const auto real = detail::decode<number>(r);
    return {real, detail::decode<number>(r)};
  }
};

template <std::size_t N>
struct std_codec<std::bitset<N>> {
  using elements = type_list<>;
  static constexpr bool validates = true; // although it is plain bytes
  static constexpr std::size_t min_bytes = sizeof(std::bitset<N>);

  static void encode(writer& w, const std::bitset<N>& b) { w.put_bytes(&b, sizeof b); }
  static std::bitset<N> decode(reader& r) {
    std::bitset<N> b;
    r.get_bytes(static_cast<void*>(&b), sizeof b);
    if (b != ~~b) reject("a bitset has bits beyond its end"); // operator~ clears them
    return b;
  }
};

template <std::same_as<std::filesystem::path> Path> // a template so that only a file that sends one compiles it
struct std_codec<Path> {
  using elements = type_list<>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const Path& p) { detail::encode(w, p.native()); }
  static Path decode(reader& r) { return detail::decode<typename Path::string_type>(r); }
};

} // namespace coproc::detail
