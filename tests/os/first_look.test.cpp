// SPDX-License-Identifier: BSL-1.0
// How far the first look is put off. One thread, no clock.
#include <coproc/os/first_look.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>

using namespace std::chrono_literals;
using coproc::os::first_look;

namespace {

// The other side takes so long, each time. Returns how many looks came early.
int look_often(first_look& look, std::chrono::nanoseconds answer, int times) {
  int early = 0;
  for (int i = 0; i < times; ++i) {
    if (look.delay() < answer)
      ++early, look.came_early();
    else
      look.came_in_time();
  }
  return early;
}

} // namespace

TEST_CASE("the first look is not put off before one has come early, nor where all come in time") {
  first_look look;
  CHECK(look.delay() == 0ns);
  for (int i = 0; i < 100; ++i) look.came_in_time();
  CHECK(look.delay() == 0ns);
}

TEST_CASE("it is put off by about as long as the answer takes, so that few looks come early") {
  first_look look;
  const auto answer = GENERATE(30ns, 60ns, 90ns);
  look_often(look, answer, 100);
  std::chrono::nanoseconds longest{0}, shortest{1000};
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    early += look_often(look, answer, 1);
    longest = std::max(longest, look.delay());
    shortest = std::min(shortest, look.delay());
  }
  CHECK(early > 120);
  CHECK(early < 300);
  CHECK(shortest > answer - 20ns);
  CHECK(longest < answer + 20ns);
}

TEST_CASE("it is never put off by more than the limit") {
  first_look look;
  CHECK(look_often(look, 1ms, 1000) == 1000);
  CHECK(look.delay() == first_look::at_most);
}

TEST_CASE("where the answer is always there, the delay is gone after few looks") {
  first_look look;
  look_often(look, 1ms, 1000);
  CHECK(look_often(look, 0ns, 9) == 0);
  CHECK(look.delay() == 0ns);
  SECTION("and comes back as slowly as at first") {
    look.came_early();
    CHECK(look.delay() == 16ns);
    look.came_in_time();
    CHECK(look.delay() == 15ns);
  }
}

TEST_CASE("bursts of a few tasks with long pauses between them do not keep it up") {
  first_look look;
  look_often(look, 1ms, 1000);
  const int tasks = GENERATE(2, 3, 4);
  // what follows the last comes after long, and tells nothing
  for (int burst = 0; burst < 10; ++burst) look_often(look, 0ns, tasks - 1);
  CHECK(look.delay() == 0ns);
}
