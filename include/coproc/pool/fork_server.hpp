// SPDX-License-Identifier: BSL-1.0
// The fork server: a single-threaded process, forked once from a single-threaded front end, that forks all workers, respawned
// ones too, reaps them and reports how they ended. It ends with the front end, and its workers with it.
//
// fork_server is the logic (requests, deaths and the end in; spawning, reaping and messages out through a policy);
// fork_server_main below is the process around it: poll, sockets, pidfds.
#pragma once

#include <coproc/pool/worker_process.hpp>

#include <algorithm>
#include <deque>
#include <vector>

namespace coproc::pool {

struct spawned {
  int error = 0; ///< errno, or 0
  pid_t pid = 0;
  os::unique_fd pidfd;
};

template <class P>
concept fork_server_policy = requires(P p, const start_request& r, worker_descriptors fds, pid_t pid, const server_message& m, int fd) {
  { p.spawn(r, std::move(fds)) } -> std::same_as<spawned>;
  { p.reap(pid) } -> std::same_as<os::exit_report>;
  { p.send(m, fd) } -> std::same_as<int>; ///< 0, or errno; EAGAIN: later
};

template <fork_server_policy Policy>
class fork_server {
public:
  struct child {
    pid_t pid;
    std::uint64_t incarnation;
    os::unique_fd pidfd;
  };

  explicit fork_server(Policy& policy) : policy_(policy) {}

  void on_start(const start_request& request, worker_descriptors fds) {
    spawned s = policy_.spawn(request, std::move(fds)); // all copies of the descriptors are closed when it returns
    if (s.error != 0) return refuse(request, s.error);
    server_message answer;
    answer.incarnation = request.incarnation;
    answer.event = server_event::started;
    answer.pid = s.pid;
    children_.push_back({s.pid, request.incarnation, std::move(s.pidfd)});
    push(answer, children_.back().pidfd.get());
  }

  /// A START that cannot be followed.
  void refuse(const start_request& request, int error) {
    server_message answer;
    answer.incarnation = request.incarnation;
    answer.event = server_event::start_failed;
    answer.error = error;
    push(answer, -1);
  }

  /// The child's pidfd has fired. EXITED follows STARTED because the outbox keeps order.
  void on_dead(pid_t pid) {
    const auto it = std::find_if(children_.begin(), children_.end(), [&](const child& c) { return c.pid == pid; });
    if (it == children_.end()) return;
    const os::exit_report r = policy_.reap(pid);
    server_message m;
    m.event = server_event::exited;
    m.incarnation = it->incarnation;
    m.pid = pid;
    m.status_known = r.known;
    m.status = r.status;
    m.user_microseconds = r.usage.ru_utime.tv_sec * 1'000'000 + r.usage.ru_utime.tv_usec;
    m.system_microseconds = r.usage.ru_stime.tv_sec * 1'000'000 + r.usage.ru_stime.tv_usec;
    m.max_rss_kilobytes = r.usage.ru_maxrss;
    // Its STARTED may still wait in the outbox and needs the pidfd: keep a copy there.
    for (queued& q : outbox_)
      if (q.message.event == server_event::started && q.message.incarnation == m.incarnation) q.keep = std::move(it->pidfd);
    children_.erase(it);
    push(m, -1);
  }

  /// The socket takes messages again, or retry_later() said so a while ago.
  void on_writable() {
    retry_later_ = false;
    while (!outbox_.empty()) {
      const queued& q = outbox_.front();
      const int error = policy_.send(q.message, q.fd);
      if (error == EAGAIN) return;
      // Short of memory, or of descriptors in flight: nothing tells when that ends.
      if (error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS) {
        retry_later_ = true;
        return;
      }
      outbox_.pop_front(); // any other error: the front end is gone, which another event tells
    }
  }

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

  void push(const server_message& m, int fd) {
    outbox_.push_back({m, fd, {}});
    on_writable();
  }

  Policy& policy_;
  std::vector<child> children_;
  std::deque<queued> outbox_; // never blocks: what the socket does not take waits here
  bool retry_later_ = false;
};

/// What the fork server process is made with; copied by the fork itself.
struct fork_server_config {
  os::unique_fd socket;         ///< to the front end
  os::unique_fd front_end;      ///< pidfd: EOF alone would not tell, a child of the application may hold the socket
  hook preload;
  worker_settings worker;
};

/// The real policy; its workers live in an Environment.
template <class Environment>
class fork_server_os {
public:
  explicit fork_server_os(fork_server_config& config) : config_(config), server_(::getpid()) {}

  spawned spawn(const start_request& request, worker_descriptors fds) {
    spawned s;
    std::fflush(stdout); // or each worker would print what preload left in the buffer
    {
      os::block_signals blocked;
      s.pid = os::fork();
      if (s.pid == 0)
        worker_main<Environment>(request, std::move(fds), server_, config_.worker);
    }
    if (s.pid < 0) {
      s.error = errno;
      return s;
    }
    s.pidfd = os::open_pidfd(s.pid);
    if (!s.pidfd) {
      s.error = errno;
      os::end_new_child(s.pid);
    }
    return s;
  }

  os::exit_report reap(pid_t pid) noexcept { return os::reap(pid); }

  int send(const server_message& m, int fd) noexcept {
    return os::send_message(config_.socket.get(), bytes_of(m), fd >= 0 ? std::span<const int>(&fd, 1) : std::span<const int>());
  }

private:
  fork_server_config& config_;
  pid_t server_;
};

namespace detail {

// Ends all workers and reaps them; gives up on unkillable ones after a second.
template <class Server>
void end_workers(Server& server) noexcept {
  for (const auto& c : server.children()) os::send_signal(c.pidfd.get(), SIGKILL);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (const auto& c : server.children())
    if (os::wait_dead(c.pidfd.get(), deadline)) os::reap(c.pid);
}

// Runs preload and says how it went. False: the server has no reason to live.
template <fork_server_policy Policy>
bool preload_and_report(fork_server_config& config, Policy& os_policy) noexcept {
  server_message m;
  m.event = server_event::ready;
  try {
    if (config.preload) config.preload();
    if (!os::single_threaded()) {
      m.event = server_event::preload_failed;
      std::snprintf(m.text, sizeof m.text, "preload started a thread; workers can only be forked from a single-threaded process");
    }
  } catch (const std::exception& e) {
    m.event = server_event::preload_failed;
    std::snprintf(m.text, sizeof m.text, "preload threw: %s", e.what());
  } catch (...) {
    m.event = server_event::preload_failed;
    std::snprintf(m.text, sizeof m.text, "preload threw something that is not a standard exception");
  }
  return os_policy.send(m, -1) == 0 && m.event == server_event::ready;
}

} // namespace detail

/// Runs in the child of the front end, all signals still blocked. Does not return.
template <fork_server_policy Policy, class Entry = pollfd> // so that only a file that makes a pool compiles the vector
[[noreturn]] void fork_server_main(fork_server_config& config) noexcept {
  os::set_name("coproc-server");
  const int keep[] = {config.socket.get(), config.front_end.get()};
  os::clean_child(keep);
  Policy policy(config);
  fork_server<Policy> server(policy);
  if (!detail::preload_and_report(config, policy)) os::exit_now(1);

  std::vector<Entry> fds;
  for (;;) {
    fds.clear();
    fds.push_back({config.socket.get(), static_cast<short>(POLLIN | (server.has_output() ? POLLOUT : 0)), 0});
    fds.push_back({config.front_end.get(), POLLIN, 0});
    for (const auto& c : server.children()) fds.push_back({c.pidfd.get(), POLLIN, 0});
    constexpr int retry_ms = 10;
    const int ready = os::wait_readable(fds, server.retry_later() ? retry_ms : -1);
    if (server.retry_later()) server.on_writable();
    if (ready <= 0) continue;

    if (fds[1].revents != 0) break;
    std::vector<pid_t> dead;
    for (std::size_t i = 2; i < fds.size(); ++i)
      if (fds[i].revents != 0) dead.push_back(server.children()[i - 2].pid);
    for (const pid_t pid : dead) server.on_dead(pid);
    if (fds[0].revents & POLLOUT) server.on_writable();
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
      start_request request;
      os::received r = os::receive_message(config.socket.get(), writable_bytes_of(request), false);
      if (r.error == EAGAIN || r.error == ENOBUFS || r.error == ENOMEM) continue;
      if (r.error != 0 || r.bytes != sizeof request) break; // end of file: the pool is gone
      if (r.fd_count != 4)
        server.refuse(request, EMFILE); // they were dropped, because this process has no room for them
      else
        server.on_start(request, {std::move(r.fds[0]), std::move(r.fds[1]), std::move(r.fds[2]), std::move(r.fds[3])});
    }
  }
  detail::end_workers(server);
  os::exit_now(0);
}

} // namespace coproc::pool
