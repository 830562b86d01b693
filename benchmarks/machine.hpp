// SPDX-License-Identifier: BSL-1.0
// On what the figures were made: CPU, kernel, compiler, load. Includes nothing of coproc.
#pragma once

#include <fmt/format.h>
#include <fstream>
#include <sched.h>
#include <string>
#include <sys/utsname.h>

namespace bench {

struct machine {
  std::string cpu = "unknown", kernel, compiler;
  int usable_cpus = 1;
  double load = 0; ///< runnable processes on average in the minute before

  machine() {
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

} // namespace bench
