// SPDX-License-Identifier: BSL-1.0
// Large results that nobody copies: a task fills a result_array, which the front end then reads where it is, as a
// result_view. Used in workers, and for the view in the front end. A public header.
#pragma once

#include <coproc/codec/codec.hpp>
#include <coproc/codec/far_memory.hpp>
#include <coproc/worker/context.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

namespace detail {

template <class T>
consteval bool verify_view_element() {
  constexpr bool usable = std::is_same_v<T, std::remove_cv_t<T>> && travels_as_bytes<T> && !holds_bool<T>();
  static_assert(usable,
                "coproc: the elements of a result_view are read as they lie there: use types of plain bytes without "
                "bool (std::uint8_t will do), or return a std::vector");
  return usable;
}

/// Memory that a worker lends to the front end; where there is none, the heap's.
inline std::shared_ptr<std::byte> allocate_result_memory(std::size_t bytes, std::size_t alignment) {
  if (worker::result_memory* const views = worker::this_worker_context.views)
    if (std::byte* const p = views->allocate(bytes, alignment)) return {p, [views](std::byte* q) { views->drop(q); }};
  return {static_cast<std::byte*>(::operator new(bytes, std::align_val_t(alignment))),
          [alignment](std::byte* q) { ::operator delete(q, std::align_val_t(alignment)); }};
}

} // namespace detail

template <class T>
class result_view;

/// An array for a task to fill and to return as a result_view, to which it converts:
///
///     coproc::result_view<double> solve(std::size_t n) {
///       coproc::result_array<double> a(n);
///       ...
///       return a;
///     }
///
/// Arrays of 4 KiB and more are made in memory that the front end sees. A worker has pool_options::max_payload bytes of
/// it, for up to 1,024 arrays and 64 results that are still viewed. What finds no room there, or is made elsewhere than
/// in a worker, is ordinary memory, and copied when it is returned: slower, but the same.
/// \par Threads  any; one array as a std::vector
template <class T>
class result_array {
  static_assert(detail::verify_view_element<T>());

public:
  using value_type = T; ///< of an element

  /// n elements of any value whatever: the memory is reused as it is. Throws std::bad_alloc.
  explicit result_array(std::size_t n) : size_(n) {
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
    if (n == 0) return;
    const auto memory = detail::allocate_result_memory(n * sizeof(T), alignof(T));
    first_ = std::shared_ptr<T>(memory, reinterpret_cast<T*>(memory.get()));
  }

  /// The array that was moved from is empty.
  /// @{
  result_array(result_array&& other) noexcept : first_(std::move(other.first_)), size_(std::exchange(other.size_, 0)) {}
  result_array& operator=(result_array&& other) noexcept {
    first_ = std::move(other.first_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  /// @}

  /// The elements, in one piece.
  /// @{
  T* data() noexcept { return first_.get(); }
  const T* data() const noexcept { return first_.get(); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size_; }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size_; }
  T& operator[](std::size_t i) noexcept { return data()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data()[i]; }
  /// @}

private:
  friend class result_view<T>;

  std::shared_ptr<T> first_;
  std::size_t size_;
};

/// Elements that a task made, read where they lie. The result of a call, or a part of it, in an aggregate, a tuple, a
/// vector ... Copies are cheap and share the memory. It stays as it is until the last of them is gone, and so are those
/// of the other views in the same result; it may outlive the worker and the pool. What the call itself left behind goes
/// back to the worker. As an argument it is passed as a std::span<const T> or a result_view<T>, and copied. The worker
/// that made the memory could still write to it: take results of workers that may be hostile by value. A forked copy of
/// the front end does not have it.
/// \par Threads  as std::shared_ptr
template <class T>
class result_view {
  static_assert(detail::verify_view_element<T>());

public:
  using value_type = T; ///< of an element

  /// No elements.
  result_view() noexcept = default;
  /// Nobody can write to the array from now on.
  result_view(result_array<T>&& a) noexcept : first_(std::move(a.first_)), size_(std::exchange(a.size_, 0)) {}

  /// A copy shares the elements. The view that was moved from is empty.
  /// @{
  result_view(const result_view&) noexcept = default;
  result_view& operator=(const result_view&) noexcept = default;
  result_view(result_view&& other) noexcept : first_(std::move(other.first_)), size_(std::exchange(other.size_, 0)) {}
  result_view& operator=(result_view&& other) noexcept {
    first_ = std::move(other.first_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  /// @}

  /// The elements, in one piece.
  /// @{
  const T* data() const noexcept { return first_.get(); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size_; }
  const T& operator[](std::size_t i) const noexcept { return data()[i]; }
  /// @}

private:
  friend struct codec<result_view>;

  result_view(std::shared_ptr<const T> first, std::size_t n) noexcept : first_(std::move(first)), size_(n) {}

  std::shared_ptr<const T> first_;
  std::size_t size_ = 0;
};

/// How a result_view travels. Where the writer can lend the elements: 1, their place and number. Else 0 and the
/// elements.
template <class T>
struct codec<result_view<T>> {
  static_assert(detail::verify_view_element<T>());

  /// Lends the elements, or copies them.
  static void encode(writer& w, const result_view<T>& v) {
    if (w.far() != nullptr && !v.empty()) {
      if (const auto place = w.far()->lend(v.data(), v.size() * sizeof(T))) {
        w.put(std::uint8_t{1}).put_length(*place).put_length(v.size());
        return;
      }
    }
    w.put(std::uint8_t{0});
    detail::encode_plain_range(w, v.data(), v.size());
  }

  /// Throws bad_payload if what is lent is not there, or is misaligned.
  static result_view<T> decode(reader& r) {
    switch (r.get<std::uint8_t>()) {
    case 0: {
      const auto elements = std::make_shared<const std::vector<T>>(detail::decode_plain_range<std::vector<T>>(r));
      return {std::shared_ptr<const T>(elements, elements->data()), elements->size()};
    }
    case 1: {
      const std::uint64_t place = r.get_unchecked_length(), n = r.get_unchecked_length();
      if (r.far() == nullptr || n > std::numeric_limits<std::size_t>::max() / sizeof(T))
        detail::reject("a result_view refers to memory that is not there");
      const std::shared_ptr<const std::byte> memory = r.far()->borrow(place, n * sizeof(T));
      if (reinterpret_cast<std::uintptr_t>(memory.get()) % alignof(T) != 0)
        detail::reject("a result_view is misaligned");
      return {std::shared_ptr<const T>(memory, reinterpret_cast<const T*>(memory.get())), static_cast<std::size_t>(n)};
    }
    default: detail::reject("a result_view is neither here nor there");
    }
  }
};

/// A result_array does not travel: a build error says how to return one.
template <class T>
struct codec<result_array<T>> {
  static_assert(!std::is_same_v<T, T>,
                "coproc: a result_array stays where it is filled: let fn return coproc::result_view<T>, "
                "to which it converts");
};

} // namespace coproc
