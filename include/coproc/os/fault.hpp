// SPDX-License-Identifier: BSL-1.0
// Fault injection: one hook before and after every system call of the os:: table and every store to shared memory. With
// COPROC_FAULT_POINTS undefined (the default) the hooks are empty and vanish. Any process, any thread.
//
// Not in the table, because they cannot fail: clocks, getpid, sched_getcpu, sched_yield, umask; nor is what the
// C library does for its own purposes (stdio, malloc). Short transfers exist for reads of files alone: messages are
// whole, an eventfd takes eight bytes or none, and /proc takes a write as it is.
#pragma once

#include <coproc/config.hpp>

#include <cerrno>
#include <cstddef>

#if !defined(COPROC_FAULT_POINTS)
#define COPROC_FAULT_POINTS 0
#endif

namespace coproc::os {

/// Every system call that coproc makes: the denominator of fault injection.
enum class call : unsigned {
  memfd_create,
  ftruncate,
  add_seals,
  punch_hole,
  map,
  unmap,
  advise,
  unlock,
  eventfd,
  eventfd_write,
  epoll_create,
  epoll_ctl,
  epoll_wait,
  timerfd_create,
  timerfd_settime,
  socketpair,
  sendmsg,
  recvmsg,
  poll,
  shutdown,
  fork,
  pidfd_open,
  pidfd_send_signal,
  wait4,
  prctl,
  setpgid,
  close_range,
  sigmask,
  sigaction,
  unshare,
  open,
  read,
  write,
  dup,
  dup2,
  descriptor_flags,
  close,
  kill,
  getppid,
  sleep,
  setrlimit,
  getrlimit,
  chdir,
  itimer,
  getrandom,
  setaffinity,
  getaffinity,
  sysconf,
  futex_wait,
  futex_wake,
  membarrier,
  exit,
  count_
};

#if COPROC_FAULT_POINTS
/// Set by tests, inherited by fork. A hook may kill the process; before_call may also return an errno to fail with.
struct fault_hooks {
  int (*before_call)(call) = nullptr;
  void (*after_call)(call) = nullptr;
  std::size_t (*most_bytes)(call, std::size_t) = nullptr; ///< a read asks for no more than this, at least 1
  void (*before_store)(unsigned site) = nullptr;
  void (*after_store)(unsigned site) = nullptr;
};
COPROC_VISIBLE inline fault_hooks faults;
#endif

/// How many of `wanted` bytes a read is to ask for: fewer only where a hook wants a short transfer.
inline std::size_t bytes_to_ask_for(call id, std::size_t wanted) noexcept {
#if COPROC_FAULT_POINTS
  if (faults.most_bytes) return faults.most_bytes(id, wanted);
#endif
  static_cast<void>(id);
  return wanted;
}

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

/// The same, again and again while a signal interrupts it.
template <class F>
auto invoke_uninterrupted(call id, F f) -> decltype(f()) {
  for (;;) {
    const auto result = invoke(id, f);
    if (result >= 0 || errno != EINTR) return result;
  }
}

} // namespace coproc::os
