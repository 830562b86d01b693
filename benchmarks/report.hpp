// SPDX-License-Identifier: BSL-1.0
// What the benchmark says: each row with its arms and goals while it goes, all goals with their verdicts at the end,
// and everything as JSON in a file. Includes nothing of coproc.
#pragma once

#include "machine.hpp"
#include "row.hpp"

#include <ctime>
#include <fmt/chrono.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

inline std::string limit_text(const judgement& j) { return (j.wanted == at_most ? "<= " : ">= ") + text(j.limit, j.u); }

inline std::string verdict_text(const judgement& j) {
  switch (j.is) {
  case verdict::met: return "met";
  case verdict::not_decidable: return "not decidable here";
  case verdict::not_measured: return "not measured: " + j.why;
  case verdict::missed: break;
  }
  if (j.limit == 0) return "missed";
  return fmt::format("missed by {:.0f} %", 100 * std::abs(j.median - j.limit) / std::abs(j.limit));
}

inline std::string range_text(const judgement& j) {
  if (j.runs.size() < 2) return "";
  return text(j.range.least, j.u) + " .. " + text(j.range.most, j.u);
}

class report {
public:
  void add(row_result result) {
    print(result);
    rows_.push_back(std::move(result));
  }

  /// Every goal, one line each.
  void print_goals() const {
    fmt::print("\n{:<60}{:>11}  {:<24}{:>12}  {}\n", "goals", "median", "spread", "goal", "verdict");
    int counts[4] = {};
    for (const row_result& r : rows_) {
      if (!r.judgements.empty()) fmt::print("{}\n", r.title);
      for (const judgement& j : r.judgements) {
        print(j);
        ++counts[static_cast<int>(j.is)];
      }
    }
    fmt::print("{} met, {} missed, {} not decidable here, {} not measured\n", counts[0], counts[1], counts[2],
               counts[3]);
  }

  void write_json(const std::string& path, const settings& set, const machine& m) const {
    std::string json = fmt::format(
        "{{\"cpu\": {}, \"usable_cpus\": {}, \"kernel\": {}, \"compiler\": {}, \"commit\": {}, \"command\": {},\n"
        " \"date\": \"{:%Y-%m-%d %H:%M}\", \"load_before\": {}, \"runs\": {}, \"seconds_per_run\": {},\n \"rows\": [",
        quoted(m.cpu), m.usable_cpus, quoted(m.kernel), quoted(m.compiler), quoted(set.commit), quoted(set.command),
        fmt::gmtime(std::time(nullptr)), number(m.load), set.runs(), number(set.seconds_per_run()));
    for (const row_result& r : rows_) {
      json += &r == &rows_.front() ? "" : ",";
      append(json, r);
    }
    json += "]}\n";
    std::ofstream file(path);
    if (!(file << json << std::flush)) throw std::runtime_error("cannot write " + path);
  }

private:
  static void print(const judgement& j) {
    fmt::print("  {:<58}{:>11}  {:<24}{:>12}  {}\n", j.what, text(j.median, j.u), range_text(j), limit_text(j),
               verdict_text(j));
  }

  static void print(const row_result& r) {
    fmt::print("\n{}\n", r.title);
    if (!r.arms.empty())
      fmt::print("  {:<40}{:>9}  {:<22}{:>10}{:>9}{:>6}\n", r.id, "median", "spread",
                 r.tasks_per_second ? "tasks/s" : "", "CPU s", "CPUs");
    for (const arm_result& a : r.arms) {
      for (std::size_t v = 0; v < r.value_names.size(); ++v) {
        std::vector<double> values;
        for (const run_values& run : a.runs) values.push_back(run.at(v));
        const interval range = spread(values);
        const double middle = median(values);
        const std::string name = r.value_names.size() == 1 ? a.name : a.name + ", " + r.value_names[v];
        fmt::print("  {:<40}{:>9}  {:<22}", name, text(middle, r.u),
                   text(range.least, r.u) + " .. " + text(range.most, r.u));
        if (v == 0)
          fmt::print("{:>10}{:>9.3f}{:>6.2f}", r.tasks_per_second ? rate_text(1e9 / middle) : "", a.cpu_seconds,
                     a.cpu_seconds / a.wall_seconds);
        fmt::print("\n");
      }
    }
    for (const std::string& m : r.missing) fmt::print("  left out: {}\n", m);
    for (const judgement& j : r.judgements) print(j);
    std::fflush(stdout);
  }

  static std::string numbers(const std::vector<double>& values) {
    std::string out = "[";
    for (const double& v : values) out += (&v == values.data() ? "" : ", ") + number(v);
    return out + "]";
  }

  static void append(std::string& json, const row_result& r) {
    static constexpr const char* units[] = {"ns", "x", "", "B", "s"};
    static constexpr const char* verdicts[] = {"met", "missed", "not decidable here", "not measured"};
    json += fmt::format("\n  {{\"id\": {}, \"title\": {}, \"unit\": \"{}\", \"values\": [", quoted(r.id),
                        quoted(r.title), units[static_cast<int>(r.u)]);
    for (const std::string& name : r.value_names) json += (&name == &r.value_names.front() ? "" : ", ") + quoted(name);
    json += "],\n   \"arms\": [";
    for (const arm_result& a : r.arms) {
      json +=
          fmt::format("{}\n    {{\"name\": {}, \"tasks\": {:.0f}, \"cpu_seconds\": {:.4f}, \"wall_seconds\": {:.4f}, "
                      "\"runs\": [",
                      &a == &r.arms.front() ? "" : ",", quoted(a.name), a.tasks, a.cpu_seconds, a.wall_seconds);
      for (const run_values& run : a.runs) json += (&run == &a.runs.front() ? "" : ", ") + numbers(run);
      json += "]}";
    }
    json += "],\n   \"missing\": [";
    for (const std::string& m : r.missing) json += (&m == &r.missing.front() ? "" : ", ") + quoted(m);
    json += "],\n   \"goals\": [";
    for (const judgement& j : r.judgements)
      json +=
          fmt::format("{}\n    {{\"what\": {}, \"median\": {}, \"spread\": [{}, {}], \"unit\": \"{}\", \"goal\": {}, "
                      "\"verdict\": {}, \"text\": [{}, {}, {}, {}], \"runs\": {}}}",
                      &j == &r.judgements.front() ? "" : ",", quoted(j.what), number(j.median), number(j.range.least),
                      number(j.range.most), units[static_cast<int>(j.u)], quoted(limit_text(j)),
                      quoted(verdicts[static_cast<int>(j.is)]), quoted(text(j.median, j.u)), quoted(range_text(j)),
                      quoted(limit_text(j)), quoted(verdict_text(j)), numbers(j.runs));
    json += "]}";
  }

  std::vector<row_result> rows_;
};

} // namespace bench
