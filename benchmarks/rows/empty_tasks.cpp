// SPDX-License-Identifier: BSL-1.0
// Empty tasks, one after the other and with more in flight: what the hop itself costs, against two processes bouncing a
// cache line and against every other way to get a task off the loop.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../peers/floor.hpp"
#include "../peers/fork_per_task.hpp"
#include "../peers/message_queue.hpp"
#include "../peers/one_tbb.hpp"
#include "../peers/socketpair.hpp"
#include "../peers/thread_pool.hpp"
#include "../rows.hpp"

namespace bench {

namespace {

arm cache_line() {
  return {"floor", []() -> run_function {
            auto floor = std::make_shared<cache_line_floor>();
            return [=](const run_order& o) -> run_values {
              return {floor->run(o.tasks) * 1e9 / static_cast<double>(o.tasks)};
            };
          }};
}

void add_peers(row& r, int window) {
  r.arms.push_back(in_flight<one_tbb_peer>("oneTBB, 1 thread", 1, window));
  r.arms.push_back(in_flight<socketpair_peer>("socketpair worker", 1, window));
  r.arms.push_back(in_flight<message_queue_peer>("message_queue worker", 1, window));
  if (window <= 256) r.arms.push_back(in_flight<fork_per_task_peer>("fork per task", 1, window));
}

} // namespace

void empty_tasks(session& s) {
  row sequential{"empty.1", "empty task, sequential, both sides awake", {cache_line()}, {}};
  sequential.arms.push_back(in_flight<coproc_peer>("coproc 1w", 1, 1));
  sequential.arms.push_back(in_flight<thread_pool_peer>("thread_pool(1)", 1, 1));
  add_peers(sequential, 1);
  sequential.goals = {ratio_goal("coproc 1w", "floor", at_most, 2.5)};
  s.add(sequential);

  for (const int window : {4, 16, 64, 256, 1024, 4096}) {
    const bool quoted = window == 16 || window >= 256;
    if (s.set.quick && (!quoted || window == 1024)) continue;
    row one{fmt::format("empty.{}", window), fmt::format("empty tasks, {} in flight, 1 worker", window), {}, {}};
    one.arms.push_back(in_flight<coproc_peer>("coproc 1w", 1, window));
    one.arms.push_back(in_flight<thread_pool_peer>("thread_pool(1)", 1, window));
    if (quoted) add_peers(one, window);
    if (window == 16) one.goals = {ratio_goal("thread_pool(1)", "coproc 1w", at_least, 10)};
    if (window == 256 || window == 4096)
      one.goals = {ratio_goal("thread_pool(1)", "coproc 1w", at_least, 3),
                   {"coproc 1w", [](const one_run& in) { return in("coproc 1w"); }, at_most, 90, unit::nanoseconds}};
    s.add(one);
  }

  for (const int window : {16, 256, 4096}) {
    row two{fmt::format("empty2.{}", window), fmt::format("empty tasks, {} in flight, 2 workers", window), {}, {}};
    two.arms.push_back(in_flight<coproc_peer>("coproc 2w", 2, window));
    two.arms.push_back(in_flight<thread_pool_peer>("thread_pool(2)", 2, window));
    if (window != 4096) two.arms.push_back(in_flight<one_tbb_peer>("oneTBB, 2 threads", 2, window));
    two.goals = {ratio_goal("thread_pool(2)", "coproc 2w", at_least, 2)};
    s.add(two);
  }
}

} // namespace bench
