// SPDX-License-Identifier: BSL-1.0
// What a pool's workers did, as histograms and, when somebody listens, as trace events. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/trace_buffer.hpp>
#include <coproc/front/worker.hpp>
#include <coproc/stats.hpp>

#include <algorithm>
#include <span>

namespace coproc::detail::front {

class run_meter {
public:
  histogram wait_time, run_time;
  trace_buffer traced;

  /// These ended between two looks, and share that time evenly.
  COPROC_LAZY void ran(const worker& w, std::span<task_record* const> tasks, time_point now) noexcept;

  /// It was with a worker that is gone.
  COPROC_LAZY void died_with(const worker& w, const task_record& t, const char* outcome) noexcept;

  COPROC_LAZY void worker_started(const worker& w, time_point now) noexcept;
  COPROC_LAZY void worker_ended(const worker& w) noexcept;

private:
  COPROC_LAZY void add(const worker& w, const task_record& t, const char* outcome, time_point began,
                       time_point ended) noexcept;
};

} // namespace coproc::detail::front

#include <coproc/front/run_meter.ipp>
