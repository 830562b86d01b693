// SPDX-License-Identifier: BSL-1.0
// Handlers that block or run the loop themselves, and tasks that do to their process what libraries do: close
// descriptors, fork, drop privileges, send descriptors away. Nobody else is to suffer.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <csignal>
#include <dirent.h>
#include <fstream>
#include <future>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

namespace process_hardening {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using namespace std::chrono_literals;

namespace {

struct board {
  tally initialized, go;
  std::atomic<pid_t> pid{0};
};
shared_memory<board> shared;

int identity(int n) { return n; }

std::vector<int> descriptors_like(const std::string& what) {
  std::vector<int> found;
  for (const int fd : numbers_in("/proc/self/fd")) {
    char target[256] = {};
    if (::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1) > 0 &&
        std::string(target).find(what) != std::string::npos)
      found.push_back(fd);
  }
  return found;
}

int mappings_of_coproc() {
  std::ifstream maps("/proc/self/maps");
  int n = 0;
  for (std::string line; std::getline(maps, line);) n += line.find("memfd:coproc") != line.npos;
  return n;
}

} // namespace

// ---- handlers ----

TEST_CASE("a handler may wait for another call, where other threads run the loop") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto guard = net::make_work_guard(io);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  for (int round = 0; round < 20; ++round) {
    std::promise<int> result;
    coproc::async_run(pool, coproc::work(identity, 1), [&](std::exception_ptr, int one) {
      auto inner = coproc::async_run(pool, coproc::work(identity, 2), net::use_future);
      result.set_value(inner.wait_for(hang_limit) == std::future_status::ready ? one + inner.get() : -1);
    });
    CHECK(result.get_future().get() == 3);
  }
  io.stop();
  for (auto& t : threads) t.join();
}

TEST_CASE("a slow handler holds up nobody else, and time-outs go on") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 3});
  const auto guard = net::make_work_guard(io);
  std::thread one([&] { io.run(); }), two([&] { io.run(); });
  std::promise<void> in_handler, may_return;
  coproc::async_run(pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
    in_handler.set_value();
    may_return.get_future().wait();
  });
  in_handler.get_future().wait();
  std::vector<std::future<int>> others;
  for (int i = 0; i < 100; ++i) others.push_back(coproc::async_run(pool, coproc::work(identity, i), net::use_future));
  for (auto& each : others) CHECK(each.wait_for(hang_limit) == std::future_status::ready);
  auto endless = coproc::async_run(pool.with({.timeout = 20ms}), coproc::work([] {
                                     for (;;) burn(1000);
                                   }),
                                   net::use_future);
  REQUIRE(endless.wait_for(hang_limit) == std::future_status::ready);
  CHECK_THROWS_AS(endless.get(), coproc::task_timeout);
  may_return.set_value();
  io.stop();
  one.join();
  two.join();
}

TEST_CASE("a handler may run the loop itself until another call has completed") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  int order = 0, inner_at = 0, outer_at = 0;
  coproc::async_run(pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
    bool done = false;
    coproc::async_run(pool, coproc::work(identity, 2),
                      [&](std::exception_ptr, int) { done = true, inner_at = ++order; });
    CHECK(eventually([&] { return io.poll(), done; }));
    outer_at = ++order;
  });
  REQUIRE(run_all(io));
  CHECK(inner_at == 1);
  CHECK(outer_at == 2);
}

TEST_CASE("a handler may destroy the pool while another thread drains it") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    net::io_context io;
    std::optional<coproc::process_pool> pool;
    pool.emplace(io, coproc::pool_options{.max_workers = 2});
    std::atomic<int> completed{0};
    for (int i = 0; i < 200; ++i)
      coproc::async_run(*pool, coproc::work(identity, i), [&](std::exception_ptr, int n) {
        if (completed++ == 20) {
          CHECK(eventually([&] { return completed > 21; })); // another thread has taken over
          pool.reset();
        }
        static_cast<void>(n);
      });
    std::thread one([&] { io.run(); }), two([&] { io.run(); });
    one.join();
    two.join();
    CHECK(completed == 200);
  }
}

// ---- tasks ----

TEST_CASE("a task that closes its descriptors costs its worker, and so at most one more task") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (int round = 0; round < 3; ++round) {
    ending<int> closes, large;
    std::vector<ending<int>> others(20);
    start(closes, pool, [] {
      ::close_range(3, ~0u, 0);
      return 1;
    });
    start(large, pool, [](std::string_view s) { return static_cast<int>(s.size()); }, std::string(100'000, 'x'));
    for (auto& e : others) start(e, pool, identity, 2);
    REQUIRE(run_all(io));
    CHECK(closes.calls == 1);
    // Its arguments come over the control socket: begun by that worker, it dies with it.
    CHECK((large.succeeded() || large.failed_with(errc::worker_lost)));
    for (auto& e : others) CHECK(e.succeeded());
  }
}

TEST_CASE("a task that forks and returns twice is one task") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> forks;
  start(forks, pool, [] {
    const pid_t child = ::fork();
    if (child > 0) ::waitpid(child, nullptr, 0);
    return child == 0 ? 666 : 1;
  });
  REQUIRE(run_all(io));
  CHECK(forks.value == 1);
  for (int i = 0; i < 100; ++i) {
    ending<int> e;
    start(e, pool, identity, i);
    REQUIRE(run_all(io));
    CHECK(e.value == i);
  }
}

TEST_CASE("a worker cannot send descriptors to the front end") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> sends;
  const auto before = numbers_in("/proc/self/fd").size();
  start(sends, pool, [] {
    ::signal(SIGPIPE, SIG_IGN);
    int sent = 0;
    for (const int fd : descriptors_like("socket:")) {
      char byte = 1;
      iovec data{&byte, 1};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr m{};
      m.msg_iov = &data;
      m.msg_iovlen = 1;
      m.msg_control = control;
      m.msg_controllen = sizeof control;
      cmsghdr* const c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
      sent += ::sendmsg(fd, &m, MSG_DONTWAIT) > 0;
    }
    return descriptors_like("socket:").empty() ? -1 : sent;
  });
  REQUIRE(run_all(io));
  CHECK(sends.value == 0);
  CHECK(numbers_in("/proc/self/fd").size() == before);
}

TEST_CASE("a full doorbell still rings") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> fills;
  start(fills, pool, [] {
    int filled = 0;
    for (const int fd : descriptors_like("eventfd")) {
      const std::uint64_t most = ~std::uint64_t{0} - 1;
      for (std::uint64_t n = most; n != 0; n /= 2) filled += ::write(fd, &n, sizeof n) > 0;
    }
    return filled;
  });
  REQUIRE(run_all(io));
  CHECK(*fills.value > 0);
  for (int i = 0; i < 20; ++i) {
    ending<int> e;
    start(
        e, pool,
        [](int n, pid_t front_end) {
          eventually([&] { return is_asleep(front_end); });
          return n;
        },
        i, ::getpid());
    REQUIRE(run_all(io));
    CHECK(e.value == i);
  }
}

TEST_CASE("the workers of one pool do not map the memory of another") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool first(io, {.max_workers = 2});
  ending<std::size_t> large;
  start(large, first, [](std::string_view s) { return s.size(); }, std::string(1 << 20, 'x'));
  REQUIRE(run_all(io));
  REQUIRE(mappings_of_coproc() >= 3);
  coproc::process_pool second(io, {.max_workers = 1});
  ending<int> maps;
  start(maps, second, mappings_of_coproc);
  REQUIRE(run_all(io));
  CHECK(maps.value == 2); // its own mailbox and results
}

TEST_CASE("workers that dropped their privileges still end with the front end") {
  if (::getuid() != 0) return;
  const leak_audit audit;
  shared.reset();
  const pid_t front_end = ::fork();
  if (front_end == 0) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .initializer = [] {
                                     if (::setresuid(65534, 65534, 65534) != 0) std::perror("setresuid");
                                     shared->pid = ::getpid();
                                     shared->initialized.add();
                                   }});
    ending<void> blocks;
    start(blocks, pool, [] { shared->go.await(1); });
    io.run();
    ::_exit(0);
  }
  REQUIRE(shared->initialized.await(1));
  for (const auto& [pid, status] : descendants_of(front_end))
    if (status.name == "coproc-server" || status.name == "coproc-standby") ::kill(pid, SIGKILL);
  ::kill(front_end, SIGKILL);
  ::waitpid(front_end, nullptr, 0);
  CHECK(eventually([] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) { // orphans come to this process, as to init
    }
    return !is_alive(shared->pid) && descendants_of(::getpid()).empty();
  }));
}

} // namespace process_hardening
