// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/with_timeout.hpp>

namespace coproc::detail {

COPROC_DEF std::exception_ptr expiry(const std::exception_ptr& cause) noexcept {
  try {
    try {
      if (cause) std::rethrow_exception(cause);
    } catch (const net::system_error& e) {
      if (e.code() != net::error::operation_aborted) std::throw_with_nested(timed_out());
    } catch (...) {
      std::throw_with_nested(timed_out());
    }
    throw timed_out();
  } catch (...) {
    return std::current_exception();
  }
}

} // namespace coproc::detail
