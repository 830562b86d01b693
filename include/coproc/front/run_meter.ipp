// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/run_meter.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void run_meter::ran(const worker& w, std::span<task_record* const> tasks, time_point now) noexcept {
  time_point began = std::min(w.head_since(), now);
  const auto n = static_cast<std::int64_t>(tasks.size());
  const auto each = n == 1 ? now - began : (now - began) / n;
  run_time.add(each, tasks.size());
  for (const task_record* t : tasks) {
    wait_time.add(began - t->submitted_at);
    if (traced.on()) add(w, *t, t->outcome == verdict::value ? "value" : "exception", began, began + each);
    began += each;
  }
}

COPROC_LAZY_DEF void run_meter::died_with(const worker& w, const task_record& t, const char* outcome) noexcept {
  const time_point ended = w.born_at() + w.exit().age;
  if (traced.on()) add(w, t, outcome, std::min(w.head_since(), ended), ended);
}

COPROC_LAZY_DEF void run_meter::worker_started(const worker& w, time_point now) noexcept {
  traced.add({trace_event::kind::worker_start, "", w.index, w.pid(), 0, {}, {}, now});
}

COPROC_LAZY_DEF void run_meter::worker_ended(const worker& w) noexcept {
  traced.add({trace_event::kind::worker_exit, "", w.index, w.pid(), 0, {}, {}, w.born_at() + w.exit().age});
}

COPROC_LAZY_DEF void run_meter::add(const worker& w, const task_record& t, const char* outcome, time_point began,
                                    time_point ended) noexcept {
  traced.add({trace_event::kind::task, outcome, w.index, w.pid(), t.id, t.submitted_at, began, ended});
}

} // namespace coproc::detail::front
