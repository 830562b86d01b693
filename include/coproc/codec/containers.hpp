// SPDX-License-Identifier: BSL-1.0
// How the containers and strings of the standard library travel: a length, then the elements; ranges of plain types in
// one memcpy. Runs on both sides of the mailbox; the codec layer.
#pragma once

#include <coproc/codec/far_range.hpp>
#include <coproc/codec/form.hpp>
#include <coproc/os/huge_pages.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <forward_list>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace coproc::detail {

/// Where n plain elements begin in a payload, so that they can be viewed in place; large ones at the start of a cache
/// line: on recent AMD processors `rep movsb`, which memcpy becomes, is sixteen times as slow where destination and
/// source are 1 to 15 bytes apart modulo a page, as they would be behind a length of nine bytes.
template <class T>
constexpr std::size_t plain_range_alignment(std::size_t n) noexcept {
  return n * sizeof(T) < 1024 ? alignof(T) : std::max<std::size_t>(alignof(T), 64);
}

template <class T>
void encode_plain_range(writer& w, const T* first, std::size_t n) {
  w.put_length(n).put_bytes(first, n * sizeof(T), plain_range_alignment<T>(n));
}

/// The elements that encode_plain_range wrote, or encode_far_range refers to, where they lie: perhaps misaligned for T,
/// and not yet validated.
struct plain_range {
  const std::byte* first;
  std::size_t count;
  bool far = false;

  template <class T>
  static plain_range take(reader& r) {
    const std::uint64_t n = r.get_unchecked_length();
    if (n > r.remaining() / sizeof(T)) [[unlikely]] {
      const auto [first, count] = take_far_range(r, n, sizeof(T));
      return {first, count, true};
    }
    return {r.take(n * sizeof(T), plain_range_alignment<T>(n)), n}; // the product cannot overflow
  }

  template <class T>
  bool aligned() const noexcept {
    return reinterpret_cast<std::uintptr_t>(first) % alignof(T) == 0;
  }
};

// Reads elements of T from memory that is not aligned for it.
template <class T>
class unaligned_iterator {
public:
  using iterator_category = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = void;
  using reference = T;

  unaligned_iterator() = default;
  explicit unaligned_iterator(const std::byte* at) noexcept : at_(at) {}

  T operator*() const {
    struct {
      alignas(T) std::byte bytes[sizeof(T)];
    } raw;
    std::memcpy(raw.bytes, at_, sizeof raw.bytes);
    return std::bit_cast<T>(raw);
  }
  unaligned_iterator& operator++() noexcept {
    at_ += sizeof(T);
    return *this;
  }
  unaligned_iterator operator++(int) noexcept { return unaligned_iterator(std::exchange(at_, at_ + sizeof(T))); }
  bool operator==(const unaligned_iterator&) const = default;

private:
  const std::byte* at_ = nullptr;
};

/// A vector or string of plain elements, copied out in one memcpy.
template <class Container>
Container decode_plain_range(reader& r) {
  using T = typename Container::value_type;
  const auto range = plain_range::take<T>(r);
  auto copy = [&] {
    if (range.template aligned<T>()) {
      const T* first = reinterpret_cast<const T*>(range.first);
      if constexpr (std::is_same_v<typename Container::allocator_type, std::allocator<T>> &&
                    std::is_copy_assignable_v<T>)
        if (range.count >= os::always_fresh_bytes / sizeof(T)) {
          Container large;
          large.reserve(range.count);
          os::expect_writes(large.data(), range.count * sizeof(T));
          large.assign(first, first + range.count);
          return large;
        }
      return Container(first, first + range.count);
    }
    using iterator = unaligned_iterator<T>;
    return Container(iterator(range.first), iterator(range.first + range.count * sizeof(T)));
  };
  Container out = copy();
  asm volatile("" : : "r"(out.data()) : "memory"); // what is validated, and used, is this copy
  if constexpr (holds_bool<T>())
    for (const T& element : out) validate(element);
  return out;
}

/// Every other range: a length, then element by element.
template <class Range>
void encode_elements(writer& w, const Range& range, std::size_t n) {
  w.put_length(n);
  for (const auto& element : range) encode_element<typename Range::value_type>(w, element);
}

/// Calls append(element) for each element of the range.
template <class T, class Prepare, class Append>
void decode_elements(reader& r, Prepare&& prepare, Append&& append) {
  const reader::nesting guard(r);
  const std::size_t n = r.get_length(min_element_bytes<T>);
  prepare(n);
  for (std::size_t i = 0; i != n; ++i) append(decode_element<T>(r));
}

inline constexpr auto nothing_to_prepare = [](std::size_t) {};

template <class C, class Traits, class Allocator>
struct std_codec<std::basic_string<C, Traits, Allocator>> {
  using string = std::basic_string<C, Traits, Allocator>;
  using elements = type_list<C>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const string& s) { encode_plain_range(w, s.data(), s.size()); }
  static string decode(reader& r) { return decode_plain_range<string>(r); }
};

template <class T, class Allocator>
struct std_codec<std::vector<T, Allocator>> {
  using vector = std::vector<T, Allocator>;
  using elements = type_list<T>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const vector& v) {
    if constexpr (travels_as_bytes<T>)
      encode_plain_range(w, v.data(), v.size());
    else
      encode_elements(w, v, v.size());
  }

  static vector decode(reader& r) {
    if constexpr (travels_as_bytes<T>) {
      return decode_plain_range<vector>(r);
    } else {
      vector v;
      decode_elements<T>(
          r, [&](std::size_t n) { v.reserve(r.allowance(n, sizeof(T))); }, [&](T&& t) { v.push_back(std::move(t)); });
      return v;
    }
  }
};

// Eight to a byte.
template <class Allocator>
struct std_codec<std::vector<bool, Allocator>> {
  using vector = std::vector<bool, Allocator>;
  using elements = type_list<bool>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const vector& v) {
    w.put_length(v.size());
    for (std::size_t i = 0; i < v.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t bit = 0; bit != 8 && i + bit != v.size(); ++bit) byte |= unsigned(v[i + bit]) << bit;
      *w.claim(1) = static_cast<std::byte>(byte);
    }
  }

  static vector decode(reader& r) {
    std::uint64_t n = r.get_unchecked_length();
    if (n / 8 + (n % 8 != 0) > r.remaining()) reject("a length exceeds the payload");
    vector v(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < v.size(); i += 8) {
      const unsigned byte = r.get_raw<unsigned char>();
      for (std::size_t bit = 0; bit != 8 && i + bit != v.size(); ++bit) v[i + bit] = ((byte >> bit) & 1) != 0;
    }
    return v;
  }
};

// deque, list: what grows at its end without moving.
template <class Container>
struct list_codec {
  using T = typename Container::value_type;
  using elements = type_list<T>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const Container& c) { encode_elements(w, c, c.size()); }
  static Container decode(reader& r) {
    Container c;
    decode_elements<T>(r, nothing_to_prepare, [&](T&& t) { c.push_back(std::move(t)); });
    return c;
  }
};

template <class T, class Allocator>
struct std_codec<std::deque<T, Allocator>> : list_codec<std::deque<T, Allocator>> {};
template <class T, class Allocator>
struct std_codec<std::list<T, Allocator>> : list_codec<std::list<T, Allocator>> {};

template <class T, class Allocator>
struct std_codec<std::forward_list<T, Allocator>> {
  using list = std::forward_list<T, Allocator>;
  using elements = type_list<T>;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const list& l) {
    encode_elements(w, l, static_cast<std::size_t>(std::distance(l.begin(), l.end())));
  }
  static list decode(reader& r) {
    list l;
    auto last = l.before_begin();
    decode_elements<T>(r, nothing_to_prepare, [&](T&& t) { last = l.insert_after(last, std::move(t)); });
    return l;
  }
};

template <class T>
inline constexpr bool is_map = requires { typename T::mapped_type; };

// Ordered and unordered, sets and maps. A forged order or a repeated key costs time, no more.
template <class Container>
struct key_codec {
  using key = typename Container::key_type;
  static constexpr std::size_t min_bytes = 1;

  static void encode(writer& w, const Container& c) {
    w.put_length(c.size());
    for (const auto& element : c) {
      if constexpr (is_map<Container>) {
        encode_element<key>(w, element.first);
        detail::encode<typename Container::mapped_type>(w, element.second);
      } else {
        encode_element<key>(w, element);
      }
    }
  }

  static Container decode(reader& r) {
    const reader::nesting guard(r);
    Container c;
    const std::size_t n = r.get_length(min_element_bytes<key>);
    if constexpr (requires { c.reserve(n); }) c.reserve(r.allowance(n, 2 * sizeof(void*)));
    for (std::size_t i = 0; i != n; ++i) {
      key k = decode_element<key>(r);
      if constexpr (is_map<Container>)
        c.emplace_hint(c.end(), std::move(k), detail::decode<typename Container::mapped_type>(r));
      else
        c.emplace_hint(c.end(), std::move(k));
    }
    return c;
  }
};

template <class Container>
struct set_codec : key_codec<Container> {
  using elements = type_list<typename Container::key_type>;
};
template <class Container>
struct map_codec : key_codec<Container> {
  using elements = type_list<typename Container::key_type, typename Container::mapped_type>;
};

// A comparison or hash with state, such as a function pointer, would arrive without it.
template <class... Policy>
concept stateless_policies = (std::is_empty_v<Policy> && ...) && (std::is_default_constructible_v<Policy> && ...);

template <class K, class C, class A>
  requires stateless_policies<C>
struct std_codec<std::set<K, C, A>> : set_codec<std::set<K, C, A>> {};
template <class K, class C, class A>
  requires stateless_policies<C>
struct std_codec<std::multiset<K, C, A>> : set_codec<std::multiset<K, C, A>> {};
template <class K, class H, class E, class A>
  requires stateless_policies<H, E>
struct std_codec<std::unordered_set<K, H, E, A>> : set_codec<std::unordered_set<K, H, E, A>> {};
template <class K, class H, class E, class A>
  requires stateless_policies<H, E>
struct std_codec<std::unordered_multiset<K, H, E, A>> : set_codec<std::unordered_multiset<K, H, E, A>> {};
template <class K, class V, class C, class A>
  requires stateless_policies<C>
struct std_codec<std::map<K, V, C, A>> : map_codec<std::map<K, V, C, A>> {};
template <class K, class V, class C, class A>
  requires stateless_policies<C>
struct std_codec<std::multimap<K, V, C, A>> : map_codec<std::multimap<K, V, C, A>> {};
template <class K, class V, class H, class E, class A>
  requires stateless_policies<H, E>
struct std_codec<std::unordered_map<K, V, H, E, A>> : map_codec<std::unordered_map<K, V, H, E, A>> {};
template <class K, class V, class H, class E, class A>
  requires stateless_policies<H, E>
struct std_codec<std::unordered_multimap<K, V, H, E, A>> : map_codec<std::unordered_multimap<K, V, H, E, A>> {};

} // namespace coproc::detail
