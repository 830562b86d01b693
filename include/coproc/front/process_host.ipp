// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/process_host.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF process_host::process_host(const resolved_options& options, dispatcher& tasks)
    : options_(options), timer_(os::make_timerfd()),
      segments_(std::make_shared<shm::segment_pool>(options.max_warm_bytes, options.max_segments)), dispatcher_(tasks) {
  effects_.starts.reserve(options.limits.max_workers);
  effects_.observe_exits = static_cast<bool>(options.on_worker_exit);
}

COPROC_LAZY_DEF void process_host::launch() {
  server_.launch(options_.preload, options_.worker, options_.fork_with_threads);
  epoll_.add(server_.socket(), EPOLLIN, event_key{event_source::server, 0}.pack());
  epoll_.add(server_.pidfd(), EPOLLIN | EPOLLONESHOT, event_key{event_source::server_death, 0}.pack());
  epoll_.add(timer_.get(), EPOLLIN | EPOLLET, event_key{event_source::timer, 0}.pack());
  const unsigned least = options_.limits.min_workers;
  const unsigned first = least == 0 ? options_.limits.max_workers : least;
  for (unsigned i = 0; i < first; ++i) {
    try {
      adopt(i, make(i), clock_now());
    } catch (const pool_error& e) {
      throw pool_error(make_error_code(errc::worker_start_failed), std::string(e.what()));
    }
  }
  await_first_workers();
  ask_for_standby(clock_now());
  if (standby_.await_announcement()) watch_standby();
}

COPROC_LAZY_DEF void process_host::take_events(time_point now) {
  std::array<epoll_event, 64> buffer;
  for (;;) {
    const auto events = epoll_.wait(buffer, 0);
    for (const epoll_event& e : events) {
      const auto key = event_key::unpack(e.data.u64);
      switch (key.source) {
      case event_source::bell: break; // draining looks at every ring anyway
      case event_source::timer: timer_at_ = time_point::max(); break;
      case event_source::death: dispatcher_.workers().died(key.incarnation, now); break;
      case event_source::server:
      case event_source::server_death: hear_server(now); break;
      case event_source::standby: hear_standby(now); break;
      }
    }
    if (events.size() < buffer.size()) break;
  }
  tell_dropped_segments();
}

COPROC_LAZY_DEF void process_host::tick(time_point now) noexcept {
  dispatcher_.tick(now);
  if (std::exchange(effects_.server_must_die, false) && !server_is_gone_)
    os::send_signal(server_.pidfd(), SIGKILL); // its death comes as an event
  if (now >= standby_at_) ask_for_standby(now);
  if (dispatcher_.over() && !server_is_gone_) dismiss_server(now);
}

COPROC_LAZY_DEF time_point process_host::next_deadline() const noexcept {
  return std::min({dispatcher_.next_deadline(), server_deadline_, standby_at_});
}

COPROC_LAZY_DEF bool process_host::busy() const noexcept {
  return dispatcher_.outstanding() != 0 || (dispatcher_.over() && !server_is_gone_) ||
         ((options_.on_worker_start || options_.on_worker_exit) && dispatcher_.workers().in_transition());
}

COPROC_LAZY_DEF bool process_host::set_timer(time_point next) noexcept {
  if (next >= timer_at_) return true;
  if (!os::set_timer(timer_.get(), next)) return false;
  timer_at_ = next;
  return true;
}

COPROC_LAZY_DEF std::optional<unsigned> process_host::take_start() noexcept {
  while (!effects_.starts.empty() && !server_is_gone_) {
    const unsigned index = effects_.starts.back();
    effects_.starts.pop_back();
    if (dispatcher_.workers().has_seat(index)) return index;
    dispatcher_.workers().forgo(index);
  }
  return {};
}

COPROC_LAZY_DEF incarnation process_host::make(unsigned index) {
  incarnation made = make_incarnation(index, ++incarnations_, options_.max_payload);
  epoll_.add(made.process->handles().eventfd.get(), EPOLLIN | EPOLLET,
             event_key{event_source::bell, made.request.incarnation}.pack());
  return made;
}

COPROC_LAZY_DEF void process_host::adopt(unsigned index, incarnation made, time_point now) {
  if (dispatcher_.ending()) return dispatcher_.workers().start_failed(index, net::error::operation_aborted, now);
  if (!dispatcher_.workers().has_seat(index)) return dispatcher_.workers().forgo(index);
  made.request.may_leave = dispatcher_.workers().may_leave(index);
  dispatcher_.add_worker(std::move(made.process), now);
  if (const int error = server_.start(made.request, made.for_worker)) {
    start_error_ = error;
    dispatcher_.workers().start_refused(made.request.incarnation, os::system_code(error), now);
  }
}

COPROC_LAZY_DEF void process_host::clear_graveyard() noexcept { effects_.graveyard.clear(); }

COPROC_LAZY_DEF void process_host::begin_end() noexcept {
  try {
    hear_server(clock_now());       // of workers that came up while nobody listened: they, too, may end in order
  } catch (const std::exception&) { // no memory, the kernel's or ours: the fork server ends it
  }
  dispatcher_.close();
  dispatcher_.workers().each_process([](auto& w) {
    if (w.unfinished() != 0 && w.handles().pidfd)
      os::send_signal(w.handles().pidfd.get(), SIGTERM);
    else
      w.request_shutdown();
  });
  dispatcher_.abandon();
}

COPROC_LAZY_DEF void process_host::finish_end() noexcept {
  const auto grace = std::min<duration>(options_.limits.kill_grace, std::chrono::hours(1));
  const auto term_deadline = clock_now() + grace;
  bool all_dead = true;
  dispatcher_.workers().each_process([&](auto& w) {
    if (w.handles().pidfd && !os::wait_dead(w.handles().pidfd.get(), term_deadline)) {
      os::send_signal(w.handles().pidfd.get(), SIGKILL);
      all_dead = false;
    }
  });
  const auto kill_deadline = clock_now() + grace;
  if (!all_dead)
    dispatcher_.workers().each_process([&](auto& w) {
      if (w.handles().pidfd) os::wait_dead(w.handles().pidfd.get(), kill_deadline);
    });
  server_.end(clock_now() + std::chrono::seconds(2));
}

COPROC_LAZY_DEF void process_host::dismiss_server(time_point now) noexcept {
  if (!std::exchange(server_dismissed_, true)) {
    standby_.dismiss();
    standby_at_ = time_point::max();
    server_.dismiss();
    server_deadline_ = after(now, std::max<duration>(options_.limits.kill_grace, std::chrono::seconds(1)));
  } else if (now >= server_deadline_) {
    os::send_signal(server_.pidfd(), SIGKILL);
    server_deadline_ = time_point::max();
  }
}

COPROC_LAZY_DEF void process_host::hear_server(time_point now) {
  bool dead = false;
  while (!server_is_gone_) {
    auto in = server_.receive();
    if (in.kind == in.mail) {
      on_message(in.message, std::move(in.fd), now);
      continue;
    }
    if (in.kind != in.end && !dead) {
      if (!server_.dead()) return; // alive, and nothing to say
      dead = true;                 // its last words may have come in between
      continue;
    }
    if (replace_server(now)) return;
    server_is_gone_ = true;
    server_deadline_ = time_point::max();
    epoll_.remove(server_.socket());
    server_.end(clock_now() + std::chrono::milliseconds(100)); // reaps it
    dispatcher_.workers().server_lost(now);
  }
}

COPROC_LAZY_DEF bool process_host::replace_server(time_point now) {
  if (server_dismissed_ || !standby_.await_announcement()) return false;
  unwatch_standby();
  epoll_.remove(server_.socket());
  server_.become(standby_);
  try {
    epoll_.add(server_.socket(), EPOLLIN, event_key{event_source::server, 0}.pack());
    epoll_.add(server_.pidfd(), EPOLLIN | EPOLLONESHOT, event_key{event_source::server_death, 0}.pack());
  } catch (const pool_error&) { // nobody would hear of its death
    return false;
  }
  dispatcher_.workers().server_replaced(now);
  ask_for_standby(now);
  return true;
}

COPROC_LAZY_DEF void process_host::ask_for_standby(time_point now) {
  constexpr std::chrono::milliseconds retry{100};
  standby_at_ = time_point::max();
  if (server_dismissed_ || server_is_gone_ || dispatcher_.ending()) return;
  try {
    if (standby_.stand_by(server_) == 0)
      return epoll_.add(standby_.socket(), EPOLLIN, event_key{event_source::standby, 0}.pack());
  } catch (const pool_error&) {
    drop_standby();
  }
  standby_at_ = after(now, retry);
}

COPROC_LAZY_DEF void process_host::hear_standby(time_point now) {
  constexpr std::chrono::milliseconds pause{100};
  if (standby_.socket() < 0) return; // an event of one that is gone
  auto in = standby_.receive();
  if (in.kind == in.mail && in.fd) {
    standby_.announced(in.message, std::move(in.fd));
    return watch_standby();
  }
  if (in.kind == in.nothing && !standby_.dead()) return;
  drop_standby();
  standby_at_ = after(now, pause);
}

COPROC_LAZY_DEF void process_host::watch_standby() noexcept {
  try {
    epoll_.add(standby_.pidfd(), EPOLLIN | EPOLLONESHOT, event_key{event_source::standby, 0}.pack());
  } catch (const pool_error&) { // its socket tells, too, unless a child of the application holds a copy
  }
}

COPROC_LAZY_DEF void process_host::unwatch_standby() noexcept {
  if (standby_.pidfd() >= 0) epoll_.remove(standby_.pidfd());
  epoll_.remove(standby_.socket());
}

COPROC_LAZY_DEF void process_host::drop_standby() noexcept {
  unwatch_standby();
  standby_.end(clock_now() + std::chrono::milliseconds(100));
}

COPROC_LAZY_DEF void process_host::on_message(const server::server_message& m, os::unique_fd fd, time_point now) {
  switch (m.event) {
  case server::server_event::started:
    watch(fd, m.incarnation);
    dispatcher_.workers().started(m.incarnation, m.pid, std::move(fd), now);
    dispatcher_.workers().each_process([&](auto& w) {
      if (w.incarnation == m.incarnation) came_up(w);
    });
    break;
  case server::server_event::start_failed:
    start_error_ = m.error;
    dispatcher_.workers().start_refused(m.incarnation, os::system_code(m.error), now);
    break;
  case server::server_event::exited: dispatcher_.workers().exited(m.incarnation, server::exit_from(m), now); break;
  case server::server_event::signal_failed: dispatcher_.workers().signal_refused(m.incarnation, m.error); break;
  default: break; // of a standby its socket tells; the rest comes before the first worker only
  }
}

COPROC_LAZY_DEF void process_host::came_up(worker& w) {
  // EXITED always follows STARTED, so the pid has not been reused; if it is dead already, reading says ESRCH.
  const std::string path = "/proc/" + std::to_string(w.pid()) + "/statm";
  w.set_statm(os::above_stdio(os::open_file(path.c_str(), O_RDONLY)));
  if (options_.on_worker_start) effects_.births.push_back({w.index, w.pid()});
}

COPROC_LAZY_DEF void process_host::watch(const os::unique_fd& pidfd, std::uint64_t incarnation) noexcept {
  if (!pidfd) return;
  try {
    epoll_.add(pidfd.get(), EPOLLIN | EPOLLONESHOT, event_key{event_source::death, incarnation}.pack());
  } catch (const pool_error&) {
  }
}

COPROC_LAZY_DEF void process_host::await_first_workers() {
  const auto deadline = after(clock_now(), options_.limits.start_timeout);
  for (;;) {
    std::size_t starting = 0;
    dispatcher_.workers().each_worker([&](const auto& w) { starting += w.status() == worker::state::starting; });
    if (start_error_ != 0)
      throw pool_error(make_error_code(errc::worker_start_failed),
                       std::string("fork of a worker failed: ") + std::strerror(start_error_));
    if (server_is_gone_)
      throw pool_error(make_error_code(errc::worker_start_failed), "the fork server died while it started the workers");
    if (starting == 0) return;
    if (clock_now() >= deadline)
      throw pool_error(make_error_code(errc::worker_start_failed),
                       "the fork server did not answer within start_timeout");
    std::array<pollfd, 2> fds{{{server_.socket(), POLLIN, 0}, {server_.pidfd(), POLLIN, 0}}};
    os::wait_readable(fds, 1000);
    hear_server(clock_now());
  }
}

COPROC_LAZY_DEF void process_host::tell_dropped_segments() {
  const auto dropped = segments_->take_dropped();
  dispatcher_.workers().each_worker([&](auto& w) {
    for (const std::uint64_t serial : dropped) w.segments().drop(serial);
    w.segments().unmap_dropped([&](std::uint32_t id) {
      return effects_.send_order(w, {detail::worker::worker_order::unmap_segment, id, 0}, {}) == 0;
    });
  });
  dispatcher_.waking().messages_sent();
}

} // namespace coproc::detail::front
