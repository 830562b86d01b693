// SPDX-License-Identifier: BSL-1.0
// What one task costs, against what else one could do: run by scripts/bench.sh [--quick] [--out FILE].
//
// The same task (value + 1, or a calibrated loop of instructions before it) goes through each peer and back to the
// coroutine that awaits it, with 1, 16, 256 and 4096 tasks in flight. All C++ peers share one front end: one
// io_context(1), one thread, coroutines. Python's front end is asyncio. Peers:
//
//   floor            two processes bounce one cache line, both spinning and pinned: no task, no loop; the unit of the
//                    first ratio column. Always sequential, whatever is in flight for the others; needs two CPUs.
//   inline           where tasks are instructions: a plain loop on one thread, the unit instead of the floor
//   coproc 1w, 2w    a process_pool with default options and 1 or 2 workers; 1w is the unit of the second ratio column
//   thread_pool      asio::thread_pool with 1 or 2 threads, hop and back: no isolation
//   socketpair       a forked worker that reads and writes frames in batches
//   message_queue    a forked worker behind Boost.Interprocess queues, replies received by a thread
//   Python           ProcessPoolExecutor with 1 worker, if python3 is there
//
// then one task at a time after an idle millisecond, when everybody has gone to sleep (the pause does not count); 10 us of
// instructions per task; and arguments of 64 KiB, 1 MiB and 64 MiB against memcpy between two warm buffers of that size.
//
// Runs alternate: every peer runs once before any runs again, and the order rotates, because machines drift. A figure
// is the median over the runs, with the least and the most beside it; a ratio is the median of the ratios of
// neighbouring runs. CPU seconds are those of all processes of a peer. There is no verdict: the reader draws it.
#include "peers/coproc.hpp"
#include "peers/floor.hpp"
#include "peers/message_queue.hpp"
#include "peers/python.hpp"
#include "peers/socketpair.hpp"
#include "peers/thread_pool.hpp"
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = coproc::net;

struct settings {
  bool quick = false;
  std::string out, commit = "unknown", python_script;
  std::size_t runs() const { return quick ? 5 : 7; }
  double seconds_per_run() const { return quick ? 0.02 : 0.1; }
};

struct contestant {
  std::string name;
  std::function<double(long tasks)> run; ///< the seconds that so many tasks take
  long step = 1;                         ///< the number of tasks is a multiple of it
};

template <class Action>
double wall_seconds(const Action& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Alternating runs of all contestants, each long enough to mean something.
bench::section measure(const settings& set, std::string title, const std::vector<contestant>& contestants) {
  bench::section result{std::move(title), {}};
  std::vector<long> tasks;
  for (const contestant& c : contestants) {
    long n = c.step;
    // Warms up, and tells how many tasks make a run; the better of two, so that a hiccup does not make runs too short.
    const auto timed = [&] { return wall_seconds([&] { c.run(n); }); };
    double took = std::min(timed(), timed());
    for (; took < set.seconds_per_run() / 4 && n < 1'000'000'000; took = std::min(timed(), timed())) n *= 4;
    tasks.push_back(std::max(1L, std::lround(static_cast<double>(n / c.step) * set.seconds_per_run() / took)) * c.step);
    result.rows.push_back({c.name, {}});
  }
  for (std::size_t run = 0; run < set.runs(); ++run) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const std::size_t k = (i + run) % contestants.size();
      bench::row& row = result.rows[k];
      const std::vector<pid_t> processes = bench::process_tree();
      const double cpu_before = bench::cpu_seconds(processes);
      double took = 0;
      row.wall_seconds += wall_seconds([&] { took = contestants[k].run(tasks[k]); });
      row.cpu_seconds += bench::cpu_seconds(processes) - cpu_before;
      row.nanoseconds.push_back(took * 1e9 / static_cast<double>(tasks[k]));
      row.tasks += static_cast<double>(tasks[k]);
    }
  }
  bench::print(result);
  std::fflush(stdout);
  return result;
}

/// Everything that is measured. Members are in the order in which they must be made: forks first, then threads.
class peers {
public:
  explicit peers(const settings& set) {
    if (!set.python_script.empty()) python_.emplace(set.python_script, 1);
    if (python_ && python_->version().empty()) python_.reset();
    floor_.emplace();
    socketpair_.emplace(io_);
    queue_.emplace(io_);
    one_worker_.emplace(io_, 1);
    two_workers_.emplace(io_, 2);
    one_thread_.emplace(1);
    two_threads_.emplace(2);
    queue_->start();
  }

  std::string python_version() const { return python_ ? python_->version() : ""; }

  bench::section in_flight(const settings& set, int window, int loops, const std::string& title) {
    std::vector<contestant> all;
    if (loops != 0)
      all.push_back({"inline", [loops](long n) { return bench::run_inline(n, loops); }});
    else
      add_floor(all);
    for_each([&](const char* name, auto& peer) {
      all.push_back(
          {name, [=, this, &peer](long n) { return bench::run_in_flight(io_, window, n, loops, peer); }, window});
    });
    if (python_ && loops == 0)
      all.push_back({python_name, [this, window](long n) { return python_->run(window, n); }, window});
    return measure(set, title, all);
  }

  bench::section after_pauses(const settings& set, std::chrono::nanoseconds pause, const std::string& title) {
    std::vector<contestant> all;
    add_floor(all);
    for_each([&](const char* name, auto& peer) {
      all.push_back({name, [=, this, &peer](long n) { return bench::run_after_pauses(io_, pause, n, peer); }});
    });
    if (python_) all.push_back({python_name, [=, this](long n) { return python_->run(1, n, pause); }});
    return measure(set, title, all);
  }

  bench::section argument(const settings& set, std::size_t bytes, const std::string& title) {
    const std::vector<std::byte> source(bytes, std::byte{1});
    std::vector<std::byte> target(bytes, std::byte{2});
    const auto copy = [&](long n) {
      return wall_seconds([&] {
        for (long i = 0; i < n; ++i) {
          std::memcpy(target.data(), source.data(), bytes);
          asm volatile("" : : "r"(target.data()) : "memory");
        }
      });
    };
    const auto through = [&](bench::coproc_peer& peer, int window) {
      return [&, window](long n) {
        auto hop = [&](int value, int) -> net::awaitable<int> { co_return value - 1 + co_await peer.look_at(source); };
        return bench::run_in_flight(io_, window, n, 0, hop);
      };
    };
    return measure(set, title,
                   {{"memcpy", copy},
                    {"coproc 1w", through(*one_worker_, 1)},
                    {"coproc 1w, 4 in flight", through(*one_worker_, 4), 4},
                    {"coproc 2w, 4 in flight", through(*two_workers_, 4), 4}});
  }

private:
  static constexpr const char* python_name = "Python ProcessPoolExecutor";

  void add_floor(std::vector<contestant>& all) {
    if (floor_->available()) all.push_back({"floor", [this](long n) { return floor_->run(n); }});
  }

  template <class Visit>
  void for_each(Visit visit) {
    visit("coproc 1w", *one_worker_);
    visit("coproc 2w", *two_workers_);
    visit("thread_pool, 1 thread", *one_thread_);
    visit("thread_pool, 2 threads", *two_threads_);
    visit("socketpair worker", *socketpair_);
    visit("message_queue worker", *queue_);
  }

  net::io_context io_{1};
  std::optional<bench::python_peer> python_;
  std::optional<bench::cache_line_floor> floor_;
  std::optional<bench::socketpair_peer> socketpair_;
  std::optional<bench::message_queue_peer> queue_;
  std::optional<bench::coproc_peer> one_worker_, two_workers_;
  std::optional<bench::thread_pool_peer> one_thread_, two_threads_;
};

int run(const settings& set) {
  const bench::machine machine(set.commit);
  peers all(set);
  fmt::print("CPU       {} ({} usable)\nkernel    {}\ncompiler  {}\ncommit    {}\n", machine.cpu, machine.usable_cpus,
             machine.kernel, machine.compiler, machine.commit);
  if (!all.python_version().empty()) fmt::print("Python    {}\n", all.python_version());
  fmt::print("load      {:.2f} before the first run; figures mean little unless that is near 0\n", machine.load);
  fmt::print("runs      {} of about {:.0f} ms each, alternating\n", set.runs(), set.seconds_per_run() * 1e3);

  std::vector<bench::section> sections;
  sections.push_back(all.in_flight(set, 1, 0, "empty task, 1 in flight (sequential round trip)"));
  for (const int window : {16, 256, 4096})
    sections.push_back(all.in_flight(set, window, 0, fmt::format("empty task, {} in flight", window)));
  sections.push_back(all.after_pauses(set, 1ms, "empty task after 1 ms of idleness, one at a time"));
  const int loops = bench::loops_for(10us);
  sections.push_back(
      all.in_flight(set, 256, loops, fmt::format("10 us of instructions ({} loops), 256 in flight", loops)));
  sections.push_back(all.argument(set, 64 << 10, "argument of 64 KiB"));
  sections.push_back(all.argument(set, 1 << 20, "argument of 1 MiB"));
  sections.push_back(all.argument(set, 64 << 20, "argument of 64 MiB"));
  if (!set.out.empty()) bench::write_json(set.out, machine, sections);
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  settings set;
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool has_value = i + 1 < arguments.size();
    if (arguments[i] == "--quick")
      set.quick = true;
    else if (arguments[i] == "--out" && has_value)
      set.out = arguments[++i];
    else if (arguments[i] == "--commit" && has_value)
      set.commit = arguments[++i];
    else if (arguments[i] == "--python-script" && has_value)
      set.python_script = arguments[++i];
    else {
      fmt::print(stderr, "usage: {} [--quick] [--out FILE] [--commit TEXT] [--python-script FILE]\n", argv[0]);
      return 2;
    }
  }
  try {
    return run(set);
  } catch (const std::exception& e) {
    fmt::print(stderr, "benchmark: {}\n", e.what());
    return 1;
  }
}
