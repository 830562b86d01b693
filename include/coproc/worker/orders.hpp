// SPDX-License-Identifier: BSL-1.0
// What the front end sends to a worker: what it is made with, by way of the fork server, then orders on its control
// socket. Fixed-size structs in one host's byte order; sender and receiver are forks of one image.
#pragma once

#include <cstdint>
#include <type_traits>

namespace coproc::detail::worker {

/// With four descriptors: mailbox, results, control socket, eventfd.
struct start_request {
  std::uint64_t incarnation = 0;
  std::uint64_t result_bytes = 0;     ///< of the results file: its ring
  std::uint64_t view_bytes = 0;       ///< and what lies behind it, for views
  std::uint64_t max_result_bytes = 0; ///< of one result
  std::uint32_t index = 0;
  std::uint32_t may_leave = 0; ///< 1: it ends when it was idle for idle_timeout
};

enum class worker_order : std::uint32_t { map_segment = 1, unmap_segment = 2 };

/// map_segment comes with one descriptor, and replaces what is mapped under that id.
struct worker_message {
  worker_order order{};
  std::uint32_t segment = 0;
  std::uint64_t bytes = 0;
};

static_assert(std::is_trivially_copyable_v<start_request> && std::is_trivially_copyable_v<worker_message>);

} // namespace coproc::detail::worker
