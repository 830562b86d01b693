// SPDX-License-Identifier: BSL-1.0
// Cancellation by the contract's table, every cell and every route; and rule K (docs/protocol.md): a kill hits its
// target or nobody.
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <asio/experimental/awaitable_operators.hpp>

#include <algorithm>
#include <csignal>
#include <random>
#include <thread>
#include <vector>

namespace process_cancel {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using net::cancellation_type;
using std::chrono::milliseconds;

namespace {

struct board {
  tally started, go, ran, stopped, ticks;
  std::atomic<pid_t> pid{0};
};
shared_memory<board> shared;

int identity(int n) { return n; }

int blocker() {
  shared->pid = ::getpid();
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int note_run() {
  shared->ran.add();
  return 2;
}
int spin_for_ever() {
  shared->pid = ::getpid();
  shared->started.add();
  for (;;) shared->ticks.add();
}
int until_stopped() {
  shared->pid = ::getpid();
  shared->started.add();
  while (!coproc::this_worker::stop_requested()) burn(100);
  shared->stopped.add();
  return 3;
}
int throws_when_stopped() {
  shared->pid = ::getpid();
  shared->started.add();
  for (;;) {
    coproc::this_worker::throw_if_stopped();
    burn(100);
  }
}
int deaf_to_sigterm(bool blocked) {
  if (blocked) {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
  } else {
    ::signal(SIGTERM, SIG_IGN);
  }
  return spin_for_ever();
}

const char* name_of(cancellation_type type) {
  return type == cancellation_type::total ? "total" : type == cancellation_type::partial ? "partial" : "terminal";
}
constexpr cancellation_type every_type[] = {cancellation_type::total, cancellation_type::partial,
                                            cancellation_type::terminal};

/// Counts must stand still once the task's process is gone.
bool still_running() {
  const auto before = shared->ticks.get();
  burn(20'000'000);
  return shared->ticks.get() != before;
}

} // namespace

TEST_CASE("a task that waits for room is withdrawn by every type of cancellation") {
  const leak_audit audit;
  for (const auto type : every_type) {
    INFO(name_of(type));
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 1});
    net::cancellation_signal signal;
    ending<int> running, waiting, behind;
    start(running, pool, blocker);
    start(signal.slot(), waiting, pool, note_run);
    start(behind, pool, identity, 9);
    REQUIRE(shared->started.await(1));
    signal.emit(type);
    REQUIRE(run_until(io, [&] { return waiting.calls != 0; }));
    CHECK(waiting.aborted());
    CHECK(running.calls == 0);
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(waiting.calls == 1);
    CHECK(running.succeeded());
    CHECK(behind.succeeded());
    CHECK(shared->ran.get() == 0);
  }
}

TEST_CASE("a task that is queued, or ready behind a running one, is withdrawn by every type of cancellation") {
  const leak_audit audit;
  for (const auto type : every_type) {
    INFO(name_of(type));
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    // A worker of unknown speed gets a few tasks into its ring; the hundredth is still in the queue.
    std::vector<ending<int>> behind(100);
    std::vector<net::cancellation_signal> signals(100);
    ending<int> running;
    start(running, pool, blocker);
    for (std::size_t i = 0; i < 100; ++i) start(signals[i].slot(), behind[i], pool, note_run);
    REQUIRE(shared->started.await(1));
    for (const std::size_t i : {0u, 1u, 50u, 99u}) {
      signals[i].emit(type);
      REQUIRE(run_until(io, [&] { return behind[i].calls != 0; }));
      CHECK(behind[i].aborted());
    }
    CHECK(running.calls == 0);
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(running.succeeded());
    int done = 0;
    for (const auto& e : behind) done += e.succeeded();
    CHECK(done == 96);
    CHECK(shared->ran.get() == 96);
  }
}

TEST_CASE("a running task ignores total cancellation") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  net::cancellation_signal signal;
  ending<int> e;
  start(signal.slot(), e, pool, blocker);
  REQUIRE(shared->started.await(1));
  signal.emit(cancellation_type::total);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

TEST_CASE("partial cancellation raises the stop token of a running task, whose own ending counts") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  SECTION("it may return a value") {
    shared.reset();
    net::cancellation_signal signal;
    ending<int> e, next;
    start(signal.slot(), e, pool, until_stopped);
    start(next, pool, +[] { return coproc::this_worker::stop_requested() ? 1 : 0; });
    REQUIRE(shared->started.await(1));
    signal.emit(cancellation_type::partial);
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    CHECK(*e.value == 3);
    REQUIRE(next.succeeded());
    CHECK(*next.value == 0); // the token is one task's
    ending<pid_t> pid;
    start(pid, pool, +[] { return ::getpid(); });
    REQUIRE(run_all(io));
    REQUIRE(pid.succeeded());
    CHECK(*pid.value == shared->pid); // nobody was killed
  }
  SECTION("throw_if_stopped arrives as operation_aborted") {
    shared.reset();
    net::cancellation_signal signal;
    ending<int> e;
    start(signal.slot(), e, pool, throws_when_stopped);
    REQUIRE(shared->started.await(1));
    signal.emit(cancellation_type::partial);
    REQUIRE(run_all(io));
    CHECK(e.aborted());
    CHECK(e.as<net::system_error>());
  }
  SECTION("one that does not look completes as if nothing had happened") {
    shared.reset();
    net::cancellation_signal signal;
    ending<int> e;
    start(signal.slot(), e, pool, blocker);
    REQUIRE(shared->started.await(1));
    signal.emit(cancellation_type::partial);
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(e.succeeded());
  }
}

TEST_CASE("terminal cancellation ends a running task, and its process is gone when the call completes") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  net::cancellation_signal signal;
  ending<int> e, next;
  start(signal.slot(), e, pool, spin_for_ever);
  start(next, pool, identity, 4);
  REQUIRE(shared->started.await(1));
  signal.emit(cancellation_type::terminal);
  REQUIRE(run_until(io, [&] { return e.calls != 0; }));
  const bool gone_in_time = !is_alive(shared->pid);
  REQUIRE(run_all(io));
  CHECK(e.aborted());
  CHECK(gone_in_time);
  CHECK_FALSE(still_running());
  CHECK(next.succeeded());
}

TEST_CASE("the strongest bit of a cancellation wins") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  net::cancellation_signal signal;
  ending<int> e;
  start(signal.slot(), e, pool, until_stopped);
  REQUIRE(shared->started.await(1));
  signal.emit(cancellation_type::terminal | cancellation_type::partial | cancellation_type::total);
  REQUIRE(run_all(io));
  CHECK(e.aborted());
  CHECK(shared->stopped.get() == 0);
}

TEST_CASE("a task that has ended ignores every cancellation, delivered or not") {
  const leak_audit audit;
  for (const auto type : every_type) {
    INFO(name_of(type));
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    net::cancellation_signal signal;
    ending<int> first, second;
    start(signal.slot(), first, pool, identity, 11);
    start(second, pool, blocker);
    REQUIRE(shared->started.await(1)); // so the first is done, though the loop has not run
    signal.emit(type);
    REQUIRE(run_until(io, [&] { return first.calls != 0; }));
    CHECK(first.succeeded());
    signal.emit(type);
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(first.calls == 1);
    CHECK(second.succeeded());
  }
}

TEST_CASE("a task deaf to SIGTERM is killed after kill_grace") {
  const leak_audit audit;
  for (const bool blocked : {false, true}) {
    INFO("all signals blocked: " << blocked);
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = milliseconds(200)});
    net::cancellation_signal signal;
    ending<int> e, next;
    start(signal.slot(), e, pool, deaf_to_sigterm, blocked);
    start(next, pool, identity, 1);
    REQUIRE(shared->started.await(1));
    const stopwatch watch;
    signal.emit(cancellation_type::terminal);
    REQUIRE(run_until(io, [&] { return e.calls != 0; }));
    CHECK(e.aborted());
    CHECK(watch.milliseconds() >= 195);
    CHECK_FALSE(is_alive(shared->pid));
    REQUIRE(run_all(io));
    CHECK(next.succeeded());
  }
}

TEST_CASE(
    "a task that finishes within kill_grace although it was sent SIGTERM completes with its value or aborted, and its "
    "worker takes no other task down") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = std::chrono::seconds(30)});
  net::cancellation_signal signal;
  ending<int> e;
  std::vector<ending<int>> behind(20);
  start(
      signal.slot(), e, pool, +[] {
        ::signal(SIGTERM, [](int) { shared->stopped.add(); });
        shared->started.add();
        shared->stopped.await(1);
        return 6;
      });
  for (auto& b : behind) start(b, pool, identity, 1);
  REQUIRE(shared->started.await(1));
  signal.emit(cancellation_type::terminal);
  REQUIRE(run_until(io, [&] { return e.calls != 0; }));
  CHECK(e.succeeded()); // it was done before anybody had to kill it
  // The worker survived the signal and is idle: it must not keep its place until kill_grace is over.
  REQUIRE(run_until(
      io, [&] { return std::all_of(behind.begin(), behind.end(), [](const auto& b) { return b.calls != 0; }); },
      std::chrono::seconds(10)));
  for (const auto& b : behind) CHECK(b.succeeded());
}

TEST_CASE("under on_cancel::request_stop terminal cancellation is a request") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  net::cancellation_signal signal;
  ending<int> e;
  ending<pid_t> pid;
  start(signal.slot(), e, pool.with({.cancel = coproc::on_cancel::request_stop}), until_stopped);
  REQUIRE(shared->started.await(1));
  signal.emit(cancellation_type::terminal);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
  start(pid, pool, +[] { return ::getpid(); });
  REQUIRE(run_all(io));
  REQUIRE(pid.succeeded());
  CHECK(*pid.value == shared->pid);
}

TEST_CASE("a timer beside a call in || frees the CPU") {
  using namespace net::experimental::awaitable_operators;
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::size_t winner = 9;
  net::co_spawn(
      io,
      [&]() -> net::awaitable<void> {
        net::steady_timer timer(io, milliseconds(50));
        const auto result =
            co_await (coproc::run_in_executor(pool, spin_for_ever) || timer.async_wait(net::use_awaitable));
        winner = result.index();
      },
      net::detached);
  const stopwatch watch;
  REQUIRE(run_all(io));
  CHECK(winner == 1);
  CHECK(watch.milliseconds() < 5000);
  CHECK(shared->started.get() <= 1);
  CHECK_FALSE(still_running());
}

TEST_CASE("a coroutine that is cancelled cancels the call it waits for") {
  const leak_audit audit;
  for (const auto type : every_type) {
    INFO(name_of(type));
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    net::cancellation_signal signal;
    std::exception_ptr error;
    int value = 0;
    net::co_spawn(
        io,
        [&]() -> net::awaitable<void> {
          co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
          value = co_await coproc::run_in_executor(pool, until_stopped);
        },
        net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
    REQUIRE(run_until(io, [&] { return shared->started.get() != 0; }));
    signal.emit(type);
    if (type == cancellation_type::total) { // ignored: it takes more
      io.restart();
      io.run_for(milliseconds(20));
      REQUIRE(value == 0);
      REQUIRE_FALSE(error);
      signal.emit(cancellation_type::partial);
    }
    REQUIRE(run_all(io));
    if (type == cancellation_type::terminal) {
      CHECK(value == 0);
      CHECK(coproc::code_of(error) == net::error::operation_aborted);
    } else {
      CHECK(value == 3);
    }
  }
}

TEST_CASE("task::cancel cancels like a slot") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> a, b, c;
  auto stopped = pool.submit(until_stopped);
  stopped.async_wait(into(a));
  REQUIRE(shared->started.await(1));
  auto queued = pool.submit(note_run);
  queued.async_wait(into(b));
  queued.cancel(cancellation_type::total);
  REQUIRE(run_until(io, [&] { return b.calls != 0; }));
  CHECK(b.aborted());
  stopped.cancel(cancellation_type::total);
  stopped.cancel(cancellation_type::none);
  stopped.cancel(cancellation_type::partial);
  REQUIRE(run_all(io));
  CHECK(a.succeeded());
  stopped.cancel();
  auto killed = pool.submit(spin_for_ever);
  killed.async_wait(into(c));
  REQUIRE(run_until(io, [&] { return shared->started.get() == 2; }));
  killed.cancel();
  killed.cancel();
  killed.cancel(cancellation_type::partial);
  REQUIRE(run_all(io));
  CHECK(c.aborted());
  CHECK(shared->ran.get() == 0);
  CHECK(killed.done());
}

TEST_CASE("a terminal cancellation never hurts the tasks behind its target, however close the race") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::mt19937 random(20240608);
  int aborted = 0, finished = 0;
  // The target's length follows what came of the last one: longer if it had ended, shorter if it was aborted. So the
  // race is close

  // on every machine and in every build. One for each of the moments below; at the first, it may always be taken back
  // in time.

  double lengths[3] = {30'000, 30'000, 30'000};
  for (int round = 0; round < 600; ++round) {
    shared.reset();
    constexpr std::size_t n = 12;
    std::vector<ending<int>> calls(n);
    net::cancellation_signal signal;
    const std::size_t target = random() % 3;
    double& length = lengths[round % 3];
    const auto turns = static_cast<int>(length * (0.5 + static_cast<double>(random() % 1000) / 1000));
    for (std::size_t i = 0; i < n; ++i) {
      const auto fn = [](int value, int n_turns, bool is_target) {
        if (is_target) shared->started.add();
        burn(n_turns);
        return value;
      };
      if (i == target)
        start(signal.slot(), calls[i], pool, fn, static_cast<int>(i), turns, true);
      else
        start(calls[i], pool, fn, static_cast<int>(i), 200, false);
    }
    // At once; soon after the target began, if it does so soon; in any case after it began. The loop does not run
    // meanwhile.

    const auto begun = [] { return shared->started.get() != 0; };
    if (round % 3 == 1)
      for (int i = 0; i < 1000 && !begun(); ++i) burn(1000);
    if (round % 3 == 2) eventually(begun, milliseconds(50));
    burn(static_cast<int>(random() % 100'000));
    signal.emit(cancellation_type::terminal);
    REQUIRE(run_all(io));
    length = calls[target].aborted() ? std::max(length / 1.5, 1.0) : std::min(length * 1.5, 1e8);
    for (std::size_t i = 0; i < n; ++i) {
      INFO("round " << round << ", task " << i << ", target " << target << ": " << calls[i].text());
      if (i == target && calls[i].aborted()) {
        ++aborted;
        continue;
      }
      REQUIRE(calls[i].succeeded());
      REQUIRE(*calls[i].value == static_cast<int>(i));
      finished += i == target;
    }
  }
  CHECK(aborted + finished == 600);
  CHECK(aborted > 0);
  CHECK(finished > 0);
  const auto killed = pool.stats().counters.exits_by(coproc::exit_cause::cancelled);
  CHECK(killed > 0);
  CHECK(aborted >= static_cast<int>(killed));
}

TEST_CASE("task::cancel from another thread: every call completes exactly once") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::mt19937 random(20240609);
  for (int round = 0; round < 30; ++round) {
    std::vector<ending<int>> calls(64);
    std::vector<coproc::task<int>> tasks;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      tasks.push_back(pool.submit(
          +[](int value, int turns) {
            burn(turns);
            return value;
          },
          static_cast<int>(i), static_cast<int>(random() % 40'000)));
      tasks.back().async_wait(into(calls[i]));
    }
    std::thread canceller([&] {
      for (std::size_t i = 0; i < tasks.size(); i += 3) tasks[i].cancel(every_type[i % 9 / 3]);
    });
    REQUIRE(run_all(io));
    canceller.join();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      INFO("round " << round << ", task " << i << ": " << calls[i].text());
      REQUIRE(calls[i].calls == 1);
      if (i % 3 != 0)
        REQUIRE(calls[i].succeeded());
      else
        REQUIRE((calls[i].succeeded() || calls[i].aborted()));
    }
  }
}

} // namespace process_cancel
