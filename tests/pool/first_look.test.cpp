// SPDX-License-Identifier: BSL-1.0
// How far the first look is put off. One thread, no clock.
#include <coproc/pool/first_look.hpp>

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using coproc::pool::first_look;

namespace {

// The other side takes so long, each time.
int early_looks(first_look& look, std::chrono::nanoseconds answer, int rounds) {
  int early = 0;
  for (int i = 0; i < rounds; ++i) {
    if (look.delay() < answer)
      ++early, look.came_early();
    else
      look.came_in_time();
  }
  return early;
}

} // namespace

TEST_CASE("the first look is not put off before one has come early, nor where all come in time") {
  first_look look(100ns);
  CHECK(look.delay() == 0ns);
  for (int i = 0; i < 100; ++i) look.came_in_time();
  CHECK(look.delay() == 0ns);
}

TEST_CASE("it is put off by about as long as the answer takes, so that few looks come early") {
  first_look look(300ns);
  const auto answer = GENERATE(20ns, 75ns, 250ns);
  early_looks(look, answer, 100);
  std::chrono::nanoseconds longest{0}, shortest{1000};
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    early += early_looks(look, answer, 1);
    longest = std::max(longest, look.delay());
    shortest = std::min(shortest, look.delay());
  }
  CHECK(early > 100);
  CHECK(early < 350);
  CHECK(shortest > answer - 20ns);
  CHECK(longest < answer + 10ns);
}

TEST_CASE("it is never put off by more than the limit") {
  first_look look(100ns);
  CHECK(early_looks(look, 1ms, 1000) == 1000);
  CHECK(look.delay() == 100ns);
}

TEST_CASE("where the answer is always there, the delay is gone after few looks") {
  first_look look(300ns);
  early_looks(look, 1ms, 1000);
  CHECK(early_looks(look, 0ns, 9) == 0);
  CHECK(look.delay() == 0ns);
  SECTION("and comes back as slowly as at first") {
    look.came_early();
    CHECK(look.delay() == 8ns);
    look.came_in_time();
    CHECK(look.delay() == 7ns);
  }
}
