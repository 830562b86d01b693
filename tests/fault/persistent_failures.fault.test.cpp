// SPDX-License-Identifier: BSL-1.0
// n-th failure injection, for ever: from some moment on a system call fails whenever it is made, in the front end, in
// the fork server or in the workers. The constructor throws or does without; a pool that runs completes every task,
// with its value or with the cause, and once the call works again it is usable or says that it has failed; nothing is
// left behind.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "fail_nth.hpp"
#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

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
  int completed = 0, values = 0, lost = 0, not_started = 0, wrong = 0;
  std::string others;
};

constexpr int tasks = 8;

/// Tasks of all kinds around a crash.
counts disturb(process_pool& pool, net::io_context& io) {
  counts c;
  const auto note = [&c](const std::exception_ptr& e, bool right) {
    ++c.completed;
    if (!e) return void(right ? ++c.values : ++c.wrong);
    try {
      std::rethrow_exception(e);
    } catch (const worker_lost&) {
      ++c.lost;
    } catch (const pool_error& p) {
      ++c.not_started;
      c.others += std::string(p.what()) + "; ";
    } catch (const std::exception& other) {
      ++c.wrong;
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

void expect_completed(const counts& c) {
  expect(c.completed == tasks, fmt::format("{} of {} tasks completed; {}", c.completed, tasks, c.others));
  expect(c.wrong == 0, "wrong: " + c.others);
}

/// A fork server that can never speak again is one that hangs: nobody can be started until it is killed, and nobody
/// kills it.
bool makes_it_dumb(unsigned who, unsigned c) {
  return static_cast<role>(who) == role::server && static_cast<call>(c) == call::sendmsg;
}

struct failure {
  unsigned who, which;
  int error;

  /// The constructor does so for ten seconds with each worker, although nothing will ever be sent.
  bool makes_constructor_wait() const {
    return static_cast<role>(who) == role::front_end && static_cast<call>(which) == call::sendmsg &&
           error == ETOOMANYREFS;
  }

  std::string text() const { return fmt::format("role {}, call {}, error {}", who, which, error); }
};

/// What the runs of a test case saw, together.
struct sums {
  std::atomic<int> runs{0}, refused{0}, failed{0}, recovered{0};
  std::atomic<bool> reached[calls]{};
};

/// Runs `run` for each call of each kind of process that can fail for ever, with each error.
template <class Run>
void for_each_failure(Run run) {
  std::vector<failure> all;
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c)
      for (const int error : persistent_errors(static_cast<call>(c)))
        if (!makes_it_dumb(who, c)) all.push_back({who, c, error});
  const auto run_one = [&](std::size_t i) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const holdings before = take_holdings();
    run(all[i]);
    const std::string left = left_behind(before);
    expect(left.empty(), "left behind:" + left);
  };
  const std::string trouble =
      run_side_by_side(all.size(), 8, install_faults, run_one, [&](std::size_t i) { return all[i].text(); });
  if (!trouble.empty()) FAIL_CHECK(trouble);
}

/// Each pause after a failed start is twice as long as the one before: a pool that gives up early shows the same.
constexpr int start_failures = 3;

} // namespace

TEST_CASE("a system call that fails for ever makes the constructor throw, or is done without") {
  const leak_audit audit;
  sums& sum = *make_shared_with_children<sums>();
  for_each_failure([&sum](const failure& f) {
    fault_control& s = fault_plan();
    net::io_context io(1);
    s.arm(static_cast<role>(f.who), static_cast<call>(f.which), 1, f.error, true);
    std::optional<process_pool> pool;
    try {
      pool.emplace(
          io, pool_options{.max_workers = f.makes_constructor_wait() ? 1 : 2, .max_start_failures = start_failures});
    } catch (const pool_error& e) {
      ++sum.refused;
      expect(e.code() == make_error_code(errc::worker_start_failed) || e.code() == os::system_code(f.error), e.what());
    }
    if (s.made[f.who][f.which] != 0) { // else nothing has failed
      ++sum.runs;
      if (pool) expect_completed(disturb(*pool, io));
    }
    s.disarm();
  });
  CHECK(sum.refused > 10);
  WARN(sum.runs << " runs, " << sum.refused << " times no pool");
}

TEST_CASE(
    "a system call that fails for ever while the pool runs ends every task, and the pool recovers or says why not") {
  const leak_audit audit;
  sums& sum = *make_shared_with_children<sums>();
  for_each_failure([&sum](const failure& f) {
    fault_control& s = fault_plan();
    net::io_context io(1);
    process_pool pool(io, {.max_workers = 1, .max_start_failures = start_failures});
    s.arm(static_cast<role>(f.who), static_cast<call>(f.which), 1, f.error, true);
    const counts first = disturb(pool, io);
    if (s.made[f.who][f.which] != 0) sum.reached[f.which] = true, ++sum.runs;
    s.disarm();
    expect_completed(first);
    expect(first.lost >= 1 || first.not_started == tasks, "no loss"); // or there was no worker to crash
    // Now it works again: so does the pool, unless it has given up, which it says at once.
    const counts second = disturb(pool, io);
    expect_completed(second);
    const bool gave_up = second.not_started == tasks;
    expect(second.values == tasks - 1 || gave_up, "it neither works nor says that it does not: " + second.others);
    ++(gave_up ? sum.failed : sum.recovered);
  });
  CHECK(sum.recovered > sum.failed);
  WARN(sum.runs << " runs in which " << std::count(std::begin(sum.reached), std::end(sum.reached), true)
                << " kinds of calls failed; " << sum.recovered << " pools recovered, " << sum.failed
                << " had given up");
}
