// SPDX-License-Identifier: BSL-1.0
// Signals that are sent to all processes of a program at once, as a supervisor or pkill does, and are meant for its
// front end, which drains: a worker does not die of them. It dies of what the front end or its fork server sends, of
// what it sends itself (raise, abort), and of what the kernel sends it. Tasks that install handlers of their own get
// everything.
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/fault.hpp>

#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <sys/types.h>
#include <unistd.h>

namespace coproc::detail::worker {

/// Whose signals count; written once, before the handlers are installed.
struct signal_senders {
  pid_t front_end = 0, server = 0;
};
COPROC_VISIBLE inline constinit signal_senders senders_that_count{};

/// Installed with SA_NODEFER, so that raise() ends this process from within it, with the signal as its status.
inline void on_signal(int number, siginfo_t* info, void*) {
  const bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL;
  const pid_t by = info->si_pid; // 0: from outside this PID namespace
  if (sent && by != senders_that_count.front_end && by != senders_that_count.server && by != ::getpid()) return;
  const int saved_errno = errno;
  ::signal(number, SIG_DFL);
  ::raise(number);
  errno = saved_errno;
}

inline void ignore_stray_signals(signal_senders those_that_count) noexcept {
  senders_that_count = those_that_count;
  struct sigaction filter{};
  filter.sa_sigaction = on_signal;
  filter.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2}) {
    struct sigaction old{};
    os::invoke(os::call::sigaction, [&] { return ::sigaction(number, nullptr, &old); });
    if (old.sa_handler != SIG_IGN)
      os::invoke(os::call::sigaction, [&] { return ::sigaction(number, &filter, nullptr); });
  }
}

} // namespace coproc::detail::worker
