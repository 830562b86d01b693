// SPDX-License-Identifier: BSL-1.0
// map: many items of some nanoseconds against the same batched by hand, and items of 100 us against work / workers.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../rows.hpp"

#include <algorithm>
#include <deque>
#include <numeric>
#include <ranges>
#include <vector>

namespace bench {

namespace {

constexpr int batch_items = 20'000; // of 10 ns: 200 us
constexpr std::size_t batches_in_flight = 4;

struct short_item {
  int loops;
  int operator()(int value) const { return increment(value, loops); }
};

std::vector<int> increment_all(std::vector<int> values, int loops) {
  for (int& v : values) v = increment(v, loops);
  return values;
}

/// Each value that was 0, 1, 2 ... is one more.
void expect_sum(long long sum, long n) { expect(sum == static_cast<long long>(n) * (n + 1) / 2); }

/// Nanoseconds an item; read(pool, n) is an awaitable of the sum of the results.
template <class Read>
arm map_arm(std::string name, int workers, Read read) {
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<coproc_peer>>(workers);
    return [=](const run_order& o) -> run_values {
      std::exception_ptr failure;
      const auto client = [&]() -> net::awaitable<void> {
        expect_sum(co_await read(f->peer.pool(), o.tasks), o.tasks);
      };
      const auto start = clock::now();
      net::co_spawn(f->io, client(), keep_failure(failure));
      run_to_end(f->io, failure);
      return {seconds_since(start) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up};
}

long long sum_of(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0ll); }

net::awaitable<long long> by_hand(coproc::process_pool& pool, long n, int loops) {
  int first = 0;
  std::vector<int> all;
  std::vector<int> batch;
  std::deque<coproc::task<std::vector<int>>> tasks;
  const auto fill = [&] {
    while (tasks.size() < batches_in_flight && first < n) {
      batch.resize(static_cast<std::size_t>(std::min<long>(batch_items, n - first)));
      std::iota(batch.begin(), batch.end(), first);
      first += static_cast<int>(batch.size());
      tasks.push_back(pool.submit(increment_all, batch, loops));
    }
  };
  for (fill(); !tasks.empty(); fill()) {
    const std::vector<int> results = co_await std::move(tasks.front());
    tasks.pop_front();
    all.insert(all.end(), results.begin(), results.end());
  }
  co_return sum_of(all);
}

net::awaitable<long long> by_collect(coproc::process_pool& pool, long n, int loops) {
  const auto results =
      co_await coproc::collect(coproc::map(pool, short_item{loops}, std::views::iota(0, static_cast<int>(n))));
  co_return sum_of(results);
}

net::awaitable<long long> by_next(coproc::process_pool& pool, long n, int loops) {
  long long sum = 0;
  auto results = coproc::map(pool, short_item{loops}, std::views::iota(0, static_cast<int>(n)));
  while (const auto r = co_await results.next()) sum += *r;
  co_return sum;
}

net::awaitable<long long> unordered(coproc::process_pool& pool, long n, int loops) {
  long long sum = 0;
  auto results = coproc::map_unordered(pool, short_item{loops}, std::views::iota(0, static_cast<int>(n)));
  while (const auto r = co_await results.next()) sum += *r;
  co_return sum;
}

} // namespace

void map(session& s) {
  const int ten_ns = std::max(1, s.set.loops(0.01));
  row many{"map.10ns", "map of items of 10 ns, 1 worker", {}, {}};
  many.arms = {inline_work(ten_ns),
               map_arm("by hand", 1, [=](coproc::process_pool& p, long n) { return by_hand(p, n, ten_ns); }),
               map_arm("map, collect", 1, [=](coproc::process_pool& p, long n) { return by_collect(p, n, ten_ns); }),
               map_arm("map, next", 1, [=](coproc::process_pool& p, long n) { return by_next(p, n, ten_ns); })};
  for (arm& a : many.arms) {
    a.step = 10'000'000;
    a.fixed = true;
  }
  many.goals = {ratio_goal("map, collect", "by hand", at_most, 1.2), ratio_goal("map, next", "by hand", at_most, 1.2)};
  s.add(many);

  const int workers = s.set.workers_beside_front_end(), loops = s.set.loops(100);
  row hundred{
      "map.100us", fmt::format("map_unordered of items of 100 us, {} worker(s) beside the front end", workers), {}, {}};
  const std::string name = fmt::format("map_unordered {}w", workers);
  hundred.arms = {inline_work(loops),
                  map_arm(name, workers, [=](coproc::process_pool& p, long n) { return unordered(p, n, loops); })};
  for (arm& a : hundred.arms) {
    a.step = 10'000;
    a.fixed = true;
  }
  if (s.set.usable_cpus > workers)
    hundred.goals = {{fmt::format("ideal (inline / {}) / {}", workers, name),
                      [=](const one_run& in) { return in("inline") / workers / in(name); }, at_least, 0.95}};
  s.add(hundred);
}

} // namespace bench
