// SPDX-License-Identifier: BSL-1.0
// The dispatcher's part of the life of workers and tasks: recycling, growing, shutting down, time-outs in the queue,
// retries, priorities, keys. Workers are played by hand over real mailboxes, with a clock that moves when told.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <set>

using namespace coproc;
using namespace coproc::testing;
using front::cancel_strength;
using front::verdict;
using names = std::vector<std::uint64_t>;
using signals = std::vector<recorded_effects::signalled>;

namespace {

std::uint64_t run_next(pool_bench& b, std::uint64_t w) {
  const auto name = b.worker(w).run_one();
  b.turn();
  return name.value_or(0);
}

} // namespace

// ---- tasks ----

TEST_CASE("tasks of higher priority are begun first, also when they wait for room") {
  pool_bench b({.max_workers = 1, .max_queue = 6});
  const auto submit = [&](std::uint64_t name, int priority) {
    auto& t = b.task(name);
    make_details(t).terms.priority = static_cast<std::int8_t>(priority);
    b.submit(t);
  };
  for (std::uint64_t i = 0; i != 4; ++i) submit(10 + i, 0);
  submit(20, 3);
  submit(30, -2); // the queue is full now
  submit(21, 3);
  submit(40, 0);
  submit(22, 10);
  const auto w = b.live_worker(0);
  b.turn();
  names order;
  for (int i = 0; i != 9; ++i) order.push_back(run_next(b, w));
  // Four were in the ring before 22 had room, and 21 came in before it.
  CHECK(order.front() == 20);
  const auto at = [&](std::uint64_t name) { return std::find(order.begin(), order.end(), name) - order.begin(); };
  CHECK(at(22) < at(21));
  CHECK(at(21) < at(40));
  CHECK(at(30) > at(13));
}

TEST_CASE("a task that has not begun at its queue_timeout is withdrawn from wherever it is") {
  pool_bench b({.max_workers = 1, .max_queue = 3});
  const auto submit = [&](std::uint64_t name) -> front::task_record& {
    auto& t = b.task(name);
    make_details(t).terms.queue_timeout = 10ms;
    return b.submit(t);
  };
  const auto w = b.live_worker(0);
  submit(1);
  REQUIRE(b.worker(w).begin()); // running
  submit(2);                    // in the ring
  submit(3);                    // in the ring or queued
  submit(4);                    // waiting for room
  CHECK(b.d.next_deadline() <= b.now + 10ms);
  b.advance(9ms);
  CHECK(b.completed().empty());
  b.advance(1ms);
  auto ended = b.completed_as(verdict::queue_timeout);
  std::sort(ended.begin(), ended.end());
  CHECK(ended == names{2, 3, 4});
  CHECK(b.d.outstanding() == 1);
  b.worker(w).finish();
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{1});
  CHECK(b.d.books().accepted() == 0);
}

TEST_CASE("a soft time-out raises the stop token of the running task, the hard one kills") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  run_next(b, (b.submit(1), w));
  auto& t = b.task(2);
  make_details(t).terms.soft_timeout = 5ms;
  make_details(t).terms.timeout = 10ms;
  b.submit(t);
  REQUIRE(b.worker(w).begin());
  b.advance(5ms);
  CHECK(b.worker(w).mailbox().parent.stop.load() == t.seq + 1);
  CHECK(make_details(t).soft_expired);
  CHECK(b.effects.signals.empty());
  b.advance(5ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
  b.exited(w, SIGTERM);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 2);
  CHECK(ended[1].outcome == verdict::task_timeout);
  CHECK(ended[1].exit->cause == exit_cause::timed_out);
}

TEST_CASE("a soft time-out does not run while the task has not begun") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.soft_timeout = 5ms;
  b.submit(t);
  b.advance(50ms);
  CHECK(b.worker(w).mailbox().parent.stop.load() == 0);
  REQUIRE(b.worker(w).begin());
  b.advance(50ms);
  CHECK(b.worker(w).mailbox().parent.stop.load() == t.seq + 1);
}

TEST_CASE("asking a task to stop that is already done does not take the request of the next one away") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  auto& done = b.submit(1);
  auto& runs = b.submit(2);
  REQUIRE(b.worker(w).run_one()); // DONE, and not yet seen
  REQUIRE(b.worker(w).begin());
  b.cancel(runs, cancel_strength::partial);
  b.cancel(done, cancel_strength::partial);
  CHECK(b.worker(w).mailbox().parent.stop.load() == runs.seq + 1);
}

TEST_CASE("a worker that has stalled, and whose words make no sense, is killed") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& first = b.task(1);
  make_details(first).terms.timeout = 10ms;
  b.submit(first);
  auto& second = b.submit(2);
  b.worker(w).mailbox().at(second.seq).state.store(0xdead); // neither to be taken back nor running
  b.advance(10ms);
  CHECK(b.effects.signals.empty());
  b.advance(1s);
  CHECK(b.effects.signals == signals{{w, SIGKILL}});
  b.exited(w);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].exit->cause == exit_cause::violation);
  b.start_requested();
  b.turn();
  CHECK(run_next(b, b.incarnations) == 1);
}

TEST_CASE("a word that says DONE for a moment does not undo a time-out") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 10ms;
  b.submit(t);
  REQUIRE(b.worker(w).begin());
  b.d.drain(256, b.now);
  b.now += 10ms;
  b.worker(w).mailbox().at(t.seq).state.store(shm::pack(t.seq, shm::slot_state::done));
  b.d.tick(b.now);
  b.worker(w).mailbox().at(t.seq).state.store(shm::pack(t.seq, shm::slot_state::running));
  CHECK(b.d.next_deadline() != os::time_point::max());
  b.advance(1s);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
}

TEST_CASE("a task has its own kill_grace") {
  pool_bench b({.max_workers = 1, .kill_grace = 10s});
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 1ms;
  make_details(t).terms.kill_grace = 2ms;
  b.submit(t);
  REQUIRE(b.worker(w).begin());
  b.advance(1ms);
  b.advance(2ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}, {w, SIGKILL}});
}

TEST_CASE("a lost task is run again as often as it may be, and only then is lost") {
  pool_bench b({.max_workers = 1});
  auto& t = b.task(7);
  make_details(t).terms.max_retries = 2;
  auto w = b.live_worker(0);
  b.submit(t);
  for (int run = 0; run != 3; ++run) {
    CHECK(b.completed().empty());
    REQUIRE(b.worker(w).begin());
    CHECK(b.worker(w).entry() == 7);
    b.exited(w);
    b.advance(1s);
    b.start_requested();
    w = b.incarnations;
    b.turn();
  }
  CHECK(b.completed_as(verdict::lost) == names{7});
  CHECK(b.d.stats(b.now).counters.retried == 2);
}

TEST_CASE("a cancelled task is not run again") {
  pool_bench b({.max_workers = 1});
  auto& t = b.task(7);
  make_details(t).terms.max_retries = 5;
  const auto w = b.live_worker(0);
  b.submit(t);
  REQUIRE(b.worker(w).begin());
  SECTION("killed") {
    b.cancel(t, cancel_strength::terminal);
    b.exited(w, SIGTERM);
    CHECK(b.completed_as(verdict::aborted) == names{7});
  }
  SECTION("asked to stop, and its worker dies of that") {
    b.cancel(t, cancel_strength::partial);
    b.exited(w, SIGSEGV);
    CHECK(b.completed_as(verdict::lost) == names{7});
  }
}

TEST_CASE("tasks with a key run in their own worker, wait for it, and nobody else takes them") {
  pool_bench b({.max_workers = 2});
  const auto first = b.live_worker(0);
  const auto submit = [&](std::uint64_t name, std::uint64_t home) {
    auto& t = b.task(name);
    make_details(t).terms.key = home;
    b.submit(t);
  };
  submit(1, 1); // its worker is not there yet
  submit(2, 0);
  b.submit(3);
  CHECK(run_next(b, first) == 2);
  CHECK(run_next(b, first) == 3);
  CHECK(run_next(b, first) == 0);
  const auto second = b.live_worker(1);
  b.turn();
  submit(4, 1);
  submit(5, 1);
  REQUIRE(b.worker(second).begin());
  for (int i = 0; i != 5; ++i) b.advance(10ms); // 4 and 5 lie behind a long one, and the first worker is idle
  CHECK(b.record(first).load() == 0);
  CHECK(b.d.next_deadline() == os::time_point::max());
  b.exited(second);
  b.advance(1s);
  b.start_requested();
  b.turn();
  const auto third = b.incarnations;
  CHECK(run_next(b, third) == 4);
  CHECK(run_next(b, third) == 5);
  CHECK(b.completed().size() == 5);
}

// ---- workers ----

TEST_CASE("a worker that has run max_tasks_per_child tasks leaves when its successor can take over") {
  pool_bench b({.max_workers = 1, .max_tasks_per_child = 3});
  const auto first = b.live_worker(0);
  for (std::uint64_t i = 1; i != 6; ++i) b.submit(i);
  CHECK(b.effects.starts == std::vector<unsigned>{0}); // as soon as the last task was given to it
  names ran;
  for (int i = 0; i != 3; ++i) ran.push_back(run_next(b, first));
  CHECK(b.effects.dismissed == names{first});
  b.start_requested();
  const auto second = b.incarnations;
  b.turn();
  ran.push_back(run_next(b, second));
  ran.push_back(run_next(b, second));
  CHECK(ran == names{1, 2, 3, 4, 5});
  b.exited(first, 0);
  CHECK(b.completed().size() == 5);
  CHECK(b.d.stats(b.now).counters.exits_by(exit_cause::recycled) == 1);
  CHECK(b.record(second).tasks_done() == 2);
}

TEST_CASE("tasks that are taken back do not count as run") {
  pool_bench b({.max_workers = 1, .max_tasks_per_child = 2});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 20; ++i) b.cancel(b.submit(100 + i));
  while (b.worker(w).begin()) {
  }
  b.turn();
  b.submit(1);
  CHECK(run_next(b, w) == 1);
  CHECK(b.effects.dismissed.empty());
}

TEST_CASE("jitter takes away up to that many tasks, differently for each worker") {
  std::set<std::uint64_t> limits;
  for (unsigned i = 0; i != 8; ++i) {
    pool_bench b({.max_workers = 1, .max_tasks_per_child = 100, .max_tasks_jitter = 50});
    b.incarnations = i;
    limits.insert(b.record(b.live_worker(0)).task_limit());
  }
  CHECK(*limits.begin() >= 50);
  CHECK(*limits.rbegin() <= 100);
  CHECK(limits.size() > 4);
}

TEST_CASE("a worker that has grown too large is replaced after the task, and works until its successor is ready") {
  pool_bench b({.max_workers = 1, .max_memory_per_child = 1000});
  const auto w = b.live_worker(0);
  b.effects.memory[w] = 1000;
  b.submit(1);
  run_next(b, w);
  CHECK(b.effects.starts.empty());
  b.effects.memory[w] = 1001;
  b.now += 20ms;
  b.submit(2);
  run_next(b, w);
  CHECK(b.effects.starts == std::vector<unsigned>{0});
  b.submit(3);
  CHECK(run_next(b, w) == 3);
  CHECK(b.effects.dismissed.empty());
  b.start_requested();
  b.turn();
  CHECK(b.effects.dismissed == names{w});
  b.submit(4);
  CHECK(run_next(b, b.incarnations) == 4);
}

TEST_CASE("recycle_all replaces one worker after the other, and never has fewer") {
  pool_bench b({.max_workers = 3});
  for (unsigned i = 0; i != 3; ++i) b.live_worker(i);
  b.d.workers().recycle_all(b.now);
  CHECK(b.d.outstanding() == 1); // it keeps the loop going
  for (int round = 0; round != 3; ++round) {
    REQUIRE(b.effects.starts.size() == 1); // the first without a turn, which a front end that sleeps would not have
    std::size_t there = 0;
    b.d.workers().each_worker([&](const auto&) { ++there; });
    CHECK(there == 3);
    b.start_requested();
    b.turn();
    CHECK(b.effects.dismissed.size() == static_cast<std::size_t>(round) + 1);
    b.exited(b.effects.dismissed.back(), 0);
    b.turn();
  }
  CHECK(b.d.outstanding() == 0);
  CHECK(b.effects.dismissed == names{1, 2, 3});
  CHECK(b.effects.starts.empty());
}

TEST_CASE("a pool grows when tasks wait behind running ones, and not for short ones") {
  pool_bench b({.max_workers = 3, .min_workers = 1, .leave_when_idle = true});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 1; i != 4; ++i) b.submit(i);
  CHECK(b.effects.starts.empty());
  for (int i = 0; i != 3; ++i) run_next(b, w);
  CHECK(b.effects.starts.empty());
  for (std::uint64_t i = 4; i != 7; ++i) b.submit(i);
  REQUIRE(b.worker(w).begin());
  CHECK(b.d.next_deadline() <= b.now + 1ms);
  b.advance(1ms);
  CHECK(b.effects.starts.size() == 2); // two tasks wait behind the long one
  b.start_requested();
  b.advance(1ms);
  b.advance(20ms);
  std::size_t busy = 0;
  b.d.workers().each_worker([&](const auto& record) { busy += record.unfinished() == 1; });
  CHECK(busy == 3);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("a worker that left because it was idle is not replaced until it is needed") {
  pool_bench b({.max_workers = 2, .min_workers = 1, .leave_when_idle = true});
  const auto stays = b.live_worker(0);
  const auto leaves = b.live_worker(1);
  b.worker(leaves).mailbox().worker.phase.store(static_cast<std::uint32_t>(shm::worker_phase::left));
  b.submit(1);
  CHECK(b.record(leaves).load() == 0); // it is given nothing any more
  CHECK(run_next(b, stays) == 1);
  b.exited(leaves, 0);
  b.advance(10s);
  CHECK(b.effects.starts.empty());
  CHECK(b.d.stats(b.now).counters.exits_by(exit_cause::idle) == 1);
}

TEST_CASE("a task published to a worker in the moment it leaves moves") {
  pool_bench b({.max_workers = 2, .min_workers = 1, .leave_when_idle = true});
  const auto stays = b.live_worker(0);
  b.submit(1);
  REQUIRE(b.worker(stays).begin());
  const auto leaves = b.live_worker(1);
  b.submit(2);
  REQUIRE(b.record(leaves).unfinished() == 1);
  b.worker(leaves).mailbox().worker.phase.store(static_cast<std::uint32_t>(shm::worker_phase::left));
  b.exited(leaves, 0);
  b.worker(stays).finish();
  b.turn();
  CHECK(run_next(b, stays) == 2);
  CHECK(b.completed_as(verdict::value) == names{1, 2});
}

TEST_CASE("a worker that is not initialized in time is killed, and counts as a failed start") {
  pool_bench b({.max_workers = 1, .max_start_failures = 2, .start_timeout = 5s});
  b.submit(1);
  for (int i = 0; i != 3; ++i) {
    const auto w = b.add_worker(0);
    b.d.workers().started(w, 77, {}, b.now);
    b.turn();
    b.advance(5s);
    CHECK(b.effects.signals.back() == recorded_effects::signalled{w, SIGKILL});
    b.exited(w);
    b.advance(1s);
    b.effects.starts.clear();
  }
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].error == make_error_code(errc::worker_start_failed));
}

TEST_CASE("a START that is never answered ends the fork server") {
  pool_bench b({.max_workers = 1, .start_timeout = 5s});
  b.submit(1);
  b.add_worker(0);
  b.advance(5s);
  CHECK(b.effects.server_hung);
  b.d.workers().server_lost(b.now);
  CHECK(b.completed().at(0).error == make_error_code(errc::worker_start_failed));
}

TEST_CASE("a pool that gave up tries again after a while, and recovers") {
  pool_bench b({.max_workers = 1, .max_start_failures = 1, .recovery_wait = 1s});
  b.submit(1);
  for (int i = 0; i != 2; ++i) {
    b.d.workers().start_failed(0, os::system_code(EMFILE), b.now);
    b.advance(1s);
    b.effects.starts.clear();
  }
  CHECK(b.completed().size() == 1);
  CHECK(b.d.books().failed());
  SECTION("in vain") {
    b.submit(2);
    CHECK(b.effects.starts.size() == 1);
    CHECK(b.completed().empty()); // it is the probe
    b.effects.starts.clear();
    b.d.workers().start_failed(0, os::system_code(EMFILE), b.now);
    b.turn();
    CHECK(b.completed().at(0).error == make_error_code(errc::worker_start_failed));
    b.submit(3); // at once: no second probe
    CHECK(b.effects.starts.empty());
    CHECK(b.completed().size() == 1);
  }
  SECTION("with success") {
    b.submit(2);
    b.start_requested();
    b.turn();
    CHECK(run_next(b, b.incarnations) == 2);
    CHECK_FALSE(b.d.books().failed());
  }
}

TEST_CASE("workers that die of their first task are replaced at once, however many do") {
  pool_bench b({.max_workers = 1});
  auto w = b.live_worker(0);
  for (std::uint64_t i = 1; i != 100; ++i) {
    b.submit(i);
    REQUIRE(b.worker(w).begin());
    b.exited(w, SIGSEGV);
    REQUIRE(b.completed_as(verdict::lost) == names{i});
    REQUIRE(b.effects.starts.size() == 1);
    b.start_requested();
    w = b.incarnations;
  }
}

TEST_CASE("workers that die before they begin a task are replaced at once a few times, then with a growing delay") {
  pool_bench b({.max_workers = 1});
  const bool waiting = GENERATE(false, true); // a task that none of them begins
  auto w = b.live_worker(0);
  if (waiting) b.submit(1);
  duration waited{};
  for (std::uint64_t i = 1; i != 9; ++i) {
    b.exited(w, SIGSEGV);
    CHECK(b.completed().empty());
    duration delay{};
    while (b.effects.starts.empty()) {
      b.advance(1ms);
      delay += 1ms;
      REQUIRE(delay < 10s);
    }
    if (i <= 4) CHECK(delay == 0ms);
    if (i > 4) CHECK(delay > waited);
    waited = delay;
    b.start_requested();
    w = b.incarnations;
  }
}

// ---- the end ----

TEST_CASE("shut_down lets everything finish, then ends the workers in order") {
  pool_bench b({.max_workers = 1, .max_queue = 2});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 1; i != 4; ++i) b.submit(i);
  b.d.shut_down(os::time_point::max(), b.now);
  b.submit(9);
  CHECK(b.completed().at(0).error == make_error_code(errc::pool_closed));
  for (std::uint64_t i = 1; i != 4; ++i) CHECK(run_next(b, w) == i);
  CHECK(b.completed_as(verdict::value) == names{1, 2, 3});
  CHECK(b.effects.dismissed == names{w});
  CHECK(b.effects.signals.empty());
  CHECK(b.d.outstanding() == 1);
  b.exited(w, 0);
  b.turn();
  CHECK(b.d.over());
  CHECK(b.d.outstanding() == 0);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("at the deadline: queued tasks are aborted, running ones asked, then sent SIGTERM, then SIGKILL") {
  pool_bench b({.max_workers = 1, .max_queue = 2, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 1; i != 5; ++i) b.submit(i);
  REQUIRE(b.worker(w).begin());
  b.d.shut_down(b.now + 5s, b.now);
  CHECK(b.d.next_deadline() == b.now + 5s);
  b.advance(5s);
  CHECK(b.completed_as(verdict::aborted).size() == 3);
  CHECK(b.worker(w).mailbox().parent.stop.load() == 1);
  CHECK(b.effects.signals.empty());
  SECTION("it stops when asked: its result counts") {
    b.worker(w).finish();
    b.turn();
    CHECK(b.completed_as(verdict::value) == names{1});
    CHECK(b.effects.dismissed == names{w});
  }
  SECTION("it does not") {
    b.advance(1s);
    CHECK(b.effects.signals == signals{{w, SIGTERM}});
    b.advance(1s);
    CHECK(b.effects.signals == signals{{w, SIGTERM}, {w, SIGKILL}});
  }
  b.exited(w);
  b.turn();
  CHECK(b.d.over());
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("terminate ends everything at once, whatever state it finds") {
  const int signal = GENERATE(SIGTERM, SIGKILL);
  pool_bench b({.max_workers = 4, .kill_grace = 1s});
  const auto busy = b.live_worker(0);
  b.submit(1);
  REQUIRE(b.worker(busy).begin());
  const auto idle = b.live_worker(1);
  const auto unborn = b.add_worker(2);
  b.d.terminate(signal, b.now);
  b.d.terminate(signal, b.now);
  b.turn();
  const bool kill = signal == SIGKILL;
  CHECK(b.effects.signals.front() == recorded_effects::signalled{busy, signal});
  CHECK((kill ? b.effects.signals.back().incarnation == idle : b.effects.dismissed == names{idle}));
  b.exited(busy, signal);
  b.exited(idle, 0);
  b.d.workers().started(unborn, 1, {}, b.now);
  CHECK(b.effects.dismissed.back() == unborn);
  b.exited(unborn, 0);
  b.turn();
  CHECK(b.completed_as(verdict::aborted) == names{1});
  CHECK(b.d.over());
  CHECK(b.effects.starts.empty());
}

TEST_CASE("an unkillable worker does not hold up the end") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  b.submit(1);
  REQUIRE(b.worker(w).begin());
  b.d.shut_down(b.now, b.now);
  for (int i = 0; i != 4; ++i) b.advance(1s);
  CHECK(b.completed_as(verdict::aborted) == names{1});
  CHECK(b.d.over());
}

// ---- what is counted ----

TEST_CASE("every ending is counted under one name") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  b.submit(1);
  run_next(b, w);
  b.submit(2);
  REQUIRE(b.worker(w).begin());
  b.worker(w).finish(shm::result_kind::exception_inline);
  b.turn();
  b.submit(3);
  b.cancel(b.submit(4));
  auto s = b.d.stats(b.now);
  CHECK(s.active == 1);
  REQUIRE(b.worker(w).begin());
  b.now += 1s;
  s = b.d.stats(b.now);
  REQUIRE(s.workers.size() == 1);
  CHECK(s.workers[0].state == worker_state::busy);
  CHECK(s.workers[0].tasks_done == 2);
  b.exited(w, SIGSEGV);
  s = b.d.stats(b.now);
  CHECK(s.counters.submitted == 4);
  CHECK(s.counters.returned == 1);
  CHECK(s.counters.threw == 1);
  CHECK(s.counters.aborted == 1);
  CHECK(s.counters.lost == 1);
  CHECK(s.counters.exits_by(exit_cause::self) == 1);
  CHECK(s.wait_time.count() == 2);
  CHECK(s.run_time.count() == 2);
  CHECK(b.completed().size() == 4);
}

TEST_CASE("a worker that never runs out of tasks is replaced all the same") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  b.d.workers().recycle_all(b.now);
  b.turn();
  REQUIRE(b.start_requested() == 1);
  b.submit(1);
  for (std::uint64_t i = 2; i != 100; ++i) {
    b.submit(i);
    if (!b.effects.dismissed.empty()) break;
    b.worker(w).run_one();
    b.turn();
    b.completed();
  }
  CHECK(b.effects.dismissed == std::vector<std::uint64_t>{w});
}
