// SPDX-License-Identifier: BSL-1.0
// Which worker gets which task, how many at a time, and what is taken back from a
// worker that does not go on; and what a turn submits between two calls of pump(). Played by hand, as
// dispatcher.test.cpp.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using front::verdict;
using names = std::vector<std::uint64_t>;
using signals = std::vector<recorded_effects::signalled>;

TEST_CASE("tasks behind a long one move to a worker that has nothing to do") {
  pool_bench b({.max_workers = 2});
  const auto busy = b.live_worker(0);
  for (std::uint64_t i = 1; i != 4; ++i) b.submit(i);
  REQUIRE(b.worker(busy).begin());
  const auto idle = b.live_worker(1);
  b.turn();
  CHECK(b.record(idle).load() == 0); // not yet: a wake-up costs more than a short task
  CHECK(b.d.next_deadline() < b.now + 1ms);
  b.advance(1ms);
  CHECK(b.record(idle).unfinished() == 1);
  b.worker(idle).run_one();
  b.turn();
  CHECK(b.record(idle).unfinished() == 1);
  CHECK(b.run_all(idle) == names{3});
  b.worker(busy).finish();
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{2, 3, 1});
}

TEST_CASE("nothing moves while every worker is busy, and no timer runs for it") {
  pool_bench b({.max_workers = 2});
  const auto first = b.live_worker(0), second = b.live_worker(1);
  for (std::uint64_t i = 0; i != 6; ++i) b.submit(i);
  b.worker(first).begin();
  b.worker(second).begin();
  b.advance(1s);
  CHECK(b.d.next_deadline() == os::time_point::max());
  CHECK(b.record(first).unfinished() == 3);
  CHECK(b.record(second).unfinished() == 3);
}

TEST_CASE("a ring is filled to about one wake-up's worth of work") {
  pool_bench b;
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 100; ++i) b.submit(i);
  CHECK(b.record(w).load() < 10); // as long as nothing is known
  b.run_all(w);                   // in no time, says the clock
  b.completed();
  b.teach(w);
  for (std::uint64_t i = 0; i != 100; ++i) b.submit(i);
  CHECK(b.record(w).load() == shm::ring_slots);
  b.worker(w).reported_run_ns = 10'000'000;
  for (int i = 0; i != 300; ++i) {
    b.worker(w).begin();
    b.now += 10ms;
    b.worker(w).finish();
    b.turn();
  }
  b.turn();
  for (std::uint64_t i = 0; i != 100; ++i) b.submit(i);
  CHECK(b.record(w).load() == 1);
}

TEST_CASE("nobody is woken while a worker that is awake will be through before") {
  pool_bench b({.max_workers = 2, .max_queue = 1000});
  const auto awake = b.live_worker(0);
  b.teach(awake);
  const auto asleep = b.sleeping_worker(1);
  for (std::uint64_t i = 0; i != 100; ++i) b.submit(i);
  CHECK(b.record(awake).load() == shm::ring_slots);
  CHECK(b.record(asleep).load() == 0);

  SECTION("the rest follows as it goes on") {
    CHECK(b.run_all(awake).size() == 100);
    CHECK(b.record(asleep).tasks_issued() == 0);
  }
  SECTION("a head that runs for longer than thought wakes somebody, and others get what is behind it") {
    REQUIRE(b.worker(awake).begin());
    b.advance(100us);
    CHECK(b.record(asleep).load() == 100 - shm::ring_slots);
    CHECK(b.run_all(asleep).size() == 36);
    CHECK(b.d.next_deadline() <= b.now + 1ms);
    b.advance(1ms);
    CHECK(b.run_all(asleep).size() != 0);
  }
  SECTION("so does a worker that does not begin its head") {
    b.advance(100us); // it may only just be waking up
    CHECK(b.record(asleep).load() == 0);
    CHECK(b.d.next_deadline() <= b.now + 1ms);
    b.advance(1ms);
    CHECK(b.record(asleep).load() != 0);
  }
  SECTION("one that has finished its head goes on, however late the front end looks") {
    b.worker(awake).run_one();
    b.now += 10ms;
    b.submit(100);
    CHECK(b.record(asleep).load() == 0);
  }
}

TEST_CASE("a long queue of tasks that take longer than the front end's part wakes another worker") {
  pool_bench b({.max_workers = 2, .max_queue = 1000});
  const auto awake = b.live_worker(0);
  b.advance(1s);
  b.teach(awake, 300);
  const auto asleep = b.sleeping_worker(1);
  for (std::uint64_t i = 0; i != 70; ++i) b.submit(i);
  CHECK(b.record(asleep).load() == 0); // 70 * 300 ns
  for (std::uint64_t i = 70; i != 120; ++i) b.submit(i);
  CHECK(b.record(asleep).load() != 0);
}

TEST_CASE("short tasks wake no more workers than there are CPUs, as long as those that are awake go on") {
  pool_bench b({.max_workers = 3, .max_queue = 1000, .usable_cpus = 2});
  const auto first = b.live_worker(0);
  b.advance(1s);
  b.teach(first, 10'000);
  const auto second = b.live_worker(1), third = b.sleeping_worker(2);
  for (std::uint64_t i = 0; i != 150; ++i) b.submit(i);
  CHECK(b.record(first).load() == 49);
  CHECK(b.record(second).load() == 49);
  CHECK(b.record(third).load() == 0);
  REQUIRE(b.worker(second).begin());
  b.advance(100us);
  CHECK(b.record(third).load() != 0);
}

TEST_CASE("tasks that must run in one worker do not keep others waiting for it") {
  pool_bench b({.max_workers = 2, .max_queue = 1000});
  const auto home = b.live_worker(0);
  b.teach(home);
  const auto other = b.sleeping_worker(1);
  for (std::uint64_t i = 0; i != shm::ring_slots; ++i) {
    auto& t = b.task(i);
    t.special = true;
    make_details(t).terms.key = 0;
    b.submit(t);
  }
  REQUIRE(b.record(home).homebound() == shm::ring_slots);
  b.submit(100);
  CHECK(b.record(other).load() == 1);
}

TEST_CASE("all memory that a task's arguments refer to is announced to its worker before the task is published") {
  pool_bench b;
  auto segments = std::make_shared<shm::segment_pool>();
  const auto w = b.live_worker(0);
  auto& t = b.task(1, 30);
  for (int i = 0; i != 3; ++i)
    make_details(t).arrays.push_back(
        std::make_shared<const front::array_block>(segments->allocate(1000), std::size_t{1000}));
  t.call.location = front::task_record::inline_and_lent;
  REQUIRE(t.arguments_inline());
  SECTION("at once") {
    b.submit(t);
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w, w, w});
  }
  SECTION("and that of the arguments themselves") {
    make_details(t).block = segments->allocate(1000);
    t.call.location = shm::packed_location{make_details(t).block.owner().id(), make_details(t).block.offset()}.pack();
    b.submit(t);
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w, w, w, w});
  }
  SECTION("when the socket, which was full in between, has room again") {
    b.submit(2);
    b.effects.segments_before_error = 1;
    b.effects.segment_error = EAGAIN;
    b.submit(t);
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w, w});
    CHECK(b.record(w).load() == 1);
    b.effects.segments_sent.clear();
    b.effects.segment_error = 0;
    b.worker(w).run_one();
    b.turn();
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w, w, w});
  }
  SECTION("to the next worker, if this one dies") {
    b.submit(t);
    b.effects.segments_sent.clear();
    b.exited(w);
    REQUIRE(b.start_requested() == 1);
    b.turn();
    const auto next = b.incarnations;
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{next, next, next});
    CHECK(b.run_all(next) == names{1});
    return;
  }
  CHECK(b.run_all(w).back() == 1);
}

TEST_CASE("large arguments are announced to their worker before the task is published") {
  pool_bench b;
  auto segments = std::make_shared<shm::segment_pool>();
  const auto large = [&](std::uint64_t name) -> front::task_record& {
    auto& t = b.task(name, 1000);
    make_details(t).block = segments->allocate(1000);
    t.call.location = shm::packed_location{make_details(t).block.owner().id(), make_details(t).block.offset()}.pack();
    return t;
  };
  const auto w = b.live_worker(0);
  SECTION("sent") {
    b.submit(large(1));
    CHECK(b.effects.segments_sent == std::vector<std::uint64_t>{w});
    CHECK(b.run_all(w) == names{1});
  }
  SECTION("a full socket is retried when the worker has moved") {
    b.submit(1);
    b.effects.segment_error = EAGAIN;
    b.submit(large(2));
    b.submit(3);
    CHECK(b.record(w).load() == 1);
    b.effects.segment_error = 0;
    b.worker(w).run_one();
    b.turn();
    CHECK(b.run_all(w) == names{2, 3});
  }
  SECTION("a worker that is dead already, as its socket says, costs no task") {
    b.submit(1);
    b.worker(w).begin();
    b.effects.segment_error = EPIPE;
    b.submit(large(2));
    b.submit(3);
    CHECK(b.record(w).load() == 1);
    b.effects.segment_error = 0;
    b.exited(w);
    REQUIRE(b.start_requested() == 1);
    b.turn();
    CHECK(b.run_all(b.incarnations) == names{2, 3});
    CHECK(b.completed().size() == 3);
  }
  SECTION("a worker that has closed its socket is replaced once it has nothing to do") {
    b.submit(1);
    b.worker(w).begin();
    b.effects.segment_error = EPIPE;
    b.submit(large(2));
    CHECK(b.effects.signals.empty());
    b.worker(w).finish();
    b.turn();
    CHECK(b.effects.signals == signals{{w, SIGKILL}});
    b.effects.segment_error = 0;
    b.exited(w);
    b.start_requested();
    b.turn();
    CHECK(b.run_all(b.incarnations) == names{2});
  }
  SECTION("any other failure fails that task alone") {
    b.effects.segment_error = EMFILE;
    b.submit(large(1));
    b.submit(2);
    CHECK(b.completed().at(0).error == os::system_code(EMFILE));
    CHECK(b.run_all(w) == names{2});
  }
  CHECK(b.d.books().accepted_bytes() == 0);
}

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
  names ran;
  while (b.d.outstanding() != 0) {
    while (b.worker(w).run_one()) {
    }
    b.turn();
    for (const auto& e : b.completed()) ran.push_back(e.name);
  }
  REQUIRE(ran.size() == 200);
  for (std::uint64_t i = 0; i != 200; ++i) CHECK(ran[i] == i);
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
    make_details(t).terms.key = 1; // nobody sits there yet
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
    make_details(t).terms.key = 0;
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
