// SPDX-License-Identifier: BSL-1.0
// Processes: clean children, pidfds, exit status, the question whether this process has threads. Forks; children report
// through shared memory and their exit status.
#include <coproc/os/process.hpp>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <future>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>

using namespace coproc;
using namespace std::chrono_literals;

namespace {

/// Forks a child that runs f and exits with 0; joined by the destructor.
class child {
public:
  template <class F>
  explicit child(F f) {
    pid = os::fork();
    if (pid == 0) {
      f();
      os::exit_now(0);
    }
    pidfd = os::open_pidfd(pid);
  }
  ~child() {
    if (!reaped) {
      os::send_signal(pidfd.get(), SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  int wait() {
    int status = 0;
    ::waitpid(pid, &status, 0);
    reaped = true;
    return status;
  }

  pid_t pid;
  os::unique_fd pidfd;
  bool reaped = false;
};

auto soon() { return std::chrono::steady_clock::now() + 20s; }

struct report {
  std::atomic<int> other_dispositions{-1}, closed{-1}, blocked{-1}, process_group{-1}, stdin_is_null{-1};
  std::atomic<int> open[64]{};
};

template <class T>
T& shared() {
  static T* const memory =
      new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) T;
  return *memory;
}

} // namespace

TEST_CASE("a process without threads says so, one with a thread does not, and again when it is joined") {
  CHECK(os::single_threaded());
  std::promise<void> end;
  std::thread other([future = end.get_future()] { future.wait(); });
  CHECK_FALSE(os::single_threaded());
  end.set_value();
  other.join();
  CHECK(os::single_threaded());
}

TEST_CASE("a clean child has no handler, what was ignored stays so but for SIGTERM, no blocked signal, its own group, "
          "no foreign "
          "descriptor, an empty stdin") {
  auto& r = shared<report>();
  ::signal(SIGUSR1, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGUSR2, [](int) {});
  const os::unique_fd kept(::fcntl(0, F_DUPFD_CLOEXEC, 20)), between(::fcntl(0, F_DUPFD_CLOEXEC, 22)),
      also_kept(::fcntl(0, F_DUPFD_CLOEXEC, 24)), foreign(::fcntl(0, F_DUPFD_CLOEXEC, 30));
  {
    const os::block_signals blocked;
    child c([&] {
      int keep[] = {also_kept.get(), kept.get()};
      r.closed = os::clean_child(keep);
      int wrong = 0;
      for (int s = 1; s < 32; ++s) {
        struct sigaction now{};
        const auto expected = s == SIGUSR1 || s == SIGTTOU || s == SIGTTIN ? SIG_IGN : SIG_DFL;
        if (::sigaction(s, nullptr, &now) == 0 && now.sa_handler != expected) ++wrong;
      }
      r.other_dispositions = wrong;
      sigset_t mask;
      ::sigprocmask(SIG_SETMASK, nullptr, &mask);
      r.blocked = !::sigisemptyset(&mask);
      r.process_group = ::getpgrp() == ::getpid();
      struct stat null{}, in{};
      ::stat("/dev/null", &null);
      ::fstat(0, &in);
      r.stdin_is_null = null.st_rdev == in.st_rdev;
      for (int fd = 0; fd != 64; ++fd) r.open[fd] = ::fcntl(fd, F_GETFD) >= 0;
    });
    CHECK(c.wait() == 0);
  }
  ::signal(SIGUSR1, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  ::signal(SIGUSR2, SIG_DFL);
  CHECK(r.closed == 1);
  CHECK(r.other_dispositions == 0);
  CHECK(r.blocked == 0);
  CHECK(r.process_group == 1);
  CHECK(r.stdin_is_null == 1);
  for (int fd = 3; fd != 64; ++fd) {
    CAPTURE(fd);
    CHECK(r.open[fd] == (fd == kept.get() || fd == also_kept.get()));
  }
}

TEST_CASE("signals are blocked for a scope, and what was blocked before stays so") {
  sigset_t usr1, now;
  ::sigemptyset(&usr1);
  ::sigaddset(&usr1, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  {
    const os::block_signals blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    CHECK(::sigismember(&now, SIGTERM) == 1);
  }
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  CHECK(::sigismember(&now, SIGTERM) == 0);
  CHECK(::sigismember(&now, SIGUSR1) == 1);
  ::pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
}

TEST_CASE("a living child is not dead, a killed one is, and its status tells how") {
  child c([] { ::pause(); });
  REQUIRE(c.pidfd);
  CHECK_FALSE(os::wait_dead(c.pidfd.get(), std::chrono::steady_clock::now()));
  CHECK_FALSE(os::wait_dead(c.pidfd.get(), std::chrono::steady_clock::now() + 2ms));
  CHECK_FALSE(os::reap(c.pid).known);
  CHECK(os::send_signal(c.pidfd.get(), SIGKILL) == 0);
  CHECK(os::wait_dead(c.pidfd.get(), soon()));
  const auto r = os::reap(c.pid);
  c.reaped = true;
  CHECK(r.known);
  CHECK((WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGKILL));
  CHECK(r.usage.ru_maxrss > 0);
}

TEST_CASE("a signal to a reaped child is ESRCH, and nobody else is hit") {
  child c([] {});
  REQUIRE(os::wait_dead(c.pidfd.get(), soon()));
  CHECK(os::send_signal(c.pidfd.get(), 0) == 0); // a zombie still takes signals
  CHECK(c.wait() == 0);
  CHECK(os::send_signal(c.pidfd.get(), SIGKILL) == ESRCH);
  CHECK(os::wait_dead(c.pidfd.get(), std::chrono::steady_clock::now()));
}

TEST_CASE("a status that somebody else has taken is unknown") {
  child c([] {});
  REQUIRE(c.wait() == 0);
  CHECK_FALSE(os::reap(c.pid).known);
  CHECK_FALSE(os::reap(1).known); // not a child of ours
}

TEST_CASE("the pidfd of nobody is no descriptor") {
  child c([] {});
  c.wait();
  CHECK_FALSE(os::open_pidfd(c.pid));
  CHECK_FALSE(os::open_pidfd(-1));
}

TEST_CASE("exit_now runs neither destructors nor handlers, and keeps inherited output to itself") {
  auto& ran = shared<std::atomic<int>>();
  struct noisy {
    ~noisy() { ++shared<std::atomic<int>>(); }
  };
  child c([] {
    const noisy n;
    std::atexit([] { ++shared<std::atomic<int>>(); });
    os::exit_now(3);
  });
  const int status = c.wait();
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 3));
  CHECK(ran == 0);
}

TEST_CASE("waiting for several descriptors tells which is ready") {
  int pipe_fds[2];
  REQUIRE(::pipe2(pipe_fds, O_CLOEXEC) == 0);
  const os::unique_fd out(pipe_fds[0]), in(pipe_fds[1]);
  child c([] { ::pause(); });
  std::array<pollfd, 2> fds{{{out.get(), POLLIN, 0}, {c.pidfd.get(), POLLIN, 0}}};
  CHECK(os::wait_readable(fds, 0) == 0);
  REQUIRE(::write(in.get(), "x", 1) == 1);
  CHECK(os::wait_readable(fds, 20'000) == 1);
  CHECK(fds[0].revents == POLLIN);
  CHECK(fds[1].revents == 0);
  os::send_signal(c.pidfd.get(), SIGKILL);
  CHECK(os::wait_dead(c.pidfd.get(), soon()));
  CHECK(os::wait_readable(fds, 20'000) == 2);
}

TEST_CASE("a clean child keeps standard input if it is told to") {
  auto& r = shared<report>();
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const os::unique_fd out(ends[0]), in(ends[1]);
  child c([&] {
    ::dup2(out.get(), 0);
    int keep[] = {0};
    os::clean_child(keep);
    struct stat now{};
    ::fstat(0, &now);
    r.stdin_is_null = !S_ISFIFO(now.st_mode);
  });
  CHECK(c.wait() == 0);
  CHECK(r.stdin_is_null == 0);
}

TEST_CASE("what a dead child has left in its group is killed before it is reaped, and nobody after") {
  struct pids {
    std::atomic<pid_t> grandchild{0};
  };
  auto& p = shared<pids>();
  child c([&] {
    ::setpgid(0, 0);
    const pid_t left = ::fork();
    if (left == 0)
      for (;;) ::pause();
    p.grandchild = left;
  });
  REQUIRE(os::wait_dead(c.pidfd.get(), soon()));
  const os::unique_fd left = os::open_pidfd(p.grandchild);
  REQUIRE(left);
  CHECK_FALSE(os::wait_dead(left.get(), std::chrono::steady_clock::now()));
  os::end_group_of_dead(c.pid);
  CHECK(os::wait_dead(left.get(), soon()));
  CHECK(c.wait() == 0);
  os::end_group_of_dead(c.pid); // nobody's child any more: whose group that is now, nobody knows
}

TEST_CASE("a child that lives keeps its group") {
  child c([] {
    ::setpgid(0, 0);
    ::pause();
  });
  os::end_group_of_dead(c.pid);
  CHECK_FALSE(os::wait_dead(c.pidfd.get(), std::chrono::steady_clock::now() + 2ms));
}

TEST_CASE("a descriptor is moved above others, and the least number above all is found") {
  const os::unique_fd high(::fcntl(0, F_DUPFD_CLOEXEC, 200));
  const int above = os::above_all_descriptors();
  CHECK(above > high.get());
  os::unique_fd low = os::open_file("/dev/null", O_RDONLY);
  const int number = low.get();
  low = os::move_above(std::move(low), above);
  CHECK(low.get() >= above);
  CHECK(::fcntl(number, F_GETFD) < 0);
  const int moved = low.get();
  low = os::move_above(std::move(low), above);
  CHECK(low.get() == moved);
}
