// SPDX-License-Identifier: BSL-1.0
// Exceptions and error codes of the program that arrive from workers as what they were. A public header: may include
// everything.
#pragma once

#include <coproc/codec/exception_registry.hpp>
#include <coproc/codec/travels.hpp>
#include <coproc/error.hpp>

#include <atomic>
#include <type_traits>

namespace coproc {

/// From now on an exception of type E that a task throws arrives as an E, and not as its nearest standard type: `catch
/// (const E&)` works, with all that E's codec sends. Call it before the pool is made, for the workers must know it,
/// too: in main, or as
///
///     const bool registered = (coproc::register_exception<parse_error>(), true);
///
/// E has a codec<E>, or is of a type that travels without one; it need not derive from std::exception. Where it does,
/// and is not final, it arrives as a remote<E>. A class derived from E that is not registered itself arrives as an E,
/// after all exact types.
/// \par Threads  any; also more than once
template <class E>
void register_exception() {
  static_assert(std::is_same_v<E, std::decay_t<E>> && !std::is_pointer_v<E>,
                "coproc: an exception is registered by its type: register_exception<parse_error>()");
  if constexpr (detail::travels<E>()) {
    using codec_of = detail::exception_codec<E>;
    auto& list = detail::registered_exceptions;
    for (const auto* known = list.load(std::memory_order_acquire); known != nullptr; known = known->next)
      if (*known->type == typeid(E)) return;
    detail::enlist(list, {&typeid(E), &codec_of::is_handled, &codec_of::encode, &codec_of::decode});
  }
}

/// From now on a system_error that a task throws with a code of this category arrives with a code of it; without that,
/// it arrives with errc::remote_exception. Categories are found by their names, so each needs one of its own. It must
/// live to the end of the program.
/// \par Threads  any; also more than once, also after the pool was made
inline void register_error_category(const net::error_category& category) {
  auto& list = detail::registered_categories;
  for (const auto* known = list.load(std::memory_order_acquire); known != nullptr; known = known->next)
    if (known->category == &category) return;
  detail::enlist(list, {&category});
}

} // namespace coproc
