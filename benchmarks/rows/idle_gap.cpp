// SPDX-License-Identifier: BSL-1.0
// An empty task after everybody has been idle for a while: the price of falling asleep, by the length of the gap.
#include "../front_end_arm.hpp"
#include "../peers/bare_wake.hpp"
#include "../peers/coproc.hpp"
#include "../peers/one_tbb.hpp"
#include "../peers/socketpair.hpp"
#include "../peers/thread_pool.hpp"
#include "../rows.hpp"

namespace bench {

void idle_gap(session& s) {
  struct point {
    int microseconds;
    double limit; // 0: none, for the chart only
  };
  for (const auto [microseconds, limit] :
       {point{100, 0}, point{300, 0}, point{1000, 1.0}, point{3000, 0}, point{10'000, 1.1}}) {
    if (s.set.quick && limit == 0) continue;
    const std::chrono::microseconds gap(microseconds);
    row r{fmt::format("gap.{}", microseconds),
          fmt::format("empty task after an idle gap of {}", text(microseconds * 1e3, unit::nanoseconds)),
          {},
          {}};
    r.arms = {after_gaps<coproc_peer>("coproc 1w", 1, gap),
              after_gaps<thread_pool_peer>("thread_pool(1)", 1, gap),
              after_gaps<one_tbb_peer>("oneTBB, 1 thread", 1, gap),
              after_gaps<socketpair_peer>("socketpair worker", 1, gap),
              after_gaps<bare_wake_peer<sleeper::process>>("bare wake of a process", 1, gap),
              after_gaps<bare_wake_peer<sleeper::thread>>("bare wake of a thread", 1, gap)};
    r.tasks_per_second = false;
    if (limit != 0) r.goals = {ratio_goal("coproc 1w", "thread_pool(1)", at_most, limit)};
    s.add(r);
  }
}

} // namespace bench
