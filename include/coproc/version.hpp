// SPDX-License-Identifier: BSL-1.0
// The version of coproc, as macros that CMake reads too. Standard headers only.
#pragma once

#define COPROC_VERSION_MAJOR 0
#define COPROC_VERSION_MINOR 1
#define COPROC_VERSION_PATCH 0
#define COPROC_VERSION (COPROC_VERSION_MAJOR * 10000 + COPROC_VERSION_MINOR * 100 + COPROC_VERSION_PATCH)
