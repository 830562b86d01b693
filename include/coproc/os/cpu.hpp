// SPDX-License-Identifier: BSL-1.0
// What this process may use: CPUs by affinity mask and cgroup quota (v1 and v2), memory by cgroup limit or RAM.
#pragma once

#include <coproc/config.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sched.h>
#include <string>
#include <string_view>

namespace coproc::os {

/// The first 64 KiB of a file; empty if it cannot be read.
COPROC_LAZY std::string read_small_file(const std::string& path);

/// The cgroup path of this process from /proc/self/cgroup for controller `name` (v1), or for the unified tree ("").
COPROC_LAZY std::optional<std::string> cgroup_path(std::string_view proc_self_cgroup, std::string_view name);

/// CPUs' worth of quota in a v2 `cpu.max` ("max 100000", "150000 100000"); empty: no limit.
COPROC_LAZY std::optional<double> parse_cpu_max(const std::string& text);

/// For 65,536 CPUs. The macros with _S take more than one cpu_set_t by the address of the first.
struct cpu_mask {
  static constexpr std::size_t cpus = 1 << 16;
  cpu_set_t sets[cpus / CPU_SETSIZE]{};
};

COPROC_LAZY int get_affinity(cpu_mask& mask) noexcept;

/// CPUs that this process can use at once: affinity mask, then cgroup quota rounded up; at least 1.
COPROC_LAZY unsigned usable_cpus();

/// Pins this process to one of the CPUs that it may use, the index-th modulo their number. Throws pool_error.
COPROC_LAZY void pin_to_usable_cpu(unsigned index);

/// Bytes of memory that this process may use: the tightest cgroup limit, or the RAM, or, if nobody knows, a gigabyte.
COPROC_LAZY std::uint64_t usable_memory_bytes();

} // namespace coproc::os

#include <coproc/os/cpu.ipp>
