// SPDX-License-Identifier: BSL-1.0
// Checks pool_options and fills in the defaults that depend on the machine. Front end, in the pool's constructor.
#pragma once

#include <coproc/net/pool_core.hpp>
#include <coproc/options.hpp>
#include <coproc/os/cpu.hpp>

#include <stdexcept>
#include <string>

namespace coproc::detail {

inline std::uint64_t checked(count c, const char* name, std::uint64_t fallback, std::uint64_t low, std::uint64_t high) {
  if (c.value < 0)
    throw std::invalid_argument(fmt::format("coproc: pool_options::{} is negative ({})", name, c.value));
  const auto value = c.value == 0 ? fallback : static_cast<std::uint64_t>(c.value);
  if (value < low || value > high)
    throw std::invalid_argument(fmt::format("coproc: pool_options::{} is {}; it must be {} to {}", name, value, low, high));
  return value;
}

/// Throws std::invalid_argument naming the member, its value and its range.
inline resolved_options resolve(const pool_options& o) {
  resolved_options r;
  r.usable_cpus = os::usable_cpus();
  constexpr std::uint64_t max_workers = 1024;
  r.limits.max_workers = static_cast<unsigned>(
      checked(o.max_workers, "max_workers", std::min<std::uint64_t>(r.usable_cpus, max_workers), 1, max_workers));
  r.limits.max_queue = checked(o.max_queue, "max_queue", std::max<std::uint64_t>(4096, r.limits.max_workers), 1, 1ull << 32);
  if (r.limits.max_queue < r.limits.max_workers)
    throw std::invalid_argument(fmt::format("coproc: pool_options::max_queue is {}, less than max_workers ({}): it counts "
                                            "running tasks too, so some workers could never work",
                                            r.limits.max_queue, r.limits.max_workers));
  r.limits.max_queue_bytes = checked(o.max_queue_bytes, "max_queue_bytes", std::max<std::uint64_t>(os::usable_memory_bytes() / 4, 1 << 20), 1, 1ull << 50);
  r.max_payload = checked(o.max_payload, "max_payload", 1ull << 30, 1, 1ull << 40);
  if (o.kill_grace <= duration::zero())
    throw std::invalid_argument("coproc: pool_options::kill_grace must be positive");
  r.limits.kill_grace = o.kill_grace;
  r.preload = o.preload;
  r.initializer = o.initializer;
  r.finalizer = o.finalizer;
  return r;
}

} // namespace coproc::detail
