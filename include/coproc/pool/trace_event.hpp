// SPDX-License-Identifier: BSL-1.0
// What process_pool::trace() tells its sink, and where that is collected until it can be told. Front end; the buffer under
// the pool's mutex.
#pragma once

#include <chrono>
#include <cstdint>
#include <new>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace coproc {

/// One thing that happened in a pool.
struct trace_event {
  enum class kind : std::uint8_t {
    task,         ///< a task ran in a worker from `began` to `ended`; one that never began is none
    worker_start, ///< a worker process was made at `ended`
    worker_exit,  ///< one ended at `ended`
  };
  kind what{};
  const char* outcome = "";        ///< of a task: value, exception, lost, task_timeout ...; static storage
  unsigned worker = 0;             ///< index
  pid_t pid = 0;                   ///< of the worker
  std::uint64_t task = 0;          ///< number of the submission
  std::chrono::steady_clock::time_point submitted{}, began{}, ended{};
};

namespace pool {

/// Bounded: when nobody fetches events for long, new ones are dropped, and counted.
template <class Event>
class basic_trace_buffer {
public:
  bool on() const noexcept { return on_; }
  void set(bool on) noexcept { on_ = on; }

  void add(const Event& e) noexcept {
    if (!on_) return;
    try {
      if (events_.size() < max_events)
        events_.push_back(e);
      else
        ++dropped_;
    } catch (const std::bad_alloc&) {
      ++dropped_;
    }
  }

  bool empty() const noexcept { return events_.empty(); }
  std::vector<Event> take() noexcept { return std::exchange(events_, {}); }
  std::uint64_t dropped() const noexcept { return dropped_; }

private:
  static constexpr std::size_t max_events = 1 << 20;

  bool on_ = false;
  std::vector<Event> events_;
  std::uint64_t dropped_ = 0;
};

using trace_buffer = basic_trace_buffer<trace_event>;

} // namespace pool
} // namespace coproc
