// SPDX-License-Identifier: BSL-1.0
// argument_array: memory for a large argument that the front end fills in place and that workers view in place. It owns
// a share of a block of a pool's argument memory. Front end.
#pragma once

#include <coproc/codec/travels.hpp>
#include <coproc/pool.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace coproc {

namespace detail {

template <class T>
consteval bool verify_array_element() {
  if constexpr (!travels<T>()) {
    return false;
  } else {
    static_assert(
        travels_as_bytes<T> && !std::is_const_v<T> && alignof(T) <= 4096,
        "coproc: an argument_array holds plain elements only, numbers and the like: pass a std::vector of these");
    return true;
  }
}

} // namespace detail

/// An array of T in memory that all workers of one pool can map, read-only there. A call that is given it copies
/// nothing:
///
///     coproc::argument_array<float> image(pool, count);
///     std::ranges::copy(source, image.begin());
///     float s = co_await coproc::run_in_executor(pool, sum, image);   // float sum(std::span<const float>)
///
/// A handle, like std::shared_ptr: copies are cheap, and share the elements, also where the handle is const. fn takes
/// it as std::span<const T> (std::string_view for characters), or as std::vector<T> (std::string), which is a copy made
/// in the worker; a generic fn gets std::span<const T>. It is an argument of its own, never part of another object or
/// of a result. One array may go to many calls, at once or one after the other; one call may take several.
/// \par Writing   not while a call that was given the array is not completed. Once it is completed no worker looks at
///                the elements any more, however it ended (but for one that survives SIGKILL, in uninterruptible sleep)
/// \par Lifetime  the memory goes back to the pool, warm, when the last handle and the last call that was given one are
///                gone; it may outlive the pool
/// \par Limits    the bytes are yours: they count neither towards max_queue_bytes nor towards the max_payload of a call
/// \par Threads   as std::shared_ptr: distinct handles from any threads at once
template <class T>
class argument_array {
  static_assert(detail::verify_array_element<T>());

public:
  using value_type = T; ///< of an element

  /// `count` elements with unspecified contents: the memory may have been used before.
  /// \par Errors  pool_error(payload_too_large): more than pool_options::max_payload bytes. pool_error(wrong_process):
  ///              in a forked copy of the process that made the pool, workers included. pool_error with a system code:
  ///              descriptors or memory
  argument_array(const process_pool& pool, std::size_t count)
      : memory_(detail::front::engine_of(pool)->lend(count, sizeof(T))), size_(count) {}

  /// Shares the elements. A moved-from handle is still one: there is no empty state.
  /// @{
  argument_array(const argument_array&) = default;
  argument_array& operator=(const argument_array&) = default;
  /// @}

  /// The elements, in one piece.
  /// @{
  T* data() const noexcept { return reinterpret_cast<T*>(memory_->data); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size_; }
  T& operator[](std::size_t i) const noexcept { return data()[i]; }
  /// @}

private:
  friend detail::array_access;

  std::shared_ptr<const detail::front::array_memory> memory_;
  std::size_t size_;
};

} // namespace coproc
