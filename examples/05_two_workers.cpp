// SPDX-License-Identifier: BSL-1.0
// Two workers return (result, duration, process name), first one task, then four at once. Better than in Python: no
// thread waits on a queue for the results, the loop hears from the workers itself. The sum needs 69 bits, which
// Python's integers have: here unsigned __int128, which g++ and clang have and ISO C++ has not, and which travels
// like any other plain type.
#include <coproc/coproc.hpp>

#include <chrono>
#include <fmt/core.h>
#include <string>
#include <vector>

namespace net = coproc::net;

__extension__ typedef unsigned __int128 uint128;

struct outcome {
  uint128 result;
  double duration;
  std::string process;
};

outcome cpu_bound_task(int n) {
  const auto start = std::chrono::steady_clock::now();
  uint128 result = 0;
  for (int i = 0; i < n; ++i) result += static_cast<uint128>(i) * static_cast<uint128>(i);
  const std::chrono::duration<double> duration = std::chrono::steady_clock::now() - start;
  return {result, duration.count(), fmt::format("worker-{}", coproc::this_worker::id().value())};
}

net::awaitable<void> compute() {
  const int n = 10'000'000;
  const coproc::process_pool executor(co_await net::this_coro::executor, {.max_workers = 2});

  const outcome one = co_await coproc::run_in_executor(executor, cpu_bound_task, n);
  fmt::print("Result: {}, computed in {:.2f}s by {}\n", one.result, one.duration, one.process);

  std::vector<coproc::task<outcome>> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(executor.submit(cpu_bound_task, n));
  for (const outcome& each : co_await coproc::gather(std::move(tasks)))
    fmt::print("Result from {}: {:.2f}s\n", each.process, each.duration);
}

int main() { coproc::run(compute()); }
