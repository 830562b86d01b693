// SPDX-License-Identifier: BSL-1.0
// task_options::timeout: it frees the CPU whatever the task does, counts running time alone, and hits no other task.
#include "support/run.hpp"

#include <csignal>
#include <random>
#include <system_error>
#include <thread>
#include <vector>

namespace process_timeout {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

struct board {
  tally started, go, ticks, initializing;
  std::atomic<pid_t> pid{0};
};
shared_memory<board> shared;

int identity(int n) { return n; }
pid_t who() { return ::getpid(); }

void spin_for_ever() {
  shared->pid = ::getpid();
  shared->started.add();
  for (;;) shared->ticks.add();
}

} // namespace

TEST_CASE("a time-out ends an endless loop and frees the CPU") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e;
  ending<int> next;
  const stopwatch watch;
  start(e, pool.with({.timeout = milliseconds(50)}), spin_for_ever);
  start(next, pool, identity, 1);
  REQUIRE(run_until(io, [&] { return e.calls != 0; }));
  const bool gone = !is_alive(shared->pid);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::task_timeout));
  CHECK(e.code() == std::errc::timed_out);
  CHECK(e.as<coproc::task_timeout>());
  CHECK(e.as<coproc::timed_out>());
  CHECK(e.as<coproc::pool_error>());
  CHECK(watch.milliseconds() >= 50);
  CHECK(gone);
  CHECK(next.succeeded());
  const auto ticks = shared->ticks.get();
  burn(10'000'000);
  CHECK(shared->ticks.get() == ticks);
}

TEST_CASE("a time-out ends a task that blocks all signals") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = milliseconds(50)});
  ending<void> e;
  ending<int> next;
  start(
      e, pool.with({.timeout = milliseconds(50)}), +[] {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        spin_for_ever();
      });
  start(next, pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::task_timeout));
  CHECK_FALSE(is_alive(shared->pid));
  CHECK(next.succeeded());
}

TEST_CASE("time in the queue, or behind a running task, does not count") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> blocker;
  std::vector<ending<int>> behind(100);
  start(
      blocker, pool, +[] {
        shared->started.add();
        shared->go.await(1);
      });
  for (auto& e : behind) start(e, pool.with({.timeout = milliseconds(100)}), identity, 1);
  REQUIRE(shared->started.await(1));
  const stopwatch watch;
  REQUIRE(run_until(io, [&] { return watch.milliseconds() > 300; }));
  for (const auto& e : behind) REQUIRE(e.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(blocker.succeeded());
  for (const auto& e : behind) CHECK(e.succeeded());
}

TEST_CASE("a time-out does not wait for many handlers that each take a little while") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e;
  start(e, pool.with({.timeout = milliseconds(20)}), spin_for_ever);
  constexpr int many = 200;
  std::vector<net::cancellation_signal> signals(many);
  int handled = 0, handled_at_death = 0;
  for (auto& signal : signals)
    coproc::async_run(pool, coproc::work(identity, 1),
                      net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr, int) {
                        std::this_thread::sleep_for(milliseconds(1));
                        ++handled;
                        if (handled_at_death == 0 && !is_alive(shared->pid)) handled_at_death = handled;
                      }));
  REQUIRE(run_until(io, [&] { return shared->started.get() != 0; }));
  for (auto& signal : signals) signal.emit(net::cancellation_type::terminal);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::task_timeout));
  CHECK(handled == many);
  CHECK(handled_at_death > 0);
  CHECK(handled_at_death < many);
}

TEST_CASE("a time-out hits its own task alone: what ran before and what waits behind is unharmed") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<ending<int>> healthy(60);
  std::vector<ending<void>> endless(4);
  for (std::size_t i = 0; i < 60; ++i) {
    if (i % 15 == 5) start(endless[i / 15], pool.with({.timeout = milliseconds(30)}), spin_for_ever);
    start(healthy[i], pool.with({.timeout = std::chrono::seconds(30)}), identity, static_cast<int>(i));
  }
  REQUIRE(run_all(io));
  for (const auto& e : endless) CHECK(e.failed_with(errc::task_timeout));
  for (std::size_t i = 0; i < 60; ++i) {
    REQUIRE(healthy[i].succeeded());
    CHECK(*healthy[i].value == static_cast<int>(i));
  }
}

TEST_CASE("a task that finishes at its deadline has its value or timed out, and hurts nobody behind it") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::mt19937 random(20240610);
  int values = 0, late = 0;
  for (int round = 0; round < 200; ++round) {
    ending<int> e;
    std::vector<ending<int>> behind(5);
    start(
        e, pool.with({.timeout = milliseconds(2)}),
        +[](int microseconds) {
          const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
          while (std::chrono::steady_clock::now() < end) burn(100);
          return microseconds;
        },
        1700 + static_cast<int>(random() % 600));
    for (auto& b : behind) start(b, pool, identity, round);
    REQUIRE(run_all(io));
    INFO("round " << round << ": " << e.text());
    REQUIRE((e.succeeded() || e.failed_with(errc::task_timeout)));
    (e.succeeded() ? values : late) += 1;
    for (const auto& b : behind) {
      REQUIRE(b.succeeded());
      REQUIRE(*b.value == round);
    }
  }
  CHECK(values + late == 200);
  CHECK(late > 0);
}

TEST_CASE("a stopped worker is a hang: its task times out") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = milliseconds(50)});
  ending<void> e;
  ending<int> next;
  start(e, pool.with({.timeout = milliseconds(100)}), spin_for_ever);
  start(next, pool, identity, 1);
  REQUIRE(shared->started.await(1));
  ::kill(shared->pid, SIGSTOP);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::task_timeout));
  CHECK(next.succeeded());
}

TEST_CASE("a worker that was stopped while idle does not time out the task it was sent: the task moves") {
  const leak_audit audit;
  for (const int workers : {1, 2}) {
    INFO(workers << " workers");
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = workers, .kill_grace = milliseconds(50)});
    ending<pid_t> pid;
    start(pid, pool, who);
    REQUIRE(run_all(io));
    REQUIRE(pid.succeeded());
    ::kill(*pid.value, SIGSTOP);
    std::vector<ending<int>> calls(8);
    for (auto& e : calls) start(e, pool.with({.timeout = milliseconds(100)}), identity, 2);
    REQUIRE(run_all(io));
    for (const auto& e : calls) {
      INFO(e.text());
      CHECK(e.succeeded());
    }
  }
}

TEST_CASE("a stopped worker that goes on in time loses nothing") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = std::chrono::seconds(30)});
  ending<pid_t> pid, after;
  start(pid, pool, who);
  REQUIRE(run_all(io));
  REQUIRE(pid.succeeded());
  ::kill(*pid.value, SIGSTOP);
  ending<int> e;
  start(e, pool.with({.timeout = milliseconds(20)}), identity, 2);
  const stopwatch watch;
  REQUIRE(run_until(io, [&] { return watch.milliseconds() > 100; }));
  CHECK(e.calls == 0);
  ::kill(*pid.value, SIGCONT);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
  start(after, pool, who);
  REQUIRE(run_all(io));
  REQUIRE(after.succeeded());
  CHECK(*after.value == *pid.value);
}

TEST_CASE("a slow initializer is not taken for a task that runs too long") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1,
                                 .initializer =
                                     [] {
                                       shared->initializing.add();
                                       shared->go.await(1);
                                     },
                                 .kill_grace = milliseconds(20)});
  std::vector<ending<int>> calls(3);
  for (auto& e : calls) start(e, pool.with({.timeout = milliseconds(100)}), identity, 2);
  const stopwatch watch;
  REQUIRE(run_until(io, [&] { return watch.milliseconds() > 550; }));
  for (const auto& e : calls) CHECK(e.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  for (const auto& e : calls) {
    INFO(e.text());
    CHECK(e.succeeded());
  }
  CHECK(shared->initializing.get() == 1); // nobody was killed while it loaded
}

TEST_CASE("a zero or negative time-out is refused, through the completion") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const auto limit : {milliseconds(0), milliseconds(-1)}) {
    ending<int> e;
    start(e, pool.with({.timeout = limit}), identity, 1);
    CHECK(e.calls == 0);
    REQUIRE(run_all(io));
    CHECK(e.as<std::invalid_argument>());
    CHECK(e.text().find("task_options::timeout") != std::string::npos);
  }
  ending<int> e;
  start(e, pool.with({.timeout = coproc::unlimited}), identity, 1);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

} // namespace process_timeout
