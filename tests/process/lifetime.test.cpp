// SPDX-License-Identifier: BSL-1.0
// Who may be destroyed when: pool and context in either order with tasks in every state, inside handlers, on strands,
// with several threads. Handlers run once, posted, or are destroyed uninvoked; destruction is bounded; nothing is left.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <coproc/argument_array.hpp>

#include <asio/experimental/awaitable_operators.hpp>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace process_lifetime {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

struct board {
  tally started, go, ran;
  std::atomic<pid_t> pid{0};
};
shared_memory<board> shared;

int identity(int n) {
  shared->ran.add();
  return n;
}
int blocker() {
  shared->pid = ::getpid();
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int deaf_blocker() {
  ::signal(SIGTERM, SIG_IGN);
  return blocker();
}
std::string large_result() { return std::string(1 << 20, 'x'); }

/// Counts its live copies: shows whether a handler, or a coroutine's frame, is still there.
class witness {
public:
  explicit witness(int& live) noexcept : live_(&live) { ++*live_; }
  witness(const witness& o) noexcept : live_(o.live_) { ++*live_; }
  ~witness() { --*live_; }

private:
  int* live_;
};

/// Calls in every state at once: one running, one ended and not delivered, others issued, queued and waiting for room.
class calls_in_every_state {
public:
  explicit calls_in_every_state(coproc::process_pool& pool, int (*running)() = blocker) {
    start(done_, pool, identity, 1);
    start(large_done_, pool, large_result);
    start(running_, pool, running);
    REQUIRE(shared->started.await(1)); // so the first two have ended
    for (auto& e : rest_) start(e, pool, identity, 2);
  }

  int completions() const {
    int n = done_.calls + large_done_.calls + running_.calls;
    for (const auto& e : rest_) n += e.calls;
    return n;
  }

  static constexpr int count = 103;

  void check_aborted_exactly_once() const {
    CHECK((done_.succeeded() || done_.aborted()));
    CHECK((large_done_.succeeded() || large_done_.aborted()));
    CHECK(running_.aborted());
    int aborted = 0;
    for (const auto& e : rest_) aborted += e.aborted();
    CHECK(aborted == 100);
  }

private:
  ending<int> done_, running_;
  ending<std::string> large_done_;
  std::vector<ending<int>> rest_{100};
};

// One worker, so that the order of things is known; room for half of them.
constexpr coproc::pool_options one_worker{.max_workers = 1, .max_queue = 50, .kill_grace = milliseconds(200)};

} // namespace

TEST_CASE("an idle pool lets run() return, again and again") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  REQUIRE(run_all(io));
  for (int round = 0; round < 200; ++round) {
    ending<int> e;
    start(e, pool, identity, round);
    CHECK(e.calls == 0);
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
  }
}

TEST_CASE("a pool that is never used, nor its context ever run, leaves nothing behind") {
  const leak_audit audit;
  for (int round = 0; round < 5; ++round) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 3});
  }
}

TEST_CASE("the pool may go first: every call completes with operation_aborted, posted, exactly once") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, one_worker);
  calls_in_every_state calls(*pool);
  const stopwatch watch;
  pool.reset();
  CHECK(watch.milliseconds() < 10'000);
  CHECK(calls.completions() == 0); // posted, not inline
  CHECK_FALSE(is_alive(shared->pid));
  REQUIRE(run_all(io));
  CHECK(calls.completions() == calls.count);
  calls.check_aborted_exactly_once();
}

TEST_CASE("the pool may go first while its wait is armed") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, one_worker);
  ending<int> running, queued;
  start(running, *pool, blocker);
  start(queued, *pool, identity, 1);
  io.run_for(milliseconds(50));
  CHECK(running.calls == 0);
  pool.reset();
  REQUIRE(run_all(io));
  CHECK(running.aborted());
  CHECK(queued.aborted());
}

TEST_CASE("the context may go first: handlers are destroyed uninvoked and the workers are gone") {
  const leak_audit audit;
  for (const bool run_a_little : {false, true}) {
    INFO("the loop has run: " << run_a_little);
    shared.reset();
    std::optional<net::io_context> io(std::in_place, 1);
    coproc::process_pool pool(*io, one_worker);
    calls_in_every_state calls(pool);
    if (run_a_little) io->run_for(milliseconds(20));
    const int before = calls.completions();
    const stopwatch watch;
    io.reset();
    CHECK(watch.milliseconds() < 10'000);
    CHECK(calls.completions() == before);
    CHECK_FALSE(is_alive(shared->pid));
  }
}

TEST_CASE("destruction is bounded although a task ignores SIGTERM, in either order") {
  const leak_audit audit;
  for (const bool pool_first : {true, false}) {
    INFO("the pool goes first: " << pool_first);
    shared.reset();
    std::optional<net::io_context> io(std::in_place, 1);
    std::optional<coproc::process_pool> pool(std::in_place, *io, one_worker);
    calls_in_every_state calls(*pool, deaf_blocker);
    const stopwatch watch;
    if (pool_first)
      pool.reset();
    else
      io.reset();
    CHECK(watch.milliseconds() >= 195);
    CHECK(watch.milliseconds() < 10'000);
    CHECK_FALSE(is_alive(shared->pid));
    if (pool_first) {
      REQUIRE(run_all(*io));
      calls.check_aborted_exactly_once();
    }
  }
}

TEST_CASE("destruction is bounded although a worker is stopped, or still in its initializer") {
  const leak_audit audit;
  SECTION("stopped") {
    shared.reset();
    net::io_context io(1);
    std::optional<coproc::process_pool> pool(std::in_place, io, one_worker);
    ending<int> e;
    start(e, *pool, blocker);
    REQUIRE(shared->started.await(1));
    ::kill(shared->pid, SIGSTOP);
    const stopwatch watch;
    pool.reset();
    CHECK(watch.milliseconds() < 10'000);
    REQUIRE(run_all(io));
    CHECK(e.aborted());
  }
  SECTION("initializing") {
    shared.reset();
    net::io_context io(1);
    ending<int> e;
    std::optional<coproc::process_pool> pool(std::in_place, io,
                                             coproc::pool_options{.max_workers = 2,
                                                                  .initializer = [] { shared->go.await(1); },
                                                                  .kill_grace = milliseconds(200)});
    start(e, *pool, identity, 1);
    const stopwatch watch;
    pool.reset();
    CHECK(watch.milliseconds() < 10'000);
    REQUIRE(run_all(io));
    CHECK(e.aborted());
  }
}

TEST_CASE("the pool may be destroyed inside a completion handler") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  auto pool = std::make_unique<coproc::process_pool>(io, one_worker);
  ending<int> running;
  std::vector<ending<int>> rest(20);
  std::vector<ending<int>> quick(5);
  int handled = 0;
  for (auto& e : quick) start(e, *pool, identity, 1);
  coproc::async_run(*pool, coproc::work(identity, 7), [&](std::exception_ptr e, int n) {
    ++handled;
    CHECK_FALSE(e);
    CHECK(n == 7);
    pool.reset();
    CHECK(running.calls == 0); // nothing completes inline
  });
  start(running, *pool, blocker);
  for (auto& e : rest) start(e, *pool, identity, 2);
  REQUIRE(run_all(io));
  CHECK(handled == 1);
  CHECK_FALSE(pool);
  for (const auto& e : quick) CHECK(e.succeeded());
  CHECK(running.aborted());
  for (const auto& e : rest) CHECK(e.aborted());
}

TEST_CASE("a coroutine may own the pool that it waits for") {
  const leak_audit audit;
  shared.reset();
  int live = 0;
  for (const bool destroy_context : {false, true}) {
    INFO("the context is destroyed under it: " << destroy_context);
    net::io_context io(1);
    int result = 0;
    net::co_spawn(
        io,
        [](net::io_context& context, bool block, int& out, witness) -> net::awaitable<void> {
          coproc::process_pool pool(context, one_worker);
          out = block ? co_await coproc::run_in_executor(pool, blocker)
                      : co_await coproc::run_in_executor(pool, identity, 5);
        }(io, destroy_context, result, witness(live)),
        net::detached);
    if (destroy_context) {
      REQUIRE(run_until(io, [&] { return shared->started.get() != 0; }));
    } else {
      REQUIRE(run_all(io));
      CHECK(result == 5);
    }
  }
  CHECK(live == 0);
}

TEST_CASE("the frames of waiting coroutines are destroyed, whoever goes first") {
  using namespace net::experimental::awaitable_operators;
  const leak_audit audit;
  int live = 0;
  for (const bool pool_first : {true, false}) {
    INFO("the pool goes first: " << pool_first);
    shared.reset();
    int begun = 0, aborted = 0, resumed = 0;
    {
      std::optional<net::io_context> io(std::in_place, 1);
      std::optional<coproc::process_pool> pool(std::in_place, *io, one_worker);
      const auto waits = [&](witness, int kind) -> net::awaitable<void> {
        ++begun;
        try {
          if (kind == 0) {
            co_await coproc::run_in_executor(*pool, blocker);
          } else if (kind == 1) {
            auto task = pool->submit(blocker);
            co_await std::move(task);
          } else {
            net::steady_timer timer(*io, std::chrono::hours(1));
            auto task = pool->submit(blocker);
            co_await (std::move(task) || timer.async_wait(net::use_awaitable));
          }
          ++resumed;
        } catch (const net::system_error& e) {
          aborted += e.code() == net::error::operation_aborted;
        }
      };
      for (int i = 0; i < 30; ++i) net::co_spawn(*io, waits(witness(live), i % (pool_first ? 2 : 3)), net::detached);
      REQUIRE(run_until(*io, [&] { return begun == 30 && shared->started.get() != 0; }));
      if (pool_first) {
        pool.reset();
        REQUIRE(run_all(*io));
        CHECK(aborted == 30);
        CHECK(live == 0);
      } else {
        io.reset();
        CHECK(live == 0);
        CHECK(aborted == 0);
      }
      CHECK(resumed == 0);
    }
    CHECK(live == 0);
  }
}

TEST_CASE("awaitables and tasks that were never awaited may outlive pool and context") {
  const leak_audit audit;
  shared.reset();
  std::optional<net::io_context> io(std::in_place, 1);
  std::optional<coproc::process_pool> pool(std::in_place, *io, one_worker);
  std::optional<net::awaitable<int>> call(coproc::run_in_executor(*pool, identity, 1));
  std::optional<coproc::task<int>> running(pool->submit(blocker));
  std::optional<coproc::task<int>> queued(pool->submit(identity, 2));
  std::optional<coproc::task<int>> waited(pool->submit(identity, 3));
  ending<int> e;
  waited->async_wait(into(e));
  SECTION("the pool goes first") {
    pool.reset();
    io.reset();
  }
  SECTION("the context goes first") {
    io.reset();
    pool.reset();
  }
  SECTION("the pool goes first, and its posted completions run") {
    pool.reset();
    REQUIRE(run_all(*io));
    CHECK(e.aborted());
    CHECK(running->done());
    io.reset();
  }
  running->cancel();
  queued->cancel(net::cancellation_type::total);
  queued.reset();
  running.reset();
  waited.reset();
  call.reset();
}

TEST_CASE("calls that are made when the context is gone") {
  const leak_audit audit;
  shared.reset();
  std::optional<net::io_context> io(std::in_place, 1);
  std::optional<coproc::process_pool> pool;
  SECTION("a plain one") { pool.emplace(*io, one_worker); }
  SECTION("a strand of it") { pool.emplace(net::make_strand(*io), one_worker); }
  std::optional<net::awaitable<int>> made_before(coproc::run_in_executor(*pool, identity, 1));
  std::optional<coproc::task<int>> submitted(pool->submit(identity, 2));
  io.reset();
  CHECK_FALSE(pool->get_executor());
  int live = 0;
  coproc::async_run(*pool, coproc::work(identity, 3), [w = witness(live)](std::exception_ptr, int) { FAIL("called"); });
  submitted->async_wait([w = witness(live)](std::exception_ptr, int) { FAIL("called"); });
  pool->async_shutdown(coproc::unlimited, [w = witness(live)](std::exception_ptr) { FAIL("called"); });
  CHECK(live == 0);
  net::io_context other(1);
  int closed = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto made_later = coproc::run_in_executor(*pool, identity, 4);
    for (auto* call : {&*made_before, &made_later}) {
      try {
        co_await std::move(*call);
      } catch (const coproc::pool_error& e) {
        closed += e.code() == errc::pool_closed;
      }
    }
  };
  net::co_spawn(other, body(), net::detached);
  other.run();
  CHECK(closed == 2);
  CHECK(shared->ran.get() <= 1); // the one that was submitted in time
}

// Such a call holds no reference to its pool, as those that are made elsewhere do.
TEST_CASE(
    "an awaitable made by a handler that the pool calls may be awaited later, or never, or when the pool is gone") {
  const leak_audit audit;
  shared.reset();
  std::optional<net::io_context> io(std::in_place, 1);
  std::optional<coproc::process_pool> pool(std::in_place, *io, one_worker);
  std::optional<net::awaitable<int>> call;
  const std::vector<char> large(100'000, 'x');
  coproc::async_run(*pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
    call.emplace(
        coproc::run_in_executor(*pool, [](const std::vector<char>& v) { return static_cast<int>(v.size()); }, large));
  });
  REQUIRE(run_all(*io));
  REQUIRE(call);
  ending<int> e;
  SECTION("awaited outside of a turn") {
    net::co_spawn(*io, *std::exchange(call, {}), into(e));
    REQUIRE(run_all(*io));
    CHECK(e.value == 100'000);
  }
  SECTION("awaited within a turn") {
    coproc::async_run(*pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
      net::co_spawn(io->get_executor(), *std::exchange(call, {}), into(e));
    });
    REQUIRE(run_all(*io));
    CHECK(e.value == 100'000);
  }
  SECTION("awaited by a thread that is within no turn") {
    net::thread_pool thread(1);
    auto result = net::co_spawn(thread, *std::exchange(call, {}), net::use_future);
    auto work = net::make_work_guard(*io);
    net::co_spawn(
        *io, [&]() -> net::awaitable<void> { co_await net::post(thread, net::use_awaitable); },
        [&](std::exception_ptr) { work.reset(); }); // the call was started before this
    REQUIRE(run_all(*io));
    CHECK(result.get() == 100'000);
  }
  SECTION("awaited when the pool is gone") {
    pool.reset();
    REQUIRE(run_all(*io));
    net::co_spawn(*io, *std::exchange(call, {}), into(e));
    REQUIRE(run_all(*io));
    CHECK(e.failed_with(errc::pool_closed));
  }
  SECTION("awaited within a turn of the next pool, which may lie where the first one did") {
    pool.reset();
    REQUIRE(run_all(*io));
    pool.emplace(*io, one_worker);
    ending<int> other;
    coproc::async_run(*pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
      net::co_spawn(io->get_executor(), *std::exchange(call, {}), into(e));
      net::co_spawn(io->get_executor(), coproc::run_in_executor(*pool, identity, 5), into(other));
    });
    REQUIRE(run_all(*io));
    CHECK(e.failed_with(errc::pool_closed));
    CHECK(other.value == 5);
  }
  SECTION("never awaited, and destroyed last") {
    pool.reset();
    io.reset();
  }
  SECTION("never awaited, and destroyed before the pool") {}
  call.reset();
}

// It is refused by a turn, which the context does not come to run.
TEST_CASE("a call awaited after its pool was destroyed, and before its context is, leaves nothing behind") {
  const leak_audit audit;
  std::optional<net::io_context> io(std::in_place, 1);
  std::optional<coproc::process_pool> pool(std::in_place, *io, one_worker);
  auto call =
      coproc::run_in_executor(*pool, [](const std::vector<char>& v) { return v.size(); }, std::vector<char>(3'000'000));
  pool.reset();
  const auto handler = std::make_shared<int>(0);
  int ended = 0;
  net::co_spawn(*io, std::move(call), [&, handler](std::exception_ptr, std::size_t) { ++ended; });
  io->restart();
  io->poll_one();
  io.reset();
  CHECK(ended == 0);
  CHECK(handler.use_count() == 1);
}

TEST_CASE("a pool that has gone leaves tasks which end with operation_aborted") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, one_worker);
  auto running = pool->submit(blocker);
  pool.reset();
  ending<int> e;
  running.async_wait(into(e));
  REQUIRE(run_all(io));
  CHECK(e.aborted());
}

TEST_CASE("an awaitable made before the pool was stopped completes with pool_closed") {
  const leak_audit audit;
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, one_worker);
  auto call = coproc::run_in_executor(*pool, identity, 1);
  pool.reset();
  std::exception_ptr error;
  net::co_spawn(io, std::move(call), [&](std::exception_ptr e, int) { error = e; });
  REQUIRE(run_all(io));
  CHECK(coproc::code_of(error) == make_error_code(errc::pool_closed));
}

TEST_CASE("a pool works on a strand") {
  const leak_audit audit;
  shared.reset();
  net::io_context io;
  auto strand = net::make_strand(io);
  coproc::process_pool pool(strand, {.max_workers = 2});
  std::vector<ending<int>> calls(500);
  int outside = 0;
  for (auto& e : calls)
    coproc::async_run(pool, coproc::work(identity, 3), [&](std::exception_ptr error, int n) {
      outside += !strand.running_in_this_thread();
      into<int> write(e);
      write(error, n);
    });
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(outside == 0);
  for (const auto& e : calls) CHECK(e.succeeded());
}

TEST_CASE("several threads run the context and submit to one pool") {
  const leak_audit audit;
  shared.reset();
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 64});
  constexpr int threads = 4, each = 1500;
  std::vector<std::vector<ending<int>>> calls(threads);
  for (auto& c : calls) c.resize(each);
  std::vector<std::thread> workers;
  for (std::size_t t = 0; t < threads; ++t)
    workers.emplace_back([&, t] {
      for (std::size_t i = 0; i < each; ++i) start(calls[t][i], pool, identity, static_cast<int>(i));
      io.run();
    });
  for (auto& w : workers) w.join();
  io.restart();
  io.run(); // what was submitted after the last thread had left
  int right = 0;
  for (const auto& c : calls)
    for (std::size_t i = 0; i < each; ++i) right += c[i].succeeded() && *c[i].value == static_cast<int>(i);
  CHECK(right == threads * each);
}

TEST_CASE("coroutines on several threads resume exactly once each") {
  const leak_audit audit;
  shared.reset();
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 16});
  std::atomic<int> sum{0}, ended{0};
  for (int i = 0; i < 200; ++i)
    net::co_spawn(
        io,
        [](coproc::process_pool& p, std::atomic<int>& total, std::atomic<int>& n) -> net::awaitable<void> {
          for (int k = 0; k < 20; ++k) total += co_await coproc::run_in_executor(p, identity, 1);
          ++n;
        }(pool, sum, ended),
        net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(ended == 200);
  CHECK(sum == 4000);
}

TEST_CASE("the pool may be destroyed on one thread while others run its context and its workers crash") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    shared.reset();
    net::io_context io;
    std::optional<coproc::process_pool> pool(std::in_place, io,
                                             coproc::pool_options{.max_workers = 2, .kill_grace = milliseconds(200)});
    std::vector<ending<int>> calls(300);
    for (std::size_t i = 0; i < calls.size(); ++i)
      start(
          calls[i], *pool,
          +[](int n) {
            if (n % 20 == 7) ::raise(SIGKILL);
            shared->ran.add();
            return n;
          },
          static_cast<int>(i));
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) threads.emplace_back([&] { io.run(); });
    shared->ran.await(static_cast<std::uint32_t>(round * 12));
    pool.reset();
    for (auto& t : threads) t.join();
    io.restart();
    io.run();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      INFO("call " << i << ": " << calls[i].text());
      REQUIRE(calls[i].calls == 1);
      REQUIRE((calls[i].succeeded() || calls[i].aborted() || (i % 20 == 7 && calls[i].failed_with(errc::worker_lost))));
    }
  }
}

// Whatever others do with the pool meanwhile either completes, on executors that still exist, or is destroyed.
TEST_CASE("the context may be destroyed on one thread while others call its pool, wait for tasks and shut it down") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    shared.reset();
    std::optional<net::io_context> io(std::in_place);
    std::optional<coproc::process_pool> pool;
    if (round % 2 == 0)
      pool.emplace(*io, coproc::pool_options{.max_workers = 1, .kill_grace = milliseconds(200)});
    else
      pool.emplace(net::make_strand(*io), coproc::pool_options{.max_workers = 1, .kill_grace = milliseconds(200)});
    std::atomic<int> turns{0};
    std::atomic<bool> gone{false};
    const auto handler = std::make_shared<std::atomic<int>>(0);
    const auto use = [&](bool shut_down) {
      net::io_context own(1);
      const auto here = [&](auto f) { return net::bind_executor(own, std::move(f)); };
      while (!gone) {
        coproc::async_run(*pool, coproc::work(identity, 1), here([handler](std::exception_ptr, int) { ++*handler; }));
        coproc::async_run(*pool, coproc::work(identity, 2), [handler](std::exception_ptr, int) { ++*handler; });
        auto task = pool->submit(identity, 3);
        task.async_wait(here([handler](std::exception_ptr, int) { ++*handler; }));
        if (shut_down && turns > 20)
          pool->async_shutdown(coproc::unlimited, here([handler](std::exception_ptr) { ++*handler; }));
        ++turns;
        own.poll();
      }
      own.restart();
      own.run();
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) threads.emplace_back(use, round % 4 < 2);
    REQUIRE(run_until(*io, [&] { return turns > 20 + round && *handler > 0; }));
    io.reset();
    gone = true;
    for (auto& t : threads) t.join();
    CHECK(handler.use_count() == 1);
  }
}

TEST_CASE("pools one after another and two at once do not disturb each other") {
  const leak_audit audit;
  shared.reset();
  for (int round = 0; round < 10; ++round) {
    net::io_context io(1);
    coproc::process_pool first(io, {.max_workers = 1});
    std::optional<coproc::process_pool> second(std::in_place, io, coproc::pool_options{.max_workers = 1});
    std::vector<ending<int>> a(20), b(20);
    for (auto& e : a) start(e, first, identity, 1);
    for (auto& e : b) start(e, *second, identity, 2);
    REQUIRE(run_all(io));
    second.reset();
    ending<int> after;
    start(after, first, identity, 3);
    REQUIRE(run_all(io));
    for (const auto& e : a) CHECK(e.succeeded());
    for (const auto& e : b) CHECK(e.succeeded());
    CHECK(after.succeeded());
  }
}

TEST_CASE("two pools on two contexts: destroying one context leaves the other pool alone") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool first(io, {.max_workers = 1});
  ending<int> running, other;
  start(running, first, blocker);
  {
    net::io_context io2(1);
    coproc::process_pool second(io2, one_worker);
    start(other, second, identity, 1);
    REQUIRE(run_all(io2));
  }
  CHECK(other.succeeded());
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(running.succeeded());
}

TEST_CASE(
    "a call that outlives its pool may be dropped in a forked copy, where its memory may be somebody else's by now") {
  const leak_audit audit;
  const std::size_t bytes = GENERATE(std::size_t{3}, std::size_t{3000}); // in the call itself, in a segment
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, coproc::pool_options{.max_workers = 1});
  const auto segment = reinterpret_cast<std::uintptr_t>(coproc::argument_array<char>(*pool, 4000).data());
  std::optional<net::awaitable<std::size_t>> call(
      coproc::run_in_executor(*pool, [](const std::string& s) { return s.size(); }, std::string(bytes, 'x')));
  pool.reset();
  check_in_child([&] {
    // No segment is mapped in a copy: its place is free.
    void* const place = reinterpret_cast<void*>(segment & ~std::uintptr_t{4095});
    void* const mine =
        ::mmap(place, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    expect(mine == place, "the segment is mapped in the copy");
    auto& byte = *static_cast<volatile char*>(mine);
    byte = 1;
    call.reset();
    expect(byte == 1, "somebody else's memory was unmapped");
  });
}

TEST_CASE("a hundred pools leave no slope") {
  const leak_audit audit;
  for (int i = 0; i < 100; ++i) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    ending<int> e;
    start(e, pool, identity, i);
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
  }
}

} // namespace process_lifetime
