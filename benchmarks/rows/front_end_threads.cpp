// SPDX-License-Identifier: BSL-1.0
// Several threads run the front end's io_context, and submit and complete at the same time: empty tasks, 256 in flight
// together, one worker.
#include "../front_end.hpp"
#include "../peers/coproc.hpp"
#include "../rows.hpp"

#include <mutex>
#include <thread>

namespace bench {

namespace {

constexpr int in_flight_together = 256;

struct threaded_front_end {
  net::io_context io; // no hint: several threads run it
  coproc_peer peer{io, 1};

  double seconds(long tasks, int threads) {
    std::mutex mutex;
    std::exception_ptr failure;
    const auto client = [&](long count) -> net::awaitable<void> {
      for (long i = 0; i < count; ++i) {
        const int value = static_cast<int>(i);
        const int result = co_await peer(value, 0);
        expect(result == value + 1);
      }
    };
    const auto start = clock::now();
    for (int i = 0; i < in_flight_together; ++i)
      net::co_spawn(io, client(tasks / in_flight_together), [&](std::exception_ptr e) {
        std::lock_guard lock(mutex);
        if (e) failure = e;
      });
    io.restart();
    std::vector<std::thread> helpers;
    for (int i = 1; i < threads; ++i) helpers.emplace_back([this] { io.run(); });
    io.run();
    for (std::thread& t : helpers) t.join();
    const double took = seconds_since(start);
    if (failure) std::rethrow_exception(failure);
    return took;
  }
};

arm with_threads(std::string name, int threads) {
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<threaded_front_end>();
    return [=](const run_order& o) -> run_values {
      return {f->seconds(o.tasks, threads) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up, in_flight_together};
}

} // namespace

void front_end_threads(session& s) {
  row r{"threads", "empty tasks, 256 in flight, submitted by 1, 2, 4 threads of the front end, 1 worker", {}, {}};
  r.arms = {with_threads("1 thread", 1), with_threads("2 threads", 2), with_threads("4 threads", 4)};
  for (const std::string name : {"2 threads", "4 threads"})
    r.goals.push_back({"throughput: " + name + " / 1 thread",
                       [=](const one_run& in) { return in("1 thread") / in(name); }, at_least, 0.8});
  s.add(r);
}

} // namespace bench
