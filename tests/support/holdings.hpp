// SPDX-License-Identifier: BSL-1.0
// What /proc says of this process and its descendants: descriptors, children, threads, mappings of coproc. Two looks
// compared are a leak check. Test process; free of Catch, so that stress programs with a main of their own use it too.
#pragma once

#include "support/sanitized.hpp"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <dirent.h>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace coproc::testing {

/// Nothing that a test waits for takes so long, however slow and busy the machine is; what does hangs.
inline constexpr std::chrono::seconds hang_limit(60);

/// Looks again until done() or the deadline: for what ends without telling anybody.
template <class Predicate>
bool eventually(Predicate done, std::chrono::milliseconds limit = hang_limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (done()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
}

/// The numeric entries of a directory.
inline std::vector<int> numbers_in(const char* directory) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory), [](DIR* d) { return ::closedir(d); });
  if (!dir) return numbers;
  while (const dirent* entry = ::readdir(dir.get()))
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0) numbers.push_back(std::atoi(entry->d_name));
  return numbers;
}

struct process_status {
  std::string name;
  char state = '?'; ///< 'Z': a zombie
  pid_t parent = 0;
};

/// Empty name: no such process.
inline process_status status_of(pid_t pid) {
  process_status s;
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    const std::string_view view = line;
    if (view.starts_with("Name:\t")) s.name = line.substr(6);
    if (view.starts_with("State:\t")) s.state = line[7];
    if (view.starts_with("PPid:\t")) s.parent = std::atoi(line.c_str() + 6);
  }
  return s;
}

/// Does it still run anything? A zombie does not.
inline bool is_alive(pid_t pid) {
  const auto s = status_of(pid);
  return !s.name.empty() && s.state != 'Z' && s.state != 'X';
}

/// Does this process, or thread, wait for something?
inline bool is_asleep(pid_t pid) { return status_of(pid).state == 'S'; }

/// All processes below `root`, zombies included.
inline std::map<pid_t, process_status> descendants_of(pid_t root) {
  std::map<pid_t, process_status> all, found;
  for (const int pid : numbers_in("/proc")) {
    auto s = status_of(pid);
    if (!s.name.empty()) all.emplace(pid, std::move(s));
  }
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [pid, s] : all)
      if ((s.parent == root || found.contains(s.parent)) && found.emplace(pid, s).second) grew = true;
  }
  return found;
}

// What init does: a worker whose fork server was killed has no other parent left to reap it. One that had no time to
// take its own name still has the server's, but not yet a process group of its own.
inline void reap_orphaned_workers() {
  for (const auto& [pid, status] : descendants_of(::getpid())) {
    if (status.parent != ::getpid() || status.state != 'Z' || !status.name.starts_with("coproc-")) continue;
    if (status.name != "coproc-server" || ::getpgid(pid) != pid) ::waitpid(pid, nullptr, WNOHANG);
  }
}

/// One line for each thing that this process holds; sorted.
using holdings = std::vector<std::string>;

inline holdings take_holdings() {
  reap_orphaned_workers();
  holdings s;
  for (const int fd : numbers_in("/proc/self/fd")) {
    char target[256];
    const auto n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
    if (n <= 0) continue; // the directory that was just read
    s.push_back("descriptor " + std::to_string(fd) + " " + std::string(target, static_cast<std::size_t>(n)));
  }
  for (const auto& [pid, status] : descendants_of(::getpid()))
    s.push_back("process " + std::to_string(pid) + " " + status.name + " " + status.state);
  if (!thread_sanitized)
    for (const int tid : numbers_in("/proc/self/task")) s.push_back("thread " + std::to_string(tid));
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("memfd:coproc") != line.npos) s.push_back("mapping " + line);
  std::sort(s.begin(), s.end());
  return s;
}

/// What is held beyond `before`, one line each; empty as soon as nothing is.
inline std::string left_behind(const holdings& before) {
  std::string text;
  eventually([&] {
    const holdings after = take_holdings();
    holdings extra;
    std::set_difference(after.begin(), after.end(), before.begin(), before.end(), std::back_inserter(extra));
    text.clear();
    for (const auto& each : extra) text += "\n  " + each;
    return text.empty();
  });
  return text;
}

} // namespace coproc::testing
