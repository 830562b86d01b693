// SPDX-License-Identifier: BSL-1.0
// The process that kills workers from outside, at moments that nobody foresees, and that watches the front end: when
// that makes no progress any more it prints what everybody is doing and ends the run. For random_kills.cpp.
#pragma once

#include "random_tasks.hpp"

#include <coproc/os/process.hpp>

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <sstream>

namespace coproc::testing {

/// What everybody does, for people.
inline void print_states(const task_board& b) {
  const std::int64_t now = clock_ns();
  const auto ms = [now](std::int64_t then) { return static_cast<double>(now - then) / 1e6; };
  for (std::size_t i = 0; i != b.notes.size(); ++i) {
    const task_note& n = b.notes[i];
    if (!n.open) continue;
    fmt::print(stderr,
               "  operation {} ({}): submitted {:.1f} ms ago, deadline {:.1f} ms ago, {} cancellations, begun {} times",
               n.id.load(), name_of(n.kind), ms(n.submitted_ns), ms(n.deadline_ns), n.cancels.load(), n.begun.load());
    if (n.begun != 0) fmt::print(stderr, ", {:.1f} ms ago by {}", ms(n.begun_ns), n.pid.load());
    if (n.ended_ns != 0) fmt::print(stderr, ", ended {:.1f} ms ago", ms(n.ended_ns));
    fmt::print(stderr, "\n");
  }
  const auto first_line = [](pid_t pid, const char* file) {
    std::ifstream in(fmt::format("/proc/{}/{}", pid, file));
    std::string line;
    std::getline(in, line);
    return line;
  };
  const auto print = [&](pid_t pid, const process_status& s) {
    fmt::print(stderr, "  process {} {} state {} parent {} wchan {} syscall {}\n", pid, s.name, s.state, s.parent,
               first_line(pid, "wchan"), first_line(pid, "syscall"));
  };
  print(b.front_end, status_of(b.front_end));
  for (const auto& [pid, s] : descendants_of(b.front_end)) print(pid, s);
  std::fflush(stderr);
}

class killer {
public:
  /// Starts it. To be called before any pool is made.
  explicit killer(std::uint64_t seed) : seed_(seed) {
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    ::_exit(0);
  }
  killer(const killer&) = delete;
  ~killer() {
    the_board()->stop = true;
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

private:
  void work() {
    task_board& b = *the_board();
    std::mt19937_64 random(seed_ ^ 0x6b696c6c);
    std::array<pid_t, task_board::workers> done{};
    std::uint64_t beat = 0;
    std::int64_t beat_at = clock_ns();
    while (!b.stop) {
      if (b.beat != beat) {
        beat = b.beat;
        beat_at = clock_ns();
      } else if (clock_ns() - beat_at > 30'000'000'000) {
        fmt::print(stderr, "random_kills: the front end hangs (seed {}, {} kills)\n", seed_, b.kills.load());
        print_states(b);
        ::kill(b.front_end, SIGABRT);
        return;
      }
      const auto pause_us = static_cast<std::int64_t>(random() % (2 * b.pause_us + 1));
      const std::int64_t asleep_at = clock_ns();
      ::usleep(static_cast<useconds_t>(pause_us));
      const std::int64_t slept_ns = clock_ns() - asleep_at;
      b.starved_ns = std::max(b.starved_ns - slept_ns / 8, slept_ns - 1000 * pause_us);
      const std::size_t victim = random() % b.worker_count;
      const pid_t pid = b.worker_pid[victim];
      const auto moment = random() % 3;
      if (pid == 0 || pid == done[victim]) continue;
      if (moment != 0) { // while it runs a task, or while it does not, if it comes to that soon
        const bool busy = moment == 1;
        for (const auto end = clock_ns() + 300'000; (b.running[victim] != 0) != busy && clock_ns() < end;) {
        }
        burn(static_cast<int>(random() % 20'000));
      }
      if (kill(pid, random)) ++b.kills;
      done[victim] = pid;
    }
  }

  // Through a pidfd, and only what is a child of the fork server after it was opened: never a stranger.
  static bool kill(pid_t pid, std::mt19937_64& random) {
    const os::unique_fd fd = os::open_pidfd(pid);
    const process_status s = status_of(pid);
    if (!fd || s.parent != the_board()->server || s.state == 'Z') return false;
    static constexpr int deadly[] = {SIGKILL, SIGKILL, SIGKILL, SIGKILL, SIGSEGV, SIGABRT, SIGBUS, SIGTERM};
    const auto choice = random() % 16;
    if (choice == 0) {
      os::send_signal(fd.get(), SIGSTOP);
      ::usleep(static_cast<useconds_t>(random() % 20'000));
      if (random() % 2) os::send_signal(fd.get(), SIGCONT);
    }
    // One that blocks signals survives all but SIGKILL; it must not survive.
    const int error = os::send_signal(fd.get(), deadly[choice % std::size(deadly)]);
    os::send_signal(fd.get(), SIGKILL);
    return error == 0;
  }

  std::uint64_t seed_;
  pid_t pid_ = 0;
};

} // namespace coproc::testing
