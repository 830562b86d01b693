// SPDX-License-Identifier: BSL-1.0
// The deadlock scenarios of CPython's test_concurrent_futures and of loky's suites that no other test here has: an end
// of the worker at each of the four moments of a call, big arguments, workers that kill each other, crashes from
// handlers, calls that fail before they are sent, the end of the pool in the middle. docs/reliability.md has the whole
// table.
#include "support/run.hpp"

#include <csignal>
#include <string>
#include <vector>

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

enum class moment : int { never, decode_arguments, run, encode_result };
enum class way : int { segfault, exit_0, exit_3, kill, exception };

struct board {
  std::atomic<pid_t> front_end{0};
  std::atomic<pid_t> pids[16]{};
  tally ready;
};
shared_memory<board> shared;

void end(way how) {
  switch (how) {
  case way::segfault: ::raise(SIGSEGV); break;
  case way::exit_0: std::exit(0);
  case way::exit_3: ::_exit(3);
  case way::kill: ::raise(SIGKILL); break;
  case way::exception: throw std::runtime_error("on purpose");
  }
}
bool in_worker() { return ::getpid() != shared->front_end; }

struct trap {
  moment when = moment::never;
  way how = way::kill;
  bool fails_here = false; // in the front end
};

} // namespace

template <>
struct coproc::codec<trap> {
  static void encode(writer& w, const trap& t) {
    if (!in_worker() && t.fails_here) throw std::runtime_error("not encodable");
    if (in_worker() && t.when == moment::encode_result) end(t.how);
    w.put(static_cast<int>(t.when)).put(static_cast<int>(t.how));
  }
  static trap decode(reader& r) {
    trap t;
    t.when = static_cast<moment>(r.get<int>());
    t.how = static_cast<way>(r.get<int>());
    if (in_worker() && t.when == moment::decode_arguments) end(t.how);
    return t;
  }
};

namespace {

trap spring(trap t) {
  if (t.when == moment::run) end(t.how);
  return t;
}
int next(int n) { return n + 1; }
std::size_t crash_with(std::string_view data) {
  ::raise(SIGSEGV);
  return data.size();
}

} // namespace

TEST_CASE("a worker that ends, or throws, at any moment of a call costs that call, also one made from a handler") {
  const leak_audit audit;
  shared.reset();
  shared->front_end = ::getpid();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  for (const moment when : {moment::decode_arguments, moment::run, moment::encode_result})
    for (const way how : {way::segfault, way::exit_0, way::exit_3, way::kill, way::exception}) {
      INFO("moment " << static_cast<int>(when) << ", way " << static_cast<int>(how));
      const trap t{when, how};
      ending<trap> direct, from_handler;
      ending<int> before, after;
      start(before, pool, next, 1);
      start(direct, pool, spring, t);
      start(after, pool, next, 2);
      coproc::async_run(pool, coproc::work(next, 3),
                        [&](std::exception_ptr, int) { start(from_handler, pool, spring, t); });
      REQUIRE(run_all(io));
      CHECK(before.succeeded());
      CHECK(after.succeeded());
      for (const auto* e : {&direct, &from_handler}) {
        if (how == way::exception) {
          CHECK(e->calls == 1);
          CHECK(e->as<std::runtime_error>());
          CHECK_FALSE(e->failed_with(errc::worker_lost));
          continue;
        }
        REQUIRE(e->failed_with(errc::worker_lost));
        const auto lost = e->as<coproc::worker_lost>();
        CHECK(lost->signal() == (how == way::segfault ? SIGSEGV : how == way::kill ? SIGKILL : 0));
        if (how == way::exit_0) CHECK(lost->exit_code() == 0);
        if (how == way::exit_3) CHECK(lost->exit_code() == 3);
      }
    }
}

TEST_CASE("calls that cannot be encoded, hundreds of them, leave the others alone") {
  const leak_audit audit;
  shared.reset();
  shared->front_end = ::getpid();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 50});
  std::vector<ending<trap>> bad(200), good(200);
  for (std::size_t i = 0; i != bad.size(); ++i) {
    start(bad[i], pool, spring, trap{moment::never, way::kill, true});
    start(good[i], pool, spring, trap{});
  }
  REQUIRE(run_all(io));
  for (std::size_t i = 0; i != bad.size(); ++i) {
    CHECK(bad[i].as<std::runtime_error>());
    CHECK(good[i].succeeded());
  }
}

TEST_CASE("a crash with large arguments in flight is an error, not a deadlock") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const std::string data(std::size_t{4} << 20, 'a');
  std::vector<ending<std::size_t>> all(10);
  for (auto& e : all) start(e, pool, crash_with, data);
  REQUIRE(run_all(io));
  for (const auto& e : all) CHECK(e.failed_with(errc::worker_lost));
}

TEST_CASE("workers that kill each other at the same time cost no more than what they ran") {
  const leak_audit audit;
  for (const unsigned workers : {1u, 2u, 5u, 13u}) {
    INFO(workers << " workers");
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = workers});
    std::vector<ending<int>> killers(workers), rest(20);
    for (unsigned i = 0; i != workers; ++i)
      start(
          killers[i], pool,
          +[](unsigned n, unsigned of) {
            shared->pids[n] = ::getpid();
            shared->ready.add();
            shared->ready.await(of);
            ::kill(shared->pids[of - 1 - n], SIGKILL);
            return 1;
          },
          i, workers);
    for (auto& e : rest) start(e, pool, next, 1);
    REQUIRE(run_all(io));
    int lost = 0;
    for (const auto& e : killers) {
      CHECK((e.succeeded() || e.failed_with(errc::worker_lost)));
      lost += e.failed_with(errc::worker_lost);
    }
    CHECK(lost >= 1);
    for (const auto& e : rest) CHECK(e.calls == 1);
    ending<int> last;
    start(last, pool, next, 41);
    REQUIRE(run_all(io));
    CHECK(last.succeeded());
  }
}

TEST_CASE("a worker that crashes while the pool is destroyed, and calls cancelled just before, end all the same") {
  const leak_audit audit;
  for (int round = 0; round != 20; ++round) {
    net::io_context io(1);
    std::vector<ending<void>> crashes(4);
    ending<int> cancelled;
    net::cancellation_signal signal;
    {
      coproc::process_pool pool(io, {.max_workers = 2});
      for (auto& e : crashes)
        start(
            e, pool,
            +[](int delay_us) {
              ::usleep(static_cast<useconds_t>(delay_us));
              ::raise(SIGSEGV);
            },
            round * 100);
      start(signal.slot(), cancelled, pool, next, 1);
      io.run_for(std::chrono::microseconds(300));
      signal.emit(net::cancellation_type::terminal);
    }
    REQUIRE(run_all(io));
    for (const auto& e : crashes) CHECK((e.aborted() || e.failed_with(errc::worker_lost)));
    CHECK(cancelled.calls == 1);
  }
}
