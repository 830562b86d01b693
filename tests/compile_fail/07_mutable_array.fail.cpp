// SPDX-License-Identifier: BSL-1.0
// expect: coproc: argument memory is read-only in the worker: take std::span<const T>, or std::vector<T> to change it
#include <coproc/argument_array.hpp>
#include <coproc/run_in_executor.hpp>

#include <span>

void sort(std::span<int> values);

auto call(const coproc::process_pool& pool, const coproc::argument_array<int>& values) {
  return coproc::run_in_executor(pool, sort, values);
}
