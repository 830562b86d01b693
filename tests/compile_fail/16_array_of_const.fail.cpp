// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument_array holds plain elements only, numbers and the like: pass a std::vector of these
#include <coproc/argument_array.hpp>

auto make(const coproc::process_pool& pool) { return coproc::argument_array<const int>(pool, 10); }
