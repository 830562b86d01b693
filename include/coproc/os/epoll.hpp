// SPDX-License-Identifier: BSL-1.0
// epoll, eventfd and timerfd: the front end's private epoll holds every descriptor that can wake the pool, and Asio
// waits on that one. Front end and fork server.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>
#include <coproc/os/unique_fd.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

namespace coproc::os {

inline unique_fd make_eventfd() {
  unique_fd fd = above_stdio(unique_fd(invoke(call::eventfd, [] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); })));
  if (!fd) throw_errno("eventfd");
  return fd;
}

/// Raises an edge. A full counter would raise none, so it is emptied first. False: there is no such eventfd.
inline bool ring(int eventfd) noexcept {
  const std::uint64_t one = 1;
  const auto write_one = [&] {
    return invoke_uninterrupted(call::eventfd_write, [&] { return ::write(eventfd, &one, sizeof one); }) == sizeof one;
  };
  if (write_one()) return true;
  if (errno != EAGAIN) return false;
  std::uint64_t counter = 0;
  invoke_uninterrupted(call::read, [&] { return ::read(eventfd, &counter, sizeof counter); });
  return write_one();
}

class epoll {
public:
  epoll() : fd_(above_stdio(unique_fd(invoke(call::epoll_create, [] { return ::epoll_create1(EPOLL_CLOEXEC); })))) {
    if (!fd_) throw_errno("epoll_create1");
  }

  int fd() const noexcept { return fd_.get(); }

  /// Watches fd for `events` (EPOLLIN, EPOLLET, EPOLLONESHOT ...); `key` comes back with each event.
  void add(int fd, std::uint32_t events, std::uint64_t key) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = key;
    if (invoke(call::epoll_ctl, [&] { return ::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &e); }) != 0)
      throw_errno("epoll_ctl");
  }

  // Explicit, because closing is not enough: a copy of the description in another process would keep the registration.
  void remove(int fd) noexcept {
    epoll_event e{};
    invoke(call::epoll_ctl, [&] { return ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, &e); });
  }

  /// The events there are, at most events.size(); waits at most timeout_ms (-1: for ever). EINTR yields none.
  template <std::size_t N>
  std::span<epoll_event> wait(std::array<epoll_event, N>& events, int timeout_ms) noexcept {
    const int n = invoke(call::epoll_wait, [&] {
      return ::epoll_wait(fd_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    });
    return std::span(events).first(n > 0 ? static_cast<std::size_t>(n) : 0);
  }

private:
  unique_fd fd_;
};

inline unique_fd make_timerfd() {
  unique_fd fd = above_stdio(unique_fd(
      invoke(call::timerfd_create, [] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); })));
  if (!fd) throw_errno("timerfd_create");
  return fd;
}

/// Fires once at `when`; time_point::max() disarms. False: the kernel refused. steady_clock is CLOCK_MONOTONIC in
/// libstdc++ and libc++.
inline bool set_timer(int timerfd, std::chrono::steady_clock::time_point when) noexcept {
  itimerspec spec{};
  if (when != std::chrono::steady_clock::time_point::max()) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
    spec.it_value.tv_sec = ns > 0 ? ns / 1'000'000'000 : 0;
    spec.it_value.tv_nsec = ns > 0 ? ns % 1'000'000'000 : 1; // all zero would disarm
    if (spec.it_value.tv_sec == 0 && spec.it_value.tv_nsec == 0) spec.it_value.tv_nsec = 1;
  }
  return invoke(call::timerfd_settime, [&] { return ::timerfd_settime(timerfd, TFD_TIMER_ABSTIME, &spec, nullptr); }) ==
         0;
}

} // namespace coproc::os
