// SPDX-License-Identifier: BSL-1.0
// A row of the table: arms that run in turn, and goals that compare what they measured, run by run. Includes nothing of
// coproc.
#pragma once

#include "arm.hpp"
#include "settings.hpp"
#include "statistics.hpp"
#include "text.hpp"

#include <cstddef>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// What the arms of a row measured in one run: in(name) is the arm's figure, in(name, i) its i-th value.
class one_run {
public:
  one_run(const std::vector<arm_result>& arms, std::size_t run) : arms_(arms), run_(run) {}
  double operator()(const std::string& name, std::size_t value = 0) const {
    for (const arm_result& a : arms_)
      if (a.name == name) return a.runs.at(run_).at(value);
    throw peer_missing(name + " is missing");
  }

private:
  const std::vector<arm_result>& arms_;
  std::size_t run_;
};

enum class relation { at_most, at_least };
using enum relation;

struct goal {
  std::string what;                            ///< "coproc 1w / floor"
  std::function<double(const one_run&)> value; ///< of one run: neighbours in time saw the same machine
  relation wanted;
  double limit;
  unit u = unit::ratio;
  bool every_run = false; ///< judge the worst run alone, not the median
};

struct row {
  std::string id; ///< stable, for the charts and --only
  std::string title;
  std::vector<arm> arms;
  std::vector<goal> goals;
  unit u = unit::nanoseconds;
  std::vector<std::string> value_names = {"time"}; ///< of the values of a run; further ones are a curve
  bool tasks_per_second = true;                    ///< does 1 / figure mean anything?
  std::size_t runs = 0;                            ///< 0: as the settings say
};

enum class verdict { met, missed, not_decidable, not_measured };

struct judgement {
  std::string what;
  relation wanted = at_most;
  double limit = 0, median = 0;
  interval range{};
  unit u = unit::ratio;
  verdict is = verdict::not_measured;
  std::string why; ///< if not measured
  std::vector<double> runs;
};

struct row_result {
  std::string id, title;
  unit u = unit::nanoseconds;
  std::vector<std::string> value_names;
  bool tasks_per_second = true;
  std::vector<arm_result> arms;
  std::vector<std::string> missing; ///< "oneTBB: libtbb-dev is not installed"
  std::vector<judgement> judgements;
};

/// Met or missed if the median and the whole spread lie on the same side of the limit; else this machine, at this time,
/// cannot tell.
inline judgement judge(std::string what, relation wanted, double limit, unit u, std::vector<double> runs) {
  judgement j{std::move(what),        wanted, limit,          median(runs), spread(runs), u,
              verdict::not_decidable, "",     std::move(runs)};
  const auto good = [&](double v) { return wanted == at_most ? v <= limit : v >= limit; };
  if (good(j.median) && good(j.range.least) && good(j.range.most)) j.is = verdict::met;
  if (!good(j.median) && !good(j.range.least) && !good(j.range.most)) j.is = verdict::missed;
  return j;
}

inline judgement not_measured(std::string what, relation wanted, double limit, unit u, std::string why) {
  judgement j{std::move(what), wanted, limit, 0, {}, u, verdict::not_measured, std::move(why), {}};
  j.median = j.range.least = j.range.most = std::nan("");
  return j;
}

inline judgement judge(const goal& g, const std::vector<arm_result>& arms, std::size_t runs) {
  std::vector<double> values;
  try {
    for (std::size_t run = 0; run < runs; ++run) values.push_back(g.value(one_run(arms, run)));
  } catch (const peer_missing& e) {
    return not_measured(g.what, g.wanted, g.limit, g.u, e.what());
  }
  if (g.every_run) {
    const auto [least, most] = std::ranges::minmax(values);
    values = {g.wanted == at_most ? most : least};
  }
  return judge(g.what, g.wanted, g.limit, g.u, std::move(values));
}

/// Sets up all arms, then runs every one of them once before any runs again; the order rotates, because machines drift.
/// An arm that is missing or fails is left out, and says why; one that was not asked for just is left out.
inline row_result measure(const settings& set, const row& r) {
  struct contestant {
    std::unique_ptr<arm_process> process;
    long tasks = 0;
    arm_result result;
  };
  row_result result{r.id, r.title, r.u, r.value_names, r.tasks_per_second, {}, {}, {}};
  std::vector<contestant> contestants;
  const auto unless_it_fails = [&](contestant& c, auto step) {
    try {
      step();
    } catch (const std::runtime_error& e) {
      c.process.reset();
      result.missing.push_back(c.result.name + ": " + e.what());
    }
  };
  for (const arm& a : r.arms) {
    if (!a.name.starts_with(set.peer)) continue;
    contestant& c = contestants.emplace_back();
    c.result.name = a.name;
    unless_it_fails(c, [&] {
      c.process = std::make_unique<arm_process>(a);
      c.tasks = a.fixed ? a.step : c.process->tasks_for(set.seconds_per_run());
    });
  }
  const std::size_t runs = r.runs != 0 ? r.runs : set.runs();
  for (std::size_t run = 0; run < runs; ++run)
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      contestant& c = contestants[(i + run) % contestants.size()];
      if (c.process) unless_it_fails(c, [&] { c.process->run({c.tasks, static_cast<long>(run)}, c.result); });
    }
  for (contestant& c : contestants)
    if (c.process) result.arms.push_back(std::move(c.result));
  for (const goal& g : r.goals) result.judgements.push_back(judge(g, result.arms, runs));
  return result;
}

/// The commonest goal: the first arm's figure in units of the second's.
inline goal ratio_goal(const std::string& of, const std::string& to, relation wanted, double limit) {
  return {of + " / " + to, [=](const one_run& in) { return in(of) / in(to); }, wanted, limit};
}

} // namespace bench
