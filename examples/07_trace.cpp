// SPDX-License-Identifier: BSL-1.0
// What a pool does, as a picture: forty tasks of different lengths on two workers, one of which crashes, traced into a
// file that https://ui.perfetto.dev and chrome://tracing open (one lane per worker), and summed up by stats(). usage:
// 07_trace [FILE]      (trace.json)
#include <coproc/coproc.hpp>

#include <csignal>
#include <cstdint>
#include <fmt/core.h>
#include <fstream>
#include <vector>

namespace net = coproc::net;

std::uint64_t collatz_steps(std::uint64_t from, std::uint64_t to) {
  std::uint64_t steps = 0;
  for (std::uint64_t i = from; i < to; ++i)
    for (std::uint64_t n = i; n > 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1) ++steps;
  return steps;
}

void crash() { std::raise(SIGSEGV); }

net::awaitable<void> trace_to(const char* file) {
  std::ofstream out(file);
  coproc::process_pool pool(co_await net::this_coro::executor, {.max_workers = 2});
  pool.trace(coproc::chrome_trace(out));

  std::vector<coproc::task<std::uint64_t>> tasks;
  for (std::uint64_t i = 1; i <= 40; ++i) tasks.push_back(pool.submit(collatz_steps, i * 100, i * 200));
  auto crashes = pool.submit(crash);
  std::uint64_t steps = 0;
  for (const std::uint64_t each : co_await coproc::gather(std::move(tasks))) steps += each;
  try {
    co_await std::move(crashes);
  } catch (const coproc::worker_lost& e) {
    fmt::print("one task was lost to signal {}\n", e.signal());
  }
  co_await pool.shutdown();

  const coproc::pool_stats stats = pool.stats();
  fmt::print("{} steps in {} tasks; {} workers ended by themselves, {} were shut down\n", steps,
             stats.counters.returned, stats.counters.exits_by(coproc::exit_cause::self),
             stats.counters.exits_by(coproc::exit_cause::shutdown));
  pool.trace({}); // closes the file
}

int main(int argc, char** argv) { coproc::run(trace_to(argc > 1 ? argv[1] : "trace.json")); }
