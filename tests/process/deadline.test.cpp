// SPDX-License-Identifier: BSL-1.0
// task_options::deadline: one limit for waiting, running and retries together.
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <csignal>
#include <string>

namespace process_deadline {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

struct board {
  tally started, go, ran;
};
shared_memory<board> shared;

void blocker() {
  shared->started.add();
  shared->go.await(1);
}

void spin_for_ever() {
  shared->started.add();
  for (;;) burn(1000);
}

void note() { shared->ran.add(); }

void crash() {
  shared->ran.add();
  ::raise(SIGKILL);
}

// Nanoseconds of the clock of all processes.
long long deadline_here() { return coproc::this_worker::deadline().time_since_epoch().count(); }

} // namespace

TEST_CASE("a task that runs is killed at its deadline") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e, next;
  const stopwatch watch;
  start(e, pool.with({.deadline = 100ms}), spin_for_ever);
  start(next, pool, note);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::task_timeout));
  CHECK(e.as<coproc::task_timeout>());
  CHECK(e.text().find("the deadline was 0.1 s after the submission") == 0);
  CHECK(watch.milliseconds() >= 100);
  CHECK(next.succeeded());
}

TEST_CASE("a task that is queued, or waits for room, is withdrawn at its deadline") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 2});
  ending<void> running, queued, waiting;
  start(running, pool, blocker);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 1; }));
  start(queued, pool.with({.queue_timeout = 1h, .deadline = 20ms}), note);
  start(waiting, pool.with({.deadline = clock::now() + 20ms}), note);
  REQUIRE(run_until(io, [&] { return queued.calls + waiting.calls == 2; }));
  for (const auto* e : {&queued, &waiting}) {
    CHECK(e->failed_with(errc::queue_timeout));
    CHECK(e->code() == std::errc::timed_out);
    CHECK(e->as<coproc::timed_out>());
    CHECK(e->text().find("the deadline was 0.0") == 0);
  }
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
  CHECK(shared->ran.get() == 0);
}

TEST_CASE("a task whose worker is not initialized by its deadline is withdrawn") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .initializer = [] { shared->go.await(1); }});
  ending<void> e, next;
  start(e, pool.with({.deadline = 20ms}), note);
  start(next, pool, blocker);
  REQUIRE(run_until(io, [&] { return e.calls != 0; }));
  CHECK(e.failed_with(errc::queue_timeout));
  CHECK(next.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(next.succeeded());
  CHECK(shared->ran.get() == 0);
}

TEST_CASE("what is submitted after its deadline does not run") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e;
  start(e, pool.with({.deadline = clock::now() - 1s}), note);
  CHECK(e.calls == 0);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::queue_timeout));
  CHECK(shared->ran.get() == 0);
}

TEST_CASE("the earlier of deadline and time-outs acts, and its text says which") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  ending<void> by_timeout, by_deadline;
  start(by_timeout, pool.with({.timeout = 50ms, .deadline = 1h}), spin_for_ever);
  start(by_deadline, pool.with({.timeout = 1h, .deadline = 50ms}), spin_for_ever);
  REQUIRE(run_all(io));
  CHECK(by_timeout.failed_with(errc::task_timeout));
  CHECK(by_timeout.text().find("the timeout is 0.05 s") == 0);
  CHECK(by_deadline.failed_with(errc::task_timeout));
  CHECK(by_deadline.text().find("the deadline was 0.05 s") == 0);
}

TEST_CASE("retries end at the deadline") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_start_failures = 1'000'000});
  ending<void> e;
  start(e, pool.with({.max_retries = 1'000'000, .retry_on = coproc::retry::idempotent, .deadline = 200ms}), crash);
  REQUIRE(run_all(io));
  CHECK(e.code() == std::errc::timed_out);
  CHECK(shared->ran.get() >= 1);
}

TEST_CASE("a task learns its deadline") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto at = clock::now() + 1h;
  const auto seen = [&](const coproc::task_options& options) {
    ending<long long> e;
    start(e, pool.with(options), deadline_here);
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    return clock::time_point(clock::duration(*e.value));
  };
  // Rounded down, counted from when a worker got it.
  CHECK(seen({.deadline = at}) > at - 1min);
  CHECK(seen({.deadline = at}) < at + 1min);
  CHECK(seen({.deadline = 1h}) > at - 1min);
  CHECK(seen({.timeout = 1min, .deadline = at}) < at - 30min);
  CHECK(seen({.deadline = clock::time_point::max()}) == clock::time_point::max());
}

TEST_CASE("a deadline must lie ahead") {
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e;
  start(e, pool.with({.deadline = 0s}), note);
  REQUIRE(run_all(io));
  CHECK(e.text().find("task_options::deadline is 0 ns") != std::string::npos);
}

} // namespace process_deadline
