// SPDX-License-Identifier: BSL-1.0
// Processes of the benchmark: forked peers that never outlive it, and the CPU time of a process and everything below
// it, workers and their helpers included. Linux only; includes nothing of coproc.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace bench {

/// A forked process that runs `body` and is killed by the destructor, or by the kernel when this process dies (unless
/// `death_signal` is 0). Must be made before the first thread.
class child {
public:
  template <class Body>
  explicit child(Body body, int death_signal = SIGKILL) : pid_(::fork()) {
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, death_signal);
    body();
    ::_exit(0);
  }
  child(child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  child& operator=(child&&) = delete;
  ~child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  /// Until it has ended by itself.
  void wait() { ::waitpid(std::exchange(pid_, -1), nullptr, 0); }
  /// The same, but for so many milliseconds at most; the destructor then kills it.
  void wait_at_most(int milliseconds) {
    for (; milliseconds > 0; --milliseconds) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return;
      }
      ::usleep(1000);
    }
  }

private:
  pid_t pid_;
};

/// /proc/<pid>/stat from its third field on: state, parent, ...; empty if the process is gone.
inline std::istringstream stat_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text;
  std::getline(file, text);
  const auto after_name = text.rfind(')'); // the name may contain anything
  return std::istringstream(after_name == std::string::npos ? "" : text.substr(after_name + 1));
}

/// This process and all its descendants, parents first.
inline std::vector<pid_t> process_tree() {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::string state;
    pid_t parent = 0;
    if (stat_of(name) >> state >> parent) children.emplace(parent, std::atoi(name.c_str()));
  }
  std::vector<pid_t> tree{::getpid()};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [first, last] = children.equal_range(tree[i]);
    for (auto c = first; c != last; ++c) tree.push_back(c->second);
  }
  return tree;
}

/// CPU seconds that these processes have used so far, all their threads included, and their children that have ended.
/// The latter come in clock ticks (10 ms).
inline double cpu_seconds(const std::vector<pid_t>& processes) {
  double total = 0;
  for (const pid_t pid : processes) {
    clockid_t clock;
    timespec used;
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) continue; // it is gone
    total += static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
    auto stat = stat_of(std::to_string(pid));
    std::string skipped;
    for (int field = 3; field <= 15; ++field) stat >> skipped;
    double user = 0, system = 0; // fields 16 and 17: of children that were waited for
    if (stat >> user >> system) total += (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  return total;
}

} // namespace bench
