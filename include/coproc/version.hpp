// SPDX-License-Identifier: BSL-1.0
/// \file
/// The version of coproc, as macros that CMake reads, too.
#pragma once

/// The parts of the version. While the first is zero, the second may change the interface.
/// @{
#define COPROC_VERSION_MAJOR 0
#define COPROC_VERSION_MINOR 1
#define COPROC_VERSION_PATCH 0
/// @}
/// As one number, to compare with.
#define COPROC_VERSION (COPROC_VERSION_MAJOR * 10000 + COPROC_VERSION_MINOR * 100 + COPROC_VERSION_PATCH)
