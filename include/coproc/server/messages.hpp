// SPDX-License-Identifier: BSL-1.0
// What the front end and the fork server say to each other. Fixed-size structs in one host's byte order; sender and
// receiver are forks of one image.
#pragma once

#include <coproc/error.hpp>
#include <coproc/worker/orders.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/resource.h>
#include <sys/wait.h>
#include <type_traits>

namespace coproc::detail::server {

enum class server_order : std::uint32_t {
  start = 1, ///< fork a worker; with its four descriptors
  stand_by,  ///< fork a copy of yourself that serves the one descriptor that comes with this
  signal,    ///< send `signal` to the worker, for the front end may not
};

/// Front end -> fork server.
struct server_request {
  server_order order{};
  std::int32_t signal = 0;
  worker::start_request worker{}; ///< signal: of which the incarnation counts
};

enum class server_event : std::uint32_t {
  ready = 1,       ///< once: after preload; of a copy, with one descriptor: its pidfd
  set_up_failed,   ///< once, instead of ready; text says why
  started,         ///< with one descriptor: the pidfd
  start_failed,    ///< error says why
  exited,          ///< always after started
  stand_by_failed, ///< error says why
  signal_failed,   ///< error says why
};

/// Fork server -> front end.
struct server_message {
  server_event event{};
  std::int32_t error = 0;
  std::uint64_t incarnation = 0;
  std::int32_t pid = 0;
  std::int32_t status = 0;
  std::int32_t status_known = 0;
  std::int32_t reserved = 0;
  std::int64_t user_microseconds = 0, system_microseconds = 0, max_rss_kilobytes = 0;
  char text[192] = {};
};

static_assert(std::is_trivially_copyable_v<server_request> && std::is_trivially_copyable_v<server_message>);

inline worker_exit exit_from(const server_message& m) noexcept {
  worker_exit e;
  e.pid = m.pid;
  e.status_known = m.status_known != 0;
  if (e.status_known && WIFSIGNALED(m.status)) e.signal = WTERMSIG(m.status);
  if (e.status_known && WIFEXITED(m.status)) e.exit_code = WEXITSTATUS(m.status);
  e.user_microseconds = m.user_microseconds;
  e.system_microseconds = m.system_microseconds;
  e.max_rss_kilobytes = m.max_rss_kilobytes;
  return e;
}

} // namespace coproc::detail::server
