// SPDX-License-Identifier: BSL-1.0
// Which workers are woken, who rings when the front end sleeps, and what is known of
// the time until then. Played by hand, as dispatcher.test.cpp.
#include <coproc/front/bell_moderation.hpp>
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using names = std::vector<std::uint64_t>;

TEST_CASE("only workers that sleep are woken, once per sleep") {
  pool_bench b({.max_workers = 2});
  const auto awake = b.live_worker(0), asleep = b.sleeping_worker(1);
  const auto woken = [&](bool only_sleepers = false) {
    std::vector<std::uint64_t> list;
    b.d.waking().flush(only_sleepers, [&](front::worker& w) { list.push_back(w.incarnation); });
    return list;
  };
  CHECK(woken().empty());
  b.submit(1);
  CHECK(woken().empty()); // went to the one that is awake
  CHECK(b.worker(awake).mailbox().at(0).state.load() == shm::pack(0, shm::slot_state::ready));
  b.submit(2);
  CHECK(woken(true) == std::vector<std::uint64_t>{asleep});
  CHECK(b.worker(asleep).mailbox().parent.epoch.load() == 1);
  b.submit(3);
  b.submit(4);
  CHECK(woken().empty());
  CHECK(b.worker(asleep).mailbox().parent.epoch.load() == 1);
}

TEST_CASE("what is published while the front end sleeps is armed before it is READY") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.d.waking().arm(7);
  CHECK(b.worker(w).mailbox().doorbell.armed.load() == 0); // nothing issued there
  b.submit(1);
  CHECK(b.worker(w).mailbox().doorbell.armed.load() == 7);
  CHECK_FALSE(b.d.waking().any_head_done());
  b.worker(w).run_one();
  CHECK(b.d.waking().any_head_done());
  b.d.waking().disarm();
  b.turn();
  b.submit(2);
  CHECK(b.worker(w).mailbox().doorbell.armed.load() == 7);
  b.d.waking().arm(8);
  CHECK(b.worker(w).mailbox().doorbell.armed.load() == 8);
}

TEST_CASE("a worker that waits for room in its result file is woken when a result is given back") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.submit(2);
  b.worker(w).begin();
  b.worker(w).finish(shm::result_kind::value_in_file, 8, 0);
  b.worker(w).begin();
  b.turn();
  b.d.waking().flush(false, [](front::worker&) {});
  b.worker(w).mailbox().worker.sleeping.store(shm::sleep_tag(0));
  b.completed(); // frees it
  std::size_t woken = 0;
  b.d.waking().flush(false, [&](front::worker&) { ++woken; });
  CHECK(woken == 1);
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
