// SPDX-License-Identifier: BSL-1.0
// n-th failure injection, for ever: from some moment on a system call fails whenever it is made, in the front end, in the
// fork server or in the workers. The constructor throws or does without; a pool that runs completes every task, with its
// value or with the cause, and once the call works again it is usable or says that it has failed; nothing is left behind.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "fail_nth.hpp"
#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <optional>
#include <set>

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
  io.run_for(20s);
  return c;
}

/// From its first time on; each more costs minutes of back-off and waiting for room in sockets.
constexpr int last_n = 1;

/// A fork server that can never speak again is one that hangs: nobody can be started until it is killed, and nobody kills it.
bool makes_it_dumb(unsigned who, unsigned c) {
  return static_cast<role>(who) == role::server && static_cast<call>(c) == call::sendmsg;
}

} // namespace

TEST_CASE("a system call that fails for ever makes the constructor throw, or is done without") {
  fault_control& s = fault_plan();
  s.front_end = ::getpid();
  os::faults.before_call = fail_or_not;
  int runs = 0, refused = 0;
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c)
      for (const int error : persistent_errors(static_cast<call>(c)))
        for (int n = 1; n <= last_n && !makes_it_dumb(who, c); ++n) {
          CAPTURE(who, c, n, error);
          const leak_audit audit;
          net::io_context io(1);
          s.arm(static_cast<role>(who), static_cast<call>(c), n, error, true);
          std::optional<process_pool> pool;
          try {
            pool.emplace(io, pool_options{.max_workers = 2});
          } catch (const pool_error& e) {
            ++refused;
            INFO(e.what());
            CHECK((e.code() == make_error_code(errc::worker_start_failed) || e.code() == os::system_code(error)));
          }
          if (s.made[who][c] < n) { // it is not called so often: nothing has failed
            s.disarm();
            continue;
          }
          ++runs;
          if (pool) {
            const counts all = disturb(*pool, io);
            INFO(all.others);
            CHECK(all.completed == tasks);
            CHECK(all.wrong == 0);
          }
          s.disarm();
        }
  CHECK(refused > 10);
  WARN(runs << " runs, " << refused << " times no pool");
  os::faults = {};
}

TEST_CASE(
    "a system call that fails for ever while the pool runs ends every task, and the pool recovers or says why not") {
  fault_control& s = fault_plan();
  s.front_end = ::getpid();
  os::faults.before_call = fail_or_not;
  int runs = 0, failed = 0, recovered = 0;
  std::set<unsigned> reached;
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c)
      for (const int error : persistent_errors(static_cast<call>(c)))
        for (int n = 1; n <= last_n && !makes_it_dumb(who, c); ++n) {
          CAPTURE(who, c, n, error);
          const leak_audit audit;
          net::io_context io(1);
          process_pool pool(io, {.max_workers = 1});
          s.arm(static_cast<role>(who), static_cast<call>(c), n, error, true);
          const counts first = disturb(pool, io);
          if (s.made[who][c] >= n) reached.insert(c), ++runs;
          s.disarm();
          INFO(first.others);
          CHECK(first.completed == tasks);
          CHECK(first.wrong == 0);
          CHECK((first.lost >= 1 || first.not_started == tasks)); // or there was no worker to crash
          // Now it works again: so does the pool, unless it has given up, which it says at once.
          const counts second = disturb(pool, io);
          INFO(second.others);
          CHECK(second.completed == tasks);
          CHECK(second.wrong == 0);
          const bool gave_up = second.not_started == tasks;
          CHECK((second.values == tasks - 1 || gave_up));
          ++(gave_up ? failed : recovered);
        }
  CHECK(recovered > failed);
  WARN(runs << " runs in which " << reached.size() << " kinds of calls failed; " << recovered << " pools recovered, "
            << failed << " had given up");
  os::faults = {};
}
