// SPDX-License-Identifier: BSL-1.0
// Processes of the benchmark: forked peers that never outlive it, and the CPU time of this process and everything below
// it, workers and their helpers included. Linux only; includes nothing of coproc.
#pragma once

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
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

private:
  pid_t pid_;
};

/// This process and all its descendants.
inline std::vector<pid_t> process_tree() {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat");
    std::string text;
    std::getline(stat, text);
    const auto after_name = text.rfind(')'); // the name may contain anything
    if (after_name == std::string::npos || text.size() < after_name + 5) continue;
    children.emplace(std::atoi(text.c_str() + after_name + 4), std::atoi(name.c_str()));
  }
  std::vector<pid_t> tree{::getpid()};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [first, last] = children.equal_range(tree[i]);
    for (auto c = first; c != last; ++c) tree.push_back(c->second);
  }
  return tree;
}

/// CPU seconds that these processes have used so far, all their threads included.
inline double cpu_seconds(const std::vector<pid_t>& processes) {
  double total = 0;
  for (const pid_t pid : processes) {
    clockid_t clock;
    timespec used;
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) continue; // it is gone
    total += static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
  }
  return total;
}

} // namespace bench
