// SPDX-License-Identifier: BSL-1.0
// Who is woken for tasks, and who is not, must not keep any task waiting for long: behind others that take longer than thought,
// behind a stream that never ends, or in the ring of a worker that is to be replaced. Played by hand, as dispatcher.test.cpp.
#include <coproc/pool/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;

TEST_CASE("what lies behind a long task moves, also while a worker that goes on has more than it can take") {
  pool_bench b({.max_workers = 3, .max_queue = 100'000});
  const auto stuck = b.live_worker(0);
  b.advance(1s);
  b.teach(stuck, 100);
  for (std::uint64_t i = 0; i != 3; ++i) b.submit(i);
  REQUIRE(b.worker(stuck).begin());
  const auto going = b.live_worker(1);
  b.sleeping_worker(2);
  b.worker(going).reported_run_ns = 100;
  b.advance(100us);
  for (std::uint64_t i = 10; i != 1'000; ++i) b.submit(i);
  REQUIRE(b.record(going).load() == shm::ring_slots);
  for (int i = 0; i != 100; ++i) {
    while (b.worker(going).run_one()) {
    }
    b.advance(10us);
    for (const auto& e : b.completed()) b.submit(e.name); // the stream never ends
  }
  CHECK(b.record(stuck).unfinished() == 1);
}

TEST_CASE("tasks that take longer than those before are shared out once that is known") {
  pool_bench b({.max_workers = 4});
  std::vector<std::uint64_t> all{b.live_worker(0)};
  b.advance(1s);
  b.teach(all[0], 100);
  for (unsigned i = 1; i != 4; ++i) all.push_back(b.sleeping_worker(i));
  for (std::uint64_t i = 0; i != 60; ++i) b.submit(i);
  REQUIRE(b.record(all[0]).load() == 60);
  int steps = 0;
  for (; b.d.outstanding() != 0; ++steps) {
    for (const auto w : all)
      if (b.record(w).load() != 0) b.worker(w).begin();
    b.advance(150us);
    for (const auto w : all) {
      b.worker(w).reported_run_ns = 150'000;
      if (b.worker(w).running) b.worker(w).finish();
    }
    b.turn();
    b.completed();
  }
  CHECK(steps < 30); // one after the other: 60
}

TEST_CASE("every worker's results are fetched, however many the others have") {
  pool_bench b({.max_workers = 8, .max_queue = 100'000, .usable_cpus = 8});
  std::vector<std::uint64_t> all{b.live_worker(0)};
  b.advance(1s);
  b.teach(all[0], 500);
  for (unsigned i = 1; i != 8; ++i) all.push_back(b.live_worker(i));
  for (std::uint64_t i = 0; i != 2'000; ++i) b.submit(i);
  for (const auto w : all) REQUIRE(b.record(w).load() == shm::ring_slots);
  for (int i = 0; i != 8; ++i) {
    for (const auto w : all)
      while (b.worker(w).run_one()) {
      }
    b.d.drain(256, b.now);
    b.d.pump(b.now);
    for (const auto& e : b.completed()) b.submit(e.name);
  }
  for (std::size_t i = 1; i != all.size(); ++i) CHECK(b.record(all[i]).tasks_done >= shm::ring_slots);
}

TEST_CASE("a worker that never runs out of tasks is replaced all the same") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  b.d.recycle_all();
  b.turn();
  REQUIRE(b.start_requested() == 1);
  b.submit(1);
  for (std::uint64_t i = 2; i != 100; ++i) {
    b.submit(i);
    if (!b.policy.dismissed.empty()) break;
    b.worker(w).run_one();
    b.turn();
    b.completed();
  }
  CHECK(b.policy.dismissed == std::vector<std::uint64_t>{w});
}

TEST_CASE("a worker that has not read its socket yet gets its task soon, and is ended only if it never does") {
  auto segments = std::make_shared<shm::segment_pool>();
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& t = b.task(1, 500);
  t.block = segments->allocate(1000);
  t.call.location = shm::packed_location{t.block.owner().id(), t.block.offset()}.pack();
  b.policy.segment_error = EAGAIN;
  b.submit(t);
  CHECK(b.record(w).load() == 0);
  SECTION("it does") {
    b.policy.segment_error = 0;
    CHECK(b.d.next_deadline() <= b.now + 1ms);
    b.advance(1ms);
    CHECK(b.worker(w).run_one() == 1u);
    b.turn();
    CHECK(b.completed_as(pool::verdict::value) == std::vector<std::uint64_t>{1});
    b.advance(10s);
    CHECK(b.policy.signals.empty());
  }
  SECTION("it never does") {
    for (int i = 0; i != 1'000; ++i) {
      CHECK(b.policy.signals.empty());
      CHECK(b.d.next_deadline() <= b.now + 1ms);
      b.advance(1ms);
    }
    CHECK(b.policy.signals == std::vector<fake_policy::signalled>{{w, SIGKILL}});
  }
}
