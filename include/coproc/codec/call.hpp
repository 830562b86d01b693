// SPDX-License-Identifier: BSL-1.0
// One call as bytes: encode_call in the front end, the entry in the worker, decode_result in the front end
// again. The codec layer.
#pragma once

#include <coproc/codec/callable.hpp>
#include <coproc/codec/codec.hpp>
#include <coproc/codec/far_range.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc::detail {

/// Decodes arguments, which may refer to result.far(), calls, encodes the result; throws what the task throws. Its
/// address is what is sent to the worker.
using entry_function = void (*)(std::span<const std::byte> arguments, writer& result);

// The callable itself: no bytes if it has no state, else all of them. verify_captures() saw that they mean the same
// there.
template <class F>
void encode_callable(writer& w, const F& fn) {
  if constexpr (custom_codec<F>)
    codec<F>::encode(w, fn);
  else if constexpr (!std::is_empty_v<F>)
    std::memcpy(w.claim(sizeof fn), std::addressof(fn), sizeof fn);
}

// F is an implicit-lifetime type, which the bytes bring to life; a closure has no other way.
template <class F>
F decode_callable(reader& r) {
  if constexpr (custom_codec<F>) {
    return codec<F>::decode(r);
  } else {
    alignas(F) std::byte bytes[sizeof(F)]{};
    if constexpr (!std::is_empty_v<F>) r.get_bytes(bytes, sizeof bytes);
    return *std::launder(reinterpret_cast<F*>(bytes));
  }
}

// Calls put with the argument, converted to the wire type in the caller; as it is where it has that type already.
template <class Wire, class A, class Put>
void as_wire(A&& argument, Put put) {
  if constexpr (std::is_same_v<Wire, std::remove_cvref_t<A>>) {
    put(argument);
  } else {
    const Wire converted = static_cast<Wire>(static_cast<A&&>(argument));
    put(converted);
  }
}

template <class Wire>
void encode_wire(writer& w, const Wire& value) {
  if constexpr (!viewable<Wire> && form_of<Wire> == form::bytes) {
    std::memcpy(w.claim(sizeof value), std::addressof(value), sizeof value); // as encode, and inline
  } else if constexpr (!viewable<Wire>) {
    encode<Wire>(w, value);
  } else if constexpr (travels_as_bytes<typename view_traits<Wire>::element>) {
    encode_plain_range(w, value.data(), value.size());
  } else {
    w.put_length(value.size());
    for (const auto& element : value) encode_element<typename view_traits<Wire>::element>(w, element);
  }
}

template <class Wire, class A>
void encode_argument(writer& w, A&& argument) {
  if constexpr (is_argument_array<std::remove_cvref_t<A>>)
    encode_far_range(w, {array_access::memory_of(argument)->place, argument.size()});
  else
    as_wire<Wire>(static_cast<A&&>(argument), [&w](const Wire& value) { encode_wire<Wire>(w, value); });
}

template <class... Wire, class... A>
void encode_arguments(writer& w, type_list<Wire...>, A&&... arguments) {
  (encode_argument<Wire>(w, static_cast<A&&>(arguments)), ...);
}

/// How many bytes a call takes whose arguments are all single values that travel as they are; 0 for any other.
template <class F, class... Wire>
constexpr std::size_t fixed_bytes(type_list<Wire...>) {
  if constexpr (!custom_codec<F> && ((!viewable<Wire> && form_of<Wire> == form::bytes) && ...))
    return (std::is_empty_v<F> ? 0 : sizeof(F)) + (sizeof(Wire) + ... + 0);
  else
    return 0;
}

template <class F, class... Wire, class... A>
void encode_fixed(std::byte* to, const F& fn, type_list<Wire...>, A&&... arguments) {
  [[maybe_unused]] const auto put = [&to](const auto& value) {
    std::memcpy(to, std::addressof(value), sizeof value);
    to += sizeof value;
  };
  if constexpr (!std::is_empty_v<F>) put(fn);
  (as_wire<Wire>(static_cast<A&&>(arguments), put), ...);
}

/// The same as encode_call for a call of fixed size: to memory that has room for it, without a writer.
template <class F, class... A>
inline constexpr std::size_t fixed_call_bytes = fixed_bytes<F>(typename call_traits<F, A...>::wires());
template <class F, class... A>
void encode_fixed_call(std::byte* to, const F& fn, A&&... arguments) {
  encode_fixed(to, fn, typename call_traits<F, A...>::wires(), take_argument<A>(arguments)...);
}

/// Encodes fn, then the arguments, straight from where they are.
/// \par Errors  pool_error(payload_too_large) from the writer; whatever a conversion or a codec<T> throws
template <class F, class... A>
void encode_call(writer& w, const F& fn, A&&... arguments) {
  encode_callable(w, fn);
  encode_arguments(w, typename call_traits<F, A...>::wires(), take_argument<A>(arguments)...);
}

/// A decoded argument, for as long as the call runs.
template <class Wire>
struct held {
  Wire value;
  explicit held(reader& r) : value(decode<Wire>(r)) {}
};

// Views the payload in place, or a copy of elements that cannot be viewed there.
template <viewable View>
struct held<View> {
  using element = typename view_traits<View>::element;
  using copies = std::vector<std::conditional_t<std::is_same_v<element, bool>, unsigned char, element>>;
  copies owned;
  View value;

  explicit held(reader& r) : value(look(r)) {}
  held(const held&) = delete;
  held& operator=(const held&) = delete;

private:
  View look(reader& r) {
    if constexpr (travels_as_bytes<element>) {
      const auto range = plain_range::take<element>(r);
      if constexpr (alignof(element) > 1) {
        if (!range.template aligned<element>()) {
          using iterator = unaligned_iterator<element>;
          owned.assign(iterator(range.first), iterator(range.first + range.count * sizeof(element)));
          return view(owned.data(), owned.size());
        }
      }
      return view(reinterpret_cast<const element*>(range.first), range.count, range.far);
    } else {
      owned = std_codec<copies>::decode(r);
      return view(owned.data(), owned.size());
    }
  }

  // A far array is never read but by fn: it may be large, and its values were never bytes that somebody decodes.
  static View view(const element* first, std::size_t n, [[maybe_unused]] bool far = false) {
    constexpr std::size_t extent = view_traits<View>::extent;
    if (extent != std::dynamic_extent && n != extent) reject("a span has the wrong length");
    if constexpr (holds_bool<element>())
      for (std::size_t i = 0; !far && i != n; ++i) validate(first[i]);
    return View(first, n);
  }
};

template <std::size_t Index, class Wire>
struct held_at {
  held<Wire> argument;
};

template <class Index, class... Wire>
struct held_arguments;

// An aggregate of bases: they are initialised in order, in place, whatever the types can do.
template <std::size_t... I, class... Wire>
struct held_arguments<std::index_sequence<I...>, Wire...> : held_at<I, Wire>... {};

template <std::size_t Index, class Wire>
Wire& value_at(held_at<Index, Wire>& h) noexcept {
  return h.argument.value;
}

template <class F, class... A>
decltype(auto) call(F& fn, A&&... arguments) {
  if constexpr (std::is_member_function_pointer_v<F>)
    return [&fn](auto&& object, auto&&... rest) -> decltype(auto) {
      return (static_cast<decltype(object)>(object).*fn)(static_cast<decltype(rest)>(rest)...);
    }(static_cast<A&&>(arguments)...);
  else
    return fn(static_cast<A&&>(arguments)...);
}

/// Runs F in the worker. It depends on F and on what is decoded alone, not on the types that the caller passed.
template <class F, class Passed>
struct entry;

template <class F, class... P>
struct entry<F, type_list<P...>> {
  static void run(std::span<const std::byte> arguments, writer& result) {
    run(arguments, result, std::index_sequence_for<P...>());
  }

private:
  template <std::size_t... I>
  static void run(std::span<const std::byte> arguments, writer& result, std::index_sequence<I...> index) {
    reader r(arguments, result.far());
    F fn = decode_callable<F>(r);
    using held_all = held_arguments<decltype(index), std::remove_cvref_t<P>...>;
    [[maybe_unused]] held_all all{{held<std::remove_cvref_t<P>>(r)}...};
    r.expect_end();
    using returned = std::invoke_result_t<F&, passed_t<P>...>;
    // A returned reference may point into viewed arguments, over which the result may be written. (So may an object
    // with a codec<R> of its own that refers to them: it must not.)
    constexpr bool copied = std::is_reference_v<returned> && (viewable<std::remove_cvref_t<P>> || ...);
    if constexpr (std::is_void_v<returned>) {
      detail::call(fn, static_cast<passed_t<P>>(value_at<I>(all))...);
    } else {
      std::conditional_t<copied, std::decay_t<returned>, returned&&> value =
          detail::call(fn, static_cast<passed_t<P>>(value_at<I>(all))...);
      encode<std::decay_t<returned>>(result, value);
    }
  }
};

template <class F, class... A>
inline constexpr entry_function entry_of = &entry<F, typename call_traits<F, A...>::passed>::run;

/// The value that a task returned. Throws bad_payload if the bytes are not exactly one R.
template <class R>
R decode_result(std::span<const std::byte> bytes, far_memory* far = nullptr) {
  reader r(bytes, far);
  if constexpr (std::is_void_v<R>) {
    r.expect_end();
  } else {
    R value = decode<R>(r);
    r.expect_end();
    return value;
  }
}

} // namespace coproc::detail
