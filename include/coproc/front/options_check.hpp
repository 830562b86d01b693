// SPDX-License-Identifier: BSL-1.0
// Checks pool_options and task_options and fills in the defaults that depend on the machine. Front end, in the pool's
// constructor and before each call with options. Everything throws std::invalid_argument naming the member, its value
// and its range.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/limits.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/options.hpp>
#include <coproc/worker/process.hpp>

#include <cstdint>

namespace coproc::detail::front {

/// pool_options with every default resolved and every value checked.
struct resolved_options {
  dispatcher_limits limits;
  std::uint64_t max_payload = 0;
  std::uint64_t max_warm_bytes = shm::segment_pool::default_warm_bytes;
  std::uint32_t max_segments = shm::packed_location::max_tag; ///< of arguments, at once
  detail::worker::worker_settings worker;
  hook preload;
  bool fork_with_threads = false;
  worker_start_observer on_worker_start;
  worker_exit_observer on_worker_exit;
};

COPROC_LAZY resolved_options resolve(const pool_options& o);

COPROC_LAZY task_terms resolve(const task_options& o);

struct pool_size {
  unsigned min_workers, max_workers;
};

/// The arguments of process_pool::resize for a pool with these limits, as the members of pool_options.
COPROC_LAZY pool_size resolve_size(count min_workers, count max_workers, const dispatcher_limits& l);

/// What this_worker::deadline() counts from: the first of the two limits, in nanoseconds; 0: none.
COPROC_LAZY std::uint64_t limit_of(const task_terms& t) noexcept;

} // namespace coproc::detail::front

#include <coproc/front/options_check.ipp>
