// SPDX-License-Identifier: BSL-1.0
// The fork server: a single-threaded process, forked once from a single-threaded front end, that forks all workers,
// respawned ones too, reaps them and reports how they ended. It ends with the front end, and its workers with it. A
// copy of it stands by: a fork server without workers, forked before any was there, which serves the front end when the
// first one has died.
//
// fork_server is the logic (requests, deaths and the end in; spawning, reaping and messages out through
// fork_server_effects); fork_server_main below is the process around it: poll, sockets, pidfds.
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/streams.hpp>
#include <coproc/server/messages.hpp>
#include <coproc/worker/process.hpp>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

namespace coproc::detail::server {

struct spawned {
  int error = 0; ///< errno, or 0
  pid_t pid = 0;
  os::unique_fd pidfd;
};

/// What the fork server wants done: by the kernel, or in tests by a fake.
class fork_server_effects {
public:
  virtual spawned spawn(const worker::start_request& request, worker::worker_descriptors fds) = 0;
  virtual os::exit_report reap(pid_t pid) noexcept = 0;
  /// Forks this process. In the copy, where pid is 0, `socket` replaces the one that messages are sent on, and pidfd is
  /// the copy's own.
  virtual spawned fork_copy(os::unique_fd socket) = 0;
  virtual int signal(pid_t pid, int pidfd, int number) noexcept = 0; ///< 0 or errno; `pid` is not reaped
  virtual int send(const server_message& m, int fd) noexcept = 0;    ///< 0, or errno; EAGAIN: later

protected:
  ~fork_server_effects() = default;
};

class fork_server {
public:
  struct child {
    pid_t pid;
    std::uint64_t incarnation; ///< 0: the copy that stands by
    os::unique_fd pidfd;
  };

  explicit fork_server(fork_server_effects& kernel) : effects_(kernel) {}

  COPROC_LAZY void on_start(const worker::start_request& request, worker::worker_descriptors fds);

  /// A START that cannot be followed.
  COPROC_LAZY void refuse(const worker::start_request& request, int error);

  /// Returns twice, as fork() does: the copy has no workers, and has told the front end that it is ready.
  COPROC_LAZY void on_stand_by(os::unique_fd socket);

  COPROC_LAZY void on_signal(std::uint64_t incarnation, int number);

  /// The child's pidfd has fired. EXITED follows STARTED because the outbox keeps order.
  COPROC_LAZY void on_dead(pid_t pid);

  /// The socket takes messages again, or retry_later() said so a while ago.
  COPROC_LAZY void on_writable();

  /// Messages wait for the socket to become writable.
  bool has_output() const noexcept { return !outbox_.empty() && !retry_later_; }
  /// Messages wait for better times.
  bool retry_later() const noexcept { return retry_later_; }
  const std::vector<child>& children() const noexcept { return children_; }

private:
  struct queued {
    server_message message;
    int fd;
    os::unique_fd keep;
  };

  COPROC_LAZY void push(const server_message& m, int fd);

  fork_server_effects& effects_;
  std::vector<child> children_;
  std::deque<queued> outbox_; // never blocks: what the socket does not take waits here
  bool retry_later_ = false;
};

/// What the fork server process is made with; copied by the fork itself.
struct fork_server_config {
  os::unique_fd socket;    ///< to the front end
  os::unique_fd front_end; ///< pidfd: EOF alone would not tell, a child of the application may hold the socket
  hook preload;
  worker::worker_settings worker;
  bool fork_with_threads = false; ///< preload may have started some
};

/// The real ones.
COPROC_LAZY_CLASS class fork_server_os final : public fork_server_effects {
public:
  explicit fork_server_os(fork_server_config& config) : config_(config), server_(::getpid()) {}

  spawned spawn(const worker::start_request& request, worker::worker_descriptors fds) override {
    return fork_child([&] { worker::worker_main(request, std::move(fds), server_, config_.worker); });
  }

  os::exit_report reap(pid_t pid) noexcept override {
    if (config_.worker.descendants == on_worker_end::kill) os::end_group_of_dead(pid);
    return os::reap(pid);
  }

  spawned fork_copy(os::unique_fd socket) override {
    spawned s = fork_child([] {});
    if (s.pid != 0) return s;
    server_ = ::getpid();
    os::set_name("coproc-standby");
    os::lead_group();
    config_.socket = std::move(socket);
    s.pidfd = os::open_pidfd(server_);
    if (!s.pidfd) os::exit_now(1); // the end of its socket tells
    return s;
  }

  // Where pidfd_send_signal is refused to this process, too, a filter may still let kill() pass.
  int signal(pid_t pid, int pidfd, int number) noexcept override {
    if (os::send_signal(pidfd, number) == 0) return 0;
    return os::signal_child(pid, number);
  }

  int send(const server_message& m, int fd) noexcept override {
    return os::send_message(config_.socket.get(), os::bytes_of(m),
                            fd >= 0 ? std::span<const int>(&fd, 1) : std::span<const int>());
  }

private:
  // in_child() runs in the child, all signals blocked; where it returns, so does this. A child without a pidfd ends.
  template <class InChild>
  static spawned fork_child(InChild in_child) {
    spawned s;
    os::flush_all_streams(); // or each child would print what preload left in the buffers
    {
      os::block_signals blocked;
      s.pid = os::fork();
      if (s.pid == 0) in_child();
    }
    if (s.pid == 0) return s;
    if (s.pid > 0) s.pidfd = os::open_pidfd(s.pid);
    if (s.pidfd) return s;
    s.error = errno;
    if (s.pid > 0) os::end_new_child(s.pid);
    return s;
  }

  fork_server_config& config_;
  pid_t server_;
};

/// Runs in the child of the front end, all signals still blocked. Does not return.
COPROC_LAZY void fork_server_main(fork_server_config& config) noexcept;

} // namespace coproc::detail::server

#include <coproc/server/fork_server.ipp>
