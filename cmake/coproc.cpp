// SPDX-License-Identifier: BSL-1.0
// The library, compiled once: see compiled.cmake.
#include <coproc/src.hpp>
