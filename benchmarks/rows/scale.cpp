// SPDX-License-Identifier: BSL-1.0
// Does a task cost the same with many workers and with many tasks queued? Empty tasks, submitted in one burst; the only
// option beside the number of workers is max_queue, without which so many could not be queued.
#include "../front_end.hpp"
#include "../rows.hpp"
#include "../work.hpp"

#include <coproc/coproc.hpp>

namespace bench {

namespace {

struct bursting_pool {
  net::io_context io{1};
  coproc::process_pool pool;
  bursting_pool(int workers, long queued) : pool(io, {.max_workers = workers, .max_queue = queued}) {}

  double seconds(long tasks, long queued) {
    std::exception_ptr failure;
    long right = 0;
    const auto start = clock::now();
    for (long done = 0; done < tasks; done += queued) {
      for (long i = 0; i < queued; ++i) {
        const int value = static_cast<int>(i);
        coproc::async_run(pool, coproc::work(increment, value, 0), [&, value](std::exception_ptr e, int result) {
          if (e) failure = e;
          right += result == value + 1;
        });
      }
      run_to_end(io, failure);
    }
    const double took = seconds_since(start);
    expect(right == tasks);
    return took;
  }
};

arm burst(const std::string& name, int workers, long queued) {
  const auto set_up = [=]() -> run_function {
    auto p = std::make_shared<bursting_pool>(workers, queued);
    return [=](const run_order& o) -> run_values {
      return {p->seconds(o.tasks, queued) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {name, set_up, queued};
}

} // namespace

void scale(session& s) {
  row r{"scale", "cost of an empty task by workers and tasks queued (max_queue set to these)", {}, {}};
  r.arms = {burst("1w, 1 k", 1, 1000),      burst("8w, 1 k", 8, 1000),      burst("64w, 1 k", 64, 1000),
            burst("1w, 100 k", 1, 100'000), burst("1w, 1 M", 1, 1'000'000), burst("64w, 100 k", 64, 100'000)};
  for (const char* workers : {"8w, 1 k", "64w, 1 k"}) r.goals.push_back(ratio_goal(workers, "1w, 1 k", at_most, 1.5));
  for (const char* queued : {"1w, 100 k", "1w, 1 M"}) r.goals.push_back(ratio_goal(queued, "1w, 1 k", at_most, 2));
  s.add(r);
}

} // namespace bench
