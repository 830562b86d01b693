// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/os/cpu.hpp>
#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>
#include <coproc/os/unique_fd.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <limits>
#include <optional>
#include <sched.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace coproc::os {

COPROC_LAZY_DEF std::string read_small_file(const std::string& path) {
  const unique_fd fd = open_file(path.c_str(), O_RDONLY);
  if (!fd) return {};
  std::string text(1 << 16, '\0');
  text.resize(read_from_start(fd.get(), text));
  return text;
}

COPROC_LAZY_DEF std::optional<std::string> cgroup_path(std::string_view proc_self_cgroup, std::string_view name) {
  std::size_t begin = 0;
  while (begin < proc_self_cgroup.size()) {
    const std::size_t end = std::min(proc_self_cgroup.find('\n', begin), proc_self_cgroup.size());
    const std::string_view line = proc_self_cgroup.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (name.empty()) {
      if (controllers.empty()) return std::string(line.substr(second + 1));
      continue;
    }
    while (!controllers.empty()) {
      const std::size_t comma = std::min(controllers.find(','), controllers.size());
      if (controllers.substr(0, comma) == name) return std::string(line.substr(second + 1));
      controllers.remove_prefix(std::min(comma + 1, controllers.size()));
    }
  }
  return {};
}

COPROC_LAZY_DEF std::optional<double> parse_cpu_max(const std::string& text) {
  char* end = nullptr;
  const double quota = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || quota <= 0) return {};
  const double period = std::strtod(end, nullptr);
  if (period <= 0) return {};
  return quota / period;
}

namespace detail {

// Limits bind at every level of the hierarchy: visits the group and each of its parents.
template <class F>
void each_level(const std::string& root, std::string path, F visit) {
  for (;;) {
    visit(root + (path == "/" ? std::string() : path));
    if (path.empty() || path == "/") return;
    const std::size_t slash = path.rfind('/');
    path.erase(slash == path.npos ? 0 : slash);
  }
}

} // namespace detail

COPROC_LAZY_DEF int get_affinity(cpu_mask& mask) noexcept {
  return invoke(call::getaffinity, [&] { return ::sched_getaffinity(0, sizeof mask, mask.sets); });
}

COPROC_LAZY long system_value(int name) noexcept {
  return invoke(call::sysconf, [&] { return ::sysconf(name); });
}

COPROC_LAZY_DEF unsigned usable_cpus() {
  unsigned cpus = 1;
  cpu_mask mask;
  if (get_affinity(mask) == 0)
    cpus = static_cast<unsigned>(CPU_COUNT_S(sizeof mask, mask.sets));
  else if (const long online = system_value(_SC_NPROCESSORS_ONLN); online > 0)
    cpus = static_cast<unsigned>(online);

  double quota = std::numeric_limits<double>::infinity();
  const std::string groups = read_small_file("/proc/self/cgroup");
  if (const auto path = cgroup_path(groups, ""))
    detail::each_level("/sys/fs/cgroup", *path, [&](const std::string& dir) {
      if (const auto limit = parse_cpu_max(read_small_file(dir + "/cpu.max"))) quota = std::min(quota, *limit);
    });
  if (const auto path = cgroup_path(groups, "cpu"))
    detail::each_level("/sys/fs/cgroup/cpu", *path, [&](const std::string& dir) {
      const auto limit =
          parse_cpu_max(read_small_file(dir + "/cpu.cfs_quota_us") + " " + read_small_file(dir + "/cpu.cfs_period_us"));
      if (limit) quota = std::min(quota, *limit);
    });
  if (quota < cpus) cpus = static_cast<unsigned>(quota + 0.999);
  return std::max(cpus, 1u);
}

COPROC_LAZY_DEF void pin_to_usable_cpu(unsigned index) {
  cpu_mask usable, chosen;
  if (get_affinity(usable) != 0) throw_errno("sched_getaffinity");
  unsigned skip = index % static_cast<unsigned>(std::max(CPU_COUNT_S(sizeof usable, usable.sets), 1));
  for (std::size_t cpu = 0; cpu < cpu_mask::cpus; ++cpu) {
    if (!CPU_ISSET_S(cpu, sizeof usable, usable.sets) || skip-- != 0) continue;
    CPU_SET_S(cpu, sizeof chosen, chosen.sets);
    break;
  }
  if (invoke(call::setaffinity, [&] { return ::sched_setaffinity(0, sizeof chosen, chosen.sets); }) != 0)
    throw_errno("sched_setaffinity");
}

COPROC_LAZY_DEF std::uint64_t usable_memory_bytes() {
  const long pages = system_value(_SC_PHYS_PAGES), page_bytes = system_value(_SC_PAGESIZE);
  std::uint64_t bytes = std::uint64_t{1} << 30;
  if (pages > 0 && page_bytes > 0) bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
  const auto limit = [&](const std::string& file) {
    const std::string text = read_small_file(file);
    if (text.empty() || text[0] < '0' || text[0] > '9') return; // "max", or no such file
    const std::uint64_t value = std::strtoull(text.c_str(), nullptr, 10);
    if (value != 0) bytes = std::min(bytes, value);
  };
  const std::string groups = read_small_file("/proc/self/cgroup");
  if (const auto path = cgroup_path(groups, ""))
    detail::each_level("/sys/fs/cgroup", *path, [&](const std::string& dir) { limit(dir + "/memory.max"); });
  if (const auto path = cgroup_path(groups, "memory"))
    detail::each_level("/sys/fs/cgroup/memory", *path,
                       [&](const std::string& dir) { limit(dir + "/memory.limit_in_bytes"); });
  return bytes;
}

} // namespace coproc::os
