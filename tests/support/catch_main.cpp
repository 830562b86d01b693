// SPDX-License-Identifier: BSL-1.0
// The main function of every test, compiled once. Runs in the test process; includes nothing of coproc.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
