// SPDX-License-Identifier: BSL-1.0
// A coroutine produces 12 jobs of 5000 integers into a bounded queue, another one submits them to a pool of four
// processes. Better than in Python: the integers are copied once, into memory that the worker reads in place (no
// pickling, no pipe, no packing of two arguments into a tuple); closing the queue ends the submitter (no poison
// pill); what is submitted and not finished is bounded too (max_queue), not the queue alone.
#include <coproc/coproc.hpp>

#include <chrono>
#include <cmath>
#include <fmt/core.h>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace net = coproc::net;

struct job {
  int id;
  std::vector<int> values;
};

using scored_job = std::pair<int, double>;

scored_job process_job(int id, std::span<const int> values) {
  double total = 0;
  for (const int v : values) total += std::sqrt(v);
  return {id, std::round(total * 1e4) / 1e4};
}

net::awaitable<void> produce(coproc::bounded_channel<job>& queue, int jobs) {
  std::mt19937 random(29); // a fixed seed: the same jobs, and results, in every run
  net::steady_timer latency(co_await net::this_coro::executor);
  for (int id = 0; id < jobs; ++id) {
    job next{id, std::vector<int>(5000)};
    for (int& v : next.values) v = 1 + static_cast<int>(random() % 10000);
    co_await queue.send(coproc::moved(next)); // waits while ten jobs are waiting
    latency.expires_after(std::chrono::milliseconds(10));
    co_await latency.async_wait(net::use_awaitable);
  }
  queue.close();
}

net::awaitable<std::vector<scored_job>> submit_all(coproc::bounded_channel<job>& queue,
                                                   const coproc::process_pool& pool) {
  std::vector<coproc::task<scored_job>> running;
  while (const std::optional<job> next = co_await queue.receive())
    running.push_back(pool.submit(process_job, next->id, next->values)); // starts now, is awaited later
  co_return co_await coproc::gather(std::move(running));
}

net::awaitable<void> pipeline() {
  const auto loop = co_await net::this_coro::executor;
  const coproc::process_pool pool(loop, {.max_workers = 4});
  coproc::bounded_channel<job> queue(loop, 10);
  const auto start = std::chrono::steady_clock::now();

  const auto [produced, results] = co_await coproc::gather(produce(queue, 12), submit_all(queue, pool));

  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print("Processed {} jobs in {:.2f}s\n", results.size(), elapsed.count());
  for (std::size_t i = 0; i < 5; ++i) fmt::print("  Job {}: {}\n", results[i].first, results[i].second);
}

int main() { coproc::run(pipeline()); }
