// SPDX-License-Identifier: BSL-1.0
// Making, watching and ending processes: fork with hygiene, pidfds, exit status. No numeric kill of what has a pidfd: a
// pid may be reused, a pidfd never is.
#pragma once

#include <coproc/os/descriptors.hpp>
#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>
#include <coproc/os/text.hpp>
#include <coproc/os/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace coproc::os {

// glibc 2.36's <sys/pidfd.h> lacks extern "C", hence the raw calls.
inline unique_fd open_pidfd(pid_t pid) noexcept {
  return above_stdio(
      unique_fd(invoke(call::pidfd_open, [&] { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); })));
}

/// What to say where there is none.
inline constexpr const char* no_pidfd = "pidfd_open(2) is needed: it came with Linux 5.3, profiles of containers may "
                                        "refuse it, and valgrind 3.19 does not know it";

/// Returns 0 or errno; ESRCH: it is dead already.
inline int send_signal(int pidfd, int signal) noexcept {
  return invoke(call::pidfd_send_signal, [&] { return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }) ==
                 0
             ? 0
             : errno;
}

/// Waits until one of the descriptors is readable (a pidfd is when its process is dead). poll's result; EINTR counts as
/// 0.
template <class Pollfds> // an array or a vector
int wait_readable(Pollfds& fds, int timeout_ms) noexcept {
  const int n = invoke(call::poll, [&] { return ::poll(std::data(fds), std::size(fds), timeout_ms); });
  return n < 0 && errno == EINTR ? 0 : n;
}

/// True once the process behind the pidfd is dead, waiting at most until `deadline`.
template <class Duration>
bool wait_dead(int pidfd, std::chrono::time_point<std::chrono::steady_clock, Duration> deadline) noexcept {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    std::array<pollfd, 1> fds{{{pidfd, POLLIN, 0}}};
    const int n = wait_readable(fds, static_cast<int>(std::clamp<long long>(left, 0, 1 << 30)));
    if (n > 0) return true;
    if (left <= 0) return false;
  }
}

struct exit_report {
  bool known = false;
  int status = 0; ///< as of wait4
  rusage usage{};
};

/// Reaps a child that is dead, or says that nobody knows (somebody else's waitpid took it, SIGCHLD is ignored).
inline exit_report reap(pid_t pid) noexcept {
  exit_report r;
  r.known =
      invoke_uninterrupted(call::wait4, [&] { return ::wait4(pid, &r.status, WNOHANG | __WALL, &r.usage); }) == pid;
  return r;
}

/// Kills what a dead child has left in its process group. Only while the child is not reaped: until then nobody else
/// can have its pid, and no other group its number.
inline void end_group_of_dead(pid_t pid) noexcept {
  siginfo_t info{};
  const int found = invoke_uninterrupted(call::wait4, [&] {
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
  });
  if (found == 0 && info.si_pid == pid) invoke(call::kill, [&] { return ::kill(-pid, SIGKILL); });
}

/// Kills and reaps a child that was just forked and has no pidfd. The one numeric kill: nobody has reaped it, so its
/// pid cannot have been reused.
inline void end_new_child(pid_t pid) noexcept {
  invoke(call::kill, [&] { return ::kill(pid, SIGKILL); });
  invoke_uninterrupted(call::wait4, [&] { return ::waitpid(pid, nullptr, __WALL); });
}

/// Signals a child that is not reaped, so that its pid means nobody else. 0 or errno.
inline int signal_child(pid_t pid, int number) noexcept {
  return invoke(call::kill, [&] { return ::kill(pid, number); }) == 0 ? 0 : errno;
}

/// Reaps a dead process if it has become a child of this one, as the orphans of others do below a subreaper or PID 1.
inline void reap_orphan(int pidfd) noexcept {
  siginfo_t info{};
  invoke_uninterrupted(call::wait4, [&] { // P_PIDFD, which older libraries do not name
    return ::syscall(SYS_waitid, 3, pidfd, &info, WEXITED | WNOHANG | __WALL, nullptr);
  });
}

/// Makes this process the leader of a process group of its own.
inline void lead_group() noexcept {
  invoke(call::setpgid, [] { return ::setpgid(0, 0); });
}

inline pid_t parent() noexcept {
  return invoke(call::getppid, [] { return ::getppid(); });
}

/// As ps and top show this process; at most 15 characters count.
inline void set_name(const char* name) noexcept {
  invoke(call::prctl, [&] { return ::prctl(PR_SET_NAME, name); });
}

/// Exactly one thread in this process? Asked of the kernel: unshare(CLONE_THREAD) is refused with EINVAL in a threaded
/// process. A joined thread can linger for milliseconds, hence the retries. ThreadSanitizer's own background thread is
/// tolerated: it touches nothing that a child needs.
inline bool single_threaded() noexcept {
#if defined(__SANITIZE_THREAD__)
  constexpr int tolerated = 2;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  constexpr int tolerated = 2;
#else
  constexpr int tolerated = 1;
#endif
#else
  constexpr int tolerated = 1;
#endif
  for (int attempt = 0; attempt < 20; ++attempt) {
    if (attempt > 0) invoke(call::sleep, [] { return ::usleep(500); });
    if (tolerated == 1) {
      if (invoke(call::unshare, [] { return ::unshare(CLONE_THREAD); }) == 0) return true;
      if (errno != EINVAL) return true; // cannot tell (a seccomp filter): the kernel has not said no
    } else {
      DIR* tasks = ::opendir("/proc/self/task");
      if (tasks == nullptr) return true;
      int threads = 0;
      while (const dirent* entry = ::readdir(tasks)) threads += entry->d_name[0] != '.';
      ::closedir(tasks);
      if (threads <= tolerated) return true;
    }
  }
  return false;
}

/// Who the others are, for people: "asio (31), openblas (32)", at most eight of them. Threads are named by whoever
/// starts them; one without a name has that of the program.
inline std::string other_threads() {
  std::string names;
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return names;
  const std::string own = std::to_string(::syscall(SYS_gettid));
  int named = 0;
  while (const dirent* const entry = ::readdir(tasks)) {
    if (entry->d_name[0] == '.' || entry->d_name == own) continue;
    if (++named > 8) {
      names += ", ...";
      break;
    }
    char comm[32] = "?";
    if (std::FILE* const file = std::fopen(text("/proc/self/task/", entry->d_name, "/comm").c_str(), "re")) {
      if (std::fgets(comm, sizeof comm, file) != nullptr) comm[std::strcspn(comm, "\n")] = '\0';
      std::fclose(file);
    }
    names += text(named == 1 ? "" : ", ", comm, " (", entry->d_name, ")");
  }
  ::closedir(tasks);
  return names;
}

/// Blocks every signal for its lifetime, so that no inherited handler runs between fork and the child's clean-up.
class block_signals {
public:
  block_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_SETMASK, &all, &old_); });
  }
  ~block_signals() {
    invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_SETMASK, &old_, nullptr); });
  }
  block_signals(const block_signals&) = delete;
  block_signals& operator=(const block_signals&) = delete;

private:
  sigset_t old_;
};

inline pid_t fork() noexcept {
  return invoke(call::fork, [] { return ::fork(); });
}

/// Has a meaning in a worker whatever the front end thinks of it: an error of the program, the pool's own way to end a
/// task, and the death of a child, which would be nobody's to wait for.
inline bool never_stays_ignored(int signal) noexcept {
  switch (signal) {
  case SIGILL:
  case SIGTRAP:
  case SIGABRT:
  case SIGBUS:
  case SIGFPE:
  case SIGSEGV:
  case SIGSYS:
  case SIGTERM:
  case SIGCHLD: return true;
  default: return false;
  }
}

/// In a new child: no handler is left. What was ignored stays so, but for never_stays_ignored(). SIGTTOU and SIGTTIN
/// are ignored as well: a process group of its own is a background one, which `stty tostop` would stop when it
/// prints.
inline void reset_signals() noexcept {
  for (int s = 1; s < _NSIG; ++s) {
    struct sigaction action{}, old{};
    action.sa_handler = s == SIGTTOU || s == SIGTTIN ? SIG_IGN : SIG_DFL;
    // SIGKILL and SIGSTOP refuse.
    if (invoke(call::sigaction, [&] { return ::sigaction(s, &action, &old); }) != 0) continue;
    if (old.sa_handler != SIG_IGN || action.sa_handler == SIG_IGN || never_stays_ignored(s)) continue;
    invoke(call::sigaction, [&] { return ::sigaction(s, &old, nullptr); });
  }
}

/// From here on this process outlives every signal that somebody sends: all but those of the kernel for its own faults,
/// SIGKILL and SIGSTOP. By a handler: what is ignored would stay so in the children.
inline void outlive_stray_signals() noexcept {
  for (int s = 1; s < _NSIG; ++s) {
    if (s == SIGCHLD || s == SIGCONT || (s != SIGTERM && never_stays_ignored(s))) continue;
    struct sigaction nothing{}, old{};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART;
    if (invoke(call::sigaction, [&] { return ::sigaction(s, nullptr, &old); }) != 0 || old.sa_handler == SIG_IGN)
      continue;
    invoke(call::sigaction, [&] { return ::sigaction(s, &nothing, nullptr); }); // SIGKILL and SIGSTOP refuse
  }
}

/// In a new child, with all signals blocked: reset_signals(), own process group (Ctrl-C reaches the front end alone),
/// /dev/null as stdin unless 0 is kept, and as stdout and stderr where they are closed; no descriptor besides 0-2 and
/// `keep`, which it sorts; then an empty mask. False: the descriptors could not be closed.
inline bool clean_child(std::span<int> keep) noexcept {
  reset_signals();
  lead_group();

  if (!close_all_but(keep)) return false;
  const bool keeps_stdin = std::binary_search(keep.begin(), keep.end(), 0);

  unique_fd opened = open_file("/dev/null", O_RDWR);
  const int null = opened.get();
  for (const int standard : {0, 1, 2}) {
    if (null < 0 || ((standard != 0 || keeps_stdin) && null != standard && is_open(standard))) continue;
    if (null == standard)
      invoke(call::descriptor_flags, [&] { return ::fcntl(null, F_SETFD, 0); }); // for what a task may exec
    else
      invoke_uninterrupted(call::dup2, [&] { return ::dup2(null, standard); });
  }
  if (null >= 0 && null <= 2) opened.release();

  sigset_t none;
  ::sigemptyset(&none);
  invoke(call::sigmask, [&] { return ::pthread_sigmask(SIG_SETMASK, &none, nullptr); });
  return true;
}

/// Adds to this process's oom_score_adj (at most 1000), which it inherited: when memory runs out, it is to go first.
/// Raising needs no privilege; where there is no /proc, nothing happens.
inline void raise_oom_score(int by) noexcept {
  const unique_fd fd = open_file("/proc/self/oom_score_adj", O_RDWR);
  char text[16] = {};
  if (!fd || read_from_start(fd.get(), {text, sizeof text - 1}) == 0) return;
  const int length = std::snprintf(text, sizeof text, "%d", std::min(std::atoi(text) + by, 1000));
  invoke_uninterrupted(call::write, [&] { return ::pwrite(fd.get(), text, static_cast<std::size_t>(length), 0); });
}

[[noreturn]] inline void exit_now(int status) noexcept {
  invoke(call::exit, [] { return 0; });
  ::_exit(status); // neither destructors, nor atexit handlers, nor a second flush of inherited stdio buffers
}

} // namespace coproc::os
