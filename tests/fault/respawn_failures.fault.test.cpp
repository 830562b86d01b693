// SPDX-License-Identifier: BSL-1.0
// n-th failure injection while a pool runs: a worker crashes, and each system call that follows, in the front end,
// in the fork server and in the new worker, fails once at each of its calls. Every task completes, the crash costs
// one, the pool goes on, nothing is left behind.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "fail_nth.hpp"
#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

int crash(int) {
  ::raise(SIGKILL);
  return 0;
}
int next(int n) { return n + 1; }
std::vector<int> echo(const std::vector<int>& v) { return v; }

struct counts {
  int completed = 0, values = 0, lost = 0;
  std::string others;
};

/// Tasks of all kinds around a crash, then some more.
counts disturb(process_pool& pool, net::io_context& io) {
  counts c;
  const auto note = [&c](const std::exception_ptr& e, bool right) {
    ++c.completed;
    if (!e) {
      c.values += right;
      return;
    }
    try {
      std::rethrow_exception(e);
    } catch (const worker_lost&) {
      ++c.lost;
    } catch (const std::exception& other) {
      c.others += other.what();
    }
  };
  const std::vector<int> large(1000, 7);
  async_run(pool, work(next, 1), [&](std::exception_ptr e, int v) { note(e, v == 2); });
  async_run(pool, work(crash, 1), [&](std::exception_ptr e, int) { note(e, false); });
  for (int i = 0; i != 3; ++i) {
    async_run(pool, work(next, i), [&, i](std::exception_ptr e, int v) { note(e, v == i + 1); });
    async_run(pool, work(echo, large), [&](std::exception_ptr e, const std::vector<int>& v) { note(e, v == large); });
  }
  io.restart();
  io.run_for(hang_limit);
  return c;
}

} // namespace

TEST_CASE("each system call around a respawn fails at each of its calls, and a death costs one task") {
  fault_control& s = fault_plan();
  s.front_end = ::getpid();
  os::faults.before_call = fail_or_not;
  int runs = 0;
  const auto run = [&](role who, call which, int n, int error) {
    CAPTURE(static_cast<int>(who), static_cast<int>(which), n, error);
    const leak_audit audit;
    net::io_context io(1);
    process_pool pool(io, {.max_workers = 1});
    s.arm(who, which, n, error);
    const counts first = disturb(pool, io);
    s.disarm();
    ++runs;
    CAPTURE(first.others);
    CHECK(first.completed == 8);
    // A worker that cannot go on dies, and its death costs one task, like any other.
    CHECK(first.lost >= 1);
    CHECK(first.lost <= (who == role::worker ? 2 : 1));
    // What the failed call was needed for may fail with it: the memory of one task's arguments, at most.
    CHECK(first.values >= 6);
    if (first.others.empty()) CHECK(first.values == 8 - first.lost);
    if (error == EINTR) CHECK((first.lost == 1 && first.values == 7)); // nobody may notice
    const counts second = disturb(pool, io);
    CHECK(second.values == 7);
  };

  run(role::front_end, call::fork, 0, 0);
  int made[3][calls];
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c) made[who][c] = s.made[who][c];

  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c) {
      const auto which = static_cast<call>(c);
      // Without them a process cannot be what it is; their failure ends it, which tests/process covers.
      const bool vital = static_cast<role>(who) == role::worker && which == call::recvmsg;
      for (int n = 1; n <= std::min(made[who][c], 12); ++n)
        for (const int error : errors_to_try(which))
          if (!vital || error == EINTR) run(static_cast<role>(who), which, n, error);
    }
  WARN(runs << " runs");
  os::faults = {};
}
