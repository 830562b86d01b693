// SPDX-License-Identifier: BSL-1.0
// The latency of the unlucky: p99.9 under an open load with a few long tasks, and a short task beside a long one.
#include "../arm.hpp"
#include "../front_end.hpp"
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../peers/thread_pool.hpp"
#include "../rows.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <sys/prctl.h>

namespace bench {

namespace {

using namespace std::chrono_literals;

constexpr double short_us = 5, long_us = 2000, long_share = 0.005, load = 0.7;
constexpr long open_tasks = 20'000;

/// When the tasks arrive, and which are long: the same for all arms in the same run.
struct arrivals {
  std::vector<clock::duration> at;
  std::vector<bool> is_long;

  explicit arrivals(long run) {
    std::mt19937_64 random(static_cast<std::uint64_t>(run) + 1);
    const double service_us = (1 - long_share) * short_us + long_share * long_us;
    std::exponential_distribution<double> gap(load / service_us);
    std::bernoulli_distribution long_one(long_share);
    double now = 0;
    for (long i = 0; i < open_tasks; ++i) {
      now += gap(random);
      at.push_back(std::chrono::duration_cast<clock::duration>(std::chrono::duration<double, std::micro>(now)));
      is_long.push_back(long_one(random));
    }
  }
};

/// p99.9, p99 and median in nanoseconds from the moment when a task was due, then the curve for the chart: quantiles
/// 1 - 10^(-i/16).
template <class Peer>
run_values open_load(front_end<Peer>& f, long run, int short_loops, int long_loops) {
  const arrivals schedule(run);
  std::vector<double> latencies;
  latencies.reserve(open_tasks);
  std::exception_ptr failure;
  const auto start = clock::now() + 1ms;
  const auto one = [&](clock::time_point due, int loops) -> net::awaitable<void> {
    const int result = co_await f.peer(1, loops);
    expect(result == 2);
    latencies.push_back(std::chrono::duration<double, std::nano>(clock::now() - due).count());
  };
  const auto source = [&]() -> net::awaitable<void> {
    net::steady_timer timer(f.io);
    for (std::size_t i = 0; i < schedule.at.size(); ++i) {
      const auto due = start + schedule.at[i];
      if (clock::now() < due) {
        timer.expires_at(due);
        co_await timer.async_wait(net::use_awaitable);
      }
      net::co_spawn(f.io, one(due, schedule.is_long[i] ? long_loops : short_loops), keep_failure(failure));
    }
  };
  net::co_spawn(f.io, source(), keep_failure(failure));
  run_to_end(f.io, failure);
  std::ranges::sort(latencies);
  run_values values = {quantile(latencies, 0.999), quantile(latencies, 0.99), quantile(latencies, 0.5)};
  for (int i = 0; i <= 56; ++i) values.push_back(quantile(latencies, 1 - std::pow(10, -i / 16.0)));
  return values;
}

template <class Peer>
arm open_load_arm(std::string name, const settings& set) {
  const int short_loops = set.loops(short_us), long_loops = set.loops(long_us);
  const auto set_up = [=]() -> run_function {
    ::prctl(PR_SET_TIMERSLACK, 1); // arrivals on time: the kernel may otherwise be 50 us late
    auto f = std::make_shared<front_end<Peer>>(1);
    open_load(*f, 0, short_loops, long_loops); // warms up
    return [=](const run_order& o) { return open_load(*f, o.run, short_loops, long_loops); };
  };
  return {std::move(name), set_up, open_tasks, true};
}

/// Nanoseconds that the slowest of `shorts` short tasks takes, submitted right after a long one, right before one, or
/// alone. Many empty tasks go before, so that the pool has learned to queue deep.
enum class company { alone, behind_long, before_long };

arm short_beside_long(std::string name, const settings& set, int workers, company where, int shorts) {
  const int short_loops = set.loops(100), long_loops = set.loops(500'000);
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<coproc_peer>>(workers);
    return [=](const run_order&) -> run_values {
      run_in_flight(f->io, 256, 20'480, 0, f->peer);
      double slowest = 0;
      std::exception_ptr failure;
      const auto one = [&](int loops, bool timed) -> net::awaitable<void> {
        const auto start = clock::now();
        const int result = co_await f->peer(1, loops);
        expect(result == 2);
        if (timed) slowest = std::max(slowest, seconds_since(start));
      };
      if (where == company::behind_long) net::co_spawn(f->io, one(long_loops, false), keep_failure(failure));
      for (int i = 0; i < shorts; ++i) net::co_spawn(f->io, one(short_loops, true), keep_failure(failure));
      if (where == company::before_long) net::co_spawn(f->io, one(long_loops, false), keep_failure(failure));
      run_to_end(f->io, failure);
      return {slowest * 1e9};
    };
  };
  return {std::move(name), set_up, 1, true};
}

} // namespace

void tail(session& s) {
  row open{"tail.bimodal", "99.5 % tasks of 5 us, 0.5 % of 2 ms, 1 worker, 70 % load, Poisson arrivals", {}, {}};
  open.arms = {open_load_arm<coproc_peer>("coproc 1w", s.set),
               open_load_arm<thread_pool_peer>("thread_pool(1)", s.set)};
  open.value_names = {"p99.9", "p99", "p50"};
  open.tasks_per_second = false;
  open.goals = {ratio_goal("coproc 1w", "thread_pool(1)", at_most, 1.1)};
  open.goals[0].what = "p99.9: " + open.goals[0].what;
  s.add(open);

  row beside{"tail.beside", "a task of 100 us beside one of 500 ms", {}, {}};
  beside.tasks_per_second = false;
  beside.runs = s.set.quick ? 3 : 5;
  beside.arms = {short_beside_long("alone", s.set, 2, company::alone, 1),
                 short_beside_long("before the long one, 1 worker", s.set, 1, company::before_long, 1),
                 short_beside_long("before the long one, 2 workers", s.set, 2, company::before_long, 1),
                 short_beside_long("behind the long one, 2 workers", s.set, 2, company::behind_long, 1),
                 short_beside_long("16 behind the long one, 2 workers", s.set, 2, company::behind_long, 16)};
  // It did not wait: a tenth of what the long one takes, however the scheduler of a busy machine behaves, in every run.
  for (std::size_t i = 1; i < beside.arms.size(); ++i)
    beside.goals.push_back({beside.arms[i].name + ", slowest of all runs",
                            [name = beside.arms[i].name](const one_run& in) { return in(name); }, at_most, 50e6,
                            unit::nanoseconds, true});
  s.add(beside);
}

} // namespace bench
