// SPDX-License-Identifier: BSL-1.0
// When the front end sleeps by the clock instead of being rung out of its sleep.
#include <coproc/front/bell_moderation.hpp>

#include <catch2/catch.hpp>

using coproc::detail::front::bell_moderation;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::nanoseconds none{};

// Sleeps as pause() says, after which so many tasks have ended.
std::chrono::nanoseconds sleep(bell_moderation& m, std::size_t brings, std::chrono::nanoseconds short_backlog,
                               std::chrono::nanoseconds long_backlog = {}) {
  const auto pause = m.pause({short_backlog, long_backlog});
  m.sleeps(pause != none);
  m.moved(brings);
  return pause;
}

} // namespace

TEST_CASE("with nothing pending, every worker rings") {
  bell_moderation m;
  for (int i = 0; i != 10; ++i) CHECK(sleep(m, 1, none) == none);
}

TEST_CASE("many short tasks pending: silent while a ring would bring few of them, and a pause many") {
  bell_moderation m;
  CHECK(sleep(m, 8, 30us) == 30us);
  CHECK(sleep(m, 8, 30us) == 30us);
  CHECK(sleep(m, 7, 30us) == 30us);
  CHECK(sleep(m, 5, 30us) == none); // the last pause brought too little
  CHECK(sleep(m, 4, 30us) == none); // and the last ring enough
  CHECK(sleep(m, 0, 30us) == 30us);
}

TEST_CASE("what moves in several rounds of one wake-up counts together") {
  bell_moderation m;
  m.moved(3);
  m.moved(2);
  CHECK(m.pause({30us, none}) == none);
}

TEST_CASE("a pause for short tasks is bounded on both sides") {
  CHECK(bell_moderation().pause({1us, none}) == 10us);
  CHECK(bell_moderation().pause({1s, none}) == coproc::os::spin_limit);
}

TEST_CASE("long tasks with successors: half of what is left, bounded") {
  CHECK(bell_moderation().pause({none, 39us}) == none);
  CHECK(bell_moderation().pause({none, 60us}) == 30us);
  CHECK(bell_moderation().pause({none, 1s}) == coproc::os::spin_limit);
}

TEST_CASE("where the front end takes a CPU from a worker, pauses are longer, but none brings less than three results") {
  CHECK(bell_moderation().pause({none, 300us, 50us}) == 150us);
  CHECK(bell_moderation().pause({none, 300us, 51us}) == none);
  CHECK(bell_moderation().pause({none, 1s, 1us}) == 4 * coproc::os::spin_limit);
}

TEST_CASE("three pauses that bring nothing are enough, until something moves again") {
  bell_moderation m;
  for (int i = 0; i != 3; ++i) CHECK(sleep(m, 0, none, 80us) == 40us);
  CHECK(sleep(m, 0, none, 80us) == none);
  CHECK(sleep(m, 1, none, 80us) == none);
  CHECK(sleep(m, 0, none, 80us) == 40us);
}
