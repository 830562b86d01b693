// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/server_client.hpp>
#include <coproc/os/streams.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void server_client::launch(hook preload, const worker::worker_settings& worker) {
  if (!os::single_threaded())
    throw pool_error(make_error_code(errc::worker_start_failed),
                     "this process has more than one thread, and a forked copy of a threaded process may deadlock in any "
                     "lock that was held: make the pool before the first thread is started, or move it into a process "
                     "of its own");
  server::fork_server_config config;
  auto [ours, theirs] = os::make_socketpair();
  config.socket = std::move(theirs);
  config.front_end = os::open_pidfd(::getpid());
  if (!config.front_end) os::throw_errno(os::no_pidfd);
  config.preload = preload;
  config.worker = worker;
  config.worker.first_descriptor = os::above_all_descriptors();
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
  socket_ = std::move(ours);
  pidfd_ = os::open_pidfd(pid);
  if (!pidfd_) {
    const int error = errno;
    os::end_new_child(pid);
    os::throw_errno(os::no_pidfd, error);
  }
  await_ready();
}

COPROC_LAZY_DEF int server_client::start(const worker::start_request& request, const worker::worker_descriptors& fds) noexcept {
  const int list[] = {fds.mailbox.get(), fds.results.get(), fds.control.get(), fds.eventfd.get()};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(answered_ ? 0 : 10);
  for (;;) {
    const int error = os::send_message(socket_.get(), os::bytes_of(request), list);
    if ((error != EAGAIN && error != ETOOMANYREFS) || std::chrono::steady_clock::now() >= deadline) return error;
    // The server's death ends the wait, too. Descriptors in flight have no event.
    std::array<pollfd, 2> fds_to_wait{{{socket_.get(), static_cast<short>(error == EAGAIN ? POLLOUT : 0), 0}, {pidfd_.get(), POLLIN, 0}}};
    os::wait_readable(fds_to_wait, error == EAGAIN ? 100 : 1);
  }
}

COPROC_LAZY_DEF auto server_client::receive() noexcept -> incoming {
  server::server_message m;
  const auto next = [&] { return os::receive_message(socket_.get(), os::writable_bytes_of(m), false); };
  os::received r = next();
  if (r.error == ECONNRESET) r = next(); // told once of a peer that left mail unread, before its own last messages
  if (r.error == EAGAIN || r.error == ENOBUFS || r.error == ENOMEM) return {}; // it is still there, and so is the message
  if (r.error != 0 || r.bytes != sizeof m) return {incoming::end, {}, {}};
  m.text[sizeof m.text - 1] = '\0';
  answered_ = m.event != server::server_event::ready;
  return {incoming::mail, m, std::move(r.fds[0])};
}

COPROC_LAZY_DEF void server_client::end(std::chrono::steady_clock::time_point deadline) noexcept {
  if (pid_ <= 0) return;
  os::shut_down(socket_.get(), SHUT_RDWR);
  socket_.reset();
  if (pidfd_ && !os::wait_dead(pidfd_.get(), deadline)) {
    os::send_signal(pidfd_.get(), SIGKILL);
    os::wait_dead(pidfd_.get(), std::chrono::steady_clock::now() + std::chrono::seconds(1));
  }
  os::reap(pid_);
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
      throw pool_error(make_error_code(errc::worker_start_failed), "the fork server died before it was ready (did preload crash?)");
  }
}

COPROC_LAZY_DEF void server_client::dismiss() noexcept { os::shut_down(socket_.get(), SHUT_WR); }

} // namespace coproc::detail::front
