// SPDX-License-Identifier: BSL-1.0
// A worker that dies costs the one task that it was running, whatever the way it dies, and nothing else.
#include "support/run.hpp"

#include <csignal>
#include <cstdlib>
#include <pthread.h>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace process_crash {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

struct board {
  std::atomic<pid_t> pid{0};
  std::atomic<pid_t> grandchild{0};
  tally started, go, logged;
  std::atomic<int> log[64]{};
};
shared_memory<board> shared;

int identity(int n) { return n; }
pid_t who() { return ::getpid(); }

void note_pid() { shared->pid = ::getpid(); }

// Each writes its pid down and dies in its own way.
std::uintptr_t nowhere = 16;
void by_segfault() {
  note_pid();
  *reinterpret_cast<volatile int*>(nowhere) = 1;
}
void by_abort() {
  note_pid();
  std::abort();
}
void by_kill_9() {
  note_pid();
  ::raise(SIGKILL);
}
void by_sigill() {
  note_pid();
  ::raise(SIGILL);
}
void by_sigterm() {
  note_pid();
  ::raise(SIGTERM);
}
void by_exit_0() {
  note_pid();
  std::exit(0);
}
void by_exit_3() {
  note_pid();
  std::exit(3);
}
void by_plain_exit_0() {
  note_pid();
  ::_exit(0);
}
void by_quick_exit() {
  note_pid();
  std::quick_exit(0);
}
void fail() { throw 42; }
void by_noexcept() noexcept {
  note_pid();
  fail();
}
struct throws_when_destroyed {
  ~throws_when_destroyed() noexcept(false) { throw 43; }
};
void by_throwing_while_unwinding() {
  note_pid();
  const throws_when_destroyed bad;
  throw 42;
}

[[gnu::noinline]] int recurse(volatile int* above) {
  volatile int frame[256];
  frame[0] = *above + 1;
  if (*above < 0) return 0; // never
  const int deeper = recurse(frame);
  return deeper + frame[0]; // not a tail call
}
void by_deep_recursion() {
  note_pid();
  volatile int top = 0;
  recurse(&top);
}

struct death {
  const char* name;
  void (*fn)();
  int signal;
  int exit_code; // -1: none
};

const death deaths[] = {
    {"a segmentation fault", by_segfault, SIGSEGV, -1},
    {"abort", by_abort, SIGABRT, -1},
    {"kill -9", by_kill_9, SIGKILL, -1},
    {"an illegal instruction", by_sigill, SIGILL, -1},
    {"SIGTERM from elsewhere", by_sigterm, SIGTERM, -1},
    {"exit(0)", by_exit_0, 0, 0},
    {"exit(3)", by_exit_3, 0, 3},
    {"_exit(0)", by_plain_exit_0, 0, 0},
    {"quick_exit(0)", by_quick_exit, 0, 0},
    {"an exception out of noexcept", by_noexcept, SIGABRT, -1},
    {"an exception out of a destructor while unwinding", by_throwing_while_unwinding, SIGABRT, -1},
    {"deep recursion", by_deep_recursion, SIGSEGV, -1},
};

} // namespace

TEST_CASE("a worker's death is reported with pid, signal or exit status, and the pool goes on") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const death& d : deaths) {
    INFO("death by " << d.name);
    shared->pid = 0;
    ending<void> doomed;
    ending<pid_t> next;
    start(doomed, pool, d.fn);
    start(next, pool, who);
    REQUIRE(run_all(io));
    REQUIRE(doomed.failed_with(errc::worker_lost));
    const auto lost = doomed.as<coproc::worker_lost>();
    REQUIRE(lost);
    CHECK(lost->pid() == shared->pid);
    CHECK(lost->signal() == d.signal);
    CHECK(lost->exit_code() == (d.exit_code < 0 ? std::optional<int>() : d.exit_code));
    CHECK(lost->cause() == coproc::exit_cause::self);
    CHECK(lost->exit().status_known);
    REQUIRE(next.succeeded());
    CHECK(*next.value != shared->pid);
    CHECK_FALSE(is_alive(shared->pid));
  }
}

TEST_CASE("a death costs one task: the others of its ring, and of the other workers, are unharmed") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  for (int killer : {0, 1, 2, 7, 50, 99}) {
    INFO("the task that kills its worker is number " << killer);
    std::vector<ending<int>> survivors(100);
    ending<void> doomed;
    for (int i = 0; i < 100; ++i) {
      if (i == killer) start(doomed, pool, by_kill_9);
      start(survivors[static_cast<std::size_t>(i)], pool, identity, i);
    }
    REQUIRE(run_all(io));
    CHECK(doomed.failed_with(errc::worker_lost));
    int right = 0;
    for (int i = 0; i < 100; ++i) {
      const auto& s = survivors[static_cast<std::size_t>(i)];
      right += s.succeeded() && *s.value == i;
    }
    CHECK(right == 100);
  }
}

TEST_CASE("a worker that dies again and again costs one task each time") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<ending<void>> doomed(40);
  std::vector<ending<int>> survivors(40);
  for (std::size_t i = 0; i < 40; ++i) {
    start(doomed[i], pool, by_kill_9);
    start(survivors[i], pool, identity, static_cast<int>(i));
  }
  REQUIRE(run_all(io));
  for (std::size_t i = 0; i < 40; ++i) {
    CHECK(doomed[i].failed_with(errc::worker_lost));
    CHECK(survivors[i].succeeded());
  }
}

TEST_CASE("tasks that had not begun move to the next worker and keep their place") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> doomed;
  start(
      doomed, pool, +[] {
        shared->started.add();
        shared->go.await(1);
        ::raise(SIGKILL);
      });
  std::vector<ending<void>> rest(40);
  for (int i = 0; i < 40; ++i)
    start(rest[static_cast<std::size_t>(i)], pool, +[](int n) { shared->log[shared->logged.add()] = n; }, i);
  REQUIRE(shared->started.await(1));
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(doomed.failed_with(errc::worker_lost));
  REQUIRE(shared->logged.get() == 40);
  for (int i = 0; i < 40; ++i) {
    CHECK(rest[static_cast<std::size_t>(i)].succeeded());
    CHECK(shared->log[i] == i);
  }
}

TEST_CASE("a worker killed at the very moment of completion completes its task exactly once") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto racer = [](int n, int delay) {
    std::atomic<bool> running{false};
    std::thread([delay, &running] {
      running = true;
      burn(delay);
      ::_exit(9);
    }).detach();
    while (!running) std::this_thread::yield();
    return n;
  };
  std::mt19937 random(20240607);
  int values = 0, lost = 0;
  for (int round = 0; round < 400; ++round) {
    ending<int> race, behind;
    start(race, pool, racer, round, static_cast<int>(random() % 30'000));
    start(behind, pool, identity, -round);
    REQUIRE(run_all(io));
    REQUIRE(race.calls == 1);
    REQUIRE(behind.calls == 1);
    for (const auto* e : {&race, &behind}) {
      if (e->succeeded())
        ++values;
      else if (e->failed_with(errc::worker_lost))
        ++lost;
      else
        FAIL("ended with " << e->text());
    }
    if (race.succeeded()) REQUIRE(*race.value == round);
    if (behind.succeeded()) REQUIRE(*behind.value == -round);
  }
  CHECK(values + lost == 800);
  CHECK(lost <= 400); // one task per death
  ending<int> after;
  start(after, pool, identity, 5);
  REQUIRE(run_all(io));
  CHECK((after.succeeded() || after.failed_with(errc::worker_lost))); // the last racer may hit it, too
}

TEST_CASE("a worker that dies while the pool is idle harms nobody") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  for (int round = 0; round < 20; ++round) {
    ending<pid_t> first;
    start(first, pool, who);
    REQUIRE(run_all(io));
    REQUIRE(first.succeeded());
    ::kill(*first.value, SIGKILL);
    if (round % 2 == 0) REQUIRE(eventually([&] { return !is_alive(*first.value); }));
    std::vector<ending<int>> next(10);
    for (auto& e : next) start(e, pool, identity, round);
    REQUIRE(run_all(io));
    for (const auto& e : next) {
      if (round % 2 == 0)
        CHECK(e.succeeded());
      else
        CHECK((e.succeeded() || e.failed_with(errc::worker_lost))); // the signal may arrive after the task
    }
  }
}

TEST_CASE("a grandchild that holds a dead worker's descriptors hides nothing") {
  const leak_audit audit;
  shared->grandchild = 0;
  net::io_context io(1);
  {
    coproc::process_pool pool(io, {.max_workers = 1, .descendants = coproc::on_worker_end::keep});
    ending<void> doomed;
    ending<int> next;
    start(
        doomed, pool, +[] {
          const pid_t pid = ::fork();
          if (pid == 0)
            for (;;) ::pause();
          shared->grandchild = pid;
          ::raise(SIGKILL);
        });
    start(next, pool, identity, 7);
    REQUIRE(run_all(io));
    CHECK(doomed.failed_with(errc::worker_lost));
    CHECK(next.succeeded());
    CHECK(is_alive(shared->grandchild));
  }
  ::kill(shared->grandchild, SIGKILL);
  ::waitpid(shared->grandchild, nullptr, 0); // an orphan, inherited by this subreaper
}

TEST_CASE("a task may fork: its child ends without disturbing worker or pool") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::vector<ending<int>> calls(10);
  for (auto& e : calls)
    start(
        e, pool, +[] {
          const pid_t pid = ::fork();
          if (pid == 0) ::_exit(5);
          int status = 0;
          ::waitpid(pid, &status, 0);
          return WEXITSTATUS(status);
        });
  REQUIRE(run_all(io));
  for (const auto& e : calls) {
    REQUIRE(e.succeeded());
    CHECK(*e.value == 5);
  }
}

TEST_CASE("pthread_exit on the worker's main thread is a death, with and without another thread that stays") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = std::chrono::milliseconds(100)});
  for (const bool with_thread : {false, true}) {
    INFO("another thread stays: " << with_thread);
    ending<void> doomed;
    ending<int> next;
    start(
        doomed, pool.with({.timeout = std::chrono::milliseconds(500)}),
        +[](bool another) {
          if (another)
            std::thread([] {
              for (;;) ::pause();
            }).detach();
          ::pthread_exit(nullptr);
        },
        with_thread);
    start(next, pool, identity, 3);
    REQUIRE(run_all(io));
    CHECK((doomed.failed_with(errc::worker_lost) || doomed.failed_with(errc::task_timeout)));
    CHECK(next.succeeded());
  }
}

TEST_CASE("the resource usage of a dead worker comes with the error") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> doomed;
  start(
      doomed, pool, +[] {
        burn(100'000'000);
        ::_exit(1);
      });
  REQUIRE(run_all(io));
  const auto lost = doomed.as<coproc::worker_lost>();
  REQUIRE(lost);
  CHECK(lost->exit().user_microseconds > 0);
  CHECK(lost->exit().max_rss_kilobytes > 0);
}

} // namespace process_crash
