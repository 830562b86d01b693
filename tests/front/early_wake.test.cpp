// SPDX-License-Identifier: BSL-1.0
// When the clock wakes the front end ahead of a result, and when it no longer tries.
#include <coproc/front/early_wake.hpp>

#include <catch2/catch.hpp>

#include <vector>

using coproc::detail::front::early_wake;
using coproc::os::time_point;
using namespace std::chrono_literals;

namespace {

constexpr auto never = time_point::max();
constexpr time_point begin{1h};

// Plays a task that was thought to take `expected`, and takes longer than until the alarm. True: the result was there
// while the front end watched.
bool caught(early_wake& e, std::chrono::nanoseconds expected, std::chrono::nanoseconds takes) {
  const auto alarm = e.alarm(begin, begin + expected);
  if (alarm == never || !e.woken(alarm)) return false;
  const bool in_time = e.watching(begin + takes);
  if (in_time) e.came();
  return in_time;
}

} // namespace

TEST_CASE("the clock wakes it some time before the result is due, and it watches until some time after") {
  early_wake e;
  const auto due = begin + 100us;
  const auto alarm = e.alarm(begin, due);
  CHECK(alarm == begin + 60us);
  CHECK_FALSE(e.watching(begin + 59us));
  CHECK(e.woken(alarm));
  CHECK(e.watching(alarm));
  CHECK(e.watching(due + 24us));
  CHECK_FALSE(e.watching(due + 25us));
  e.came();
  CHECK_FALSE(e.watching(due));
}

TEST_CASE("too late to sleep: it watches at once") {
  early_wake e;
  CHECK(e.alarm(begin, begin + 50us) == begin);
  CHECK(e.watching(begin));
  CHECK(e.watching(begin + 74us));
  CHECK_FALSE(e.watching(begin + 75us));
}

TEST_CASE("a wake-up that comes late leaves some time to look") {
  early_wake e;
  REQUIRE(e.alarm(begin, begin + 100us) == begin + 60us);
  CHECK(e.woken(begin + 1ms));
  CHECK(e.watching(begin + 1ms + 24us));
  CHECK_FALSE(e.watching(begin + 1ms + 25us));
}

TEST_CASE("no alarm where nobody knows when, where it is overdue, and where a wake-up is next to nothing") {
  early_wake e;
  CHECK(e.alarm(begin, never) == never);
  CHECK(e.alarm(begin, begin) == never);
  CHECK(e.alarm(begin, begin - 1us) == never);
  CHECK(e.alarm(begin, begin + 2ms + 1ns) == never);
  CHECK(e.alarm(begin, begin + 2ms) != never);
}

TEST_CASE("one that another event has woken has no alarm any more, and tries again if that was no result") {
  early_wake e;
  for (int i = 0; i != 5; ++i) {
    REQUIRE(e.alarm(begin, begin + 100us) == begin + 60us);
    CHECK_FALSE(e.woken(begin + 59us));
    CHECK_FALSE(e.watching(begin + 60us));
    CHECK_FALSE(e.woken(begin + 61us));
  }
}

TEST_CASE("a sleep that something else ends closes the watch before it") {
  early_wake e;
  REQUIRE(e.alarm(begin, begin + 100us) == begin + 60us);
  REQUIRE(e.woken(begin + 60us));
  CHECK(e.alarm(begin + 130us, never) == never);
  CHECK_FALSE(e.watching(begin + 130us));
  e.came(); // too late to count
  CHECK(e.alarm(begin, begin + 100us) == never);
}

TEST_CASE("results that come when they are due are caught, each of them") {
  early_wake e;
  for (int i = 0; i != 100; ++i) CHECK(caught(e, 100us, i % 2 == 0 ? 90us : 110us));
}

TEST_CASE(
    "after results that were not there in time, or long before, the next ones are left to the bells, more each time") {
  const auto took = GENERATE(std::chrono::nanoseconds(200us), std::chrono::nanoseconds(20us));
  early_wake e;
  std::vector<int> tried;
  for (int i = 0; i != 2'000; ++i)
    if (const auto alarm = e.alarm(begin, begin + 100us); alarm != never) {
      tried.push_back(i);
      if (!e.woken(std::min(alarm, begin + took))) e.came(); // else it watches in vain
    }
  REQUIRE(tried.size() > 9);
  for (std::size_t n = 1; n != tried.size(); ++n)
    CHECK(tried[n] - tried[n - 1] == 1 + (1 << std::min<std::size_t>(n - 1, 8)));
  SECTION("until one comes when it is due") {
    while (e.alarm(begin, begin + 100us) == never) {
    }
    REQUIRE(e.woken(begin + 60us));
    e.came();
    for (int i = 0; i != 100; ++i) CHECK(caught(e, 100us, 100us));
  }
}
