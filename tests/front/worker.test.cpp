// SPDX-License-Identifier: BSL-1.0
// One worker as a state machine, without a fleet around it: what it wants done after each event, and when it wants to
// be asked again.
#include <coproc/front/worker.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using worker_status = front::worker::state;

namespace {

constexpr auto grace = 1s, status_wait = 3s, start_timeout = 60s;
constexpr auto never = os::time_point::max();

/// A worker under test, and the process that it stands for.
struct worker_bench {
  explicit worker_bench(std::uint64_t task_limit = 0) {
    w.on_start({grace, status_wait, start_timeout, task_limit, true}, now);
  }

  static std::unique_ptr<worker_bench> live(std::uint64_t task_limit = 0) {
    auto b = std::make_unique<worker_bench>(task_limit);
    b->w.on_started(1234, {});
    CHECK(b->w.go_live());
    b->process.initialized();
    return b;
  }

  front::task_record& task(std::uint64_t name, duration timeout = unlimited, duration soft_timeout = unlimited) {
    front::task_record& t = engine.records.acquire();
    t.call = {name, 0, 0};
    auto& terms = make_details(t).terms;
    terms = {};
    terms.timeout = timeout;
    terms.soft_timeout = soft_timeout;
    t.special = true;
    return t;
  }
  front::task_record& give(std::uint64_t name, duration timeout = unlimited, duration soft_timeout = unlimited) {
    front::task_record& t = task(name, timeout, soft_timeout);
    w.give(t, now);
    return t;
  }

  front::worker::action advance(duration by) {
    now += by;
    return w.on_deadline(now);
  }

  std::shared_ptr<front::worker_memory> memory = make_worker_memory();
  front::worker w{3, 7, memory, 2048};
  hand_worker process{memory};
  fake_engine engine;
  os::time_point now = os::time_point{} + 1h;
};

bool is_nothing(const front::worker::action& a) {
  return a.moved.empty() && !a.terminate && !a.kill && !a.server_hangs && !a.dismiss && !a.give_up;
}
bool is_kill(const front::worker::action& a) {
  return a.kill && !a.terminate && !a.server_hangs && !a.dismiss && !a.give_up;
}

} // namespace

// ---- births

TEST_CASE("a worker takes tasks once it is live, until it has been given all that it may run") {
  worker_bench b(2);
  CHECK_FALSE(b.w.takes_work());
  b.w.on_started(1234, {});
  CHECK(b.w.pid() == 1234);
  CHECK_FALSE(b.w.takes_work());
  CHECK(b.w.go_live());
  CHECK_FALSE(b.w.go_live());
  CHECK(b.w.takes_work());
  b.give(1);
  CHECK(b.w.takes_work());
  b.give(2);
  CHECK(b.w.exhausted());
  CHECK_FALSE(b.w.takes_work());
}

TEST_CASE("a worker that is never forked is the fork server's fault") {
  worker_bench b;
  CHECK(b.w.next_deadline() == b.now + start_timeout);
  const auto a = b.advance(start_timeout);
  CHECK(a.server_hangs);
  CHECK_FALSE(a.kill);
  CHECK(b.w.exit().cause == exit_cause::start_timeout);
}

TEST_CASE("a worker that is not initialized in time is killed, and what it was given moves") {
  worker_bench b;
  b.w.on_started(1, {});
  b.w.go_live();
  auto& t = b.give(1);
  CHECK(b.w.next_deadline() == b.now + start_timeout);
  auto a = b.advance(start_timeout);
  CHECK(is_kill(a));
  CHECK(a.moved.pop_front() == &t);
  CHECK(t.worker == nullptr);
  CHECK(b.w.exit().cause == exit_cause::start_timeout);
}

TEST_CASE("an initialized worker has no deadline of its own") {
  const auto b = worker_bench::live();
  CHECK(b->w.next_deadline() == never);
  CHECK(is_nothing(b->advance(2 * start_timeout)));
}

// ---- the head

TEST_CASE("a task that runs past its timeout is ended by SIGTERM, then SIGKILL, then its worker is given up") {
  const auto b = worker_bench::live();
  auto& running = b->give(1, 5s);
  auto& behind = b->give(2);
  REQUIRE(b->process.begin());
  CHECK(b->w.next_deadline() == b->now + 5s);
  CHECK(is_nothing(b->advance(4s)));

  auto a = b->advance(1s);
  CHECK(a.terminate);
  CHECK_FALSE(a.kill);
  CHECK(a.moved.pop_front() == &behind); // before the signal
  CHECK(a.moved.empty());
  CHECK(b->w.status() == worker_status::ending);
  CHECK(b->w.is_victim(running));
  CHECK(b->w.exit().cause == exit_cause::timed_out);

  CHECK(b->w.next_deadline() == b->now + grace);
  CHECK(is_nothing(b->advance(grace - 1ns)));
  CHECK(is_kill(b->advance(1ns)));
  CHECK(b->w.status() == worker_status::killed);

  CHECK(b->w.next_deadline() == b->now + grace);
  a = b->advance(grace);
  CHECK(a.give_up);
  CHECK_FALSE(a.kill);
  CHECK(b->w.status() == worker_status::quarantined);
  CHECK(b->w.next_deadline() == never);
}

TEST_CASE("a task with a kill_grace of its own has that between SIGTERM and SIGKILL") {
  const auto b = worker_bench::live();
  auto& t = b->give(1, 5s);
  details(t).terms.kill_grace = 20s;
  REQUIRE(b->process.begin());
  CHECK(b->advance(5s).terminate);
  CHECK(b->w.next_deadline() == b->now + 20s);
}

TEST_CASE(
    "a task that its worker has not begun in its timeout moves, and the worker gets no more until it moves, too") {
  const auto b = worker_bench::live();
  auto& t = b->give(1, 5s);
  auto a = b->advance(5s);
  CHECK_FALSE(a.terminate);
  CHECK_FALSE(a.kill);
  CHECK(a.moved.pop_front() == &t);
  CHECK(b->w.suspended());
  CHECK_FALSE(b->w.takes_work());
  CHECK(b->w.next_deadline() == b->now + grace);
  SECTION("it acknowledges") {
    CHECK_FALSE(b->process.begin());
    CHECK(b->w.drain_one().kind == front::worker::drained_kind::acknowledged);
    b->w.on_progress(b->now, b->now);
    CHECK(b->w.takes_work());
    CHECK(b->w.next_deadline() == never);
  }
  SECTION("it does not, and is killed") {
    CHECK(is_kill(b->advance(grace)));
    CHECK(b->w.exit().cause == exit_cause::stalled);
  }
}

TEST_CASE("the time of a task that waited for the initializer begins when the initializer is through") {
  worker_bench b;
  b.w.on_started(1, {});
  b.w.go_live();
  b.give(1, 5s);
  CHECK(is_nothing(b.advance(5s))); // start_timeout bounds an initializer
  b.now += 4s;
  b.process.initialized();
  REQUIRE(b.process.begin());
  CHECK(is_nothing(b.advance(1s)));
  CHECK(is_nothing(b.advance(4s)));
  CHECK(b.advance(1s).terminate);
}

TEST_CASE("a soft timeout raises the stop token of a task that runs, and leaves it its time") {
  const auto b = worker_bench::live();
  auto& t = b->give(1, 9s, 2s);
  CHECK(is_nothing(b->advance(2s))); // not begun: its time has not, either
  CHECK(b->process.mailbox().parent.stop.load() == 0);
  REQUIRE(b->process.begin());
  CHECK(is_nothing(b->advance(2s)));
  CHECK(b->process.mailbox().parent.stop.load() == 1);
  CHECK(details(t).soft_expired);
  CHECK(b->w.next_deadline() == b->now + 5s);
}

// ---- kills

TEST_CASE("a kill for a task that is done meanwhile harms nobody") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  auto& behind = b->give(2);
  REQUIRE(b->process.run_one());
  auto a = b->w.kill_for(t, exit_cause::cancelled, b->now);
  CHECK_FALSE(a.terminate);
  CHECK_FALSE(a.kill);
  CHECK(a.moved.pop_front() == &behind);
  CHECK(b->w.status() == worker_status::live);
}

TEST_CASE("a worker that says of a task that was not to be taken back that it is READY lies") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  REQUIRE(b->process.begin());
  CHECK(b->w.ask_to_stop(t)); // seen RUNNING
  b->process.head().state = shm::pack(0, shm::slot_state::ready);
  CHECK(is_kill(b->w.kill_for(t, exit_cause::cancelled, b->now)));
  CHECK(b->w.exit().cause == exit_cause::violation);
  CHECK(is_nothing(b->w.on_violation(b->now))); // once
}

TEST_CASE("a victim that finishes all the same is the last that its worker runs") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  REQUIRE(b->process.begin());
  CHECK(b->w.kill_for(t, exit_cause::cancelled, b->now).terminate);
  b->process.finish();
  CHECK(b->w.drain_one().task == &t);
  REQUIRE(b->w.is_victim(t));
  CHECK(is_kill(b->w.on_victim_finished(b->now)));
  CHECK_FALSE(b->w.is_victim(t));
}

TEST_CASE("a second reason to kill a worker finds its victim, but no second signal") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  REQUIRE(b->process.begin());
  CHECK(is_kill(b->w.end(SIGKILL, b->now)));
  CHECK(b->w.is_victim(t));
  CHECK(b->w.exit().cause == exit_cause::shutdown);
  CHECK(is_nothing(b->w.kill_for(t, exit_cause::cancelled, b->now)));
  CHECK(b->w.exit().cause == exit_cause::shutdown);
}

// ---- sockets

TEST_CASE("a worker whose socket is full without a cause is tried again, until its grace is over") {
  const auto b = worker_bench::live();
  b->w.on_socket_full(b->now);
  CHECK_FALSE(b->w.takes_work());
  CHECK(is_nothing(b->advance(1ms)));
  CHECK(b->w.takes_work()); // tried again
  b->w.on_socket_full(b->now);
  SECTION("it reads at last") {
    b->advance(1ms);
    b->give(1);
    REQUIRE(b->process.run_one());
    b->w.drain_one();
    b->w.on_progress(b->now, b->now);
    b->w.on_socket_full(b->now += grace);
    CHECK(is_nothing(b->advance(1ms))); // a grace of its own
  }
  SECTION("it never does") {
    CHECK(is_kill(b->advance(grace)));
    CHECK(b->w.exit().cause == exit_cause::stalled);
  }
}

TEST_CASE("a worker that has closed its socket is killed, once it has nothing that it may be running") {
  const auto b = worker_bench::live();
  SECTION("at once") { CHECK(is_kill(b->w.on_socket_closed(b->now))); }
  SECTION("or it goes on with what it has") {
    b->give(1);
    REQUIRE(b->process.begin());
    CHECK(is_nothing(b->w.on_socket_closed(b->now)));
    CHECK_FALSE(b->w.takes_work());
    CHECK(is_nothing(b->advance(grace)));
  }
}

// ---- the end

TEST_CASE("an idle worker is dismissed, and killed if it does not go") {
  const auto b = worker_bench::live();
  const auto a = b->w.end(SIGTERM, b->now);
  CHECK(a.dismiss);
  CHECK_FALSE(a.terminate);
  CHECK(b->w.status() == worker_status::leaving);
  CHECK(is_nothing(b->w.end(SIGTERM, b->now)));
  CHECK(is_kill(b->advance(grace)));
  CHECK(b->w.exit().cause == exit_cause::shutdown);
}

TEST_CASE("what begins to end while its revoked tasks are not acknowledged keeps its seat until it does") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  CHECK(b->w.take_back(t, b->now));
  const auto a = b->w.end(SIGTERM, b->now);
  CHECK(a.dismiss);
  CHECK(b->w.status() == worker_status::ending);
}

TEST_CASE("when the fork server is lost a worker is killed for that, and what it had not begun moves") {
  const auto b = worker_bench::live();
  b->give(1);
  auto& behind = b->give(2);
  REQUIRE(b->process.begin());
  auto a = b->w.on_server_lost(b->now);
  CHECK(is_kill(a));
  CHECK(a.moved.pop_front() == &behind);
  CHECK(a.moved.empty());
  CHECK(b->w.exit().cause == exit_cause::fork_server);
}

// ---- death

TEST_CASE("a dead worker waits for its exit status, for a while") {
  const auto b = worker_bench::live();
  auto& running = b->give(1);
  auto& behind = b->give(2);
  REQUIRE(b->process.begin());
  b->now += 5s;
  CHECK(b->w.on_death(b->now));
  CHECK_FALSE(b->w.on_death(b->now));
  std::vector<front::task_record*> moved;
  b->w.settle_remains([&](front::task_record& t) { moved.push_back(&t); });
  CHECK(moved == std::vector{&behind});
  CHECK(b->w.head() == &running);
  CHECK(b->w.exit().phase == exit_phase::running);
  CHECK(b->w.exit().index == 3);
  CHECK(b->w.exit().age == 5s);
  CHECK_FALSE(b->w.is_explained());
  CHECK(b->w.next_deadline() == b->now + status_wait);
  SECTION("it comes") {
    worker_exit how;
    how.status_known = true;
    how.signal = SIGSEGV;
    b->w.on_exit(how);
    CHECK(b->w.exit().phase == exit_phase::running);
  }
  SECTION("it does not come") {
    CHECK(is_nothing(b->advance(status_wait)));
    CHECK_FALSE(b->w.exit().status_known);
  }
  CHECK(b->w.is_explained());
}

TEST_CASE("of a dead worker that has lied nothing moves") {
  const auto b = worker_bench::live();
  b->give(1);
  b->give(2);
  b->process.mailbox().at(1).state = shm::pack(9, shm::slot_state::running);
  CHECK(b->w.on_death(b->now));
  b->w.settle_remains([](front::task_record&) { FAIL("moved"); });
  CHECK(b->w.exit().cause == exit_cause::violation);
}

TEST_CASE("a worker that left because it was idle has not crashed") {
  const auto b = worker_bench::live();
  b->process.mailbox().worker.phase = static_cast<std::uint32_t>(shm::worker_phase::left);
  CHECK_FALSE(b->w.takes_work());
  CHECK(b->w.on_death(b->now));
  b->w.settle_remains([](front::task_record&) {});
  CHECK(b->w.exit().cause == exit_cause::idle);
  CHECK(b->w.exit().phase == exit_phase::idle);
}

// ---- replacement, and the rest

TEST_CASE("a relieved worker gets no more tasks, until its successor is gone") {
  const auto b = worker_bench::live();
  b->w.make_due(exit_cause::memory_limit);
  CHECK(b->w.takes_work());
  b->w.relieve(true);
  CHECK_FALSE(b->w.takes_work());
  b->w.relieve(false);
  CHECK(b->w.takes_work());
  CHECK(b->w.due_to() == exit_cause::memory_limit);
}

TEST_CASE("memory is measured once a period, and not of a worker that is to go anyway") {
  const auto b = worker_bench::live();
  CHECK(b->w.wants_measuring(b->now, 10ms));
  CHECK_FALSE(b->w.wants_measuring(b->now + 9ms, 10ms));
  CHECK(b->w.wants_measuring(b->now + 10ms, 10ms));
  b->w.make_due(exit_cause::recycled);
  CHECK_FALSE(b->w.wants_measuring(b->now + 1h, 10ms));
}

TEST_CASE("what lies behind a head may be taken by others after a while without progress") {
  const auto b = worker_bench::live();
  b->give(1);
  CHECK(b->w.help_from() == b->now + front::steal_after);
  const auto first = b->now;
  b->now += 50us;
  b->give(2);
  CHECK(b->w.help_from() == first + front::steal_after); // a new task is no progress
  CHECK(b->w.active_at() == first);
  b->w.on_progress(b->now, b->now + 1s);
  CHECK(b->w.help_from() == b->now + 1s);
  CHECK(b->w.active_at() == b->now);
}

TEST_CASE("a revoked task that is not acknowledged gets an idle worker under suspicion") {
  const auto b = worker_bench::live();
  auto& t = b->give(1);
  CHECK(b->w.take_back(t, b->now));
  CHECK(b->w.takes_work());
  CHECK(b->w.next_deadline() == b->now + grace);
  CHECK(is_kill(b->advance(grace)));
  CHECK(b->w.exit().cause == exit_cause::stalled);
}
