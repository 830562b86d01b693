// SPDX-License-Identifier: BSL-1.0
// When a seat gets a new worker: at once, later and later, or not at all.
#include <coproc/front/restarts.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;

namespace {

struct restarts_bench {
  front::dispatcher_limits limits{.max_workers = 2, .max_start_failures = 3, .recovery_wait = 1s, .min_workers = 2};
  recorded_effects effects;
  front::ledger books{limits};
  front::roster seats{2};
  front::restarts r{limits, effects, books, seats};
  os::time_point now = os::time_point{} + 1h;

  void fail() { r.after_failed_start(0, make_error_code(errc::worker_start_failed), "why", now); }
  // What was asked for, once `by` has passed.
  std::size_t starts(duration by = {}) {
    now += by;
    r.tick(now);
    for (const unsigned i : effects.starts) seats[i].requested = false; // answered
    return std::exchange(effects.starts, {}).size();
  }
};

} // namespace

TEST_CASE("a start that was requested is not requested again") {
  restarts_bench b;
  b.r.request(1);
  b.r.request(1);
  CHECK(b.effects.starts == std::vector<unsigned>{1});
}

TEST_CASE("failed starts are tried again after 10 ms, 20 ms, 40 ms, and no more after the last") {
  restarts_bench b;
  for (const auto wait : {10ms, 20ms, 40ms}) {
    b.fail();
    CHECK(b.starts(wait - 1ms) == 0);
    CHECK(b.starts(1ms) == 1);
  }
  b.fail();
  CHECK(b.books.failed());
  CHECK(b.starts(1h) == 0);
}

TEST_CASE("a budget that is used up is tried again after a while, for every vacant seat") {
  restarts_bench b;
  for (int i = 0; i != 4; ++i) b.fail();
  REQUIRE(b.books.failed());
  b.r.try_to_recover(b.now + 999ms);
  CHECK(b.books.failed());
  b.r.try_to_recover(b.now + 1s);
  CHECK_FALSE(b.books.failed());
  CHECK(b.starts() == 2);
}

TEST_CASE("crashes of initialized workers are made good at once, a few times, and never given up") {
  restarts_bench b;
  for (int i = 0; i != 4; ++i) {
    b.r.after_crash(0, b.now);
    CHECK(b.starts() == 1);
  }
  b.r.after_crash(0, b.now);
  CHECK(b.starts(9ms) == 0);
  CHECK(b.starts(1ms) == 1);
  for (int i = 0; i != 20; ++i) {
    b.r.after_crash(0, b.now);
    CHECK(b.starts(640ms) == 1);
  }
  CHECK_FALSE(b.books.failed());
}

TEST_CASE("after the end none is started") {
  restarts_bench b;
  b.fail();
  b.r.end();
  CHECK_FALSE(b.r.enabled());
  CHECK(b.starts(1h) == 0);
  b.r.try_to_recover(b.now);
  CHECK(b.starts() == 0);
}
