// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn must take an argument_array<T> as std::span<const T> (or std::string_view) to view it, or as std::vector<T> (or std::string) to have a copy
#include <coproc/argument_array.hpp>
#include <coproc/run_in_executor.hpp>

#include <span>

double sum(std::span<const double> values);

auto call(const coproc::process_pool& pool, const coproc::argument_array<float>& values) {
  return coproc::run_in_executor(pool, sum, values);
}
