// SPDX-License-Identifier: BSL-1.0
// Makes the memory and descriptors of a new worker: everything fresh, because a grandchild of a dead worker may still
// map the old. Front end, outside the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/worker.hpp>
#include <coproc/os/epoll.hpp>
#include <coproc/os/socket.hpp>
#include <coproc/server/messages.hpp>
#include <coproc/worker/process.hpp>

#include <memory>

namespace coproc::detail::front {

struct incarnation {
  std::unique_ptr<front::worker> process;
  detail::worker::start_request request;
  detail::worker::worker_descriptors for_worker; ///< to be sent with the request, then closed
};

/// Throws pool_error with the system's code.
COPROC_LAZY incarnation make_incarnation(unsigned index, std::uint64_t number, std::uint64_t max_result_bytes);

} // namespace coproc::detail::front

#include <coproc/front/incarnation.ipp>
