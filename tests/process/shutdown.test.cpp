// SPDX-License-Identifier: BSL-1.0
// The end of a pool: shutdown, close, terminate and kill, from every state, in any order, and from inside a handler.
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <csignal>
#include <thread>
#include <vector>

namespace process_shutdown {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

struct board {
  tally started, go, finalized;
};
shared_memory<board> shared;

int identity(int n) { return n; }

void block_until_go() {
  shared->started.add();
  shared->go.await(1);
}

void ignore_everything() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  shared->started.add();
  for (;;) burn(1000);
}

bool no_processes() { return descendants_of(::getpid()).empty(); }

} // namespace

TEST_CASE("a fork server that hangs does not keep a shutdown from its end") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .kill_grace = milliseconds(100)});
  ending<pid_t> server;
  start(server, pool, +[] { return ::getppid(); });
  REQUIRE(run_all(io));
  REQUIRE(server.succeeded());
  ::kill(*server.value, SIGSTOP);
  int ends = 0;
  pool.async_shutdown(coproc::unlimited, [&](std::exception_ptr e) {
    CHECK(!e);
    ++ends;
  });
  REQUIRE(run_all(io));
  CHECK(ends == 1);
}

TEST_CASE("shutdown waits for what was submitted, then ends every process in order") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 4, .finalizer = [] { shared->finalized.add(); }});
  std::vector<ending<int>> all(50);
  for (auto& e : all) start(e, pool, identity, 1);
  int ends = 0;
  pool.async_shutdown(coproc::unlimited, [&](std::exception_ptr e) {
    CHECK(!e);
    CHECK(no_processes());
    ++ends;
  });
  ending<int> late;
  start(late, pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(ends == 1);
  for (const auto& e : all) CHECK(e.succeeded());
  CHECK(late.failed_with(errc::pool_closed));
  CHECK(shared->finalized.get() == 2);
}

TEST_CASE("a shutdown that drops the queue lets what runs finish") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 3});
  ending<void> running;
  ending<int> ring, queued, waiting;
  start(running, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 1; }));
  start(ring, pool, identity, 1);
  start(queued, pool, identity, 2);
  start(waiting, pool, identity, 3);
  int ends = 0;
  pool.async_shutdown(coproc::unlimited, coproc::queued::drop, [&](std::exception_ptr e) {
    CHECK(!e);
    ++ends;
  });
  REQUIRE(run_until(io, [&] { return ring.calls + queued.calls + waiting.calls == 3; }));
  CHECK(ring.aborted());
  CHECK(queued.aborted());
  CHECK(waiting.aborted());
  CHECK(running.calls == 0);
  CHECK(ends == 0);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
  CHECK(ends == 1);
  CHECK(no_processes());
}

TEST_CASE("shutdown of an idle pool, again, and as an awaitable") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  int ends = 0;
  const auto main = [&]() -> net::awaitable<void> {
    co_await pool.shutdown(seconds(1));
    ++ends;
    CHECK(no_processes());
    co_await pool.shutdown();
    ++ends;
  };
  net::co_spawn(io, main(), net::detached);
  REQUIRE(run_all(io));
  CHECK(ends == 2);
}

TEST_CASE("at its deadline shutdown asks, terminates and kills, whatever the tasks do") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3, .max_queue = 4, .kill_grace = milliseconds(50)});
  ending<int> polite;
  ending<void> deaf, plain, queued;
  start(polite, pool, [] {
    shared->started.add();
    while (!coproc::this_worker::stop_requested()) {
    }
    return 1;
  });
  start(deaf, pool, ignore_everything);
  start(plain, pool, block_until_go);
  start(queued, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 3; }));
  bool ended = false;
  const stopwatch watch;
  pool.async_shutdown(milliseconds(20), [&](std::exception_ptr) { ended = no_processes(); });
  REQUIRE(run_all(io));
  CHECK(ended);
  CHECK(polite.succeeded());
  CHECK(deaf.aborted());
  CHECK(plain.aborted());
  CHECK(queued.aborted());
  CHECK(watch.milliseconds() < 10'000);
}

TEST_CASE("a later shutdown can only hasten the end, and cancelling the wait ends only the wait") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = milliseconds(20)});
  ending<void> blocks;
  start(blocks, pool, block_until_go);
  int first = 0, second = 0;
  net::cancellation_signal cancel;
  pool.async_shutdown(coproc::unlimited, net::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e) {
                        CHECK(coproc::code_of(e) == net::error::operation_aborted);
                        ++first;
                      }));
  cancel.emit(net::cancellation_type::total);
  REQUIRE(run_until(io, [&] { return first == 1; }));
  CHECK(blocks.calls == 0);
  pool.async_shutdown(coproc::duration(0), [&](std::exception_ptr) { ++second; });
  REQUIRE(run_all(io));
  CHECK(second == 1);
  CHECK(blocks.aborted());
}

TEST_CASE("close refuses what comes and lets go on what is there; the pool is not gone") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> before;
  ending<int> after;
  start(before, pool, block_until_go);
  pool.close();
  pool.close();
  start(after, pool, identity, 1);
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(before.succeeded());
  CHECK(after.failed_with(errc::pool_closed));
  CHECK_FALSE(no_processes());
}

TEST_CASE("terminate_workers and kill_workers end everything, with tasks in every state") {
  const leak_audit audit;
  const bool kill = GENERATE(false, true);
  CAPTURE(kill);
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 8, .kill_grace = milliseconds(50)});
  ending<void> deaf, blocks;
  std::vector<ending<int>> others(20);
  start(deaf, pool, ignore_everything);
  start(blocks, pool, block_until_go);
  for (auto& e : others) start(e, pool, identity, 1);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 2; }));
  kill ? pool.kill_workers() : pool.terminate_workers();
  kill ? pool.kill_workers() : pool.terminate_workers();
  REQUIRE(run_all(io));
  CHECK(deaf.aborted());
  CHECK(blocks.aborted());
  for (const auto& e : others) CHECK(e.calls == 1);
  CHECK(no_processes());
  CHECK(pool.stats().workers.empty());
}

TEST_CASE("the end may begin inside a completion handler") {
  const leak_audit audit;
  const int how = GENERATE(0, 1, 2, 3);
  CAPTURE(how);
  net::io_context io(1);
  std::optional<coproc::process_pool> pool;
  pool.emplace(io, coproc::pool_options{.max_workers = 1});
  int calls = 0;
  std::vector<ending<int>> others(10);
  coproc::async_run(*pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
    ++calls;
    if (how == 0) pool->async_shutdown(coproc::unlimited, [&](std::exception_ptr) { ++calls; });
    if (how == 1) pool->terminate_workers();
    if (how == 2) pool->kill_workers();
    if (how == 3) pool.reset();
  });
  for (auto& e : others) start(e, *pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(calls == (how == 0 ? 2 : 1));
  for (const auto& e : others) CHECK(e.calls == 1);
  CHECK(no_processes());
}

TEST_CASE("the pool may be destroyed at any moment of a shutdown, and the wait ends") {
  const leak_audit audit;
  for (int turns = 0; turns < 12; ++turns) {
    CAPTURE(turns);
    shared.reset();
    net::io_context io(1);
    std::optional<coproc::process_pool> pool;
    pool.emplace(io, coproc::pool_options{.max_workers = 2, .kill_grace = milliseconds(50)});
    std::vector<ending<int>> some(5);
    ending<void> blocks;
    for (auto& e : some) start(e, *pool, identity, 1);
    if (turns % 2 == 0) start(blocks, *pool, block_until_go);
    int ended = 0;
    pool->async_shutdown(milliseconds(1), [&](std::exception_ptr) { ++ended; });
    for (int i = 0; i < turns; ++i) io.run_one_for(milliseconds(1));
    pool.reset();
    CHECK(no_processes());
    REQUIRE(run_all(io));
    CHECK(ended == 1);
    for (const auto& e : some) CHECK(e.calls == 1);
  }
}

TEST_CASE("shutdown ends, too, when the fork server or workers are killed meanwhile") {
  const leak_audit audit;
  const bool server = GENERATE(true, false);
  CAPTURE(server);
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .kill_grace = milliseconds(50)});
  ending<void> blocks;
  start(blocks, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 1; }));
  int ended = 0;
  pool.async_shutdown(coproc::unlimited, [&](std::exception_ptr) { ++ended; });
  for (const auto& [pid, status] : descendants_of(::getpid()))
    if ((status.name == "coproc-server") == server && status.name != "coproc-standby") ::kill(pid, SIGKILL);
  REQUIRE(run_all(io));
  CHECK(ended == 1);
  CHECK(blocks.failed_with(errc::worker_lost));
  if (!server) CHECK(no_processes()); // else init, or who takes its place, reaps the workers
}

TEST_CASE("several threads end one pool in several ways at once") {
  const leak_audit audit;
  for (int round = 0; round < 10; ++round) {
    net::io_context io;
    std::atomic<int> ended{0}, completed{0};
    {
      coproc::process_pool pool(io, {.max_workers = 2, .kill_grace = milliseconds(50)});
      const auto guard = net::make_work_guard(io);
      std::thread loop([&] { io.run(); });
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
          for (int k = 0; k < 20; ++k)
            coproc::async_run(pool, coproc::work(identity, k), [&](std::exception_ptr, int) { ++completed; });
          if (i == 0) pool.close();
          if (i == 1) pool.terminate_workers();
          if (i == 2) pool.recycle_workers();
          pool.async_shutdown(milliseconds(5), [&](std::exception_ptr) { ++ended; });
        });
      for (auto& t : threads) t.join();
      CHECK(eventually([&] { return ended == 4 && completed == 80; }));
      io.stop();
      loop.join();
    }
    CHECK(completed == 80);
  }
}

} // namespace process_shutdown
