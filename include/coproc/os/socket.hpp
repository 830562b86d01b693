// SPDX-License-Identifier: BSL-1.0
// Message sockets between front end, fork server and workers: SOCK_SEQPACKET pairs that carry small structs and
// descriptors. Every received descriptor is owned at once, so that none leaks whatever the peer sends.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>
#include <coproc/os/unique_fd.hpp>

#include <array>
#include <cstring>
#include <span>
#include <sys/socket.h>
#include <utility>

namespace coproc::os {

inline std::pair<unique_fd, unique_fd> make_socketpair() {
  int fds[2] = {-1, -1};
  if (invoke(call::socketpair, [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds); }) != 0)
    throw_errno("socketpair");
  std::pair<unique_fd, unique_fd> ends{unique_fd(fds[0]), unique_fd(fds[1])};
  ends.first = above_stdio(std::move(ends.first));
  ends.second = above_stdio(std::move(ends.second));
  if (!ends.first || !ends.second) throw_errno("dup of a socket");
  return ends;
}

inline constexpr std::size_t max_fds_per_message = 8;

/// Sends one message whole, or not at all. Returns 0 or the errno; EAGAIN when the peer's buffer is full. Never blocks.
inline int send_message(int socket, std::span<const std::byte> message, std::span<const int> fds = {}) noexcept {
  iovec iov{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * max_fds_per_message)]{};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  }
  const auto n =
      invoke_uninterrupted(call::sendmsg, [&] { return ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT); });
  return n >= 0 ? 0 : errno;
}

/// SHUT_RD, SHUT_WR or SHUT_RDWR: for all who hold a copy of the socket.
inline void shut_down(int socket, int how) noexcept {
  invoke(call::shutdown, [&] { return ::shutdown(socket, how); });
}

struct received {
  int error = 0;          ///< 0, or errno; EAGAIN: nothing there (only without `wait`)
  std::size_t bytes = 0;  ///< 0 with error 0: the peer is gone
  bool truncated = false; ///< the message, or its descriptors, did not fit
  std::size_t fd_count = 0;
  std::array<unique_fd, max_fds_per_message> fds;
};

/// Receives one message into `buffer`.
inline received receive_message(int socket, std::span<std::byte> buffer, bool wait) noexcept {
  received r;
  iovec iov{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * max_fds_per_message)]{};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = invoke_uninterrupted(
      call::recvmsg, [&] { return ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT)); });
  if (n < 0) {
    r.error = errno;
    return r;
  }
  r.bytes = static_cast<std::size_t>(n);
  r.truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count && r.fd_count < r.fds.size(); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      r.fds[r.fd_count++] = above_stdio(unique_fd(fd));
    }
  }
  return r;
}

/// A message as bytes: a trivially copyable struct.
template <class Message>
std::span<const std::byte> bytes_of(const Message& m) noexcept {
  return {reinterpret_cast<const std::byte*>(&m), sizeof m};
}
template <class Message>
std::span<std::byte> writable_bytes_of(Message& m) noexcept {
  return {reinterpret_cast<std::byte*>(&m), sizeof m};
}

} // namespace coproc::os
