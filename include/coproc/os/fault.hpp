// SPDX-License-Identifier: BSL-1.0
// Fault injection: one hook before and after every system call of the os:: table and every store to shared memory. With
// COPROC_FAULT_POINTS undefined (the default) the hooks are empty and vanish. Any process, any thread.
#pragma once

#include <cerrno>

#if !defined(COPROC_FAULT_POINTS)
#define COPROC_FAULT_POINTS 0
#endif

namespace coproc::os {

/// Every system call that coproc makes: the denominator of fault injection.
enum class call : unsigned {
  memfd_create, ftruncate, add_seals, punch_hole, map,
  eventfd, eventfd_write, epoll_create, epoll_ctl, epoll_wait, timerfd_create, timerfd_settime,
  socketpair, sendmsg, recvmsg, poll,
  fork, pidfd_open, pidfd_send_signal, wait4, prctl, setpgid, close_range, sigmask, sigaction, unshare, open, read, write, dup2,
  setrlimit, setaffinity,
  futex_wait, futex_wake, exit,
  count_
};

#if COPROC_FAULT_POINTS
/// Set by tests, inherited by fork. A hook may kill the process; before_call may also return an errno to fail with.
struct fault_hooks {
  int (*before_call)(call) = nullptr;
  void (*after_call)(call) = nullptr;
  void (*before_store)(unsigned site) = nullptr;
  void (*after_store)(unsigned site) = nullptr;
};
inline fault_hooks faults;
#endif

/// Runs one system call under the hooks; a call that a hook fails returns -1 with errno set, like a real one.
template <class F>
auto invoke(call id, F f) -> decltype(f()) {
#if COPROC_FAULT_POINTS
  if (faults.before_call) {
    if (const int error = faults.before_call(id)) {
      errno = error;
      return static_cast<decltype(f())>(-1);
    }
  }
  const auto result = f();
  if (faults.after_call) {
    const int saved = errno;
    faults.after_call(id);
    errno = saved;
  }
  return result;
#else
  static_cast<void>(id);
  return f();
#endif
}

} // namespace coproc::os
