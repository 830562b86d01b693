// SPDX-License-Identifier: BSL-1.0
// Coroutines handle six requests at once, their CPU work goes to a pool of four processes. Better than in Python: the
// analysis needs no pickling and may be a lambda, a worker that crashes fails its own request only, and with default
// options requests beyond max_queue wait for room instead of piling up.
#include <coproc/coproc.hpp>

#include <chrono>
#include <cmath>
#include <fmt/core.h>
#include <vector>

namespace net = coproc::net;

double cpu_intensive_analysis(int data_size) {
  double total = 0;
  for (int i = 1; i < data_size; ++i) total += std::sqrt(i) * std::log(i + 1);
  return std::round(total * 1e4) / 1e4;
}

struct response {
  int request_id;
  double result;
};

net::awaitable<response> handle_request(int request_id, int data_size, const coproc::process_pool& executor) {
  fmt::print("Request {}: received, dispatching CPU work\n", request_id);
  const double result = co_await coproc::run_in_executor(executor, cpu_intensive_analysis, data_size);
  fmt::print("Request {}: CPU work done, result={}\n", request_id, result);
  co_return response{request_id, result};
}

net::awaitable<void> serve() {
  const coproc::process_pool executor(co_await net::this_coro::executor, {.max_workers = 4});
  const auto start = std::chrono::steady_clock::now();

  std::vector<net::awaitable<response>> requests;
  for (int id = 0; id < 6; ++id) requests.push_back(handle_request(id, 50000 + id * 10000, executor));
  const std::vector<response> results = co_await coproc::gather(std::move(requests));

  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print("Handled {} requests in {:.2f}s\n", results.size(), elapsed.count());
  for (const response& r : results) fmt::print("  Request {}: {}\n", r.request_id, r.result);
}

int main() { coproc::run(serve()); }
