// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/chrome_trace.hpp>
#include <coproc/os/text.hpp>

#include <chrono>
#include <ostream>
#include <string>

namespace coproc {

namespace detail {

// Nanoseconds are thousandths of the microseconds that the format has.
inline std::string trace_us(std::chrono::nanoseconds t) { return os::decimal(t.count()); }

} // namespace detail

COPROC_DEF chrome_trace::writer::writer(std::ostream& out) : out_(out) { out_ << "[\n"; }

COPROC_DEF void chrome_trace::writer::write(const trace_event& e) {
  using kind = trace_event::kind;
  using detail::trace_us;
  const auto instant = [&](const char* what) {
    return os::text(R"({"name":"process )", e.pid, what, R"(","ph":"i","s":"t","pid":1,"tid":)", e.worker, R"(,"ts":)",
                    trace_us(e.ended.time_since_epoch()), "}");
  };
  std::string text;
  switch (e.what) {
  case kind::task:
    text = os::text(R"({"name":"task )", e.task, R"(","cat":")", e.outcome, R"(","ph":"X","pid":1,"tid":)", e.worker,
                    R"(,"ts":)", trace_us(e.began.time_since_epoch()), R"(,"dur":)", trace_us(e.ended - e.began),
                    R"(,"args":{"outcome":")", e.outcome, R"(","waited_us":)", trace_us(e.began - e.submitted),
                    R"(,"worker_pid":)", e.pid, "}}");
    break;
  case kind::worker_start:
    text = os::text(R"({"name":"thread_name","ph":"M","pid":1,"tid":)", e.worker, R"(,"args":{"name":"worker )",
                    e.worker, "\"}},\n", instant(" starts"));
    break;
  case kind::worker_exit: text = instant(" ends"); break;
  }
  std::lock_guard lock(mutex_);
  if (closed_) return;
  out_ << (first_ ? "" : ",\n") << text;
  first_ = false;
}

COPROC_DEF void chrome_trace::writer::close() {
  std::lock_guard lock(mutex_);
  if (!closed_) out_ << "\n]\n" << std::flush;
  closed_ = true;
}

} // namespace coproc
