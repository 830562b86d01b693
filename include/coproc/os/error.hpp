// SPDX-License-Identifier: BSL-1.0
// The one way in which os:: and shm:: report a failed system call: pool_error with the system's code. Set-up paths
// only; calls on running paths return their errno.
#pragma once

#include <coproc/error.hpp>

#include <cerrno>
#include <system_error>

namespace coproc::os {

inline net::error_code system_code(int error) noexcept { return {error, std::system_category()}; }

[[noreturn]] inline void throw_errno(const char* what, int error = errno) {
  throw pool_error(system_code(error), std::string("coproc: ") + what);
}

} // namespace coproc::os
