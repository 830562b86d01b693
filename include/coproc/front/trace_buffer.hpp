// SPDX-License-Identifier: BSL-1.0
// Trace events until the trace's sink can be told of them. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/trace.hpp>

#include <cstddef>
#include <vector>

namespace coproc::detail::front {

/// Bounded: when nobody fetches events for long, new ones are dropped.
class trace_buffer {
public:
  bool on() const noexcept { return on_; }
  void set(bool on) noexcept { on_ = on; }

  COPROC_LAZY void add(const trace_event& e) noexcept;

  bool empty() const noexcept { return events_.empty(); }
  COPROC_LAZY std::vector<trace_event> take() noexcept;

private:
  static constexpr std::size_t max_events = 1 << 20;

  bool on_ = false;
  std::vector<trace_event> events_;
};

} // namespace coproc::detail::front

#include <coproc/front/trace_buffer.ipp>
