// SPDX-License-Identifier: BSL-1.0
// Binds the dispatcher to the kernel: the fork server, the workers' descriptors, one epoll over all of them, one timer.
// Front end; under the pool's mutex but where a function says otherwise. Knows nothing of Asio.
#pragma once

#include <coproc/os/epoll.hpp>
#include <coproc/pool/dispatcher.hpp>
#include <coproc/pool/incarnation.hpp>
#include <coproc/pool/process_policy.hpp>
#include <coproc/pool/server_client.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

namespace coproc::pool {

struct host_options {
  dispatcher_limits limits;
  std::uint64_t max_payload = 0;
  worker_settings worker;
  hook preload;
  bool observe_starts = false, observe_exits = false;
};

/// A template so that a file that makes no pool does not compile it.
template <class Server, class Policy = process_policy, class Segments = shm::segment_pool>
class basic_process_host {
public:
  explicit basic_process_host(const host_options& options)
      : options_(options), timer_(os::make_timerfd()), dispatcher_(options.limits, policy_) {
    policy_.starts.reserve(options.limits.max_workers);
    policy_.observe_exits = options.observe_exits;
  }

  basic_process_host(const basic_process_host&) = delete;
  basic_process_host& operator=(const basic_process_host&) = delete;

  using dispatcher_type = dispatcher<Policy>;
  dispatcher_type& tasks() noexcept { return dispatcher_; }
  const dispatcher_type& tasks() const noexcept { return dispatcher_; }
  const std::shared_ptr<Segments>& segments() const noexcept { return segments_; }

  /// Becomes readable when look() has something to see.
  int wait_fd() const noexcept { return epoll_.fd(); }

  /// Starts the fork server and the first workers, and waits until they live. Throws with everything rolled back.
  void launch() {
    server_.launch(options_.preload, options_.worker);
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
  }

  // ---- events

  /// Sees to what the epoll reports.
  void look(time_point now) {
    std::array<epoll_event, 64> buffer;
    for (;;) {
      const auto events = epoll_.wait(buffer, 0);
      for (const epoll_event& e : events) {
        const auto key = event_key::unpack(e.data.u64);
        switch (key.source) {
        case event_source::bell: break; // draining looks at every ring anyway
        case event_source::timer: timer_at_ = time_point::max(); break;
        case event_source::death: dispatcher_.died(key.incarnation, now); break;
        case event_source::server:
        case event_source::server_death: hear_server(now); break;
        }
      }
      if (events.size() < buffer.size()) break;
    }
    tell_dropped_segments();
  }

  void tick(time_point now) noexcept {
    dispatcher_.tick(now);
    if (std::exchange(policy_.server_must_die, false) && !server_is_gone_)
      os::send_signal(server_.pidfd(), SIGKILL); // its death comes as an event
    if (dispatcher_.over() && !server_is_gone_) dismiss_server(now);
  }

  /// When tick() is due next.
  time_point next_deadline() const noexcept { return std::min(dispatcher_.next_deadline(), server_deadline_); }

  /// What keeps the loop alive. Births and deaths do if somebody wants to be told of them.
  bool busy() const noexcept {
    return dispatcher_.outstanding() != 0 || (dispatcher_.over() && !server_is_gone_) ||
           ((options_.observe_starts || options_.observe_exits) && dispatcher_.in_transition());
  }
  /// The shutdown is complete: no process is left, but for unkillable ones.
  bool over() const noexcept { return dispatcher_.over() && server_is_gone_; }

  /// The timer is only ever moved forward; when it fires too early, the next arming sets it again. False: it could not be set.
  bool set_timer(time_point next) noexcept {
    if (next >= timer_at_) return true;
    if (!os::set_timer(timer_.get(), next)) return false;
    timer_at_ = next;
    return true;
  }

  // ---- workers to be started

  bool has_starts() const noexcept { return !policy_.starts.empty(); }

  std::optional<unsigned> take_start() noexcept {
    if (policy_.starts.empty() || server_is_gone_) return {};
    const unsigned index = policy_.starts.back();
    policy_.starts.pop_back();
    return index;
  }

  /// Without the mutex: makes and maps memory. Throws pool_error.
  incarnation make(unsigned index) {
    incarnation made = make_incarnation(index, ++incarnations_, options_.max_payload);
    epoll_.add(made.record->handles.eventfd.get(), EPOLLIN | EPOLLET,
               event_key{event_source::bell, made.request.incarnation}.pack());
    return made;
  }

  void adopt(unsigned index, incarnation made, time_point now) {
    if (dispatcher_.ending()) return dispatcher_.start_failed(index, net::error::operation_aborted, now);
    dispatcher_.add_worker(std::move(made.record), now);
    if (const int error = server_.start(made.request, made.for_worker)) {
      start_error_ = error;
      dispatcher_.start_refused(made.request.incarnation, os::system_code(error), now);
    }
  }

  /// Unmaps the memory of the dead. Only for the holder of the drainer token.
  void clear_graveyard() noexcept {
    while (policy_.graveyard) policy_.graveyard = std::move(policy_.graveyard->next);
  }

  // ---- what observers are told

  bool has_notices() const noexcept { return !policy_.births.empty() || !policy_.exits.empty(); }
  auto take_start_notices() noexcept { return std::exchange(policy_.births, {}); }
  auto take_exit_notices() noexcept { return std::exchange(policy_.exits, {}); }

  auto stats(time_point now) const {
    auto s = dispatcher_.stats(now);
    std::size_t i = 0;
    dispatcher_.each_process([&](const auto& w) { s.workers[i++].private_bytes = policy_.private_bytes(w); });
    return s;
  }

  // ---- the end

  /// First half of a destructor: nothing is begun any more, everything is aborted, everybody is told to end.
  void begin_end() noexcept {
    try {
      hear_server(clock_now()); // of workers that came up while nobody listened: they, too, may end in order
    } catch (const std::exception&) { // no memory, the kernel's or ours: the fork server ends it
    }
    dispatcher_.close();
    dispatcher_.each_process([](auto& w) {
      if (w.unfinished() != 0 && w.handles.pidfd)
        os::send_signal(w.handles.pidfd.get(), SIGTERM);
      else
        w.request_shutdown();
    });
    dispatcher_.abandon();
  }

  /// Second half, without the mutex: waits for the processes, kill_grace for SIGTERM and finalizers, and once more for
  /// SIGKILL; then ends the fork server.
  void finish_end() noexcept {
    const auto grace = std::min<duration>(options_.limits.kill_grace, std::chrono::hours(1));
    const auto term_deadline = clock_now() + grace;
    bool all_dead = true;
    dispatcher_.each_process([&](auto& w) {
      if (w.handles.pidfd && !os::wait_dead(w.handles.pidfd.get(), term_deadline)) {
        os::send_signal(w.handles.pidfd.get(), SIGKILL);
        all_dead = false;
      }
    });
    const auto kill_deadline = clock_now() + grace;
    if (!all_dead)
      dispatcher_.each_process([&](auto& w) {
        if (w.handles.pidfd) os::wait_dead(w.handles.pidfd.get(), kill_deadline);
      });
    server_.end(clock_now() + std::chrono::seconds(2));
  }

private:
  // It has nothing left to do, and ends at once, unless it hangs.
  void dismiss_server(time_point now) noexcept {
    if (!std::exchange(server_dismissed_, true)) {
      server_.dismiss();
      server_deadline_ = after(now, std::max<duration>(options_.limits.kill_grace, std::chrono::seconds(1)));
    } else if (now >= server_deadline_) {
      os::send_signal(server_.pidfd(), SIGKILL);
      server_deadline_ = time_point::max();
    }
  }

  void hear_server(time_point now) {
    bool dead = false;
    while (!server_is_gone_) {
      auto in = server_.receive();
      if (in.kind == in.mail) {
        on_message(in.message, std::move(in.fd), now);
        continue;
      }
      if (in.kind != in.end && !dead) {
        std::array<pollfd, 1> death{{{server_.pidfd(), POLLIN, 0}}};
        if (os::wait_readable(death, 0) <= 0) return; // alive, and nothing to say
        dead = true; // its last words may have come in between
        continue;
      }
      server_is_gone_ = true;
      server_deadline_ = time_point::max();
      epoll_.remove(server_.socket());
      server_.end(clock_now() + std::chrono::milliseconds(100)); // reaps it
      dispatcher_.server_lost(now);
    }
  }

  void on_message(const server_message& m, os::unique_fd fd, time_point now) {
    switch (m.event) {
    case server_event::started:
      watch(fd, m.incarnation);
      dispatcher_.started(m.incarnation, m.pid, std::move(fd), now);
      dispatcher_.each_process([&](auto& w) {
        if (w.incarnation == m.incarnation) came_up(w);
      });
      break;
    case server_event::start_failed:
      start_error_ = m.error;
      dispatcher_.start_refused(m.incarnation, os::system_code(m.error), now);
      break;
    case server_event::exited: dispatcher_.exited(m.incarnation, exit_from(m), now); break;
    default: break; // only before the first worker
    }
  }

  void came_up(worker_record& w) {
    // EXITED always follows STARTED, so the pid has not been reused; if it is dead already, reading says ESRCH.
    const std::string path = "/proc/" + std::to_string(w.handles.pid) + "/statm";
    w.handles.statm = os::above_stdio(os::open_file(path.c_str(), O_RDONLY));
    if (options_.observe_starts) policy_.births.push_back({w.index, w.handles.pid});
  }

  // Unwatched, for want of kernel memory, a death is told by EXITED alone: later, but it is told.
  void watch(const os::unique_fd& pidfd, std::uint64_t incarnation) noexcept {
    if (!pidfd) return;
    try {
      epoll_.add(pidfd.get(), EPOLLIN | EPOLLONESHOT, event_key{event_source::death, incarnation}.pack());
    } catch (const pool_error&) {
    }
  }

  // In the constructor: all workers live, or an exception.
  void await_first_workers() {
    const auto deadline = after(clock_now(), options_.limits.start_timeout);
    for (;;) {
      std::size_t starting = 0;
      dispatcher_.each_worker([&](const auto& w) { starting += w.status == worker_record::state::starting; });
      if (start_error_ != 0)
        throw pool_error(make_error_code(errc::worker_start_failed),
                         std::string("fork of a worker failed: ") + std::strerror(start_error_));
      if (server_is_gone_)
        throw pool_error(make_error_code(errc::worker_start_failed), "the fork server died while it started the workers");
      if (starting == 0) return;
      if (clock_now() >= deadline)
        throw pool_error(make_error_code(errc::worker_start_failed), "the fork server did not answer within start_timeout");
      std::array<pollfd, 2> fds{{{server_.socket(), POLLIN, 0}, {server_.pidfd(), POLLIN, 0}}};
      os::wait_readable(fds, 1000);
      hear_server(clock_now());
    }
  }

  // Workers unmap what the segment pool has given back; until then the pages would stay.
  void tell_dropped_segments() {
    const auto dropped = segments_->take_dropped();
    dispatcher_.each_worker([&](auto& w) {
      for (const std::uint32_t id : dropped)
        if (std::erase(w.segments, id) != 0) w.unmap_backlog.push_back(id);
      while (!w.unmap_backlog.empty() &&
             policy_.send_order(w, {worker_order::unmap_segment, w.unmap_backlog.back(), 0}, {}) == 0)
        w.unmap_backlog.pop_back();
    });
    dispatcher_.waking().messages_sent();
  }

  host_options options_;
  os::epoll epoll_;
  os::unique_fd timer_;
  time_point timer_at_ = time_point::max();
  std::shared_ptr<Segments> segments_ = std::make_shared<Segments>();
  Server server_;
  bool server_is_gone_ = false;
  bool server_dismissed_ = false;
  time_point server_deadline_ = time_point::max(); // when a dismissed one is killed
  int start_error_ = 0;
  std::atomic<std::uint64_t> incarnations_{0};
  Policy policy_{epoll_};
  dispatcher_type dispatcher_;
};

using process_host = basic_process_host<server_client<fork_server_os<worker_environment>>>;

} // namespace coproc::pool
