// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/argument_array.hpp>

auto make(const coproc::process_pool& pool) { return coproc::argument_array<const char*>(pool, 10); }
