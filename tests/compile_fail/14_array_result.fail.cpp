// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument_array travels only as an argument of its own: take it as std::span<const T> in fn, and use std::vector<T> within other objects and as a result
#include <coproc/argument_array.hpp>
#include <coproc/run_in_executor.hpp>

coproc::argument_array<float> blur(float radius);

auto call(const coproc::process_pool& pool) { return coproc::run_in_executor(pool, blur, 2.0f); }
