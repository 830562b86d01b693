// SPDX-License-Identifier: BSL-1.0
// gather_settled: gather that keeps failures as results and cancels nobody because of them. Runs in the front end, on
// the caller's executor. A public header: may include everything.
#pragma once

#include <coproc/gather.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>

#include <exception>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

/// What one child of gather_settled ended with: a value, or an exception.
template <class T>
class settled {
public:
  /// For gather_settled: the value that get() returns, or else the exception that it throws.
  settled(std::optional<value_t<T>> value, std::exception_ptr error)
      : value_(std::move(value)), error_(std::move(error)) {}

  bool has_value() const noexcept { return value_.has_value(); }      ///< and no exception
  explicit operator bool() const noexcept { return has_value(); }     ///< has_value()
  const std::exception_ptr& error() const noexcept { return error_; } ///< null: it has a value

  /// The value, or rethrows the exception.
  /// @{
  T get() && {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }
  std::conditional_t<std::is_void_v<T>, void, const value_t<T>&> get() const& {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<T>) return *value_;
  }
  /// @}

private:
  std::optional<value_t<T>> value_;
  std::exception_ptr error_;
};

namespace detail {

template <class A>
net::awaitable<settled<awaited_t<A>>> settle(A child) {
  std::optional<value_t<awaited_t<A>>> value;
  std::exception_ptr error;
  try {
    if constexpr (std::is_void_v<awaited_t<A>>) {
      co_await coroutine_of(child);
      value.emplace();
    } else {
      awaited_t<A> result = co_await coroutine_of(child);
      value.emplace(std::move(result));
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_return settled<awaited_t<A>>(std::move(value), std::move(error));
}

} // namespace detail

/// Runs the children concurrently and awaits them all, as gather does, but a failure of one leaves the others alone: a
/// tuple of settled<T>, each with the value or the exception of its child. It throws nothing of theirs.
/// \par Cancel    forwarded to every child, with its type; completes when they have ended, with what they did of it
/// \par Threads, Lifetime  as gather
template <awaitable_like... A>
[[nodiscard]] auto gather_settled(A... children) {
  return gather(detail::settle(std::move(children))...);
}

/// The same for a range of children, whose elements are moved from: a vector, in order.
template <class Range>
  requires detail::input_range<Range> && awaitable_like<std::iter_value_t<detail::iterator_of<Range>>>
[[nodiscard]] auto gather_settled(Range&& range) {
  using child = std::iter_value_t<detail::iterator_of<Range>>;
  std::vector<net::awaitable<settled<awaited_t<child>>>> children;
  const auto end = std::ranges::end(range);
  for (auto it = std::ranges::begin(range); it != end; ++it)
    children.push_back(detail::settle(child(std::ranges::iter_move(it))));
  return gather(std::move(children));
}

} // namespace coproc
