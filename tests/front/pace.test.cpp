// SPDX-License-Identifier: BSL-1.0
// What a pool learns from the run times that workers report, and what follows from it for rings and wake-ups.
#include <coproc/front/pace.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <limits>

using coproc::detail::front::pace;
namespace shm = coproc::shm;

namespace {

pace learned(double ran_ns, bool crowded = false, int times = 100) {
  pace p(crowded);
  for (int i = 0; i != times; ++i) p.learn(ran_ns);
  return p;
}

} // namespace

TEST_CASE(
    "a ring holds about one wake-up's worth of work, two of what is shorter than many wake-ups, one of the rest") {
  CHECK(learned(100).depth() == shm::ring_slots);
  CHECK(learned(1'000).depth() == 61);
  CHECK(learned(10'000).depth() == 7);
  CHECK(learned(100'000).depth() == 2);
  CHECK(learned(400'000).depth() == 2);
  CHECK(learned(1'000'000).depth() == 1);
}

TEST_CASE("where the front end may have to wait for a CPU, rings hold more, unless tasks are long") {
  CHECK(learned(10'000, true).depth() == 49);
  CHECK(learned(100'000, true).depth() == 5);
  CHECK(learned(600'000, true).depth() == 1);
}

TEST_CASE("tasks that are through within a wake-up are told from those that are not") {
  CHECK(learned(100).through_before_wake_up(shm::ring_slots + 1));
  CHECK(learned(1'000).through_before_wake_up(24));
  CHECK_FALSE(learned(1'001).through_before_wake_up(25));
  CHECK(learned(10'000).through_before_wake_up(2));
  CHECK_FALSE(learned(10'000).through_before_wake_up(3));
  CHECK_FALSE(learned(30'000).through_before_wake_up(1));
}

TEST_CASE("nothing is taken for short before it is known") {
  CHECK_FALSE(pace(false).through_before_wake_up(2));
  CHECK(pace(false).depth() == 4);
}

TEST_CASE("one long task among short ones changes little, several do") {
  pace p = learned(1'000);
  p.learn(3'000'000);
  CHECK(p.task_ns() < 5'000);
  for (int i = 0; i != 4; ++i) p.learn(1'000);
  CHECK(p.task_ns() < 1'300);
  for (int i = 0; i != 10; ++i) p.learn(3'000'000);
  CHECK(p.depth() == 1);
}

TEST_CASE("short tasks after long ones are noticed at once") {
  pace p = learned(1'000'000'000);
  for (int i = 0; i != 25; ++i) p.learn(100);
  CHECK(p.depth() == shm::ring_slots);
}

TEST_CASE("no report makes nonsense of it") {
  pace p(false);
  for (int i = 0; i != 2'000; ++i) p.learn(0);
  CHECK(p.task_ns() >= 1);
  CHECK(p.depth() == shm::ring_slots);
  for (int i = 0; i != 2'000; ++i) p.learn(static_cast<double>(std::numeric_limits<std::uint64_t>::max()));
  CHECK(p.depth() == 1);
  // a ring's time is a time
  CHECK(p.task_ns() * shm::ring_slots < static_cast<double>(std::chrono::nanoseconds::max().count()));
  for (int i = 0; i != 100; ++i) p.learn(1);
  CHECK(p.depth() == shm::ring_slots);
}
