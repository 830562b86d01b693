// SPDX-License-Identifier: BSL-1.0
// Rule D (docs/protocol.md) where the head of a ring is a slot that was taken back and is not acknowledged, because its
// worker is stopped: the task behind it is the worker's next all the same, and its time-out counts.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;

TEST_CASE("a task behind a revoked slot that nobody acknowledges still times out, and moves") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  b.cancel(b.submit(1)); // taken back; the worker, stopped by somebody, does not acknowledge
  auto& t = b.task(2);
  make_details(t).terms.timeout = 10ms;
  b.submit(t);
  b.advance(11ms); // READY at its deadline: it goes back to the queue, and the worker gets no more
  CHECK(b.record(w).unfinished() == 0);
  b.advance(1s); // nor does it move within kill_grace
  CHECK(b.effects.signals == std::vector<recorded_effects::signalled>{{w, SIGKILL}});
  b.exited(w);
  REQUIRE(b.start_requested() == 1);
  b.turn();
  CHECK(b.worker(b.incarnations).run_one() == 2u);
}

TEST_CASE("a stopped worker whose ring is full of revoked slots is replaced, and its queue served") {
  const std::uint64_t taken_back = GENERATE(1u, 3u, 8u, 63u, 64u, 200u);
  CAPTURE(taken_back);
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != taken_back; ++i) b.cancel(b.submit(1'000 + i));
  auto& t = b.task(2);
  make_details(t).terms.timeout = 10ms;
  b.submit(t);
  for (int i = 0; i != 4; ++i) b.advance(11ms);
  for (int i = 0; i != 3; ++i) b.advance(1s);
  REQUIRE(b.effects.signals == std::vector<recorded_effects::signalled>{{w, SIGKILL}});
  b.exited(w);
  REQUIRE(b.start_requested() == 1);
  b.turn();
  CHECK(b.worker(b.incarnations).run_one() == 2u);
}
