// SPDX-License-Identifier: BSL-1.0
// n-th failure injection: one system call, of one kind of process, fails once, at its n-th time, or from then on. What
// to fail is decided by shared memory, since the hooks are inherited by fork. Needs COPROC_FAULT_POINTS.
#pragma once

#include "side_by_side.hpp"

#include "support/sanitized.hpp"

#include <coproc/os/fault.hpp>

#include <atomic>
#include <cerrno>
#include <unistd.h>
#include <vector>

namespace coproc::testing {

using os::call;

inline constexpr unsigned calls = static_cast<unsigned>(call::count_);

enum class role : unsigned { front_end, server, worker };

struct fault_control {
  std::atomic<pid_t> front_end{0};
  std::atomic<bool> active{false}, for_ever{false};
  std::atomic<unsigned> victim_role{0}, victim_call{calls};
  std::atomic<int> nth{0}, error{0}, failed{0};
  std::atomic<int> made[3][calls]{};

  /// From now on: the nth `which` of `who` fails with `error`. Nothing fails for nth 0, but calls are counted.
  void arm(role who, call which, int nth_time, int with_error, bool from_then_on = false) {
    for (auto& of_role : made)
      for (auto& count : of_role) count = 0;
    victim_role = static_cast<unsigned>(who);
    victim_call = static_cast<unsigned>(which);
    nth = nth_time;
    error = with_error;
    failed = 0;
    for_ever = from_then_on;
    active = true;
  }
  void disarm() { active = false; }
};

inline fault_control*& current_fault_plan() {
  static fault_control* c = make_shared_with_children<fault_control>();
  return c;
}
inline fault_control& fault_plan() { return *current_fault_plan(); }

inline int fail_or_not(call c) {
  fault_control& s = fault_plan();
  if (!s.active) return 0;
  const pid_t front_end = s.front_end;
  const auto who = static_cast<unsigned>(::getpid() == front_end    ? role::front_end
                                         : ::getppid() == front_end ? role::server
                                                                    : role::worker);
  const auto which = static_cast<unsigned>(c);
  const int n = ++s.made[who][which];
  if (who != s.victim_role || which != s.victim_call || (s.for_ever ? n < s.nth : n != s.nth)) return 0;
  ++s.failed;
  return s.error;
}

/// This process is a front end with a plan of its own from now on, which goes for all that it forks.
inline void install_faults() {
  current_fault_plan() = make_shared_with_children<fault_control>();
  fault_plan().front_end = ::getpid();
  os::faults.before_call = fail_or_not;
}

/// What it can fail with; the worst first.
inline std::vector<int> plausible_errors(call c) {
  switch (c) {
  case call::memfd_create: return {EMFILE, ENFILE, ENOMEM};
  case call::ftruncate: return {EFBIG, EIO, EINTR};
  case call::punch_hole: return {EOPNOTSUPP, EINTR};
  case call::advise:
  case call::getaffinity: return {EINVAL};
  case call::add_seals: return {EPERM};
  case call::map: return {ENOMEM};
  case call::eventfd:
  case call::epoll_create:
  case call::timerfd_create:
  case call::socketpair: return {EMFILE, ENOMEM};
  case call::epoll_ctl: return {ENOSPC, ENOMEM};
  case call::sendmsg: return {ENOBUFS, ETOOMANYREFS, EINTR};
  case call::recvmsg: return {ENOMEM, EINTR};
  case call::poll: return {ENOMEM, EINTR};
  case call::fork: return {EAGAIN, ENOMEM};
  case call::pidfd_open: return {EMFILE, ENODEV};
  case call::open: return {EMFILE, EACCES, EINTR};
  case call::read: return {EIO, EINTR};
  case call::write: return {EACCES, EINTR};
  case call::dup: return {EMFILE};
  case call::dup2: return {EMFILE, EINTR};
  case call::descriptor_flags: return {EBADF};
  case call::shutdown: return {ENOTCONN};
  case call::sysconf: return {ENOSYS};
  case call::futex_wait: return {EAGAIN, EINTR};
  case call::eventfd_write: // nothing else: a bell that is not full rings
  case call::epoll_wait:
  case call::sleep: return {EINTR};
  case call::unshare: return {EPERM};
  case call::wait4:
    return {EINTR};
    // A wake-up on mapped memory cannot fail, and nobody could do without; nor can what is called with valid arguments,
    // on
  // what is this process's own.
  case call::futex_wake:
  case call::unmap:
  case call::close:
  case call::kill:
  case call::getppid:
  case call::getrlimit:
  case call::sigmask:
  case call::exit: return {};
  default: return {EPERM};
  }
}

/// What it can fail with for as long as a test lasts: no EINTR, and nothing that the kernel never says of a valid call.
inline std::vector<int> persistent_errors(call c) {
  switch (c) {
  case call::recvmsg:
  case call::epoll_wait:
  case call::poll: return {}; // who cannot hear at all cannot go on; the kernel's want of memory passes
  case call::sendmsg: return {ENOBUFS, ETOOMANYREFS};
  case call::pidfd_open: return {EMFILE, ENOMEM};
  case call::wait4: return {ECHILD};
  case call::ftruncate: return {ENOSPC};
  case call::open: return {EMFILE, EACCES};
  case call::read: return {EIO};
  case call::futex_wait: return {EAGAIN};
  case call::close_range:
  case call::punch_hole: return {ENOSYS};
  case call::dup2: return {EMFILE};
  case call::timerfd_settime: return {};
  default: {
    auto all = plausible_errors(c);
    std::erase(all, EINTR);
    return all;
  }
  }
}

/// Those of plausible_errors() that there is time for.
inline std::vector<int> errors_to_try(call c) {
  auto all = plausible_errors(c);
  if (sanitized && all.size() > 1) all.resize(1);
  return all;
}

} // namespace coproc::testing
