// SPDX-License-Identifier: BSL-1.0
// Lets tests written for Catch2 2 build with Catch2 3, which has no <catch2/catch.hpp>. On the include path only then.
#pragma once

#include <catch2/catch_all.hpp>

using Catch::Approx;
