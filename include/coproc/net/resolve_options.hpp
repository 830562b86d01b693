// SPDX-License-Identifier: BSL-1.0
// Checks pool_options and task_options and fills in the defaults that depend on the machine. Front end, in the pool's
// constructor and before each call. Everything throws std::invalid_argument naming the member, its value and its range.
// Templates, because texts cost the compiler much where none is made: each fmt::format is checked and instantiated.
#pragma once

#include <coproc/net/pool_core.hpp>
#include <coproc/options.hpp>
#include <coproc/os/cpu.hpp>
#include <coproc/pool/scramble.hpp>

#include <algorithm>
#include <concepts>
#include <stdexcept>
#include <string>

namespace coproc::detail {

template <std::same_as<count> Count>
std::uint64_t checked(Count c, const char* name, std::uint64_t fallback, std::uint64_t low, std::uint64_t high) {
  if (c.value < 0) throw std::invalid_argument(fmt::format("coproc: {} is negative ({})", name, c.value));
  const auto value = c.value == 0 ? fallback : static_cast<std::uint64_t>(c.value);
  if (value < low || value > high)
    throw std::invalid_argument(fmt::format("coproc: {} is {}; it must be {} to {}", name, value, low, high));
  return value;
}

template <std::same_as<duration> Duration>
Duration checked(Duration d, const char* name) {
  if (d <= duration::zero())
    throw std::invalid_argument(fmt::format("coproc: {} is {} ns; it must be positive (coproc::unlimited: no limit)", name,
                                            d.count()));
  return d;
}

template <class Options, class Limits>
void check_queue(const Options& o, Limits& l, unsigned cpus) {
  constexpr std::uint64_t most_workers = 1024;
  l.max_workers = static_cast<unsigned>(checked(o.max_workers, "pool_options::max_workers",
                                                std::min<std::uint64_t>(cpus, most_workers), 1, most_workers));
  l.max_queue = checked(o.max_queue, "pool_options::max_queue", std::max<std::uint64_t>(4096, l.max_workers), 1, 1ull << 32);
  if (l.max_queue < l.max_workers)
    throw std::invalid_argument(fmt::format("coproc: pool_options::max_queue is {}, less than max_workers ({}): it counts "
                                            "running tasks too, so some workers could never work",
                                            l.max_queue, l.max_workers));
  l.max_queue_bytes = checked(o.max_queue_bytes, "pool_options::max_queue_bytes",
                              std::max<std::uint64_t>(os::usable_memory_bytes() / 4, 1 << 20), 1, 1ull << 50);
}

template <class Options, class Limits>
void check_life(const Options& o, Limits& l) {
  constexpr std::uint64_t any = 1ull << 62;
  l.max_tasks_per_child = checked(o.max_tasks_per_child, "pool_options::max_tasks_per_child", 0, 0, any);
  l.max_tasks_jitter = checked(o.max_tasks_jitter, "pool_options::max_tasks_jitter", 0, 0, any);
  if (l.max_tasks_jitter != 0 && l.max_tasks_jitter >= l.max_tasks_per_child)
    throw std::invalid_argument(fmt::format("coproc: pool_options::max_tasks_jitter is {}; it must be less than "
                                            "max_tasks_per_child ({}), of which it is taken away",
                                            l.max_tasks_jitter, l.max_tasks_per_child));
  l.max_memory_per_child = checked(o.max_memory_per_child, "pool_options::max_memory_per_child", 0, 0, any);
  l.min_workers = static_cast<unsigned>(checked(o.min_workers, "pool_options::min_workers", l.max_workers, 1, 1ull << 30));
  if (l.min_workers > l.max_workers)
    throw std::invalid_argument(fmt::format("coproc: pool_options::min_workers is {}, more than max_workers ({})",
                                            l.min_workers, l.max_workers));
  checked(o.idle_timeout, "pool_options::idle_timeout");
  l.leave_when_idle = o.idle_timeout != unlimited;
  l.max_start_failures = static_cast<unsigned>(
      checked(o.max_start_failures, "pool_options::max_start_failures", 10, 1, 1'000'000));
  l.start_timeout = checked(o.start_timeout, "pool_options::start_timeout");
  l.kill_grace = checked(o.kill_grace, "pool_options::kill_grace");
}

template <class Options>
pool::worker_settings worker_settings_of(const Options& o, const pool::dispatcher_limits& l) {
  pool::worker_settings w;
  w.initializer = o.initializer;
  w.finalizer = o.finalizer;
  w.spin_limit = l.usable_cpus > 1 ? pool::spin_limit : std::chrono::nanoseconds(0);
  const duration busy_poll = checked(o.busy_poll.value_or(pool::spin_limit), "pool_options::busy_poll");
  if (o.busy_poll && l.usable_cpus > 1) w.busy_poll = busy_poll;
  w.min_workers = l.min_workers;
  w.idle_timeout = o.idle_timeout;
  w.limits = o.limits;
  w.affinity = o.cpu_affinity;
  if (o.oom_score_adj < 0 || o.oom_score_adj > 1000)
    throw std::invalid_argument(
        fmt::format("coproc: pool_options::oom_score_adj is {}; it must be 0 to 1000", o.oom_score_adj));
  w.oom_score_adj = o.oom_score_adj;
  return w;
}

template <std::same_as<pool_options> Options>
resolved_options resolve(const Options& o) {
  resolved_options r;
  auto& l = r.host.limits;
  l.usable_cpus = os::usable_cpus();
  l.pidfds = true;
  check_queue(o, l, l.usable_cpus);
  check_life(o, l);
  r.host.max_payload = checked(o.max_payload, "pool_options::max_payload", 1ull << 30, 1, 1ull << 40);
  if (o.limits.address_space_bytes && *o.limits.address_space_bytes <= 3 * r.host.max_payload)
    throw std::invalid_argument(fmt::format("coproc: pool_options::limits.address_space_bytes is {}; each worker maps "
                                            "three times max_payload ({}) besides its own memory: lower max_payload",
                                            *o.limits.address_space_bytes, r.host.max_payload));
  r.host.worker = worker_settings_of(o, l);
  r.host.preload = o.preload;
  r.host.observe_starts = static_cast<bool>(o.on_worker_start);
  r.host.observe_exits = static_cast<bool>(o.on_worker_exit);
  r.on_worker_start = o.on_worker_start;
  r.on_worker_exit = o.on_worker_exit;
  return r;
}

/// Which worker a key belongs to: all pools of one size agree, and neighbouring keys spread.
inline std::int16_t home_of(std::uint64_t key, unsigned workers) noexcept {
  return static_cast<std::int16_t>(pool::scramble(key) % workers);
}

template <std::same_as<task_options> Options>
pool::task_terms resolve(const Options& o, unsigned workers) {
  pool::task_terms t;
  t.timeout = checked(o.timeout, "task_options::timeout");
  t.queue_timeout = checked(o.queue_timeout, "task_options::queue_timeout");
  t.soft_timeout = checked(o.soft_timeout, "task_options::soft_timeout");
  if (t.soft_timeout != unlimited && t.soft_timeout >= t.timeout)
    throw std::invalid_argument("coproc: task_options::soft_timeout must be less than timeout, or it could never act");
  const auto retries = static_cast<std::uint32_t>(
      checked(o.max_retries, "task_options::max_retries", 0, 0, std::numeric_limits<std::uint32_t>::max()));
  t.max_retries = o.retry_on == retry::idempotent ? retries : 0;
  t.retries_refused = retries != t.max_retries;
  if (o.priority < pool::lowest_priority || o.priority > pool::highest_priority)
    throw std::invalid_argument(fmt::format("coproc: task_options::priority is {}; it must be {} to {}", o.priority,
                                            pool::lowest_priority, pool::highest_priority));
  t.priority = static_cast<std::int8_t>(o.priority);
  if (o.worker_key) t.home = home_of(*o.worker_key, workers);
  t.when_cancelled = o.cancel;
  if (o.kill_grace) t.kill_grace = checked(*o.kill_grace, "task_options::kill_grace");
  return t;
}

/// What this_worker::deadline() counts from: the first of the two limits, in nanoseconds; 0: none.
inline std::uint64_t limit_of(const pool::task_terms& t) noexcept {
  const duration first = std::min(t.timeout, t.soft_timeout);
  return first == unlimited ? 0 : static_cast<std::uint64_t>(first.count());
}

} // namespace coproc::detail
