// SPDX-License-Identifier: BSL-1.0
// Exceptions for completions that must not throw while they make one. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/error_code.hpp>

#include <exception>

namespace coproc::detail {

/// A system_error with this code; std::bad_alloc for no_memory, and when there is no memory for the text of another
/// one.
COPROC_DECL std::exception_ptr exception_of(net::error_code e) noexcept;

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/exception_of.ipp>
#endif
