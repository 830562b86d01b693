// SPDX-License-Identifier: BSL-1.0
// pool_options::busy_poll with real processes: workers stay awake, the pool ends all the same, and other work goes on.
#include <coproc/coproc.hpp>
#include <coproc/os/cpu.hpp>

#include "support/run.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <fstream>
#include <string>

namespace process_busy_poll {

using namespace std::chrono_literals;
using namespace coproc::testing;
namespace net = coproc::net;

namespace {

int twice(int value) { return 2 * value; }

// How often the process gave its CPU up to wait for something.
long sleeps_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("voluntary_ctxt_switches:", 0) == 0) return std::stol(line.substr(line.find(':') + 1));
  return -1;
}

long sleeps_between_calls(coproc::pool_options options) {
  net::io_context io;
  coproc::process_pool pool(io, options);
  return run_coroutine(io, [&]() -> net::awaitable<long> {
    co_await coproc::run_in_executor(pool, twice, 1);
    const pid_t worker = pool.stats().workers.at(0).pid;
    net::steady_timer timer(io);
    const long before = sleeps_of(worker);
    for (int i = 0; i != 20; ++i) {
      timer.expires_after(2ms);
      co_await timer.async_wait(net::use_awaitable);
      const int result = co_await coproc::run_in_executor(pool, twice, i);
      CHECK(result == 2 * i);
    }
    co_return sleeps_of(worker) - before;
  }());
}

} // namespace

TEST_CASE("a worker that polls does not sleep between calls; one that does not poll does") {
  if (coproc::os::usable_cpus() == 1) return;
  const leak_audit audit;
  CHECK(sleeps_between_calls({.max_workers = 1}) >= 10);
  CHECK(sleeps_between_calls({.max_workers = 1, .busy_poll = coproc::unlimited}) == 0);
}

TEST_CASE("polling workers end with their pool, leave when they are idle for long, and are replaced") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 3,
                                 .max_tasks_per_child = 5,
                                 .min_workers = 1,
                                 .idle_timeout = 20ms,
                                 .busy_poll = coproc::unlimited});
  run_coroutine(io, [&]() -> net::awaitable<void> {
    for (int round = 0; round != 3; ++round) {
      for (int i = 0; i != 30; ++i) {
        const int result = co_await coproc::run_in_executor(pool, twice, i);
        CHECK(result == 2 * i);
      }
      net::steady_timer timer(io, 50ms);
      co_await timer.async_wait(net::use_awaitable);
    }
    co_await pool.shutdown();
  }());
}

} // namespace process_busy_poll
