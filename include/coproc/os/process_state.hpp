// SPDX-License-Identifier: BSL-1.0
// What code changes of its whole process, and what takes system calls to restore. Worker, the thread that runs tasks.
#pragma once

#include <coproc/os/descriptors.hpp>
#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>

#include <array>
#include <clocale>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <locale.h>
#include <string>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

namespace coproc::os {

/// Working directory, umask, blocked signals, handlers of the 31 classic ones, and the C locale as they are when it
/// is made.
class process_state {
public:
  /// `least`: for its one descriptor, if the limit of open files allows it. Throws pool_error.
  explicit process_state(int least)
      : directory_(open_file(".", O_PATH | O_DIRECTORY)), umask_(::umask(0)), locale_(::setlocale(LC_ALL, nullptr)) {
    ::umask(umask_);
    if (!directory_) throw_errno("the working directory cannot be opened");
    if (unique_fd above = duplicate(directory_.get(), least)) directory_ = std::move(above);
    ::sigemptyset(&mask_);
    invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_BLOCK, nullptr, &mask_); });
    for (int s = 1; s != signals; ++s) get(s, handlers_[static_cast<std::size_t>(s)]);
  }

  /// As they were; and no timer of alarm() or setitimer() runs. Best effort.
  void restore() const noexcept {
    const itimerval none{};
    for (const auto timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF})
      invoke(call::itimer, [&] { return ::setitimer(timer, &none, nullptr); });
    restore_mask();
    for (int s = 1; s != signals; ++s) restore_handler(s);
    ::umask(umask_);
    invoke(call::chdir, [&] { return ::fchdir(directory_.get()); });
    ::uselocale(LC_GLOBAL_LOCALE);
    if (const char* const now = ::setlocale(LC_ALL, nullptr); now == nullptr || locale_ != now)
      ::setlocale(LC_ALL, locale_.c_str());
  }

private:
  static constexpr int signals = 32;

  static bool get(int signal, struct sigaction& action) noexcept {
    return invoke(call::sigaction, [&] { return ::sigaction(signal, nullptr, &action); }) == 0;
  }
  static void set(int signal, const struct sigaction& action) noexcept {
    invoke(call::sigaction, [&] { return ::sigaction(signal, &action, nullptr); });
  }

  void restore_mask() const noexcept {
    sigset_t now;
    ::sigemptyset(&now);
    invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_BLOCK, nullptr, &now); });
    if (std::memcmp(&now, &mask_, sizeof now) == 0) return;
    // A timer may have fired while its signal was blocked: ignoring discards it.
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    for (const int s : {SIGALRM, SIGVTALRM, SIGPROF}) set(s, ignore);
    invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr); });
  }

  void restore_handler(int signal) const noexcept {
    const struct sigaction& old = handlers_[static_cast<std::size_t>(signal)];
    struct sigaction now{};
    if (!get(signal, now)) return;
    if (now.sa_handler != old.sa_handler || now.sa_flags != old.sa_flags) set(signal, old);
  }

  unique_fd directory_;
  mode_t umask_;
  sigset_t mask_;
  std::array<struct sigaction, signals> handlers_{};
  std::string locale_;
};

} // namespace coproc::os
