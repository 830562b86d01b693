// SPDX-License-Identifier: BSL-1.0
// What the kernel's out-of-memory killer does to a pool whose whole process tree shares one memory cgroup. Needs the
// right to make a cgroup (v1, or v2 with the memory controller at hand), and says so where it is missing.
#include "support/in_child.hpp"
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace process_memory_cgroup {

namespace net = coproc::net;
using namespace coproc::testing;

namespace {

/// A cgroup below our own that is removed at the end.
class memory_cgroup {
public:
  explicit memory_cgroup(std::uint64_t limit_bytes) {
    std::ifstream lines("/proc/self/cgroup");
    for (std::string line; std::getline(lines, line);) {
      const auto colon = line.find(':', line.find(':') + 1);
      const std::string controllers = line.substr(line.find(':') + 1, colon - line.find(':') - 1);
      const std::string path = line.substr(colon + 1);
      if (controllers == "memory") try_at("/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes", limit_bytes);
      if (controllers.empty()) try_at("/sys/fs/cgroup" + path, "memory.max", limit_bytes);
    }
  }
  memory_cgroup(const memory_cgroup&) = delete;
  memory_cgroup& operator=(const memory_cgroup&) = delete;
  ~memory_cgroup() {
    if (exists()) eventually([&] { return ::rmdir(directory_.c_str()) == 0; }); // once its last process is gone
  }

  bool exists() const { return !directory_.empty(); }
  bool join() const { return write("cgroup.procs", std::to_string(::getpid())); }

private:
  void try_at(const std::string& parent, const char* limit, std::uint64_t bytes) {
    if (exists()) return;
    directory_ = parent + "/coproc-test-" + std::to_string(::getpid());
    if (::mkdir(directory_.c_str(), 0755) == 0 && write(limit, std::to_string(bytes))) return;
    ::rmdir(directory_.c_str());
    directory_.clear();
  }

  bool write(const std::string& file, const std::string& text) const {
    std::ofstream out(directory_ + "/" + file);
    out << text << std::flush;
    return out.good();
  }

  std::string directory_;
};

int identity(int n) { return n; }

std::size_t touch(std::size_t bytes) {
  std::vector<char> memory(bytes);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < bytes; i += 4096) sum += static_cast<unsigned char>(++memory[i]);
  return sum;
}

} // namespace

TEST_CASE("a worker that the out-of-memory killer ends costs its task, and the error suspects it") {
  const leak_audit audit;
  if (sanitized) return; // its shadow alone exceeds the limit
  const memory_cgroup group(std::uint64_t{128} << 20);
  if (!group.exists()) {
    WARN("skipped: no memory cgroup can be made here");
    return;
  }
  check_in_child([&] {
    expect(group.join(), "the child may not enter the cgroup");
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2});
    ending<std::size_t> large;
    ending<int> beside, later;
    start(large, pool, touch, std::size_t{1} << 30);
    start(beside, pool, identity, 1);
    expect(run_all(io), "the loop ends");
    expect(beside.succeeded(), "another task is unharmed");
    const auto lost = large.as<coproc::worker_lost>();
    expect(lost.has_value(), "the task ends with worker_lost");
    expect(lost->exit().signal == SIGKILL && lost->exit().cause == coproc::exit_cause::self, "killed from outside");
    expect(large.text().find("out of memory") != std::string::npos, "the text suspects the cause");
    start(later, pool, identity, 2);
    expect(run_all(io) && later.succeeded(), "the pool goes on");
  });
}

} // namespace process_memory_cgroup
