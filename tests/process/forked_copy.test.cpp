// SPDX-License-Identifier: BSL-1.0
// The application forks while the pool is at work, and the copy runs the inherited loop, as Asio's own fork examples
// do: its calls end with wrong_process, the loop goes on, and the original notices nothing.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace process_forked_copy {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using namespace std::chrono_literals;

namespace {

struct board {
  tally go;
};
shared_memory<board> shared;

int wait_for_go(int n) {
  shared->go.await(1);
  return n;
}
std::vector<int> wait_for_go_and_return_much(int n) {
  shared->go.await(1);
  return std::vector<int>(100'000, n);
}
int identity(int n) { return n; }

// Ends the copy; the exit status says what went wrong, 0: nothing.
[[noreturn]] void end_copy(const char* trouble) {
  if (trouble != nullptr) std::fprintf(stderr, "in the forked copy: %s\n", trouble);
  ::_exit(trouble != nullptr);
}

/// Runs the inherited loop in the copy.
template <class Ended>
const char* run_loop(net::io_context& io, Ended all_ended) {
  bool fired = false;
  net::steady_timer timer(io, 1ms);
  timer.async_wait([&](net::error_code e) { fired = !e; });
  if (!run_all(io)) return "the loop does not end";
  if (!fired) return "a timer of the program did not fire";
  return all_ended() ? nullptr : "a call did not end with wrong_process";
}

void expect_copy_is_well(pid_t child) {
  int status = -1;
  REQUIRE(eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
  INFO("status " << status);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

} // namespace

TEST_CASE(
    "a copy that runs the inherited loop gets wrong_process for its calls and its shutdown; the original goes on") {
  const leak_audit audit;
  enum when { waiting, posted, completed };
  for (const when at : {waiting, posted, completed}) {
    INFO("forked at stage " << at);
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2});
    std::vector<ending<int>> calls(6);
    ending<std::vector<int>> large;
    ending<void> shutdown;
    start(large, pool, wait_for_go_and_return_much, 7);
    for (auto& e : calls) start(e, pool, wait_for_go, 1);
    if (at != posted) {
      io.run_for(20ms); // the pool waits in the reactor
      io.restart();
    }
    if (at == completed) {
      shared->go.add();
      ::usleep(
          20'000); // results lie in shared memory, which the copy does not have; whether all do makes no difference
    }
    net::co_spawn(io, pool.shutdown(std::chrono::hours(1)), into(shutdown));
    if (at != posted) io.poll_one();
    const auto all_wrong = [&] {
      bool wrong = large.failed_with(errc::wrong_process) && shutdown.failed_with(errc::wrong_process);
      for (const auto& e : calls) wrong = wrong && e.failed_with(errc::wrong_process);
      return wrong;
    };
    io.notify_fork(net::io_context::fork_prepare);
    const pid_t child = ::fork();
    if (child == 0) {
      io.notify_fork(net::io_context::fork_child);
      const char* trouble = run_loop(io, [&] { return at == completed || all_wrong(); });
      ending<int> later;
      start(later, pool, identity, 3);
      if (!trouble && (!run_all(io) || !later.failed_with(errc::wrong_process))) trouble = "a later call";
      end_copy(trouble);
    }
    io.notify_fork(net::io_context::fork_parent);
    expect_copy_is_well(child);
    shared->go.add();
    REQUIRE(run_all(io));
    for (const auto& e : calls) CHECK(e.succeeded());
    CHECK(large.succeeded());
    CHECK(shutdown.succeeded());
  }
}

TEST_CASE("a handler of the pool may fork, and both go on with the loop") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<ending<int>> calls(20);
  pid_t child = -1;
  coproc::async_run(pool, coproc::work(identity, 0), [&](std::exception_ptr, int) {
    io.notify_fork(net::io_context::fork_prepare);
    child = ::fork();
    io.notify_fork(child == 0 ? net::io_context::fork_child : net::io_context::fork_parent);
  });
  for (auto& e : calls) start(e, pool, wait_for_go, 1);
  REQUIRE(run_until(io, [&] { return child != -1; }));
  if (child == 0)
    end_copy(run_loop(io, [&] {
      return std::ranges::all_of(calls, [](const auto& e) { return e.failed_with(errc::wrong_process); });
    }));
  expect_copy_is_well(child);
  shared->go.add();
  REQUIRE(run_all(io));
  for (const auto& e : calls) CHECK(e.succeeded());
}

TEST_CASE("a copy destroys pool and context, in either order, with calls outstanding") {
  const leak_audit audit;
  for (const bool pool_first : {true, false}) {
    shared.reset();
    std::optional<net::io_context> io(std::in_place, 1);
    std::optional<coproc::process_pool> pool(std::in_place, *io, coproc::pool_options{.max_workers = 1});
    ending<int> e;
    start(e, *pool, wait_for_go, 1);
    io->run_for(5ms);
    io->restart();
    io->notify_fork(net::io_context::fork_prepare);
    const pid_t child = ::fork();
    if (child == 0) {
      io->notify_fork(net::io_context::fork_child);
      pool_first ? pool.reset() : io.reset();
      pool_first ? io.reset() : pool.reset();
      end_copy(nullptr);
    }
    io->notify_fork(net::io_context::fork_parent);
    expect_copy_is_well(child);
    shared->go.add();
    REQUIRE(run_all(*io));
    CHECK(e.succeeded());
  }
}

} // namespace process_forked_copy
