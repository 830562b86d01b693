// SPDX-License-Identifier: BSL-1.0
// Which callables can be run in another process, with which arguments and results, and what the build says about the
// others. Compile time only; the codec layer.
#pragma once

#include <coproc/codec/far_range.hpp>
#include <coproc/codec/form.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/codec/signature.hpp>
#include <coproc/codec/travels.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc::detail {

template <class R, class... P>
concept coroutine = requires { typename std::coroutine_traits<R, P...>::promise_type; };

// What a generic callable is given for an argument.
template <class A>
struct wire_of_deduced {
  using type = A;
};
template <class T>
struct wire_of_deduced<argument_array<T>> {
  using type = std::span<const T>;
};
template <class A>
using deduced_wire = typename wire_of_deduced<A>::type;

/// What F and the arguments A (as deduced from A&&) come to.
///   wires    the types that are encoded: the parameters' where F has one signature, else the arguments', decayed
///   passed   how the decoded arguments are handed to F
template <class F, class... A>
struct call_traits {
  using wires = type_list<deduced_wire<std::decay_t<argument_t<A>>>...>;
  using passed = wires;
};

template <class F, class... A>
  requires(signature<F>::known)
struct call_traits<F, A...> {
  template <class... P>
  static type_list<std::remove_cvref_t<P>...> decay(type_list<P...>);
  using wires = decltype(decay(typename signature<F>::parameters()));
  using passed = typename signature<F>::passed;
};

template <class F, class Passed>
struct invocation;

template <class F, class... P>
struct invocation<F, type_list<P...>> {
  static constexpr bool possible = std::is_invocable_v<F&, passed_t<P>...>;
  static constexpr bool possible_with_lvalues = std::is_invocable_v<F&, std::remove_cvref_t<P>&...>;

  static auto result() {
    if constexpr (possible)
      return std::type_identity<std::invoke_result_t<F&, passed_t<P>...>>();
    else
      return std::type_identity<void>();
  }
  using result_type = typename decltype(result())::type;
};

template <class F, class... A>
using invocation_t = invocation<F, typename call_traits<F, A...>::passed>;

/// What run_in_executor(pool, F, A...) yields: the result of F by value.
template <class F, class... A>
using result_t = std::decay_t<typename invocation_t<F, A...>::result_type>;

template <class F>
consteval bool verify_captures() {
  if constexpr (std::is_class_v<F> && !custom_codec<F> && !stateless<F>) {
    constexpr bool trivial = std::is_trivially_copyable_v<F> && std::copy_constructible<F>;
    static_assert(trivial,
                  "coproc: the captures of this callable cannot travel: capture trivially copyable values only and "
                  "pass everything else as an argument");
    static_assert(
        !trivial || plain_bytes<F>,
        "coproc: this callable captures a reference, a pointer, this or a view, which mean nothing in another "
        "process: capture values, or pass the object as an argument");
    return trivial && plain_bytes<F>;
  } else {
    return true;
  }
}

template <class T>
inline constexpr bool is_mutable_span = false;
template <class T, std::size_t N>
inline constexpr bool is_mutable_span<std::span<T, N>> = !std::is_const_v<T>;

/// P as declared, or as deduced for a generic callable.
template <class P>
consteval bool verify_parameter() {
  using wire = std::remove_cvref_t<P>;
  constexpr bool mutable_reference = std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>;
  if constexpr (mutable_reference) {
    static_assert(!mutable_reference,
                  "coproc: fn takes an argument by non-const reference; it would change a copy in the "
                  "worker: take it by value and return the changed object");
    return false;
  } else if constexpr (is_mutable_span<wire>) {
    static_assert(!is_mutable_span<wire>,
                  "coproc: argument memory is read-only in the worker: take std::span<const T>, or "
                  "std::vector<T> to change it");
    return false;
  } else {
    return travels_as_parameter<wire>();
  }
}

// In which forms a parameter may take the elements of an argument_array<T>.
template <class T, class P>
inline constexpr bool takes_array = false;
template <class T, std::size_t N>
inline constexpr bool takes_array<T, std::span<const T, N>> = true;
template <class T, class Traits>
inline constexpr bool takes_array<T, std::basic_string_view<T, Traits>> = true;
template <class T, class Allocator>
inline constexpr bool takes_array<T, std::vector<T, Allocator>> = !std::is_same_v<T, bool>;
template <class T, class Traits, class Allocator>
inline constexpr bool takes_array<T, std::basic_string<T, Traits, Allocator>> = true;

template <class P, class A>
consteval bool verify_array_argument() {
  return true;
}
template <class P, class A>
  requires is_argument_array<A>
consteval bool verify_array_argument() {
  constexpr bool taken = takes_array<typename A::value_type, P> && !custom_codec<P>;
  static_assert(taken, "coproc: fn must take an argument_array<T> as std::span<const T> (or std::string_view) to view "
                       "it, or as std::vector<T> (or std::string) to have a copy");
  return taken;
}

template <class P, class A>
inline constexpr bool converts =
    is_argument_array<std::remove_cvref_t<A>> || std::is_convertible_v<A, std::remove_cvref_t<P>>;

template <class... P, class... A>
consteval bool verify_conversions(type_list<P...>, type_list<A...>) {
  constexpr bool all = (converts<P, A> && ...);
  static_assert(all, "coproc: an argument does not convert to the parameter of fn");
  return all && (true & ... & verify_array_argument<std::remove_cvref_t<P>, std::remove_cvref_t<A>>());
}

template <class... P>
consteval bool verify_parameters(type_list<P...>) {
  return (true & ... & verify_parameter<P>());
}

template <class F, class... A>
consteval bool verify_invocation() {
  using call = invocation_t<F, A...>;
  if constexpr (!call::possible && call::possible_with_lvalues) {
    static_assert(call::possible, "coproc: fn takes an argument by non-const reference; it would change a copy in the "
                                  "worker: take it by value and return the changed object");
    return false;
  } else {
    static_assert(call::possible, "coproc: fn cannot be called with these arguments");
    return call::possible;
  }
}

template <class F, class... A>
consteval bool verify_result() {
  using result = result_t<F, A...>;
  if constexpr (std::is_void_v<result>)
    return true;
  else
    return travels<result>();
}

template <class... P>
constexpr std::size_t size_of(type_list<P...>) {
  return sizeof...(P);
}

template <class R, class... P>
consteval bool verify_no_coroutine(type_list<P...>) {
  static_assert(!coroutine<R, P...>,
                "coproc: fn is a coroutine; a worker has no event loop: pass an ordinary function, and "
                "co_await in the caller");
  return !coroutine<R, P...>;
}

template <class F, class... A>
consteval bool verify_known() {
  using parameters = typename signature<F>::parameters;
  constexpr bool right_number = size_of(parameters()) == sizeof...(A);
  if constexpr (!verify_no_coroutine<typename signature<F>::result>(parameters())) {
    return false;
  } else if constexpr (!verify_captures<F>()) {
    return false;
  } else if constexpr (!right_number) {
    static_assert(right_number, "coproc: wrong number of arguments for fn (default arguments do not survive a function "
                                "pointer: wrap fn in a lambda)");
    return false;
  } else if constexpr (!verify_parameters(parameters())) {
    return false;
  } else if constexpr (!verify_conversions(parameters(), type_list<argument_t<A>...>())) {
    return false;
  } else if constexpr (!verify_invocation<F, A...>()) {
    return false;
  } else {
    return verify_result<F, A...>();
  }
}

template <class F, class... A>
consteval bool verify_generic() {
  using arguments = typename call_traits<F, A...>::wires;
  if constexpr (!verify_captures<F>())
    return false;
  else if constexpr (!verify_parameters(arguments()))
    return false;
  else if constexpr (!verify_invocation<F, A...>())
    return false;
  else if constexpr (!verify_no_coroutine<typename invocation_t<F, A...>::result_type>(arguments()))
    return false;
  else
    return verify_result<F, A...>();
}

/// True if F can be called in a worker with arguments A (as deduced from A&&); otherwise the build fails with the
/// reason. Use it as `if constexpr (verify<F, A...>())` around what needs it, so that the reason stays the only error.
template <class F, class... A>
consteval bool verify() {
  if constexpr (signature<F>::known)
    return verify_known<F, A...>();
  else
    return verify_generic<F, A...>();
}

/// g++ 12 destroys a temporary of such a type twice when it is an argument inside a co_await expression. A as deduced
/// from A&&; an object from moved() is none.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
template <class A>
inline constexpr bool gcc12_hazard =
    !std::is_reference_v<A> && std::is_class_v<A> && std::is_aggregate_v<A> && !std::is_trivially_destructible_v<A>;
#else
template <class A>
inline constexpr bool gcc12_hazard = false;
#endif

/// For all that is called inside co_await with the arguments A (as deduced from A&&).
template <class... A>
consteval bool verify_temporaries() {
  static_assert((!gcc12_hazard<A> && ...),
                "coproc: inside co_await g++ 12 destroys temporaries of this type twice (GCC PR 99576): write "
                "coproc::moved(name) for std::move(name), and give what has no name one");
  return (!gcc12_hazard<A> && ...);
}

/// For completion handlers, which receive a value-initialised R with an exception.
template <class R>
consteval bool verify_callback_result() {
  constexpr bool usable = std::is_void_v<R> || std::is_default_constructible_v<R>;
  static_assert(usable,
                "coproc: callbacks need a default-constructible result: use run_in_executor or submit, or return "
                "std::optional");
  return usable;
}

} // namespace coproc::detail
