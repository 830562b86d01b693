// SPDX-License-Identifier: BSL-1.0
// Who is woken for tasks, and who is not, must not keep any task waiting for long: behind others that take longer than thought,
// behind a stream that never ends, or in the ring of a worker that is to be replaced. Played by hand, as dispatcher.test.cpp.
#include <coproc/front/bell_moderation.hpp>
#include <coproc/front/dispatcher.hpp>

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
  for (std::size_t i = 1; i != all.size(); ++i) CHECK(b.record(all[i]).tasks_done() >= shm::ring_slots);
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

TEST_CASE("a worker that has not read its socket yet gets its task soon, and is ended only if it never does") {
  auto segments = std::make_shared<shm::segment_pool>();
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& t = b.task(1, 500);
  make_details(t).block = segments->allocate(1000);
  t.call.location = shm::packed_location{make_details(t).block.owner().id(), make_details(t).block.offset()}.pack();
  b.effects.segment_error = EAGAIN;
  b.submit(t);
  CHECK(b.record(w).load() == 0);
  SECTION("it does") {
    b.effects.segment_error = 0;
    CHECK(b.d.next_deadline() <= b.now + 1ms);
    b.advance(1ms);
    CHECK(b.worker(w).run_one() == 1u);
    b.turn();
    CHECK(b.completed_as(front::verdict::value) == std::vector<std::uint64_t>{1});
    b.advance(10s);
    CHECK(b.effects.signals.empty());
  }
  SECTION("it never does") {
    for (int i = 0; i != 1'000; ++i) {
      CHECK(b.effects.signals.empty());
      CHECK(b.d.next_deadline() <= b.now + 1ms);
      b.advance(1ms);
    }
    CHECK(b.effects.signals == std::vector<recorded_effects::signalled>{{w, SIGKILL}});
  }
}

// ---- what a turn submits between two calls of pump()

namespace {

// A task of the usual kind, as out of a handler; false where it takes submit() and pump().
bool submit_quickly(pool_bench& b, std::uint64_t name, std::uint64_t bytes = 0) {
  front::task_record& t = b.task(name, bytes);
  t.special = false;
  if (b.d.submit_quickly(t, b.now)) return true;
  b.records.recycle(t);
  return false;
}

} // namespace

TEST_CASE("quick submissions fill the ring of a worker that is awake, then the queue, and keep their order") {
  pool_bench b({.max_workers = 1, .max_queue = 200});
  const auto w = b.live_worker(0);
  b.advance(1s);
  b.teach(w, 100);
  for (std::uint64_t i = 0; i != 200; ++i) REQUIRE(submit_quickly(b, i));
  CHECK(!submit_quickly(b, 200)); // no room: it must wait
  CHECK(b.record(w).load() == shm::ring_slots);
  CHECK(b.d.books().accepted() == 200);
  std::vector<std::uint64_t> names;
  while (b.d.outstanding() != 0) {
    while (b.worker(w).run_one()) {
    }
    b.turn();
    for (const auto& e : b.completed()) names.push_back(e.name);
  }
  REQUIRE(names.size() == 200);
  for (std::uint64_t i = 0; i != 200; ++i) CHECK(names[i] == i);
}

TEST_CASE("quick submissions go to the shorter ring, and give no worker more than its depth") {
  pool_bench b({.max_workers = 2, .max_queue = 1'000, .usable_cpus = 8});
  const auto x = b.live_worker(0), y = b.live_worker(1);
  b.advance(1s);
  b.teach(x, 2'000);
  b.worker(y).reported_run_ns = 2'000;
  for (std::uint64_t i = 0; i != 30; ++i) b.submit(i); // more than one of them would be through with soon
  REQUIRE(b.record(y).load() != 0);
  while (b.worker(x).run_one() || b.worker(y).run_one()) {
  }
  b.turn();
  b.completed();
  for (std::uint64_t i = 0; i != 10; ++i) REQUIRE(submit_quickly(b, i));
  CHECK(b.record(x).load() == 5);
  CHECK(b.record(y).load() == 5);
  for (std::uint64_t i = 10; i != 100; ++i) REQUIRE(submit_quickly(b, i));
  CHECK(b.record(x).load() == b.record(y).load());
  CHECK(b.record(x).load() < 40); // 60 us of 2 us
  CHECK(b.d.books().accepted() == 100);
}

TEST_CASE("what takes more than a slot and a look is not submitted quickly") {
  pool_bench b({.max_workers = 2, .max_queue = 10, .max_queue_bytes = 1'000});
  const auto w = b.live_worker(0);
  CHECK(!submit_quickly(b, 0, 1'001));
  front::task_record& special = b.task(1);
  CHECK(!b.d.submit_quickly(special, b.now));
  b.records.recycle(special);
  SECTION("a sleeping worker must be woken") {
    b.worker(w).mailbox().worker.sleeping.store(shm::sleep_tag(0));
    CHECK(!submit_quickly(b, 2));
  }
  SECTION("a closed pool refuses") {
    b.d.close();
    CHECK(!submit_quickly(b, 2));
  }
  SECTION("a shutdown may be waiting for the last task") {
    b.d.shut_down(b.now + 1s, b.now);
    CHECK(!submit_quickly(b, 2));
  }
  SECTION("tasks with a worker of their own may have come first") {
    front::task_record& t = b.task(2);
    make_details(t).terms.home = 1; // nobody sits there yet
    b.submit(t);
    CHECK(!submit_quickly(b, 3));
  }
  SECTION("no worker at all") {
    b.pidfd_fires(w);
    CHECK(submit_quickly(b, 2)); // into the queue
    CHECK(b.d.books().accepted() == 1);
  }
}

TEST_CASE("a pool that grows on demand sees to it with every submission") {
  pool_bench b({.max_workers = 2, .min_workers = 1});
  b.live_worker(0);
  CHECK(!submit_quickly(b, 1));
}

TEST_CASE("argument memory is announced before a quick submission, too") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  auto segments = std::make_shared<shm::segment_pool>();
  const auto with_block = [&](std::uint64_t name) -> front::task_record& {
    front::task_record& t = b.task(name, 1'000);
    t.special = false;
    make_details(t).block = segments->allocate(1'000);
    t.call.location = shm::packed_location{make_details(t).block.owner().id(), make_details(t).block.offset()}.pack();
    return t;
  };
  b.submit(0);
  REQUIRE(b.worker(w).run_one());
  b.turn();
  b.completed();
  b.effects.segment_error = EAGAIN;
  front::task_record& t = with_block(1);
  CHECK(!b.d.submit_quickly(t, b.now));
  CHECK(b.record(w).load() == 0);
  b.effects.segment_error = 0;
  b.effects.segments_sent.clear();
  CHECK(b.d.submit_quickly(t, b.now));
  CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w});
  CHECK(b.record(w).load() == 1);
}

TEST_CASE("rings last for what lies behind the tasks that run") {
  const auto backlog_of = [](std::uint64_t run_ns, std::uint64_t tasks) {
    pool_bench b({.max_workers = 2, .usable_cpus = 8});
    const auto x = b.live_worker(0);
    b.live_worker(1);
    b.advance(1s);
    b.teach(x, run_ns);
    for (std::uint64_t i = 0; i != tasks; ++i) b.submit(i);
    return b.d.waking().workload(0).long_backlog;
  };
  CHECK(backlog_of(100'000, 4) > 90us);
  CHECK(backlog_of(100'000, 4) < 110us);
  CHECK(backlog_of(100'000, 3) == 0us); // one ring runs dry with the next result
  CHECK(backlog_of(100'000, 0) == 0us);
}

TEST_CASE("a worker on the front end's own CPU is neither spun for nor paused for by the clock") {
  constexpr int here = 5;
  const auto bench = [](unsigned cpus, unsigned workers, unsigned workers_here, std::uint64_t run_ns, auto look) {
    pool_bench b({.max_workers = workers, .usable_cpus = cpus});
    for (unsigned i = 0; i != workers; ++i) {
      const auto w = b.live_worker(i);
      b.record(w).mailbox().worker.cpu = i < workers_here ? 1 + here : 1 + here + 1;
      if (i != 0) continue;
      b.advance(1s);
      b.teach(w, run_ns);
    }
    for (std::uint64_t i = 0; i != 100; ++i) b.submit(i);
    return look(b);
  };
  const auto pauses = [](pool_bench& b) { return front::bell_moderation().pause(b.d.waking().workload(here)) > 0us; };
  const auto is_due = [](pool_bench& b) { return b.d.waking().first_due(b.now, here) != os::time_point::max(); };
  const auto spins = [](pool_bench& b) { return b.d.waking().worth_spinning(here, false); };
  CHECK(bench(8, 1, 0, 100'000, pauses));
  CHECK_FALSE(bench(8, 1, 1, 100'000, pauses));
  CHECK(bench(8, 2, 0, 100'000, pauses));
  CHECK(bench(8, 2, 1, 100'000, pauses)); // the other one would have to wake the front end, for each result
  CHECK_FALSE(bench(8, 2, 2, 100'000, pauses));
  CHECK(bench(2, 2, 1, 30'000, pauses)); // they fill all CPUs: the front end must be on one of them
  CHECK_FALSE(bench(2, 2, 2, 30'000, pauses));
  CHECK_FALSE(bench(1, 2, 2, 30'000, pauses));
  CHECK(bench(8, 1, 0, 9'000, pauses));
  CHECK_FALSE(bench(8, 1, 1, 9'000, pauses));
  CHECK_FALSE(bench(1, 2, 2, 5'000, pauses));
  CHECK(bench(1, 2, 2, 3'000, pauses));
  CHECK(bench(8, 1, 0, 100'000, is_due));
  CHECK_FALSE(bench(8, 1, 1, 100'000, is_due));
  CHECK(bench(8, 2, 0, 100'000, is_due));
  CHECK_FALSE(bench(8, 2, 1, 100'000, is_due)); // to spin for the other one would stop this one
  CHECK_FALSE(bench(8, 2, 2, 100'000, is_due));
  CHECK(bench(8, 1, 0, 1'000, spins));
  CHECK_FALSE(bench(8, 1, 1, 1'000, spins));
  CHECK(bench(8, 2, 1, 1'000, spins));
}

TEST_CASE("where busy workers fill all CPUs, results come one CPU's share of a task apart") {
  pool_bench b({.max_workers = 2, .usable_cpus = 2});
  const auto w = b.live_worker(0);
  b.live_worker(1);
  b.advance(1s);
  b.teach(w, 100'000);
  b.submit(0);
  CHECK(b.d.waking().workload(0).crowded_result_period == 0us);
  b.submit(1);
  CHECK(b.d.waking().workload(0).crowded_result_period > 45us);
  CHECK(b.d.waking().workload(0).crowded_result_period < 55us);
}

TEST_CASE("full rings of workers that fill all CPUs let the front end sleep through three results") {
  const auto pause_with = [](unsigned cpus, std::uint64_t run_ns, std::uint64_t tasks) {
    pool_bench b({.max_workers = 4, .usable_cpus = cpus});
    const auto w = b.live_worker(0);
    for (unsigned i = 1; i != 4; ++i) b.live_worker(i);
    b.advance(1s);
    b.teach(w, run_ns);
    for (std::uint64_t i = 0; i != tasks; ++i) b.submit(i);
    return front::bell_moderation().pause(b.d.waking().workload(0));
  };
  for (const unsigned run_ns : {30'000u, 100'000u, 119'000u}) {
    INFO(run_ns << " ns");
    CHECK(pause_with(2, run_ns, 100) > 0us);
  }
  CHECK(pause_with(2, 200'000, 100) == 0us);
  CHECK(pause_with(4, 200'000, 100) > 0us);
  CHECK(pause_with(2, 100'000, 7) == 0us); // one of four rings runs dry with the next result
}

TEST_CASE("in a sleep that the clock ends, whoever gets work and had none rings, and nobody else") {
  pool_bench b({.max_workers = 2, .usable_cpus = 2});
  const auto x = b.live_worker(0), y = b.live_worker(1);
  b.advance(1s);
  b.teach(x, 100'000);
  b.submit(0);
  const auto armed = [&](std::uint64_t w) { return b.record(w).mailbox().doorbell.armed.load(); };
  const auto busy = b.record(x).load() != 0 ? x : y, idle = busy == x ? y : x;
  b.d.waking().disarm();
  const auto before = armed(busy);
  b.d.waking().arm_idle(1'000);
  b.submit(1);
  REQUIRE(b.record(idle).load() == 1);
  CHECK(armed(idle) == 1'000);
  b.submit(2);
  b.submit(3);
  REQUIRE(b.record(busy).load() == 2);
  CHECK(armed(busy) == before);
  b.d.waking().disarm();
  b.d.waking().arm(1'001);
  CHECK(armed(busy) == 1'001);
}

TEST_CASE("the first result is due when the oldest task that runs will have taken as long as the others did") {
  pool_bench b({.max_workers = 3, .usable_cpus = 3});
  const auto x = b.live_worker(0), y = b.live_worker(1), z = b.live_worker(2);
  b.advance(1s);
  b.teach(x, 100'000);
  const auto due = [&] { return b.d.waking().first_due(b.now, 0); };
  CHECK(due() == os::time_point::max()); // nobody works
  b.submit(0);
  const auto first = b.now;
  const auto expected = due() - first;
  CHECK(expected > 99us);
  CHECK(expected < 101us);
  b.now += 30us;
  b.submit(1);
  const auto second = b.now;
  CHECK(due() == first + expected);
  SECTION("overdue ones say nothing any more") {
    b.now = first + expected;
    CHECK(due() == second + expected);
    b.now = second + expected;
    CHECK(due() == os::time_point::max());
  }
  SECTION("nor does anybody while the workers alone can keep all CPUs busy") {
    b.submit(2);
    CHECK(due() == os::time_point::max());
  }
  SECTION("one that had to be woken comes later") {
    b.worker(x).run_one();
    b.worker(y).run_one();
    b.turn();
    CHECK(due() == os::time_point::max());
    for (const auto w : {x, y, z}) b.worker(w).mailbox().worker.sleeping.store(shm::sleep_tag(0));
    b.submit(3);
    CHECK(due() == b.now + expected + 25us);
  }
  SECTION("and short tasks are spun for anyway") {
    b.worker(x).run_one();
    b.worker(y).run_one();
    b.turn();
    b.teach(x, 10'000);
    b.submit(3);
    CHECK(due() == os::time_point::max());
  }
}

TEST_CASE("a front end that the clock has woken takes back what it asked for, and asks again before the next sleep") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  b.submit(0);
  const auto& armed = b.record(w).mailbox().doorbell.armed;
  b.d.waking().arm(7);
  REQUIRE(armed.load() == 7);
  b.d.waking().disarm();
  b.d.waking().silence();
  CHECK(armed.load() == 0);
  b.d.waking().arm(8);
  CHECK(armed.load() == 8);
}

TEST_CASE("tasks with a worker of their own that a pump publishes count for the quick submissions after it") {
  pool_bench b({.max_workers = 1, .max_queue = 1'000});
  const auto w = b.live_worker(0);
  b.advance(1s);
  b.teach(w, 100);
  for (std::uint64_t i = 0; i != shm::ring_slots; ++i) b.submit(i);
  REQUIRE(b.record(w).ring_full());
  for (std::uint64_t i = 100; i != 103; ++i) b.submit(i);
  for (std::uint64_t i = 200; i != 250; ++i) {
    front::task_record& t = b.task(i);
    make_details(t).terms.home = 0;
    b.submit(t);
  }
  while (b.worker(w).run_one()) {
  }
  b.turn(); // 53 of them go into the ring
  b.completed();
  for (std::uint64_t i = 300; i != 400; ++i) submit_quickly(b, i);
  CHECK(b.record(w).load() <= shm::ring_slots);
  std::size_t ended = 0;
  for (int i = 0; i != 100 && b.d.outstanding() != 0; ++i) {
    while (b.worker(w).run_one()) {
    }
    b.turn();
    for (const auto& e : b.completed()) ended += e.outcome == front::verdict::value;
  }
  CHECK(b.d.outstanding() == 0);
  CHECK(b.effects.signals.empty()); // no violation
  CHECK(ended >= 53);
}

TEST_CASE("quick submissions give no worker more tasks than it may run") {
  pool_bench b({.max_workers = 1, .max_queue = 1'000, .max_tasks_per_child = 330});
  const auto w = b.live_worker(0);
  b.advance(1s);
  b.teach(w, 100); // 320 of them
  for (std::uint64_t i = 0; i != 30; ++i) submit_quickly(b, i);
  b.d.pump(b.now);
  CHECK(b.record(w).tasks_issued() <= 330);
}
