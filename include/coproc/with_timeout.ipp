// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/with_timeout.hpp>

namespace coproc::detail {

COPROC_DEF std::exception_ptr expiry(duration limit, const std::exception_ptr& cause) noexcept {
  try {
    const timed_out error(make_error_code(errc::timed_out), describe_limit("the limit of with_timeout", limit));
    try {
      if (cause) std::rethrow_exception(cause);
    } catch (const net::system_error& e) {
      if (e.code() != net::error::operation_aborted) std::throw_with_nested(error);
    } catch (...) {
      std::throw_with_nested(error);
    }
    throw error;
  } catch (...) {
    return std::current_exception();
  }
}

} // namespace coproc::detail
