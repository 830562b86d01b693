// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/trace_buffer.hpp>
#include <new>
#include <utility>

namespace coproc::detail::front {

COPROC_LAZY_DEF void trace_buffer::add(const trace_event& e) noexcept {
  if (!on_) return;
  try {
    if (events_.size() < max_events) events_.push_back(e);
  } catch (const std::bad_alloc&) { // dropped, too
  }
}

COPROC_LAZY_DEF std::vector<trace_event> trace_buffer::take() noexcept { return std::exchange(events_, {}); }

} // namespace coproc::detail::front
