// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/server_client.hpp>
#include <coproc/os/streams.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void server_client::launch(hook preload, const detail::worker::worker_settings& worker,
                                           bool fork_with_threads) {
  if (!fork_with_threads && !os::single_threaded())
    throw pool_error(make_error_code(errc::worker_start_failed),
                     "this process has more than one thread (also " + os::other_threads() +
                         "), and a forked copy of a threaded process may deadlock in any lock that was held: make the "
                         "pool before the first thread is started, or move it into a process of its own; libraries may "
                         "start threads before main (a variable in the environment often prevents it)");
  server::fork_server_config config;
  auto [ours, theirs] = os::make_socketpair();
  config.socket = std::move(theirs);
  config.front_end = os::open_pidfd(::getpid());
  if (!config.front_end) os::throw_errno(os::no_pidfd);
  config.preload = preload;
  config.worker = worker;
  config.worker.front_end = ::getpid();
  config.worker.first_descriptor = os::above_all_descriptors();
  config.fork_with_threads = fork_with_threads;
  os::flush_all_streams(); // buffered text would be printed by every process
  pid_t pid;
  {
    os::block_signals blocked;
    pid = os::fork();
    if (pid == 0) server::fork_server_main(config);
  }
  if (pid < 0) {
    const int error = errno;
    throw pool_error(make_error_code(errc::worker_start_failed),
                     std::string("fork of the fork server failed: ") + std::strerror(error));
  }
  pid_ = pid;
  is_child_ = true;
  socket_ = std::move(ours);
  pidfd_ = os::open_pidfd(pid);
  if (!pidfd_) {
    const int error = errno;
    os::end_new_child(pid);
    os::throw_errno(os::no_pidfd, error);
  }
  await_ready();
}

COPROC_LAZY_DEF void server_client::become(server_client& other) noexcept {
  end(clock_now());
  socket_ = std::move(other.socket_);
  pidfd_ = std::move(other.pidfd_);
  pid_ = std::exchange(other.pid_, 0);
  is_child_ = other.is_child_;
}

COPROC_LAZY_DEF int server_client::stand_by(server_client& active) noexcept {
  try {
    auto [ours, theirs] = os::make_socketpair();
    server::server_request request;
    request.order = server::server_order::stand_by;
    const int fd = theirs.get();
    if (const int error = os::send_message(active.socket(), os::bytes_of(request), {&fd, 1})) return error;
    socket_ = std::move(ours);
    return 0;
  } catch (const pool_error& e) {
    return e.code().value();
  }
}

COPROC_LAZY_DEF void server_client::announced(const server::server_message& ready, os::unique_fd pidfd) noexcept {
  pid_ = ready.pid;
  pidfd_ = std::move(pidfd);
  is_child_ = false;
}

COPROC_LAZY_DEF bool server_client::await_announcement() noexcept {
  if (!socket_) return false;
  if (!pidfd_) {
    std::array<pollfd, 1> mail{{{socket_.get(), POLLIN, 0}}};
    os::wait_readable(mail, 100);
    incoming in = receive();
    if (in.kind != incoming::mail || !in.fd) return false;
    announced(in.message, std::move(in.fd));
  }
  return !dead();
}

COPROC_LAZY_DEF bool server_client::dead() const noexcept {
  std::array<pollfd, 1> death{{{pidfd_.get(), POLLIN, 0}}}; // none, and none is dead, without a pidfd
  return os::wait_readable(death, 0) > 0;
}

COPROC_LAZY_DEF int server_client::signal(std::uint64_t incarnation, int number) noexcept {
  server::server_request request;
  request.order = server::server_order::signal;
  request.signal = number;
  request.worker.incarnation = incarnation;
  return os::send_message(socket_.get(), os::bytes_of(request), {});
}

COPROC_LAZY_DEF int server_client::start(const detail::worker::start_request& request,
                                         const detail::worker::worker_descriptors& fds) noexcept {
  server::server_request order;
  order.order = server::server_order::start;
  order.worker = request;
  const int list[] = {fds.mailbox.get(), fds.results.get(), fds.control.get(), fds.eventfd.get()};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(answered_ ? 0 : 10);
  for (;;) {
    const int error = os::send_message(socket_.get(), os::bytes_of(order), list);
    if ((error != EAGAIN && error != ETOOMANYREFS) || std::chrono::steady_clock::now() >= deadline) return error;
    // The server's death ends the wait, too. Descriptors in flight have no event.
    std::array<pollfd, 2> fds_to_wait{
        {{socket_.get(), static_cast<short>(error == EAGAIN ? POLLOUT : 0), 0}, {pidfd_.get(), POLLIN, 0}}};
    os::wait_readable(fds_to_wait, error == EAGAIN ? 100 : 1);
  }
}

COPROC_LAZY_DEF auto server_client::receive() noexcept -> incoming {
  server::server_message m;
  const auto next = [&] { return os::receive_message(socket_.get(), os::writable_bytes_of(m), false); };
  os::received r = next();
  if (r.error == ECONNRESET) r = next(); // told once of a peer that left mail unread, before its own last messages
  // it is still there, and so is the message
  if (r.error == EAGAIN || r.error == ENOBUFS || r.error == ENOMEM) return {};
  if (r.error != 0 || r.bytes != sizeof m) return {incoming::end, {}, {}};
  m.text[sizeof m.text - 1] = '\0';
  answered_ = m.event != server::server_event::ready;
  return {incoming::mail, m, std::move(r.fds[0])};
}

COPROC_LAZY_DEF void server_client::end(std::chrono::steady_clock::time_point deadline) noexcept {
  if (!socket_) return;
  os::shut_down(socket_.get(), SHUT_RDWR);
  socket_.reset();
  if (pidfd_ && !os::wait_dead(pidfd_.get(), deadline)) {
    os::send_signal(pidfd_.get(), SIGKILL);
    os::wait_dead(pidfd_.get(), std::chrono::steady_clock::now() + std::chrono::seconds(1));
  }
  if (is_child_)
    os::reap(pid_);
  else if (pidfd_)
    os::reap_orphan(pidfd_.get());
  pid_ = 0;
  pidfd_.reset();
}

COPROC_LAZY_DEF void server_client::await_ready() {
  for (;;) {
    std::array<pollfd, 2> fds{{{socket_.get(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}}};
    os::wait_readable(fds, -1);
    incoming in = receive();
    if (in.kind == incoming::mail && in.message.event == server::server_event::ready) return;
    if (in.kind == incoming::mail) throw pool_error(make_error_code(errc::worker_start_failed), in.message.text);
    if (in.kind == incoming::end || fds[1].revents != 0)
      throw pool_error(make_error_code(errc::worker_start_failed),
                       "the fork server died before it was ready (did preload crash?)");
  }
}

COPROC_LAZY_DEF void server_client::dismiss() noexcept { os::shut_down(socket_.get(), SHUT_WR); }

} // namespace coproc::detail::front
