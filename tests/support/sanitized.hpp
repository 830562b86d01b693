// SPDX-License-Identifier: BSL-1.0
// Is this a build with a sanitizer? Such builds fork and run several times slower: long tests do less there.
#pragma once

#if defined(__has_feature)
#define COPROC_HAS_FEATURE(feature) __has_feature(feature)
#else
#define COPROC_HAS_FEATURE(feature) 0
#endif

namespace coproc::testing {

/// ThreadSanitizer keeps a thread of its own from the first thread of the process on.
#if defined(__SANITIZE_THREAD__) || COPROC_HAS_FEATURE(thread_sanitizer)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || COPROC_HAS_FEATURE(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = thread_sanitized;
#endif

} // namespace coproc::testing

#undef COPROC_HAS_FEATURE
