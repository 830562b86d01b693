// SPDX-License-Identifier: BSL-1.0
// What the benchmark says: medians, spread and ratios as a table on stdout, the same as JSON in a file, and on which
// machine. Pure text and arithmetic; includes nothing of coproc.
#pragma once

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/utsname.h>
#include <utility>
#include <vector>

namespace bench {

/// All runs of one peer in one setting, in the order in which they alternated with those of the other peers.
struct row {
  std::string peer;
  std::vector<double> nanoseconds;    ///< per task, one number per run
  double cpu_seconds = 0;             ///< of all runs together, all processes
  double wall_seconds = 0, tasks = 0; ///< of all runs together
};

struct section {
  std::string title;
  std::vector<row> rows;
};

inline double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// Median of the ratios run by run: neighbours in time saw the same machine.
inline double ratio(const row& of, const row& to) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(of.nanoseconds.size(), to.nanoseconds.size()); ++i)
    ratios.push_back(of.nanoseconds[i] / to.nanoseconds[i]);
  return median(std::move(ratios));
}

/// Three significant digits and a unit: 183 ns, 9.72 us, 12.1 ms.
inline std::string time_text(double nanoseconds) {
  const char* unit = "ns";
  for (const char* larger : {"us", "ms", "s"}) {
    if (nanoseconds < 999.5) break;
    nanoseconds /= 1000;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", nanoseconds, nanoseconds < 9.995 ? 2 : nanoseconds < 99.95 ? 1 : 0, unit);
}

inline std::string ratio_text(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

struct machine {
  std::string cpu = "unknown", kernel, compiler, commit;
  int usable_cpus = 0;
  double load = 0; ///< runnable processes on average in the minute before

  explicit machine(std::string git_commit) : commit(std::move(git_commit)) {
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);)
      if (line.starts_with("model name")) cpu = line.substr(line.find(':') + 2);
    utsname name{};
    if (::uname(&name) == 0) kernel = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
#if defined(__clang__)
    compiler = "clang " __clang_version__;
#else
    compiler = "g++ " __VERSION__;
#endif
#if !defined(__OPTIMIZE__)
    compiler += ", NOT OPTIMISED";
#endif
    std::ifstream("/proc/loadavg") >> load;
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) usable_cpus = CPU_COUNT(&set);
  }
};

/// 2.80 M, 359 k, 139.
inline std::string rate_text(double per_second) {
  const char* unit = "";
  for (const char* larger : {" k", " M", " G"}) {
    if (per_second < 999.5) break;
    per_second /= 1000;
    unit = larger;
  }
  return fmt::format("{:.{}f}{}", per_second, per_second < 9.995 ? 2 : per_second < 99.95 ? 1 : 0, unit);
}

/// The two ratio columns divide by the first row and by the second row.
inline void print(const section& s) {
  const row &first = s.rows.at(0), &second = s.rows.at(1);
  fmt::print("\n{}\n", s.title);
  fmt::print("  {:<27}{:>9}  {:<20}{:>9}{:>13}{:>10}{:>8}{:>6}\n", "", "median", "min .. max", "/ " + first.peer,
             "/ " + second.peer, "tasks/s", "CPU s", "CPUs");
  for (const row& r : s.rows) {
    const auto [least, most] = std::ranges::minmax(r.nanoseconds);
    fmt::print("  {:<27}{:>9}  {:<20}{:>9}{:>13}{:>10}{:>8.2f}{:>6.2f}\n", r.peer, time_text(median(r.nanoseconds)),
               time_text(least) + " .. " + time_text(most), ratio_text(ratio(r, first)), ratio_text(ratio(r, second)),
               rate_text(1e9 / median(r.nanoseconds)), r.cpu_seconds, r.cpu_seconds / r.wall_seconds);
  }
}

inline void write_json(const std::string& path, const machine& m, const std::vector<section>& sections) {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + '"';
  };
  std::string json =
      fmt::format("{{\"cpu\": {}, \"usable_cpus\": {}, \"load\": {}, \"kernel\": {}, \"compiler\": {}, \"commit\": "
                  "{},\n \"sections\": [",
                  quoted(m.cpu), m.usable_cpus, m.load, quoted(m.kernel), quoted(m.compiler), quoted(m.commit));
  for (const section& s : sections) {
    json += fmt::format("{}\n  {{\"title\": {}, \"rows\": [", &s == &sections.front() ? "" : ",", quoted(s.title));
    for (const row& r : s.rows)
      json += fmt::format(
          "{}\n    {{\"peer\": {}, \"tasks\": {:.0f}, \"cpu_seconds\": {:.3f}, \"nanoseconds_per_task\": [{:.2f}]}}",
          &r == &s.rows.front() ? "" : ",", quoted(r.peer), r.tasks, r.cpu_seconds, fmt::join(r.nanoseconds, ", "));
    json += "]}";
  }
  json += "]}\n";
  std::ofstream file(path);
  if (!(file << json << std::flush)) throw std::runtime_error("cannot write " + path);
}

} // namespace bench
