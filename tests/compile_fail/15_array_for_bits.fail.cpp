// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn must take an argument_array<T> as std::span<const T> (or std::string_view) to view it, or as std::vector<T> (or std::string) to have a copy
#include <coproc/argument_array.hpp>
#include <coproc/run_in_executor.hpp>

#include <vector>

int count(const std::vector<bool>& flags);

auto call(const coproc::process_pool& pool, const coproc::argument_array<bool>& flags) {
  return coproc::run_in_executor(pool, count, flags);
}
