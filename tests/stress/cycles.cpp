// SPDX-License-Identifier: BSL-1.0
// cycles --cycles N --respawns M: pools made, used and destroyed N times, then one pool whose workers die M times.
// Looks at descriptors, processes, allocated bytes and resident memory of the front end, and at descriptors and memory
// of the fork server, again and again: after a warm-up none of them may have a slope.
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/this_worker.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <malloc.h>
#include <string_view>
#include <sys/resource.h>
#include <vector>

using namespace coproc;
using namespace coproc::testing;

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace {

shared_memory<std::atomic<pid_t>> server;

int next(int n) { return n + 1; }
void die() { ::raise(SIGKILL); }
std::vector<int> echo(const std::vector<int>& v) { return v; }

double allocated_bytes() {
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
  if (__sanitizer_get_current_allocated_bytes != nullptr)
    return static_cast<double>(__sanitizer_get_current_allocated_bytes());
#endif
  return static_cast<double>(::mallinfo2().uordblks);
}

double resident_kib(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  double size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1024;
}

double descriptors_of(pid_t pid) {
  return static_cast<double>(numbers_in(("/proc/" + std::to_string(pid) + "/fd").c_str()).size());
}

struct look {
  double step, value;
};

struct series {
  std::string name;
  double tolerance; // of the slope, a step
  double growth;    // in all, that nobody minds
  std::vector<look> looks{};

  void reserve() { looks.reserve(64); } // its own memory must not count
  /// Least squares.
  double slope() const {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (const look& l : looks) ++n, x += l.step, y += l.value, xx += l.step * l.step, xy += l.step * l.value;
    const double d = n * xx - x * x;
    return d == 0 ? 0 : (n * xy - x * y) / d;
  }
  bool flat() const { return slope() <= tolerance || looks.back().value - looks.front().value <= growth; }
};

/// Looks about thirty times, after a fifth of the steps.
class watch {
public:
  watch(std::string title, int steps, bool with_server)
      : title_(std::move(title)), steps_(steps), with_server_(with_server) {
    for (series* s : {&descriptors_, &processes_, &allocated_, &resident_, &server_descriptors_, &server_resident_})
      s->reserve();
  }

  void step(int i) {
    if (i < steps_ / 5 || (i - steps_ / 5) % std::max(1, steps_ / 40) != 0) return;
    const auto note = [i](series& s, double value) { s.looks.push_back({static_cast<double>(i), value}); };
    note(descriptors_, descriptors_of(::getpid()));
    note(processes_, static_cast<double>(descendants_of(::getpid()).size()));
    note(allocated_, allocated_bytes());
    note(resident_, resident_kib(::getpid()));
    if (!with_server_) return;
    note(server_descriptors_, descriptors_of(*server));
    note(server_resident_, resident_kib(*server));
  }

  /// Prints what it saw. False: something grows.
  bool report() const {
    bool good = true;
    for (const series* s :
         {&descriptors_, &processes_, &allocated_, &resident_, &server_descriptors_, &server_resident_}) {
      if (s->looks.empty()) continue;
      const bool flat = s->flat();
      good &= flat;
      fmt::print("cycles: {}: {}: {:.0f} at first, {:.0f} at last, slope {:.4f} a step{}\n", title_, s->name,
                 s->looks.front().value, s->looks.back().value, s->slope(), flat ? "" : ": IT GROWS");
    }
    return good;
  }

private:
  std::string title_;
  int steps_;
  bool with_server_;
  // Resident memory comes in pages, and sanitizers keep what is freed for a while.
  static constexpr double kib = sanitized ? 65'536 : 512;
  series descriptors_{"descriptors", 0, 0}, processes_{"processes, zombies included", 0, 0},
      allocated_{"allocated bytes", 0, 16'384}, resident_{"resident KiB", 0.01, kib},
      server_descriptors_{"descriptors of the fork server", 0, 0},
      server_resident_{"resident KiB of the fork server", 0.01, kib};
};

bool create_and_destroy(int cycles) {
  watch w("create, use, destroy", cycles, false);
  const std::vector<int> large(1000, 7);
  for (int i = 0; i != cycles; ++i) {
    {
      net::io_context io(1);
      process_pool pool(io, {.max_workers = 1 + i % 2});
      ending<int> small;
      ending<std::vector<int>> other;
      start(small, pool, next, i);
      start(other, pool, echo, large);
      if (i % 3 != 0 && (!run_all(io) || !small.succeeded() || other.value != large)) {
        fmt::print(stderr, "cycles: a pool does not work\n");
        return false;
      }
    }
    w.step(i);
  }
  return w.report();
}

bool respawn(int respawns) {
  net::io_context io(1);
  process_pool pool(io, {.max_workers = 2, .initializer = [] { *server = ::getppid(); }});
  watch w("respawn", respawns, true);
  // Three processes of the fork server, two workers and the one that stands by, living or not yet reaped; and the pool
  // has heard of both workers and holds what it holds of a worker.
  const auto settled = [&] {
    std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", server->load()));
    const auto known = pool.stats().workers;
    return std::distance(std::istream_iterator<int>(file), std::istream_iterator<int>()) == 3 && known.size() == 2 &&
           std::all_of(known.begin(), known.end(), [](const worker_stats& s) { return s.state == worker_state::idle; });
  };
  for (int i = 0; i != respawns; ++i) {
    ending<void> dead;
    ending<int> alive;
    start(dead, pool, die);
    start(alive, pool, next, i);
    if (!run_all(io) || !dead.failed_with(errc::worker_lost) || !alive.succeeded()) {
      fmt::print(stderr, "cycles: a respawn goes wrong: {}\n", alive.text());
      return false;
    }
    // The replacement comes in its own time; a death is noticed while something is outstanding.
    if (!settled() && !eventually([&] {
          ending<int> again;
          start(again, pool, next, 1);
          return run_all(io) && settled();
        }))
      fmt::print(stderr, "cycles: not as many processes as there should be\n");
    w.step(i);
  }
  return w.report();
}

int option(int argc, char** argv, std::string_view name, int standard) {
  for (int i = 1; i + 1 < argc; ++i)
    if (argv[i] == name) return std::atoi(argv[i + 1]);
  return standard;
}

} // namespace

int main(int argc, char** argv) {
  const int cycles = option(argc, argv, "--cycles", 10'000), respawns = option(argc, argv, "--respawns", 10'000);
  const rlimit no_core{};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const auto before = take_holdings();
  bool good = create_and_destroy(cycles);
  good = respawn(respawns) && good;
  const std::string left = left_behind(before);
  if (!left.empty()) fmt::print("cycles: left behind:{}\n", left);
  fmt::print("cycles: {} cycles, {} respawns: {}\n", cycles, respawns, good && left.empty() ? "passed" : "FAILED");
  return good && left.empty() ? 0 : 1;
}
