// SPDX-License-Identifier: BSL-1.0
// Sums of the clock and durations of options.
#include <coproc/os/clock.hpp>

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using coproc::duration;
using coproc::unlimited;
using coproc::os::after;
using coproc::os::time_point;

TEST_CASE("a time after now is never before it, however long the machine has been up") {
  constexpr auto end = time_point::max();
  for (const duration up :
       {duration(0), duration(1), duration(24h), duration(24h * 365 * 20), duration::max() - duration(1)}) {
    const time_point now(up);
    INFO(up.count());
    CHECK(after(now, 0ns) == now);
    CHECK(after(now, unlimited) == end);
    CHECK(after(now, end - now) == end);
    CHECK(after(now, end - now - 1ns) == end - 1ns);
    if (up.count() > 1) CHECK(after(now, duration::max() - 1ns) == end);
  }
}
