// SPDX-License-Identifier: BSL-1.0
// A pool that gets more and fewer workers while it works: no task is lost, none runs twice, and the processes are as
// many as it was told.
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace process_resize {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::size_t many = 3000;

struct board {
  tally started, go, finalized;
  std::array<std::atomic<std::uint32_t>, many> runs;
};
shared_memory<board> shared;

void block_until_go() {
  shared->started.add();
  shared->go.await(1);
}

std::size_t run(std::size_t n) {
  shared->runs[n].fetch_add(1);
  burn(static_cast<int>(n % 50));
  return n;
}

std::size_t workers_alive(const coproc::process_pool& pool) { return pool.stats().workers.size(); }

} // namespace

TEST_CASE("a hundred resizes under load lose no task, run none twice, and leave as many workers as the last one said") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 4096, .finalizer = [] { shared->finalized.add(); }});
  std::vector<ending<std::size_t>> all(many);
  std::mt19937 random(19);
  std::size_t submitted = 0;
  for (int i = 0; i != 100; ++i) {
    for (std::size_t n = 0; n != many / 100; ++n, ++submitted) {
      if (submitted % 7 == 0)
        start(all[submitted], pool.with({.worker_key = submitted}), run, submitted);
      else
        start(all[submitted], pool, run, submitted);
    }
    const auto max = static_cast<unsigned>(1 + random() % 5), min = static_cast<unsigned>(1 + random() % max);
    pool.resize(min, max);
    const auto stats = pool.stats();
    CHECK(stats.min_workers == min);
    CHECK(stats.max_workers == max);
    REQUIRE(run_until(io, [&] { return pool.stats().counters.returned + 60 >= submitted; })); // some are left
  }
  pool.resize(3, 3);
  REQUIRE(run_all(io));
  for (std::size_t n = 0; n != many; ++n) {
    REQUIRE(all[n].succeeded());
    REQUIRE(*all[n].value == n);
    REQUIRE(shared->runs[n].load() == 1);
  }
  CHECK(workers_alive(pool) == 3);
  const auto left = pool.stats().counters.exits_by(coproc::exit_cause::recycled);
  CHECK(left >= 10);
  CHECK(static_cast<std::uint64_t>(shared->finalized.get()) == left); // in an orderly way, all of them
  CHECK(pool.stats().counters.lost == 0);
}

TEST_CASE("an idle pool is resized, and run() returns when its workers are there, or gone") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  pool.resize(4, 4);
  REQUIRE(run_all(io));
  CHECK(workers_alive(pool) == 4);
  std::array<ending<void>, 4> blocks;
  for (auto& e : blocks) start(e, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 4; })); // four at once
  pool.resize(1, 1);
  CHECK(pool.stats().max_workers == 1);
  shared->go.add();
  REQUIRE(run_all(io));
  for (const auto& e : blocks) CHECK(e.succeeded());
  CHECK(workers_alive(pool) == 1);
  CHECK(pool.stats().workers[0].index == 0);
}

TEST_CASE("workers beyond min come when they are needed, and leave when they were idle for long") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .idle_timeout = milliseconds(50)});
  pool.resize(1, 3);
  REQUIRE(run_all(io));
  CHECK(workers_alive(pool) == 1);
  std::array<ending<void>, 3> blocks;
  for (auto& e : blocks) start(e, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 3; }));
  shared->go.add();
  REQUIRE(run_all(io));
  REQUIRE(eventually([&] { return descendants_of(::getpid()).size() == 3; })); // with the fork server and its standby
}

TEST_CASE("resize from several threads at once") {
  const leak_audit audit;
  shared.reset();
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 4096});
  std::vector<ending<std::size_t>> all(1000);
  auto work = net::make_work_guard(io);
  std::thread loop([&] { io.run(); });
  std::thread other([&] {
    for (int i = 0; i != 50; ++i) pool.resize(1, 1 + i % 4);
  });
  for (std::size_t n = 0; n != all.size(); ++n) {
    start(all[n], pool, run, n);
    if (n % 20 == 0) pool.resize(1 + n % 3, 3);
  }
  other.join();
  pool.resize(2, 2);
  work.reset();
  loop.join();
  for (std::size_t n = 0; n != all.size(); ++n) {
    REQUIRE(all[n].succeeded());
    REQUIRE(shared->runs[n].load() == 1);
  }
  CHECK(workers_alive(pool) == 2);
}

TEST_CASE("a wrong size is an error that names the argument, and changes nothing") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 10});
  const auto refusal = [&](coproc::count min, coproc::count max) {
    try {
      pool.resize(min, max);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(refusal(3, 2).find("min_workers is 3, more than max_workers (2)") != std::string::npos);
  CHECK(refusal(1, -1).find("max_workers is negative") != std::string::npos);
  CHECK(refusal(1, 11).find("more than pool_options::max_queue (10)") != std::string::npos);
  CHECK(pool.stats().max_workers == 2);
  CHECK(pool.stats().min_workers == 2);
}

namespace {
coproc::process_pool* own_pool = nullptr; // as the workers find it: a copy of the front end's object
}

TEST_CASE("resize is refused in a task, and does nothing after a shutdown") {
  const leak_audit audit;
  alignas(coproc::process_pool) std::byte place[sizeof(coproc::process_pool)];
  own_pool = reinterpret_cast<coproc::process_pool*>(place);
  net::io_context io(1);
  const auto pool = std::unique_ptr<coproc::process_pool, void (*)(coproc::process_pool*)>(
      ::new (place) coproc::process_pool(io, {.max_workers = 1}), [](coproc::process_pool* p) { p->~process_pool(); });
  ending<bool> refused;
  start(refused, *pool, [] {
    try {
      own_pool->resize(1, 2);
    } catch (const coproc::pool_error& e) {
      return e.code() == make_error_code(errc::wrong_process);
    }
    return false;
  });
  REQUIRE(run_all(io));
  CHECK(refused.value == true);
  pool->async_shutdown(coproc::unlimited, [](std::exception_ptr e) { CHECK(!e); });
  REQUIRE(run_all(io));
  pool->resize(2, 2);
  REQUIRE(run_all(io));
  CHECK(workers_alive(*pool) == 0);
}

} // namespace process_resize
