// SPDX-License-Identifier: BSL-1.0
// The parameters of a callable that has exactly one signature. Compile time only; the codec layer.
#pragma once

#include <coproc/codec/form.hpp>

#include <type_traits>

namespace coproc::detail {

/// For functions, member functions, and classes with one operator() that is no template:
///   parameters   as declared, a member function's object first (by value, unless it is const&)
///   passed       what each is called with: T& for the object of a &-qualified member function
///   result       as declared
template <class F>
struct signature {
  static constexpr bool known = false;
};

template <class R, class Parameters, class Passed = Parameters>
struct known_signature {
  static constexpr bool known = true;
  using result = R;
  using parameters = Parameters;
  using passed = Passed;
};

template <class Operator>
struct call_operator {
  static constexpr bool known = false;
};

#define COPROC_SIGNATURE(cv_ref, nothrow, object, passed_object)                                                       \
  template <class R, class C, class... P>                                                                              \
  struct signature<R (C::*)(P...) cv_ref nothrow>                                                                      \
      : known_signature<R, type_list<object, P...>, type_list<passed_object, P...>> {};                                \
  template <class R, class C, class... P>                                                                              \
  struct call_operator<R (C::*)(P...) cv_ref nothrow> : known_signature<R, type_list<P...>> {};

#define COPROC_SIGNATURES(nothrow)                                                                                     \
  COPROC_SIGNATURE(, nothrow, C, C)                                                                                    \
  COPROC_SIGNATURE(const, nothrow, C, C)                                                                               \
  COPROC_SIGNATURE(&, nothrow, C, C&)                                                                                  \
  COPROC_SIGNATURE(const&, nothrow, C, const C&)                                                                       \
  COPROC_SIGNATURE(&&, nothrow, C, C)                                                                                  \
  COPROC_SIGNATURE(const&&, nothrow, C, C)                                                                             \
  template <class R, class... P>                                                                                       \
  struct signature<R (*)(P...) nothrow> : known_signature<R, type_list<P...>> {};                                      \
  template <class R, class... P> /* a static operator() of C++23 */                                                    \
  struct call_operator<R (*)(P...) nothrow> : known_signature<R, type_list<P...>> {};

COPROC_SIGNATURES()
COPROC_SIGNATURES(noexcept)

#undef COPROC_SIGNATURES
#undef COPROC_SIGNATURE

template <class F>
  requires(std::is_class_v<F> && requires { &F::operator(); })
struct signature<F> : call_operator<decltype(&F::operator())> {};

/// How a callable receives a decoded argument: lvalue parameters see an lvalue, all others may move from it.
template <class Passed>
using passed_t = std::conditional_t<std::is_lvalue_reference_v<Passed>, Passed, std::remove_cvref_t<Passed>&&>;

} // namespace coproc::detail
