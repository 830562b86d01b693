// SPDX-License-Identifier: BSL-1.0
// Tasks of a calibrated number of instructions: how near to work / workers, and every combination of length, workers
// and window against asio::thread_pool with as many threads.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../peers/one_tbb.hpp"
#include "../peers/thread_pool.hpp"
#include "../rows.hpp"

namespace bench {

namespace {

void against_ideal(session& s) {
  const int workers = s.set.workers_beside_front_end();
  for (const int microseconds : {10, 100, 1000})
    for (const int window : {16, 256}) {
      const int loops = s.set.loops(microseconds);
      row r{
          fmt::format("ideal.{}us.{}", microseconds, window),
          fmt::format("tasks of {} us, {} worker(s) beside the front end, {} in flight", microseconds, workers, window),
          {},
          {}};
      const std::string name = fmt::format("coproc {}w", workers);
      r.arms = {inline_work(loops), in_flight<coproc_peer>(name, workers, window, loops),
                in_flight<thread_pool_peer>(fmt::format("thread_pool({})", workers), workers, window, loops)};
      if (s.set.usable_cpus > workers)
        r.goals = {{fmt::format("ideal (inline / {}) / {}", workers, name),
                    [=](const one_run& in) { return in("inline") / workers / in(name); }, at_least, 0.95}};
      s.add(r);
    }
}

/// All cells, then two goals over them: none decidedly below 0.95, and the geometric mean.
void against_threads(session& s) {
  std::vector<judgement> cells;
  for (const int workers : {1, 2, 4})
    for (const int microseconds : {1, 10, 100, 1000})
      for (const int window : {1, 16, 256}) {
        const int loops = s.set.loops(microseconds);
        const std::string ours = fmt::format("coproc {}w", workers), theirs = fmt::format("thread_pool({})", workers);
        row r{fmt::format("grid.{}w.{}us.{}", workers, microseconds, window),
              fmt::format("tasks of {} us, {} worker(s), {} in flight", microseconds, workers, window),
              {},
              {}};
        r.arms = {in_flight<coproc_peer>(ours, workers, window, loops),
                  in_flight<thread_pool_peer>(theirs, workers, window, loops)};
        r.goals = {ratio_goal(theirs, ours, at_least, 0.95)};
        r.goals[0].what += fmt::format(", {} us, {} in flight", microseconds, window);
        if (!s.wants(r.id)) continue;
        row_result result = measure(s.set, r);
        if (result.judgements.front().is != verdict::not_measured) cells.push_back(result.judgements.front());
        s.out.add(std::move(result));
      }
  if (cells.empty()) return;

  row_result all;
  all.id = "grid.all";
  all.title = fmt::format("all {} combinations of task length, workers and window", cells.size());
  std::vector<double> means, worst;
  for (std::size_t run = 0; run < s.set.runs(); ++run) {
    std::vector<double> ratios;
    for (const judgement& cell : cells) ratios.push_back(cell.runs.at(run));
    means.push_back(geometric_mean(ratios));
  }
  judgement lowest = *std::ranges::min_element(cells, {}, &judgement::median);
  lowest.what = "worst cell: " + lowest.what;
  // One cell that is decidedly worse decides; else one that cannot be decided leaves the whole open.
  for (const verdict v : {verdict::met, verdict::not_decidable, verdict::missed})
    if (std::ranges::count(cells, v, &judgement::is) > 0) lowest.is = v;
  all.judgements = {lowest, judge("thread_pool / coproc, geometric mean", at_least, 1.3, unit::ratio, means)};
  s.out.add(std::move(all));
}

} // namespace

void task_length(session& s) {
  against_ideal(s);
  against_threads(s);
}

} // namespace bench
