// SPDX-License-Identifier: BSL-1.0
// What travels on the sockets: front end <-> fork server, front end -> worker. Fixed-size structs in one host's byte order;
// sender and receiver are forks of one image.
#pragma once

#include <coproc/error.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/resource.h>
#include <sys/wait.h>
#include <type_traits>

namespace coproc::pool {

/// Front end -> fork server, with four descriptors: mailbox, results, control socket, eventfd.
struct start_request {
  std::uint64_t incarnation = 0;
  std::uint64_t result_bytes = 0;     ///< of the results file: its ring
  std::uint64_t view_bytes = 0;       ///< and what lies behind it, for views
  std::uint64_t max_result_bytes = 0; ///< of one result
  std::uint32_t index = 0;
  std::uint32_t reserved = 0;
};

enum class server_event : std::uint32_t {
  ready = 1,       ///< once, after preload
  preload_failed,  ///< once, instead of ready; text says why, or error
  started,         ///< with one descriptor: the pidfd
  start_failed,    ///< error says why
  exited,          ///< always after started
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

enum class worker_order : std::uint32_t { map_segment = 1, unmap_segment = 2 };

/// Front end -> worker, map_segment with one descriptor.
struct worker_message {
  worker_order order{};
  std::uint32_t segment = 0;
  std::uint64_t bytes = 0;
};

static_assert(std::is_trivially_copyable_v<start_request> && std::is_trivially_copyable_v<server_message> &&
              std::is_trivially_copyable_v<worker_message>);

template <class Message>
std::span<const std::byte> bytes_of(const Message& m) noexcept {
  return {reinterpret_cast<const std::byte*>(&m), sizeof m};
}

template <class Message>
std::span<std::byte> writable_bytes_of(Message& m) noexcept {
  return {reinterpret_cast<std::byte*>(&m), sizeof m};
}

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

} // namespace coproc::pool
