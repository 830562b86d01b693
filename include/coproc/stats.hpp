// SPDX-License-Identifier: BSL-1.0
// What a pool counts while it works, and the snapshot of it that process_pool::stats() returns. Counting is always on:
// a few increments per task, and no clock read that dispatching does not make anyway. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/error.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <vector>

namespace coproc {

/// Durations in buckets that are 1/16 of a power of two wide, as HdrHistogram's: any percentile is right within 6.25 %,
/// from a nanosecond to 39 hours. After: Gil Tene, HdrHistogram, https://hdrhistogram.org
class histogram {
public:
  /// Counts a duration, `times` times; a negative one as zero.
  void add(std::chrono::nanoseconds d, std::uint64_t times = 1) noexcept {
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(d.count(), 0));
    buckets_[bucket_of(ns)] += times;
    count_ += times;
    total_ns_ += ns * times;
    max_ns_ = std::max(max_ns_, ns);
  }

  std::uint64_t count() const noexcept { return count_; }                        ///< how many were added
  std::chrono::nanoseconds max() const noexcept { return to_duration(max_ns_); } ///< the longest, exact
  /// Zero while there are none.
  std::chrono::nanoseconds mean() const noexcept { return to_duration(count_ == 0 ? 0 : total_ns_ / count_); }

  /// The duration that `percent` of all do not exceed (99.9: p99.9); zero while there are none.
  std::chrono::nanoseconds percentile(double percent) const noexcept {
    const double wanted = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (buckets_[i] != 0 && static_cast<double>(seen) >= wanted) return to_duration(std::min(top_of(i), max_ns_));
    }
    return std::chrono::nanoseconds(0);
  }

private:
  static constexpr unsigned sub_bits = 4, top_bit = 47;
  static constexpr std::uint64_t sub_buckets = 1 << sub_bits;

  // Below 16 ns a bucket is 1 ns wide; above, the leading one and the four bits that follow it name the bucket.
  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    ns = std::min(ns, (std::uint64_t{1} << (top_bit + 1)) - 1);
    if (ns < sub_buckets) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - sub_bits;
    return (shift + 1) * sub_buckets + ((ns >> shift) - sub_buckets);
  }
  static constexpr std::uint64_t top_of(std::size_t bucket) noexcept {
    if (bucket < sub_buckets) return bucket;
    const std::size_t shift = bucket / sub_buckets - 1;
    return ((sub_buckets + bucket % sub_buckets + 1) << shift) - 1;
  }
  static std::chrono::nanoseconds to_duration(std::uint64_t ns) noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
  }

  std::array<std::uint64_t, (top_bit - sub_bits + 2) * sub_buckets> buckets_{};
  std::uint64_t count_ = 0, total_ns_ = 0, max_ns_ = 0;
};

/// What a worker is doing.
enum class worker_state : std::uint8_t {
  starting,   ///< forked or about to be; its initializer is not through
  idle,       ///< its ring is empty
  busy,       ///< it has tasks
  ending,     ///< asked to end, or being killed
  unkillable, ///< survived SIGKILL (uninterruptible sleep); replaced
};

/// A snapshot of one worker process.
struct worker_stats {
  unsigned index = 0;              ///< 0 to max_workers - 1; more while it leaves after a resize()
  pid_t pid = 0;                   ///< 0: not forked yet
  worker_state state{};            ///< what it is doing
  std::chrono::nanoseconds age{};  ///< since it was made
  std::uint64_t tasks_done = 0;    ///< by this process
  std::uint64_t tasks_issued = 0;  ///< in its ring: running, or next
  std::uint64_t private_bytes = 0; ///< resident and not shared, when stats() was called; 0: unknown
};

/// Counts since the pool was made.
struct pool_counters {
  std::uint64_t submitted = 0;       ///< calls that reached the pool
  std::uint64_t returned = 0;        ///< with a value
  std::uint64_t threw = 0;           ///< with an exception of the task
  std::uint64_t lost = 0;            ///< worker_lost
  std::uint64_t timed_out = 0;       ///< task_timeout, but for tasks that stopped at their soft_timeout: those threw
  std::uint64_t queue_timed_out = 0; ///< had not begun within their queue_timeout
  std::uint64_t aborted = 0;         ///< cancelled, or ended with the pool
  std::uint64_t refused = 0;         ///< any other error: queue_full, pool_closed, worker_start_failed ...
  std::uint64_t retried = 0;         ///< runs beyond the first
  std::uint64_t moved = 0;           ///< taken back from a worker before it began them
  std::uint64_t start_failures = 0;  ///< workers that could not be started
  std::array<std::uint64_t, static_cast<std::size_t>(exit_cause::idle) + 1> exits{}; ///< of workers, by exit_cause

  /// How many workers ended for this cause.
  std::uint64_t exits_by(exit_cause c) const noexcept { return exits[static_cast<std::size_t>(c)]; }
};

/// A snapshot of a pool.
struct pool_stats {
  pool_counters counters;            ///< since the pool was made
  std::uint64_t waiting = 0;         ///< calls that wait for room in the queue
  std::uint64_t queued = 0;          ///< accepted, with no worker yet
  std::uint64_t active = 0;          ///< with a worker
  std::uint64_t queued_bytes = 0;    ///< of encoded arguments, queued and active
  std::vector<worker_stats> workers; ///< each process that may be alive
  histogram wait_time;               ///< from submission to the head of a worker's ring
  histogram run_time;       ///< from there to the result; tasks that end between two looks share that time evenly
  unsigned min_workers = 0; ///< as pool_options or the last resize() has said
  unsigned max_workers = 0; ///< the same
};

} // namespace coproc
