// SPDX-License-Identifier: BSL-1.0
// What processes cost beside tasks: replacing one that died, memory while they wait, and wake-ups while all is idle.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../rows.hpp"

#include <chrono>
#include <cstdlib>
#include <sys/resource.h>

namespace bench {

namespace {

using namespace std::chrono_literals;

/// The heap that the front end has when it forks, touched, so that both sides of the comparison copy as much.
std::shared_ptr<std::vector<std::byte>> some_heap() {
  return std::make_shared<std::vector<std::byte>>(std::size_t{8} << 20, std::byte{1});
}

// ---- crash to first task of the replacement

int crash(int) { std::abort(); }

arm replacement() {
  const auto set_up = []() -> run_function {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    auto heap = some_heap();
    auto f = std::make_shared<front_end<coproc_peer>>(1);
    return [f, heap](const run_order& o) -> run_values {
      auto hop = [&](int value, int) -> net::awaitable<int> {
        bool lost = false;
        try {
          static_cast<void>(co_await coproc::run_in_executor(f->peer.pool(), crash, value));
        } catch (const coproc::worker_lost&) {
          lost = true;
        }
        expect(lost);
        co_return co_await f->peer(value, 0);
      };
      return {run_in_flight(f->io, 1, o.tasks, 0, hop) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {"coproc 1w", set_up};
}

/// A child of a process of the same size runs the task, dies as the worker does, and is waited for.
arm bare_chain() {
  const auto set_up = []() -> run_function {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    auto heap = some_heap();
    return [heap](const run_order& o) -> run_values {
      const auto start = clock::now();
      for (long i = 0; i < o.tasks; ++i) {
        child process([] { crash(increment(1, 0)); });
        process.wait();
      }
      return {seconds_since(start) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {"bare fork, run, die, wait", set_up};
}

// ---- memory of idle workers

constexpr int idle_workers = 4;

double pss_bytes(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps_rollup", pid));
  std::string word;
  double kib = 0;
  while (file >> word)
    if (word == "Pss:" && file >> kib) return kib * 1024;
  throw peer_missing("/proc/<pid>/smaps_rollup cannot be read");
}

/// Mean of the grandchildren of this process: an arm's children fork what is measured.
double mean_pss_of_grandchildren() {
  double sum = 0, count = 0;
  for (const pid_t pid : process_tree()) {
    std::string state;
    pid_t parent = 0;
    stat_of(std::to_string(pid)) >> state >> parent;
    std::string skipped;
    pid_t grandparent = 0;
    stat_of(std::to_string(parent)) >> skipped >> grandparent;
    if (grandparent != ::getpid()) continue;
    sum += pss_bytes(pid);
    ++count;
  }
  if (count != idle_workers) throw std::runtime_error("expected other processes");
  return sum / count;
}

arm idle_worker_memory() {
  const auto set_up = []() -> run_function {
    auto heap = some_heap();
    auto f = std::make_shared<front_end<coproc_peer>>(idle_workers);
    return [f, heap](const run_order&) -> run_values {
      run_in_flight(f->io, 256, 10'240, 0, f->peer); // all have worked
      return {mean_pss_of_grandchildren()};
    };
  };
  return {"coproc, idle worker", set_up, 1, true};
}

arm bare_child_memory() {
  const auto set_up = []() -> run_function {
    auto heap = some_heap();
    int ready[2];
    if (::pipe(ready) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    auto server = std::make_shared<child>([&] {
      std::vector<child> children;
      for (int i = 0; i < idle_workers; ++i)
        children.emplace_back([&] {
          if (::write(ready[1], "r", 1) == 1) ::pause();
        });
      ::pause();
    });
    char c;
    for (int i = 0; i < idle_workers; ++i)
      if (::read(ready[0], &c, 1) != 1) throw std::runtime_error("a child did not start");
    return [server, heap](const run_order&) -> run_values { return {mean_pss_of_grandchildren()}; };
  };
  return {"bare child in pause()", set_up, 1, true};
}

// ---- idleness

/// How often these processes, all their threads included, have waited, and so were woken. Not how often they lost the
/// CPU to others.
double waits(const std::vector<pid_t>& processes) {
  double sum = 0;
  for (const pid_t pid : processes)
    for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
      std::ifstream status(thread.path() / "status");
      for (std::string line; std::getline(status, line);)
        if (line.starts_with("voluntary_ctxt_switches:")) sum += std::atof(line.c_str() + line.find(':') + 1);
    }
  return sum;
}

/// Wake-ups and CPU nanoseconds of the workers and the fork server, and wake-ups of the front end, in so many seconds
/// in which the loop runs with nothing but one timer.
arm idleness(std::string name, int workers, int seconds) {
  const auto set_up = [=]() -> run_function {
    auto io = std::make_shared<net::io_context>(1);
    std::shared_ptr<coproc_peer> peer;
    if (workers > 0) peer = std::make_shared<coproc_peer>(*io, workers);
    return [=](const run_order&) -> run_values {
      if (peer) run_in_flight(*io, 256, 10'240, 0, *peer);
      net::steady_timer timer(*io, 100ms); // everybody falls asleep
      timer.async_wait([](net::error_code) {});
      run_to_end(*io, {});
      const std::vector<pid_t> self{::getpid()};
      std::vector<pid_t> others = process_tree();
      others.erase(others.begin());
      timer.expires_after(std::chrono::seconds(seconds));
      timer.async_wait([](net::error_code) {});
      const double waited = waits(others), cpu = cpu_seconds(others), own = waits(self);
      run_to_end(*io, {});
      const double own_after = waits(self);
      return {waits(others) - waited, (cpu_seconds(others) - cpu) * 1e9, own_after - own};
    };
  };
  return {std::move(name), set_up, 1, true};
}

} // namespace

void processes(session& s) {
  row crash_row{"crash", "from the crash of a worker to the end of the first task of its replacement", {}, {}};
  crash_row.arms = {replacement(), bare_chain()};
  crash_row.tasks_per_second = false;
  crash_row.goals = {ratio_goal("coproc 1w", "bare fork, run, die, wait", at_most, 2)};
  s.add(crash_row);

  row memory{"memory",
             fmt::format("PSS of each of {} idle workers that have worked, without payload memory", idle_workers),
             {},
             {}};
  memory.arms = {idle_worker_memory(), bare_child_memory()};
  memory.u = unit::bytes;
  memory.value_names = {"PSS"};
  memory.tasks_per_second = false;
  memory.goals = {{"idle worker - bare child in pause()",
                   [](const one_run& in) { return in("coproc, idle worker") - in("bare child in pause()"); }, at_most,
                   256 * 1024, unit::bytes}};
  s.add(memory);

  const int seconds = s.set.quick ? 2 : 10;
  row idle{"idle", fmt::format("an idle pool of 2 workers for {} s; a count, hence one run", seconds), {}, {}};
  idle.arms = {idleness("coproc 2w", 2, seconds), idleness("bare loop with a timer", 0, seconds)};
  idle.u = unit::count;
  idle.value_names = {"wake-ups of workers and fork server", "their CPU ns", "wake-ups of the front end"};
  idle.tasks_per_second = false;
  idle.runs = 1;
  idle.goals = {{"wake-ups of workers and fork server", [](const one_run& in) { return in("coproc 2w"); }, at_most, 0,
                 unit::count},
                {"their CPU time", [](const one_run& in) { return in("coproc 2w", 1); }, at_most, 0, unit::nanoseconds},
                {"wake-ups of the front end beyond a bare loop's",
                 [](const one_run& in) { return in("coproc 2w", 2) - in("bare loop with a timer", 2); }, at_most, 0,
                 unit::count}};
  s.add(idle);
}

} // namespace bench
