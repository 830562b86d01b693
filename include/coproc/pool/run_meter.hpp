// SPDX-License-Identifier: BSL-1.0
// What a pool's workers did, as histograms and, when somebody listens, as trace events. Front end, under the pool's mutex.
#pragma once

#include <coproc/pool/statistics.hpp>
#include <coproc/pool/trace_event.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <span>

namespace coproc::pool {

template <class Event>
class basic_run_meter {
public:
  histogram wait_time, run_time;
  basic_trace_buffer<Event> traced;

  /// These ended between two looks, and share that time evenly.
  void ran(const worker_record& w, std::span<task_record* const> tasks, time_point now) noexcept {
    time_point began = std::min(w.head_since, now);
    const auto n = static_cast<std::int64_t>(tasks.size());
    const auto each = n == 1 ? now - began : (now - began) / n;
    run_time.add(each, tasks.size());
    for (const task_record* t : tasks) {
      wait_time.add(began - t->submitted_at);
      if (traced.on()) add(w, *t, t->outcome == verdict::value ? "value" : "exception", began, began + each);
      began += each;
    }
  }

  /// It was with a worker that is gone.
  void died_with(const worker_record& w, const task_record& t, const char* outcome) noexcept {
    const time_point ended = w.born_at + w.exit.age;
    if (traced.on()) add(w, t, outcome, std::min(w.head_since, ended), ended);
  }

  void worker_started(const worker_record& w, time_point now) noexcept {
    traced.add({trace_event::kind::worker_start, "", w.index, w.handles.pid, 0, {}, {}, now});
  }
  void worker_ended(const worker_record& w) noexcept {
    traced.add({trace_event::kind::worker_exit, "", w.index, w.handles.pid, 0, {}, {}, w.born_at + w.exit.age});
  }

private:
  void add(const worker_record& w, const task_record& t, const char* outcome, time_point began, time_point ended) noexcept {
    traced.add({trace_event::kind::task, outcome, w.index, w.handles.pid, t.id, t.submitted_at, began, ended});
  }
};

using run_meter = basic_run_meter<trace_event>;

} // namespace coproc::pool
