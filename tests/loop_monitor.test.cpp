// SPDX-License-Identifier: BSL-1.0
// loop_monitor: finds a handler that takes too long, says for how long and since when, and nothing about others.
#include <coproc/loop_monitor.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <vector>

namespace public_loop_monitor {

namespace net = coproc::net;
using coproc::loop_monitor;
using coproc::stall;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

void be_busy(coproc::duration time) {
  for (const auto end = clock::now() + time; clock::now() < end;) {
  }
}

} // namespace

TEST_CASE("a handler that takes 1.25 thresholds is found, with its time") {
  net::io_context io;
  std::vector<stall> stalls;
  clock::time_point begin, end;
  std::optional<loop_monitor> monitor(std::in_place, io, 20ms, [&](stall s) {
    stalls.push_back(s);
    if (s.since + s.lasted >= end) monitor.reset(); // so that run() returns
  });
  net::post(io, [&] {
    begin = clock::now();
    be_busy(26ms);
    end = clock::now();
  });
  io.run();
  REQUIRE_FALSE(stalls.empty());
  const stall& found = stalls.back();
  CHECK(found.lasted >= 20ms);
  CHECK(found.since <= end);
  CHECK(found.since + found.lasted >= end);
  CHECK(found.since + found.lasted <= clock::now());
}

TEST_CASE("the lag is measured also where nothing is stalled") {
  net::io_context io;
  loop_monitor monitor(io, 1h, [](stall) { FAIL("stalled for an hour"); });
  CHECK(monitor.lag() == 0ns);
  loop_monitor fine(io, 10s, [](stall) {});
  io.poll();
  CHECK(fine.lag() == 0ns);
}

TEST_CASE("a monitor that is destroyed lets run() return") {
  net::io_context io;
  {
    const loop_monitor monitor(io, 1h, [](stall) { FAIL("reported"); });
  }
  io.run();
  CHECK(io.stopped());
}

TEST_CASE("a threshold that is none, and no function") {
  net::io_context io;
  const auto nothing = [](stall) {};
  CHECK_THROWS_WITH(loop_monitor(io, 0ns, nothing),
                    "coproc: loop_monitor: the threshold must be positive, and limited");
  CHECK_THROWS_AS(loop_monitor(io, -1ns, nothing), std::invalid_argument);
  CHECK_THROWS_AS(loop_monitor(io, coproc::unlimited, nothing), std::invalid_argument);
  CHECK_THROWS_WITH(loop_monitor(io, 1s, nullptr),
                    "coproc: loop_monitor: there must be a function that stalls are reported to");
}

} // namespace public_loop_monitor
