// SPDX-License-Identifier: BSL-1.0
// Encodes values into borrowed memory (a slot, a segment, the result ring) that its owner can replace by a larger
// place. Runs on the submitting thread of the front end and in the worker. The codec layer; what a type's bytes are is
// in codec.hpp.
#pragma once

#include <coproc/error.hpp>
#include <coproc/os/cache.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

namespace coproc {

namespace detail {
class far_memory;
}

/// Appends encoded values. Not thread-safe. The memory belongs to the creator and must outlive the writer.
/// \par Layout  Values are packed. Only ranges of plain types are aligned, relative to the first byte of the payload,
///              so that a std::span parameter can view them in place; padding is zero.
class writer {
public:
  /// Called when fewer than more_bytes are left. It moves bytes [0, w.size()) to a larger place and calls w.rebase(),
  /// or throws: pool_error(errc::payload_too_large) when there is none.
  using grow_function = void (*)(void* context, writer& w, std::size_t more_bytes);

  /// Writes to [begin, begin + capacity) and, when that is full, where on_full(context, ...) puts it.
  writer(std::byte* begin, std::size_t capacity, grow_function on_full, void* context,
         detail::far_memory* far = nullptr) noexcept
      : begin_(begin), cursor_(begin), end_(begin + capacity), on_full_(on_full), context_(context), far_(far) {}

  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  /// Encodes any value whose type has a codec.
  template <class T>
  writer& put(const T& value); // in codec.hpp

  /// Appends n bytes in one copy, padded so that they begin at a multiple of alignment (a power of two).
  writer& put_bytes(const void* from, std::size_t n, std::size_t alignment = 1) {
    const std::size_t padding = (alignment - size() % alignment) % alignment;
    if (n > std::numeric_limits<std::size_t>::max() - padding)
      throw pool_error(make_error_code(errc::payload_too_large));
    std::byte* to = claim(padding + n);
    for (std::size_t i = 0; i != padding; ++i) to[i] = std::byte{0};
    // else whatever publishes it would wait for this line
    if (n >= 4096) os::prefetch_for_writing(to + padding + n - 1);
    if (n != 0) std::memcpy(to + padding, from, n);
    return *this;
  }

  /// A number of elements: one byte below 255, else 255 and eight bytes.
  writer& put_length(std::uint64_t n) {
    if (n < 255) {
      *claim(1) = static_cast<std::byte>(n);
    } else {
      std::byte* to = claim(1 + sizeof n);
      *to = std::byte{255};
      std::memcpy(to + 1, &n, sizeof n);
    }
    return *this;
  }

  /// n more bytes, to be filled by the caller before the next call.
  std::byte* claim(std::size_t n) {
    if (static_cast<std::size_t>(end_ - cursor_) < n) [[unlikely]]
      grow(n);
    return std::exchange(cursor_, cursor_ + n);
  }

  /// Memory beside the payload that it may refer to; null: none.
  detail::far_memory* far() const noexcept { return far_; }

  /// Bytes written so far.
  std::size_t size() const noexcept { return static_cast<std::size_t>(cursor_ - begin_); }
  /// Where they are now.
  std::byte* data() const noexcept { return begin_; }

  /// Forgets what was written; keeps the memory.
  void rewind() noexcept { cursor_ = begin_; }

  /// For the grow function: the first size() bytes now lie at begin.
  void rebase(std::byte* begin, std::size_t capacity) noexcept {
    cursor_ = begin + size();
    begin_ = begin;
    end_ = begin + capacity;
  }

private:
  [[gnu::noinline, gnu::cold]] void grow(std::size_t n) {
    if (n <= std::numeric_limits<std::size_t>::max() - size()) on_full_(context_, *this, n);
    if (static_cast<std::size_t>(end_ - cursor_) < n) throw pool_error(make_error_code(errc::payload_too_large));
  }

  std::byte* begin_;
  std::byte* cursor_;
  std::byte* end_;
  grow_function on_full_;
  void* context_;
  detail::far_memory* far_;
};

} // namespace coproc
