// SPDX-License-Identifier: BSL-1.0
// The bounds of the queue: max_queue and max_queue_bytes are strict, waiting for room is an awaitable and keeps its
// order, submit never waits.
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <csignal>
#include <string>
#include <vector>

namespace process_queue {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

struct board {
  tally started, go, logged;
  std::atomic<int> log[256]{};
};
shared_memory<board> shared;

int identity(int n) { return n; }
int blocker() {
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int log_number(int n) {
  shared->log[shared->logged.add()] = n;
  return n;
}
std::size_t length_of(std::string_view s) { return s.size(); }
std::size_t blocker_with(std::string_view s) {
  blocker();
  return s.size();
}

} // namespace

TEST_CASE("max_queue counts accepted tasks, running ones included, and is strict") {
  const leak_audit audit;
  for (const int max_queue : {2, 3, 7}) {
    INFO("max_queue " << max_queue);
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2, .max_queue = max_queue});
    std::vector<ending<int>> accepted(static_cast<std::size_t>(max_queue));
    std::vector<coproc::task<int>> tasks;
    for (auto& e : accepted) {
      tasks.push_back(pool.submit(blocker));
      tasks.back().async_wait(into(e));
    }
    ending<int> refused, late;
    auto too_many = pool.submit(identity, 1);
    CHECK_FALSE(too_many.done()); // never inside the call
    too_many.async_wait(into(refused));
    REQUIRE(run_until(io, [&] { return refused.calls != 0; }));
    CHECK(refused.failed_with(errc::queue_full));
    CHECK(shared->started.get() <= 2);
    shared->go.add();
    REQUIRE(run_all(io));
    for (const auto& e : accepted) CHECK(e.succeeded());
    auto fits_again = pool.submit(identity, 4);
    fits_again.async_wait(into(late));
    REQUIRE(run_all(io));
    CHECK(late.succeeded());
  }
}

TEST_CASE("calls that wait for room get it in the order of their initiation") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 1});
  ending<int> first;
  std::vector<ending<int>> waiting(200);
  start(first, pool, blocker);
  for (std::size_t i = 0; i < waiting.size(); ++i) start(waiting[i], pool, log_number, static_cast<int>(i));
  REQUIRE(shared->started.await(1));
  for (const auto& e : waiting) REQUIRE(e.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(first.succeeded());
  REQUIRE(shared->logged.get() == waiting.size());
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    CHECK(waiting[i].succeeded());
    CHECK(shared->log[i] == static_cast<int>(i));
  }
}

TEST_CASE("coroutines wait for room without blocking the loop") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 2});
  int ended = 0, sum = 0;
  for (int i = 0; i < 500; ++i)
    net::co_spawn(
        io,
        [](coproc::process_pool& p, int n, int& count, int& total) -> net::awaitable<void> {
          total += co_await coproc::run_in_executor(p, identity, n);
          ++count;
        }(pool, i, ended, sum),
        net::detached);
  REQUIRE(run_all(io));
  CHECK(ended == 500);
  CHECK(sum == 500 * 499 / 2);
}

TEST_CASE("submit is refused while calls wait for room: it does not jump the line") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 1});
  ending<int> running, waiting, refused;
  start(running, pool, blocker);
  start(waiting, pool, identity, 2);
  auto task = pool.submit(identity, 3);
  task.async_wait(into(refused));
  REQUIRE(run_until(io, [&] { return refused.calls != 0; }));
  CHECK(refused.failed_with(errc::queue_full));
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
  CHECK(waiting.succeeded());
}

TEST_CASE("a task that is lost, cancelled or refused gives its room back") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 1});
  for (int round = 0; round < 10; ++round) {
    shared.reset();
    ending<void> lost;
    ending<int> cancelled, last;
    net::cancellation_signal signal;
    start(lost, pool, +[] { ::raise(SIGKILL); });
    start(signal.slot(), cancelled, pool, blocker);
    start(last, pool, identity, round);
    REQUIRE(run_until(io, [&] { return shared->started.get() != 0; }));
    signal.emit(net::cancellation_type::terminal);
    REQUIRE(run_all(io));
    CHECK(lost.failed_with(errc::worker_lost));
    CHECK(cancelled.aborted());
    CHECK(last.succeeded());
  }
}

TEST_CASE("max_queue_bytes bounds the arguments that are accepted and not completed") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue_bytes = 1 << 20});
  const std::string large(600 << 10, 'a'), medium(500 << 10, 'b'), small(300 << 10, 'c'), enormous((1 << 20) + 1, 'd');
  ending<std::size_t> running, waits, refused, fits, never;
  start(running, pool, blocker_with, large);
  REQUIRE(shared->started.await(1));
  auto too_much = pool.submit(length_of, medium);
  too_much.async_wait(into(refused));
  auto enough = pool.submit(length_of, small);
  enough.async_wait(into(fits));
  start(waits, pool, length_of, medium);
  start(never, pool, length_of, enormous);
  REQUIRE(run_until(io, [&] { return refused.calls != 0 && never.calls != 0; }));
  CHECK(refused.failed_with(errc::queue_full));
  CHECK(never.failed_with(errc::payload_too_large));
  CHECK(never.text().find("max_queue_bytes") != std::string::npos);
  CHECK(waits.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
  CHECK(fits.succeeded());
  CHECK(waits.succeeded());
  CHECK(*waits.value == medium.size());
}

TEST_CASE("a waiting call that needs less than the cancelled one before it gets its room at once") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue_bytes = 1 << 20});
  const std::string large(900 << 10, 'a'), small(1 << 10, 'c');
  ending<std::size_t> running, cancelled, waits;
  net::cancellation_signal signal;
  start(running, pool, blocker_with, large);
  REQUIRE(shared->started.await(1));
  start(signal.slot(), cancelled, pool, length_of, large);
  start(waits, pool, length_of, small);
  signal.emit(net::cancellation_type::total);
  REQUIRE(run_until(io, [&] { return waits.calls != 0; }, std::chrono::seconds(5)));
  CHECK(cancelled.aborted());
  CHECK(waits.succeeded());
  CHECK(running.calls == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
}

TEST_CASE("several workers share one queue: an idle one takes what lies behind a long task") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  // Teaches the pool that tasks are short, so that rings are filled deeply.
  std::vector<ending<int>> quick(2000);
  for (auto& e : quick) start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  ending<int> running;
  std::vector<ending<int>> rest(50);
  start(running, pool, blocker);
  for (auto& e : rest) start(e, pool, identity, 2);
  REQUIRE(run_until(
      io, [&] { return std::all_of(rest.begin(), rest.end(), [](const auto& e) { return e.calls != 0; }); },
      std::chrono::seconds(10)));
  CHECK(running.calls == 0);
  for (const auto& e : rest) CHECK(e.succeeded());
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
}

TEST_CASE("a replacement that is still initializing keeps no task from an idle worker") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .initializer = [] {
                                   if (shared->logged.add() >= 2) shared->go.await(1); // replacements alone
                                 }});
  REQUIRE(shared->logged.await(2));
  ending<int> running;
  ending<void> lost;
  start(lost, pool, +[] { ::raise(SIGKILL); });
  REQUIRE(run_all(io));
  CHECK(lost.failed_with(errc::worker_lost));
  std::vector<ending<int>> rest(20);
  for (auto& e : rest) start(e, pool, identity, 2);
  REQUIRE(run_until(
      io, [&] { return std::all_of(rest.begin(), rest.end(), [](const auto& e) { return e.calls != 0; }); },
      std::chrono::seconds(10)));
  for (const auto& e : rest) CHECK(e.succeeded());
  shared->go.add();
}

} // namespace process_queue
