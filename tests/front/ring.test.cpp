// SPDX-License-Identifier: BSL-1.0
// The private mirror of a mailbox: what goes in comes out once and in order, and what no worker writes is found.
// tests/fuzz/parent_reader.cpp does the latter with every word; here is one case of each kind.
#include <coproc/front/ring.hpp>

#include "fake_workers.hpp"

#include <coproc/front/record_handler.hpp>

#include <catch2/catch.hpp>

#include <vector>

using namespace coproc;
using namespace coproc::testing;
using drain_result = front::ring::drained_kind;
using task_state = front::ring::task_state;

namespace {

constexpr std::uint64_t max_result_bytes = 2048;

struct ring_bench {
  front::task_record& task(std::uint64_t name = 0) {
    front::task_record& t = engine.records.acquire();
    t.call = {name, 0, 0};
    return t;
  }
  front::task_record& publish(std::uint64_t name = 0) {
    front::task_record& t = task(name);
    r.publish(t);
    return t;
  }
  drain_result drain_kind() { return r.drain_one().kind; }

  std::shared_ptr<front::worker_memory> memory = make_worker_memory(4096);
  front::ring r{memory, max_result_bytes};
  hand_worker process{memory};
  fake_engine engine;
};

} // namespace

TEST_CASE("tasks come out once, in the order in which they went in, as often as the ring goes round") {
  ring_bench b;
  std::vector<front::task_record*> in, out;
  for (std::uint64_t i = 0; i != 3 * shm::ring_slots; ++i) {
    in.push_back(&b.publish(i));
    if (i % 2 == 0) continue;
    CHECK(b.r.load() == 2);
    CHECK(b.process.run_one() == i - 1);
    CHECK(b.process.run_one() == i);
    out.push_back(b.r.drain_one().task);
    out.push_back(b.r.drain_one().task);
    CHECK(b.drain_kind() == drain_result::nothing);
  }
  CHECK(in == out);
  CHECK(b.r.tasks_issued() == in.size());
  CHECK(b.r.tasks_done() == in.size());
}

TEST_CASE("a revoked task leaves its slot occupied until the worker has acknowledged, and was never issued") {
  ring_bench b;
  auto& t = b.publish();
  auto& next = b.publish();
  CHECK(b.r.head() == &t);
  CHECK(b.r.revoke(t));
  CHECK(b.r.head() == &next);
  CHECK(b.r.load() == 2);
  CHECK(b.r.unfinished() == 1);
  CHECK(b.r.tasks_issued() == 1);
  CHECK(b.r.legal_remains());
  CHECK(b.process.begin());
  CHECK(b.drain_kind() == drain_result::acknowledged);
  CHECK_FALSE(b.r.revoke(next)); // begun
  CHECK(b.r.load() == 1);
}

TEST_CASE("a full ring says so") {
  ring_bench b;
  for (std::size_t i = 0; i != shm::ring_slots; ++i) {
    CHECK_FALSE(b.r.ring_full());
    b.publish();
  }
  CHECK(b.r.ring_full());
}

TEST_CASE("tasks are visited from either end") {
  ring_bench b;
  std::vector<std::uint64_t> forth, back;
  for (std::uint64_t i = 0; i != 4; ++i) b.publish(i);
  b.r.each_issued([&](front::task_record& t) { forth.push_back(t.call.entry); });
  b.r.each_issued_backwards([&](front::task_record& t) { back.push_back(t.call.entry); }, 1);
  CHECK(forth == std::vector<std::uint64_t>{0, 1, 2, 3});
  CHECK(back == std::vector<std::uint64_t>{3, 2, 1});
}

TEST_CASE("a head that was RUNNING is never READY again") {
  ring_bench b;
  auto& t = b.publish();
  CHECK(b.r.state_of(t) == task_state::ready);
  REQUIRE(b.process.begin());
  CHECK(b.r.runs_head());
  CHECK(b.r.state_of(t) == task_state::running);
  b.process.head().state = shm::pack(0, shm::slot_state::ready);
  CHECK(b.r.state_of(t) == task_state::illegal);
  CHECK(b.drain_kind() == drain_result::violation);
  CHECK_FALSE(b.r.legal_remains());
}

TEST_CASE("what no worker writes is a violation") {
  ring_bench b;
  b.publish();
  REQUIRE(b.process.begin());
  SECTION("a state of another lap") { b.process.head().state = shm::pack(shm::ring_slots, shm::slot_state::done); }
  SECTION("REVOKED where nothing was revoked") { b.process.head().state = shm::pack(0, shm::slot_state::revoked); }
  SECTION("an inline result that is too long") {
    b.process.finish(shm::result_kind::value_inline, shm::inline_bytes + 1);
  }
  SECTION("a result beyond the end of the result file") {
    b.process.finish(shm::result_kind::value_in_file, 100, 4096 - 99);
  }
  SECTION("a result that is longer than any may be") {
    b.process.finish(shm::result_kind::value_in_file, max_result_bytes + 1, 0);
  }
  SECTION("a kind that there is none of") { b.process.finish(shm::result_kind::none, 1, 0); }
  CHECK(b.drain_kind() == drain_result::violation);
}

TEST_CASE("a result in the file is viewed where it lies, up to the last byte") {
  ring_bench b;
  auto& t = b.publish();
  REQUIRE(b.process.begin());
  b.process.finish(shm::result_kind::value_in_file, 100, 4096 - 100);
  CHECK(b.drain_kind() == drain_result::finished);
  CHECK(result_bytes(t).data() == b.memory->results_map.data() + 4096 - 100);
}

TEST_CASE("a worker is owed a wake-up for whatever it was sent") {
  ring_bench b;
  CHECK_FALSE(b.r.owes_wake_up());
  SECTION("a task") { b.publish(); }
  SECTION("a message") { b.r.message_sent(); }
  SECTION("room for results") {
    b.memory->note_freed();
    CHECK(b.r.freed_since_flush());
    b.r.owe_for_freed();
    CHECK_FALSE(b.r.freed_since_flush());
  }
  CHECK(b.r.owes_wake_up());
  CHECK_FALSE(b.r.take_debt()); // it is awake
  CHECK_FALSE(b.r.owes_wake_up());
}

TEST_CASE("a worker that sleeps is woken once a sleep") {
  ring_bench b;
  b.publish();
  b.process.mailbox().worker.sleeping = shm::sleep_tag(0);
  CHECK(b.r.looks_asleep());
  CHECK(b.r.take_debt());
  CHECK_FALSE(b.r.looks_asleep());
  CHECK_FALSE(b.r.take_debt());
  CHECK(b.process.mailbox().parent.epoch.load() == 1);
}

TEST_CASE("what is said to the worker stands in its mailbox") {
  ring_bench b;
  auto& t = b.publish();
  b.r.arm(5);
  b.r.publish_front_end_cpu(3);
  b.r.raise_stop(t);
  b.r.request_shutdown();
  const shm::mailbox& m = b.process.mailbox();
  CHECK(m.doorbell.armed.load() == 5);
  CHECK(m.parent.cpu.load() == 3);
  CHECK(m.parent.stop.load() == t.seq + 1);
  CHECK(m.parent.shutdown.load() == 1);
}
