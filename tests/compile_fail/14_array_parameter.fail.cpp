// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument_array travels only as an argument of its own: take it as std::span<const T> in fn, and use std::vector<T> within other objects and as a result
#include <coproc/argument_array.hpp>
#include <coproc/run_in_executor.hpp>

float sum(coproc::argument_array<float> image);

auto call(const coproc::process_pool& pool, coproc::argument_array<float> image) {
  return coproc::run_in_executor(pool, sum, image);
}
