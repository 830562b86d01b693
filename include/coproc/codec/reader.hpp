// SPDX-License-Identifier: BSL-1.0
// Decodes values out of bytes that nobody vouches for. Runs in the worker over its arguments, and in the front end over
// a result that a broken or hostile worker wrote and may still be writing: every length and tag is loaded once,
// checked, and never looked at again. The codec layer; what a type's bytes are is in codec.hpp.
#pragma once

#include <coproc/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace coproc {

namespace detail {
class far_memory;

[[noreturn, gnu::cold, gnu::noinline]] inline void reject(const char* what) { throw bad_payload(what); }
} // namespace detail

/// Takes values from a payload, front to back. Whatever does not decode throws bad_payload, before anything is
/// allocated for it. Not thread-safe. The bytes must outlive the reader, and views taken from it.
class reader {
public:
  /// Containers of containers, and a codec<T> that calls get<T>(), may nest this deep: the stack is bounded.
  static constexpr unsigned max_depth = 256;
  /// Nor may the levels together take more of the stack than this: objects that contain large arrays, for instance.
  static constexpr std::size_t max_stack_bytes = std::size_t{1} << 20;

  /// Reads `bytes`, and what they refer to in `far`.
  explicit reader(std::span<const std::byte> bytes, detail::far_memory* far = nullptr) noexcept
      : begin_(bytes.data()), cursor_(bytes.data()), end_(bytes.data() + bytes.size()), far_(far),
        allowance_(4096 + 8 * std::min<std::size_t>(bytes.size(), std::size_t(1) << 56)) {}

  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  /// Decodes a value of any type that has a codec.
  template <class U>
  U get(); // in codec.hpp

  /// Memory beside the payload that it may refer to; null: none.
  detail::far_memory* far() const noexcept { return far_; }

  /// Bytes that were not taken yet.
  std::size_t remaining() const noexcept { return static_cast<std::size_t>(end_ - cursor_); }

  /// Throws bad_payload if bytes are left over.
  void expect_end() const {
    if (cursor_ != end_) detail::reject("the payload is longer than its value");
  }

  /// The next n bytes in place; after the padding that put_bytes(..., alignment) wrote.
  /// @{
  const std::byte* take(std::size_t n) {
    if (remaining() < n) [[unlikely]]
      detail::reject("the payload is too short");
    return std::exchange(cursor_, cursor_ + n);
  }
  const std::byte* take(std::size_t n, std::size_t alignment) {
    const std::size_t padding = (alignment - static_cast<std::size_t>(cursor_ - begin_) % alignment) % alignment;
    if (remaining() < padding || remaining() - padding < n) [[unlikely]]
      detail::reject("the payload is too short");
    const std::byte* p = cursor_ + padding;
    cursor_ = p + n;
    return p;
  }
  /// @}

  /// Copies the next n bytes out; they are read exactly once.
  void get_bytes(void* to, std::size_t n, std::size_t alignment = 1) {
    const std::byte* from = take(n, alignment);
    if (n != 0) std::memcpy(to, from, n);
    // What is checked later must be this copy: without the barrier a compiler may read the source a second time.
    asm volatile("" : : "r"(to) : "memory");
  }

  /// One number or tag, read exactly once.
  template <class N>
    requires std::is_integral_v<N>
  N get_raw() {
    N n;
    std::memcpy(&n, take(sizeof n), sizeof n);
    asm volatile("" : "+r"(n)); // keeps the checked value from being loaded again
    return n;
  }

  /// What put_length wrote: any number whatever.
  std::uint64_t get_unchecked_length() {
    const std::uint64_t n = get_raw<std::uint8_t>();
    return n == 255 ? get_raw<std::uint64_t>() : n;
  }

  /// A number of elements of which each takes at least min_element_bytes (not zero) of what remains.
  std::size_t get_length(std::size_t min_element_bytes) {
    const std::uint64_t n = get_unchecked_length();
    if (n > remaining() / min_element_bytes) [[unlikely]]
      detail::reject("a length exceeds the payload");
    return static_cast<std::size_t>(n);
  }

  /// How many of n elements to make room for in advance. All such room of a payload together is a small multiple of its
  /// bytes; containers grow on their own beyond that, as elements really arrive.
  std::size_t allowance(std::size_t n, std::size_t element_bytes) noexcept {
    n = std::min(n, allowance_ / element_bytes);
    allowance_ -= n * element_bytes;
    return n;
  }

  /// One level of nesting, for as long as it lives.
  class nesting {
  public:
    /// Throws bad_payload beyond max_depth or max_stack_bytes.
    explicit nesting(reader& r) : reader_(r) {
      // Not the address of a local: AddressSanitizer keeps those on a stack of its own.
      const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
      if (r.depth_ == 0) r.outermost_frame_ = here;
      if (r.depth_ == max_depth || distance(here, r.outermost_frame_) > max_stack_bytes)
        detail::reject("the payload nests too deep");
      ++r.depth_;
    }
    ~nesting() { --reader_.depth_; }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;

  private:
    static std::size_t distance(std::uintptr_t a, std::uintptr_t b) noexcept { return a < b ? b - a : a - b; }

    reader& reader_;
  };

private:
  const std::byte* begin_;
  const std::byte* cursor_;
  const std::byte* end_;
  detail::far_memory* far_;
  std::size_t allowance_;
  unsigned depth_ = 0;
  std::uintptr_t outermost_frame_ = 0;
};

} // namespace coproc
