// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/exception_of.hpp>

#include <new>

namespace coproc::detail {

COPROC_DEF std::exception_ptr exception_of(net::error_code e) noexcept {
  if (e == net::error::no_memory) return std::make_exception_ptr(std::bad_alloc());
  try {
    return std::make_exception_ptr(net::system_error(e));
  } catch (...) {
    return std::current_exception();
  }
}

} // namespace coproc::detail
