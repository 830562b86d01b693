// SPDX-License-Identifier: BSL-1.0
// A pool gets more workers, or fewer, while it works: who is started, who leaves and when, and where tasks and keys go.
// Workers are played by hand over real mailboxes, with a clock that moves when told.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

using namespace coproc;
using namespace coproc::testing;
using front::verdict;
using names = std::vector<std::uint64_t>;

namespace {

void resize(pool_bench& b, unsigned min, unsigned max) {
  b.d.resize(min, max, b.now);
  b.d.pump(b.now);
}

std::uint64_t run_next(pool_bench& b, std::uint64_t w) {
  const auto name = b.worker(w).run_one();
  b.turn();
  return name.value_or(0);
}

void keyed(pool_bench& b, std::uint64_t name, std::uint64_t scrambled) {
  auto& t = b.task(name);
  make_details(t).terms.key = scrambled;
  b.submit(t);
}

std::size_t workers_of(const pool_bench& b) { return b.d.stats(b.now).workers.size(); }

} // namespace

TEST_CASE("a pool that grows starts workers up to min at once, and up to max when they are needed") {
  pool_bench b({.max_workers = 1});
  b.live_worker(0);
  resize(b, 3, 5);
  CHECK(b.effects.starts == std::vector<unsigned>{1, 2});
  CHECK(b.d.outstanding() == 1); // they are on their way
  b.start_requested();
  b.turn();
  CHECK(b.d.outstanding() == 0);
  for (std::uint64_t i = 1; i != 8; ++i) b.submit(i);
  for (auto& [incarnation, w] : b.workers) w.begin();
  b.advance(1ms);
  CHECK(b.effects.starts == std::vector<unsigned>{3, 4});
  CHECK(b.d.stats(b.now).min_workers == 3);
  CHECK(b.d.stats(b.now).max_workers == 5);
}

TEST_CASE("workers that are too many finish what they run and leave, and what they had not begun moves") {
  pool_bench b({.max_workers = 3});
  const auto stays = b.live_worker(0), works = b.live_worker(1), idle = b.live_worker(2);
  for (std::uint64_t i = 1; i != 7; ++i) b.submit(i);
  for (const auto w : {stays, works}) REQUIRE(b.worker(w).begin());
  const auto running = b.worker(works).entry();
  REQUIRE(b.worker(idle).run_one());
  REQUIRE(b.worker(idle).run_one());
  b.turn();
  REQUIRE(b.record(works).unfinished() >= 2);
  resize(b, 1, 1);
  CHECK(b.effects.dismissed == names{idle}); // at once
  CHECK(b.record(works).unfinished() == 1);
  CHECK_FALSE(b.record(works).takes_work());
  CHECK(b.effects.starts.empty());
  b.submit(7);
  CHECK(b.worker(works).entry() == running);
  b.worker(works).finish();
  b.turn();
  CHECK(b.effects.dismissed == names{idle, works});
  for (const auto w : {idle, works}) b.exited(w, 0);
  while (b.worker(stays).run_one()) b.turn();
  b.turn();
  auto done = b.completed_as(verdict::value);
  std::sort(done.begin(), done.end());
  CHECK(done == names{1, 2, 3, 4, 5, 6, 7});
  CHECK(b.d.outstanding() == 0);
  CHECK(b.d.stats(b.now).counters.exits_by(exit_cause::recycled) == 2);
  CHECK(workers_of(b) == 1);
  CHECK(b.effects.starts.empty());
  CHECK(b.effects.signals.empty());
}

TEST_CASE("a worker that was too many for a while goes on") {
  pool_bench b({.max_workers = 2});
  b.live_worker(0);
  const auto second = b.live_worker(1);
  b.submit(1);
  b.submit(2);
  REQUIRE(b.worker(second).begin());
  resize(b, 1, 1);
  resize(b, 2, 2);
  CHECK(b.record(second).takes_work());
  CHECK(b.effects.dismissed.empty());
  CHECK(b.effects.starts.empty());
  CHECK(run_next(b, second) != 0);
  CHECK(b.d.outstanding() == 1);
}

TEST_CASE("a seat that was left before the pool grew again gets a new worker, and the old one ends beside it") {
  pool_bench b({.max_workers = 2});
  b.live_worker(0);
  const auto old = b.live_worker(1);
  for (int i = 0; i != 100; ++i) {
    resize(b, 1, 1);
    resize(b, 2, 2);
    CHECK(b.start_requested() == 1);
    b.turn();
  }
  CHECK(b.effects.dismissed.size() == 100);
  CHECK(workers_of(b) == 102);
  CHECK(b.d.outstanding() == 1);
  for (const auto w : names(b.effects.dismissed)) b.exited(w, 0);
  b.turn();
  CHECK(b.d.outstanding() == 0);
  CHECK(workers_of(b) == 2);
  CHECK(b.effects.retired.front()->incarnation == old);
}

TEST_CASE("who is on the way when the pool shrinks leaves as soon as it is there") {
  pool_bench b({.max_workers = 3});
  b.live_worker(0);
  const auto coming = b.add_worker(1); // START sent
  resize(b, 3, 3);
  REQUIRE(b.effects.starts == std::vector<unsigned>{2}); // requested
  resize(b, 1, 1);
  CHECK(b.effects.dismissed.empty());
  b.d.workers().started(coming, 17, {}, b.now);
  b.start_requested();
  b.turn();
  CHECK(b.effects.dismissed == names{coming, b.incarnations});
  b.exited(coming, 0);
  b.exited(b.incarnations, 0);
  b.advance(10s);
  CHECK(b.effects.starts.empty());
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("what was requested and is not wanted any more need not be made") {
  pool_bench b({.max_workers = 1});
  b.live_worker(0);
  resize(b, 2, 2);
  resize(b, 1, 1);
  b.turn();
  CHECK_FALSE(b.d.workers().has_seat(1));
  CHECK(b.d.outstanding() == 1);
  b.effects.starts.clear();
  b.d.workers().forgo(1);
  b.turn();
  CHECK(b.d.outstanding() == 0);
  resize(b, 2, 2);
  CHECK(b.effects.starts == std::vector<unsigned>{1});
}

TEST_CASE("keys belong to other workers after a resize, in the ring, in the queue and while they wait for room") {
  pool_bench b({.max_workers = 2, .max_queue = 8});
  const auto first = b.live_worker(0);
  b.live_worker(1);
  for (std::uint64_t name = 1; name != 13; ++name) keyed(b, name, 2); // in worker 0 of 2, in worker 2 of 3
  REQUIRE(b.worker(first).begin());
  REQUIRE(b.record(first).homebound() >= 2);
  REQUIRE(b.d.books().queued() != 0);
  REQUIRE(b.d.books().waiting() == 4);
  resize(b, 3, 3);
  CHECK(b.record(first).homebound() == 1); // it runs
  CHECK(b.start_requested() == 1);
  const auto third = b.incarnations;
  b.turn();
  CHECK(run_next(b, first) == 1);
  CHECK(b.run_all(third) == names{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(b.completed().size() == 12);
  keyed(b, 13, 2);
  resize(b, 1, 1);
  CHECK(b.run_all(first) == names{13});
}

TEST_CASE("tasks of several keys keep their order when they are put together") {
  pool_bench b({.max_workers = 3});
  for (std::uint64_t name = 1; name != 10; ++name) keyed(b, name, name);
  resize(b, 1, 1);
  const auto w = b.live_worker(0);
  b.turn();
  CHECK(b.run_all(w) == names{1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("a worker that is too many and crashes is not replaced, and costs its task") {
  pool_bench b({.max_workers = 2});
  const auto stays = b.live_worker(0), crashes = b.live_worker(1);
  for (std::uint64_t i = 1; i != 5; ++i) b.submit(i);
  REQUIRE(b.worker(crashes).begin());
  const auto lost = b.worker(crashes).entry();
  resize(b, 1, 1);
  b.exited(crashes, SIGSEGV);
  b.advance(10s);
  CHECK(b.effects.starts.empty());
  CHECK(b.completed_as(verdict::lost) == names{lost});
  CHECK(b.run_all(stays).size() == 3);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("a worker that is too many and does not say that its tasks were taken back is killed") {
  pool_bench b({.max_workers = 2, .kill_grace = 50ms});
  b.live_worker(0);
  const auto stopped = b.live_worker(1);
  b.submit(1);
  b.submit(2);
  REQUIRE(b.record(stopped).unfinished() == 1);
  resize(b, 1, 1);
  CHECK(b.effects.dismissed == names{stopped});
  b.advance(60ms);
  CHECK(b.effects.signals == std::vector<recorded_effects::signalled>{{stopped, SIGKILL}});
  b.exited(stopped);
  b.turn();
  CHECK(workers_of(b) == 1);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("idle workers that need not be kept any more leave at once, busy ones by way of a successor") {
  pool_bench b({.max_workers = 3, .leave_when_idle = true});
  b.live_worker(0);
  const auto busy = b.live_worker(1), idle = b.live_worker(2);
  while (b.record(busy).load() == 0) b.submit(b.records.acquire().ticket.load() + 1);
  b.run_all(idle);
  resize(b, 1, 3);
  CHECK(b.effects.dismissed == names{idle});
  CHECK(b.record(busy).due());
  CHECK(b.effects.starts == std::vector<unsigned>{1});
}

TEST_CASE("a worker that is to be kept now, and leaves because it was told so, is replaced") {
  pool_bench b({.max_workers = 2, .min_workers = 1, .leave_when_idle = true});
  b.live_worker(0);
  const auto leaves = b.live_worker(1);
  resize(b, 2, 2);
  b.worker(leaves).mailbox().worker.phase.store(static_cast<std::uint32_t>(shm::worker_phase::left));
  b.exited(leaves, 0);
  CHECK(b.effects.starts == std::vector<unsigned>{1});
}

TEST_CASE("a pool is resized while a shutdown drains it, and not after that") {
  pool_bench b({.max_workers = 2});
  const auto first = b.live_worker(0), second = b.live_worker(1);
  b.submit(1);
  b.d.shut_down(b.now + 1h, b.now);
  resize(b, 1, 1);
  CHECK(b.effects.dismissed == names{second});
  resize(b, 3, 3);
  CHECK(b.effects.starts == std::vector<unsigned>{1, 2});
  CHECK(run_next(b, first) == 1);
  CHECK(b.d.ending());
  resize(b, 5, 5);
  CHECK(b.d.stats(b.now).max_workers == 3);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("a worker that is being replaced when the pool shrinks leaves, and so does its successor") {
  pool_bench b({.max_workers = 2, .max_tasks_per_child = 1});
  b.live_worker(0);
  const auto works = b.live_worker(1);
  b.submit(1);
  b.submit(2);
  REQUIRE(b.worker(works).begin());
  b.start_requested();
  b.turn();
  resize(b, 1, 1);
  REQUIRE(b.effects.dismissed.size() == 1); // a successor
  CHECK_FALSE(b.record(works).takes_work());
  b.worker(works).finish();
  b.turn();
  CHECK(b.effects.dismissed.back() == works);
}

TEST_CASE("no worker is asked for in the place of one that is too many, however that ends") {
  pool_bench b({.max_workers = 3, .kill_grace = 10ms});
  b.live_worker(0);
  const auto stubborn = b.live_worker(1);
  b.add_worker(2); // START sent
  auto& t = b.submit(1);
  b.submit(2);
  auto& victim = t.worker->index == 1 ? t : *b.record(stubborn).head();
  REQUIRE(b.worker(stubborn).begin());
  resize(b, 1, 1);
  SECTION("it survives SIGKILL") {
    b.cancel(victim);
    for (int i = 0; i != 5; ++i) b.advance(20ms);
    CHECK(b.record(1).index == 0);
    CHECK(b.d.stats(b.now).workers.back().state == worker_state::unkillable);
  }
  SECTION("its fork server dies") { b.d.workers().server_replaced(b.now); }
  b.advance(10s);
  for (const unsigned index : b.effects.starts) CHECK(index == 0);
}
