// SPDX-License-Identifier: BSL-1.0
// Births, deaths and seats, event by event, without tasks but for who runs one. lifecycle.test.cpp tells whole lives.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using signals = std::vector<recorded_effects::signalled>;
using worker_status = front::worker::state;

namespace {

std::size_t processes(pool_bench& b) {
  std::size_t n = 0;
  b.d.workers().each_process([&](front::worker&) { ++n; });
  return n;
}

} // namespace

TEST_CASE("news of incarnations that are unknown, or gone, are ignored") {
  pool_bench b({.max_workers = 1});
  b.d.workers().started(77, 1, {}, b.now);
  b.d.workers().start_refused(77, os::system_code(EAGAIN), b.now);
  b.d.workers().exited(77, pool_bench::killed_by(9), b.now);
  b.d.workers().died(77, b.now);
  CHECK(b.effects.retired.empty());
  CHECK(b.d.workers().vacant(0));
  const auto w = b.live_worker(0);
  b.d.workers().start_refused(w, os::system_code(EAGAIN), b.now); // it lives
  CHECK(b.record(w).status() == worker_status::live);
}

TEST_CASE("a worker that nobody could kill gets no work, and another one is tried later") {
  pool_bench b({.max_workers = 1, .pidfds = true});
  const auto w = b.add_worker(0);
  b.d.workers().started(w, 1001, {}, b.now); // its pidfd was lost on the way
  CHECK(b.effects.dismissed == std::vector<std::uint64_t>{w});
  CHECK(b.d.workers().at(0) == nullptr);
  CHECK(b.effects.starts.empty());
  b.advance(10ms);
  CHECK(b.effects.starts == std::vector<unsigned>{0});
}

TEST_CASE("a worker that comes up when the end has begun is dismissed") {
  pool_bench b({.max_workers = 1});
  const auto w = b.add_worker(0);
  b.d.terminate(SIGTERM, b.now);
  CHECK_FALSE(b.d.over());
  b.d.workers().started(w, 1001, {}, b.now);
  CHECK(b.effects.dismissed == std::vector<std::uint64_t>{w});
  b.pidfd_fires(w);
  b.exited(w, 0);
  b.advance(0ns);
  CHECK(b.d.over());
  CHECK(b.effects.starts.empty());
}

TEST_CASE("what a worker did not begin is in the queue before its signal is sent") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  b.submit(2);
  REQUIRE(b.worker(w).begin());
  std::uint64_t queued = 0;
  b.effects.on_signal = [&](front::worker&, int) { queued = b.d.books().queued(); };
  b.cancel(t);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
  CHECK(queued == 1);
}

TEST_CASE("a worker that survives SIGKILL loses its seat to another, and its task at once") {
  pool_bench b({.max_workers = 1});
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  REQUIRE(b.worker(w).begin());
  b.cancel(t);
  b.advance(1s);
  CHECK(b.completed().empty());
  b.advance(1s);
  CHECK(b.completed_as(front::verdict::aborted) == std::vector<std::uint64_t>{1});
  CHECK(b.effects.starts == std::vector<unsigned>{0});
  CHECK(processes(b) == 1); // it may still be alive
  const pool_stats s = b.d.stats(b.now);
  REQUIRE(s.workers.size() == 1);
  CHECK(s.workers[0].state == worker_state::unkillable);
  b.pidfd_fires(w);
  b.exited(w);
  CHECK(processes(b) == 0);
  CHECK(b.effects.retired.size() == 1);
}

TEST_CASE("statistics tell what each worker does") {
  pool_bench b({.max_workers = 3});
  b.add_worker(2);
  const auto busy = b.live_worker(0);
  b.live_worker(1);
  b.now += 5s;
  b.submit(1);
  const pool_stats s = b.d.stats(b.now);
  REQUIRE(s.workers.size() == 3);
  CHECK(s.workers[2].state == worker_state::starting);
  const bool first = b.record(busy).load() != 0;
  CHECK(s.workers[first ? 0 : 1].state == worker_state::busy);
  CHECK(s.workers[first ? 1 : 0].state == worker_state::idle);
  CHECK(s.workers[0].age == 5s);
  CHECK(s.active == 1);
}
