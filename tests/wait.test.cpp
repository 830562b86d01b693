// SPDX-License-Identifier: BSL-1.0
// wait: what it waits for, its time-out, and that it leaves the tasks alone.
#include <coproc/wait.hpp>

#include <coproc/run.hpp>

#include "support/run.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace public_wait {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;
using coproc::wait_result;
using coproc::when;
using indices = std::vector<std::size_t>;

namespace {

struct board {
  tally go[3];
};
shared_memory<board> shared;

int after(int gate) {
  shared->go[gate].await(1);
  return gate;
}

int fail_after(int gate) {
  shared->go[gate].await(1);
  throw std::runtime_error("of its own");
}

// Opens the gates after it has begun to wait.
template <class Tasks>
net::awaitable<wait_result> wait_and_open(Tasks& tasks, when until, std::vector<int> gates) {
  net::any_io_executor ex = co_await net::this_coro::executor;
  net::post(ex, [gates] {
    for (const int gate : gates) shared->go[gate].add();
  });
  co_return co_await coproc::wait(tasks, until);
}

struct fixture {
  leak_audit audit;
  net::io_context io{1};
  coproc::process_pool pool{io, {.max_workers = 3}};
  fixture() { shared.reset(); }

  template <class Tasks>
  wait_result wait(Tasks& tasks, when until, std::vector<int> gates) {
    return coproc::run(io, wait_and_open(tasks, until, std::move(gates)));
  }

  void open_all() {
    for (auto& gate : shared->go) gate.add();
  }
};

} // namespace

TEST_CASE("first_completed: until one has ended; the others go on, and are waited for again") {
  fixture f;
  std::vector<coproc::task<int>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(f.pool.submit(after, i));
  auto r = f.wait(tasks, when::first_completed, {1});
  CHECK(r.done == indices{1});
  CHECK(r.pending == indices{0, 2});
  r = f.wait(tasks, when::first_completed, {}); // one has ended
  CHECK(r.done == indices{1});
  r = f.wait(tasks, when::all_completed, {0, 2});
  CHECK(r.done == indices{0, 1, 2});
  CHECK(r.pending.empty());
  for (int i = 0; i < 3; ++i) CHECK(coproc::run(f.io, std::move(tasks[static_cast<std::size_t>(i)])) == i);
}

TEST_CASE("first_exception: a value is not enough, an exception is, and stays with its task") {
  fixture f;
  std::vector<coproc::task<int>> tasks;
  tasks.push_back(f.pool.submit(after, 0));
  tasks.push_back(f.pool.submit(fail_after, 1));
  tasks.push_back(f.pool.submit(after, 2));
  const auto r = f.wait(tasks, when::first_exception, {0, 1});
  CHECK(std::find(r.done.begin(), r.done.end(), 1u) != r.done.end());
  CHECK(r.pending.back() == 2);
  CHECK_THROWS_WITH(coproc::run(f.io, std::move(tasks[1])), "of its own");
  f.open_all();
  CHECK(coproc::run(f.io, std::move(tasks[2])) == 2);
  std::vector<coproc::task<int>> fine;
  fine.push_back(f.pool.submit(after, 0));
  CHECK(f.wait(fine, when::first_exception, {}).done == indices{0});
}

TEST_CASE("the time-out ends the wait, and nothing else") {
  fixture f;
  std::vector<coproc::task<int>> tasks;
  tasks.push_back(f.pool.submit(after, 0));
  auto r = coproc::run(f.io, coproc::wait(tasks, when::all_completed, 1ms));
  CHECK(r.done.empty());
  CHECK(r.pending == indices{0});
  r = coproc::run(f.io, coproc::wait(std::span(tasks), when::all_completed, 0s)); // looks
  CHECK(r.pending == indices{0});
  f.open_all();
  CHECK(coproc::run(f.io, std::move(tasks[0])) == 0);
}

TEST_CASE("nothing to wait for is waited for at once") {
  fixture f;
  std::vector<coproc::task<int>> none;
  const auto r = coproc::run(f.io, coproc::wait(none, when::first_completed));
  CHECK(r.done.empty());
  CHECK(r.pending.empty());
}

TEST_CASE("cancelling a wait leaves the tasks alone; a task that ends with its pool has ended") {
  fixture f;
  std::vector<coproc::task<int>> tasks;
  tasks.push_back(f.pool.submit(after, 0));
  ending<wait_result> e;
  net::cancellation_signal signal;
  net::co_spawn(f.io, coproc::wait(tasks), net::bind_cancellation_slot(signal.slot(), into(e)));
  f.io.poll();
  signal.emit(net::cancellation_type::terminal);
  REQUIRE(run_until(f.io, [&] { return e.calls != 0; }));
  CHECK(e.aborted());
  CHECK_FALSE(tasks[0].done());
  f.pool.kill_workers();
  CHECK(coproc::run(f.io, coproc::wait(tasks)).done == indices{0});
}

TEST_CASE("the pool may be on another context, that another thread runs") {
  shared.reset();
  net::io_context of_pool(1), here(1);
  coproc::process_pool pool(of_pool, {.max_workers = 2});
  auto guard = net::make_work_guard(of_pool);
  std::thread other([&] { of_pool.run(); });
  {
    std::vector<coproc::task<int>> tasks;
    tasks.push_back(pool.submit(after, 0));
    tasks.push_back(pool.submit(after, 1));
    CHECK(coproc::run(here, wait_and_open(tasks, when::first_completed, {1})).done == indices{1});
    CHECK(coproc::run(here, wait_and_open(tasks, when::all_completed, {0})).done == indices{0, 1});
  }
  guard.reset();
  other.join();
}

} // namespace public_wait
