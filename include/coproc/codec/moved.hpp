// SPDX-License-Identifier: BSL-1.0
// coproc::moved, which passes a named object on as an rvalue. Runs in the front end; the codec layer, standard headers
// only.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace coproc {

/// Stands for an rvalue of T; what moved() returns. The object must live until it is taken.
template <class T>
class moved_ref {
public:
  /// For moved(): refers to `object`.
  explicit moved_ref(T& object) noexcept : object_(std::addressof(object)) {}

  /// The object, as an rvalue.
  T&& get() const noexcept { return std::move(*object_); }
  /// Moves from the object.
  operator T() const { return std::move(*object_); }

private:
  T* object_;
};

/// std::move for the arguments of a call inside a co_await expression, where g++ 12 destroys aggregate temporaries
/// twice (GCC PR 99576): `co_await run_in_executor(pool, fn, coproc::moved(name))`.
template <class T>
moved_ref<T> moved(T& object) noexcept {
  static_assert(!std::is_const_v<T>, "coproc: a const object cannot be moved from: pass its name");
  return moved_ref<T>(object);
}

namespace detail {

template <class A>
struct unmoved {
  using type = A;
};
template <class T>
struct unmoved<moved_ref<T>> {
  using type = T;
};

/// The type of an argument A&&, as it was given: T for moved_ref<T>, otherwise A itself (an lvalue reference for
/// lvalues).
template <class A>
using argument_t =
    std::conditional_t<std::is_same_v<typename unmoved<std::remove_cvref_t<A>>::type, std::remove_cvref_t<A>>, A,
                       typename unmoved<std::remove_cvref_t<A>>::type>;

/// std::forward<A>(argument), out of its moved_ref.
template <class A>
argument_t<A>&& take_argument(std::remove_reference_t<A>& argument) noexcept {
  if constexpr (std::is_same_v<argument_t<A>, A>)
    return static_cast<A&&>(argument);
  else
    return argument.get();
}

} // namespace detail
} // namespace coproc
