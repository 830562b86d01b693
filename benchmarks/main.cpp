// SPDX-License-Identifier: BSL-1.0
// The benchmark: measures the rows one after the other and prints them, with their goals and verdicts; run by
// scripts/bench.sh. docs/performance.md says how it measures and what the rows mean.
#include "rows.hpp"

#include <csignal>
#include <string_view>
#include <vector>

namespace {

int run(bench::settings set) {
  const bench::machine machine;
  set.usable_cpus = machine.usable_cpus;
  set.loops_per_us = bench::loops_for(std::chrono::milliseconds(1)) / 1e3;
  fmt::print("CPU       {} ({} usable)\nkernel    {}\ncompiler  {}\ncommit    {}\n", machine.cpu, machine.usable_cpus,
             machine.kernel, machine.compiler, set.commit);
  fmt::print("load      {:.2f} before the first run; figures mean little unless that is near 0\n", machine.load);
  fmt::print("runs      {} of about {:.0f} ms each, alternating; spread: without the least and the greatest run\n",
             set.runs(), set.seconds_per_run() * 1e3);
  std::fflush(stdout);

  bench::report report;
  bench::session session{set, report};
  bench::empty_tasks(session);
  bench::idle_gap(session);
  bench::task_length(session);
  bench::map(session);
  bench::tail(session);
  bench::loop_lag(session);
  bench::payload(session);
  bench::processes(session);
  bench::scale(session);
  bench::front_end_threads(session);
  bench::compile_time(session);
  bench::other_languages(session);
  report.print_goals();
  if (!set.out.empty()) report.write_json(set.out, set, machine);
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN); // an arm that died is an error with a name
  bench::settings set;
  const struct {
    std::string_view option;
    std::string& value;
  } options[] = {{"--out", set.out},         {"--only", set.only},   {"--peer", set.peer},
                 {"--sources", set.sources}, {"--build", set.build}, {"--commit", set.commit},
                 {"--command", set.command}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    bool known = argument == "--quick";
    if (known) set.quick = true;
    for (const auto& [option, value] : options)
      if (argument == option && i + 1 < argc) {
        value = argv[++i];
        known = true;
        break;
      }
    if (known) continue;
    fmt::print(stderr,
               "usage: {} [--quick] [--only ROW] [--peer NAME] [--out FILE] [--sources DIRECTORY] "
               "[--build DIRECTORY] [--commit TEXT] [--command TEXT]\n",
               argv[0]);
    return 2;
  }
  try {
    return run(std::move(set));
  } catch (const std::exception& e) {
    fmt::print(stderr, "benchmark: {}\n", e.what());
    return 1;
  }
}
