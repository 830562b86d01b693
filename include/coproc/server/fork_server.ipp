// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/server/fork_server.hpp>

namespace coproc::detail::server {

COPROC_LAZY_DEF void fork_server::on_start(const worker::start_request& request, worker::worker_descriptors fds) {
  spawned s = effects_.spawn(request, std::move(fds)); // all copies of the descriptors are closed when it returns
  if (s.error != 0) return refuse(request, s.error);
  server_message answer;
  answer.incarnation = request.incarnation;
  answer.event = server_event::started;
  answer.pid = s.pid;
  children_.push_back({s.pid, request.incarnation, std::move(s.pidfd)});
  push(answer, children_.back().pidfd.get());
}

COPROC_LAZY_DEF void fork_server::refuse(const worker::start_request& request, int error) {
  server_message answer;
  answer.incarnation = request.incarnation;
  answer.event = server_event::start_failed;
  answer.error = error;
  push(answer, -1);
}

COPROC_LAZY_DEF void fork_server::on_stand_by(os::unique_fd socket) {
  spawned s = effects_.fork_copy(std::move(socket));
  server_message answer;
  if (s.error != 0) {
    answer.event = server_event::stand_by_failed;
    answer.error = s.error;
    return push(answer, -1);
  }
  if (s.pid != 0) return static_cast<void>(children_.push_back({s.pid, 0, std::move(s.pidfd)}));
  children_.clear(); // they are the other's
  outbox_.clear();
  retry_later_ = false;
  answer.event = server_event::ready;
  answer.pid = ::getpid();
  push(answer, s.pidfd.get());
  if (!outbox_.empty()) outbox_.back().keep = std::move(s.pidfd);
}

COPROC_LAZY_DEF void fork_server::on_signal(std::uint64_t incarnation, int number) {
  const auto it =
      std::find_if(children_.begin(), children_.end(), [&](const child& c) { return c.incarnation == incarnation; });
  if (it == children_.end()) return; // it is dead, as EXITED says
  server_message answer;
  answer.event = server_event::signal_failed;
  answer.incarnation = incarnation;
  answer.error = effects_.signal(it->pid, it->pidfd.get(), number);
  if (answer.error != 0) push(answer, -1);
}

COPROC_LAZY_DEF void fork_server::on_dead(pid_t pid) {
  const auto it = std::find_if(children_.begin(), children_.end(), [&](const child& c) { return c.pid == pid; });
  if (it == children_.end()) return;
  const os::exit_report r = effects_.reap(pid);
  if (it->incarnation == 0) return static_cast<void>(children_.erase(it)); // the front end sees that by itself
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
    if (q.message.event == server_event::started && q.message.incarnation == m.incarnation)
      q.keep = std::move(it->pidfd);
  children_.erase(it);
  push(m, -1);
}

COPROC_LAZY_DEF void fork_server::on_writable() {
  retry_later_ = false;
  while (!outbox_.empty()) {
    const queued& q = outbox_.front();
    const int error = effects_.send(q.message, q.fd);
    if (error == EAGAIN) return;
    // Short of memory, or of descriptors in flight: nothing tells when that ends.
    if (error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS) {
      retry_later_ = true;
      return;
    }
    outbox_.pop_front(); // any other error: the front end is gone, which another event tells
  }
}

COPROC_LAZY_DEF void fork_server::push(const server_message& m, int fd) {
  outbox_.push_back({m, fd, {}});
  on_writable();
}

// Ends all workers and reaps them; gives up on unkillable ones after a second.
COPROC_LAZY void end_workers(fork_server& server, fork_server_effects& kernel) noexcept {
  for (const auto& c : server.children()) os::send_signal(c.pidfd.get(), SIGKILL);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (const auto& c : server.children())
    if (os::wait_dead(c.pidfd.get(), deadline)) kernel.reap(c.pid);
}

// For the descriptors of workers, which come to lie above all that the front end had. (Not among those of preload,
// either: it has them while these arrive.) False: there is no room.
COPROC_LAZY bool make_room(worker::worker_settings& worker) noexcept {
  constexpr int at_once = 8;
  worker.open_files = os::raise_open_files_limit(worker.first_descriptor + at_once);
  return errno == 0;
}

// What keeps this process from serving; empty: nothing.
COPROC_LAZY std::string set_up(fork_server_config& config) {
  if (!worker::clean_child(config.worker.inherit, {config.socket.get(), config.front_end.get()}))
    return worker::cannot_close;
  try {
    worker::enter_surroundings(config.worker);
  } catch (const std::exception& e) {
    return e.what();
  }
  try {
    if (config.preload) config.preload();
  } catch (const std::exception& e) {
    return std::string("preload threw: ") + e.what();
  } catch (...) {
    return "preload threw something that is not a standard exception";
  }
  if (!config.fork_with_threads && !os::single_threaded())
    return os::text("preload started a thread, ", os::other_threads(),
                    "; workers can only be forked from a single-threaded process");
  if (!make_room(config.worker))
    return "descriptor " + std::to_string(config.worker.first_descriptor - 1) +
           " of this program is open, and those of the workers lie above it: raise the hard limit of RLIMIT_NOFILE, or "
           "make the pool before that descriptor";
  return {};
}

// False: the server has no reason to live.
COPROC_LAZY bool set_up_and_report(fork_server_config& config, fork_server_effects& kernel) noexcept {
  server_message m;
  m.event = server_event::ready;
  const std::string trouble = set_up(config);
  os::outlive_stray_signals();
  if (!trouble.empty()) {
    m.event = server_event::set_up_failed;
    std::snprintf(m.text, sizeof m.text, "%s", trouble.c_str());
  }
  return kernel.send(m, -1) == 0 && m.event == server_event::ready;
}

// Tasks may still use numbers of descriptors that the front end had, or close them: none is one of the pool's.
COPROC_LAZY void start(fork_server& server, const worker::start_request& request, os::received& r,
                       int first_descriptor) {
  for (std::size_t i = 0; i != r.fd_count; ++i) {
    r.fds[i] = os::move_above(std::move(r.fds[i]), first_descriptor);
    if (!r.fds[i]) return server.refuse(request, errno);
  }
  server.on_start(request, {std::move(r.fds[0]), std::move(r.fds[1]), std::move(r.fds[2]), std::move(r.fds[3])});
}

COPROC_LAZY_DEF void fork_server_main(fork_server_config& config) noexcept {
  os::set_name("coproc-server");
  os::forget_exit_handlers();
  fork_server_os<> kernel(config);
  fork_server server(kernel);
  if (!set_up_and_report(config, kernel)) os::exit_now(1);

  std::vector<pollfd> fds;
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
      server_request request;
      os::received r = os::receive_message(config.socket.get(), os::writable_bytes_of(request), false);
      if (r.error == EAGAIN || r.error == ENOBUFS || r.error == ENOMEM) continue;
      if (r.error != 0 || r.bytes != sizeof request) break; // end of file: the pool is gone
      switch (request.order) { // descriptors are dropped on the way where this process has no room for them
      case server_order::start:
        if (r.fd_count != 4)
          server.refuse(request.worker, EMFILE);
        else
          start(server, request.worker, r, config.worker.first_descriptor);
        break;
      case server_order::stand_by:
        os::set_name("coproc-server");                                // perhaps it stood by itself
        if (r.fd_count == 1) server.on_stand_by(std::move(r.fds[0])); // else its end of file says that there is none
        break;
      case server_order::signal: server.on_signal(request.worker.incarnation, request.signal); break;
      }
    }
  }
  end_workers(server, kernel);
  os::exit_now(0);
}

} // namespace coproc::detail::server
