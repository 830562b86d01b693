// SPDX-License-Identifier: BSL-1.0
// The front end's end of the fork server: forks it, talks to it, ends it. Front end; the pool's mutex guards it after
// construction.
#pragma once

#include <coproc/config.hpp>
#include <coproc/server/fork_server.hpp>

#include <cstring>
#include <string>

namespace coproc::detail::front {

class server_client {
public:
  /// Forks the server and waits until preload is done. Throws pool_error(errc::worker_start_failed) naming the cause.
  COPROC_LAZY void launch(hook preload, const detail::worker::worker_settings& worker, bool fork_with_threads);

  ~server_client() { end(std::chrono::steady_clock::now() + std::chrono::seconds(2)); }

  server_client() = default;
  server_client(const server_client&) = delete;
  server_client& operator=(const server_client&) = delete;

  /// Ends this one, and is `other` from here on.
  COPROC_LAZY void become(server_client& other) noexcept;

  /// Asks `active` for a copy of it that stands by. It announces itself with READY on this client's socket, or with the
  /// end of it; then call announced(). 0 or errno.
  COPROC_LAZY int stand_by(server_client& active) noexcept;
  COPROC_LAZY void announced(const server::server_message& ready, os::unique_fd pidfd) noexcept;

  /// Waits until the copy that was asked for has announced itself, for a moment only: it is alive by now, or never will
  /// be.
  COPROC_LAZY bool await_announcement() noexcept;

  int socket() const noexcept { return socket_.get(); }
  int pidfd() const noexcept { return pidfd_.get(); }
  COPROC_LAZY bool dead() const noexcept;

  /// 0 or errno. The descriptors may be closed afterwards. Until the first answer is read (the constructor starts all
  /// workers before that) it waits for room in the socket, which the server never lets fill up for long.
  COPROC_LAZY int start(const detail::worker::start_request& request,
                        const detail::worker::worker_descriptors& fds) noexcept;

  /// Has the server signal a worker that the front end may not signal. 0 or errno.
  COPROC_LAZY int signal(std::uint64_t incarnation, int number) noexcept;

  struct incoming {
    enum { nothing, mail, end } kind = nothing; ///< end: the server is dead
    server::server_message message;
    os::unique_fd fd;
  };

  /// The next message, if there is one.
  COPROC_LAZY incoming receive() noexcept;

  /// Tells the server to end, without waiting: its death comes as an event. A child of the application may hold a copy
  /// of the socket, and closing would not tell.
  COPROC_LAZY void dismiss() noexcept;

  /// Ends the server, which ends and reaps what workers are left; at the deadline it is killed, and they with it.
  COPROC_LAZY void end(std::chrono::steady_clock::time_point deadline) noexcept;

private:
  COPROC_LAZY void await_ready();

  os::unique_fd socket_, pidfd_;
  pid_t pid_ = 0;
  bool is_child_ = false; ///< a copy is a child of the server that it was forked from, then of init
  bool answered_ = false; ///< a worker's START was answered: from here on somebody else may wait for the caller
};

} // namespace coproc::detail::front

#include <coproc/front/server_client.ipp>
