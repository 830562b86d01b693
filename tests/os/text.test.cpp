// SPDX-License-Identifier: BSL-1.0
// Texts put together from parts, whatever the program's locale does to numbers.
#include <coproc/os/text.hpp>

#include <catch2/catch.hpp>

#include <clocale>
#include <cstdint>
#include <limits>

using coproc::os::decimal;
using coproc::os::text;

TEST_CASE("parts follow one another: texts, whole numbers of any type, fractions of six digits") {
  const std::string name = "max_workers";
  CHECK(text() == "");
  CHECK(text("coproc: ", name, " is ", -1, "; it must be ", 1u, " to ", std::numeric_limits<std::uint64_t>::max()) ==
        "coproc: max_workers is -1; it must be 1 to 18446744073709551615");
  CHECK(text(std::string_view(name).substr(0, 3), std::int8_t{-10}) == "max-10");
  CHECK(text(0.05, " ", 2.0, " ", 1.0 / 3, " ", 1e-9, " ", 1234567.0) == "0.05 2 0.333333 1e-09 1.23457e+06");
}

TEST_CASE("decimals have three digits behind the point, and a sign where need be") {
  CHECK(decimal(0) == "0.000");
  CHECK(decimal(1) == "0.001");
  CHECK(decimal(-1) == "-0.001");
  CHECK(decimal(1500) == "1.500");
  CHECK(decimal(-12'034) == "-12.034");
  CHECK(decimal(std::numeric_limits<std::int64_t>::max()) == "9223372036854775.807");
  CHECK(decimal(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775.808");
}

TEST_CASE("there is a point in a locale that has a comma, where such a one is installed") {
  const std::string before = std::setlocale(LC_NUMERIC, nullptr);
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"})
    if (std::setlocale(LC_NUMERIC, name) != nullptr) break;
  CHECK(text(0.5) == "0.5");
  CHECK(decimal(500) == "0.500");
  std::setlocale(LC_NUMERIC, before.c_str());
}
