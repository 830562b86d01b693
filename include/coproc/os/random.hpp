// SPDX-License-Identifier: BSL-1.0
// One random number. Any process; without <random>, which is a large header.
#pragma once

#include <coproc/os/clock.hpp>
#include <coproc/os/fault.hpp>

#include <cstdint>
#include <unistd.h>

namespace coproc::os {

/// Another one each time; guessable only where the system has no entropy to give.
inline std::uint64_t random_number() noexcept {
  std::uint64_t n = 0;
  if (invoke(call::getrandom, [&] { return ::getentropy(&n, sizeof n); }) != 0)
    n = static_cast<std::uint64_t>(clock_now().time_since_epoch().count()) ^ static_cast<std::uint64_t>(::getpid())
                                                                                 << 32;
  return n;
}

} // namespace coproc::os
