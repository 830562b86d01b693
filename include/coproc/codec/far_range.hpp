// SPDX-License-Identifier: BSL-1.0
// How an argument_array travels: in place of a range of plain elements, a reference to them. The codec layer, which
// knows neither the class nor its memory.
#pragma once

#include <coproc/codec/far_memory.hpp>
#include <coproc/codec/reader.hpp>
#include <coproc/codec/writer.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace coproc {

template <class T>
class argument_array;

namespace detail {

template <class T>
inline constexpr bool is_argument_array = false;
template <class T>
inline constexpr bool is_argument_array<argument_array<T>> = true;

/// What coproc itself needs of an argument_array.
struct array_access {
  template <class Array>
  static const auto& memory_of(const Array& a) noexcept {
    return a.memory_;
  }
};

/// Stands where the number of elements stands otherwise. No range is that long, so only a reader that is about to
/// refuse a length has to look for it: the others pay nothing.
inline constexpr std::uint64_t far_length = std::numeric_limits<std::uint64_t>::max();

/// What follows it. What `place` means is known to the far_memory alone.
struct far_range {
  std::uint64_t place = 0, count = 0;
};

inline void encode_far_range(writer& w, const far_range& range) {
  w.put_length(far_length);
  std::memcpy(w.claim(sizeof range), &range, sizeof range);
}

struct far_elements {
  const std::byte* first;
  std::size_t count;
};

/// For a length that exceeds the payload.
[[gnu::cold, gnu::noinline]] inline far_elements take_far_range(reader& r, std::uint64_t length,
                                                                std::size_t element_bytes) {
  if (length != far_length) reject("a length exceeds the payload");
  if (r.far() == nullptr) reject("the payload refers to memory that it has not");
  far_range range;
  r.get_bytes(&range, sizeof range);
  if (range.count > std::numeric_limits<std::size_t>::max() / element_bytes) reject("a length exceeds all memory");
  const auto count = static_cast<std::size_t>(range.count);
  return {r.far()->look(range.place, count * element_bytes), count};
}

} // namespace detail
} // namespace coproc
