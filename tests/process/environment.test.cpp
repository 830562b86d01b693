// SPDX-License-Identifier: BSL-1.0
// What happens around the pool: the front end or the fork server dies, the application handles signals and children in
// its own way, descriptors and limits are short. Works, or a clear error; never a hang, and nothing is left behind.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <set>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace process_environment {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

struct board {
  tally started, go, ready;
  std::atomic<pid_t> worker{0}, server{0};
};
shared_memory<board> shared;

int identity(int n) { return n; }
int blocker() {
  shared->worker = ::getpid();
  shared->server = ::getppid();
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int deaf_blocker() {
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) ::signal(s, SIG_IGN);
  return blocker();
}
// Of those below this process, dead ones aside; 0: there is none.
pid_t process_named(std::string_view name) {
  for (const auto& [pid, status] : descendants_of(::getpid()))
    if (status.name == name && status.state != 'Z' && status.state != 'X') return pid;
  return 0;
}

std::string echo(std::string_view s) { return std::string(s); }

void expect_works(net::io_context& io, coproc::process_pool& pool) {
  ending<int> e;
  ending<std::string> large;
  const std::string text(100'000, 'x');
  start(e, pool, identity, 3);
  start(large, pool, echo, text);
  expect(run_all(io), "calls do not end");
  expect(e.succeeded() && *e.value == 3, "a call failed");
  expect(large.succeeded() && *large.value == text, "a large call failed");
}

rlimit limit_of(decltype(RLIMIT_NOFILE) which) {
  rlimit l{};
  ::getrlimit(which, &l);
  return l;
}
void set_limit(decltype(RLIMIT_NOFILE) which, rlim_t soft) {
  rlimit l = limit_of(which);
  l.rlim_cur = soft;
  expect(::setrlimit(which, &l) == 0, "setrlimit");
}

constexpr bool address_sanitizer =
#if defined(__SANITIZE_ADDRESS__)
    true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    true;
#else
    false;
#endif
#else
    false;
#endif

} // namespace

TEST_CASE("when the front end is killed, all its processes are gone within a second") {
  const leak_audit audit;
  for (int (*const task)() : {blocker, deaf_blocker}) {
    shared.reset();
    const pid_t driver = ::fork();
    if (driver == 0) {
      net::io_context io(1);
      coproc::process_pool pool(io, {.max_workers = 3});
      std::vector<ending<int>> calls(10);
      for (auto& e : calls) start(e, pool, task);
      shared->started.await(3);
      shared->ready.add();
      io.run();
      ::_exit(0);
    }
    REQUIRE(shared->ready.await(1));
    const auto family = descendants_of(driver);
    CHECK(family.size() == 5); // a fork server, one that stands by, and three workers
    ::kill(driver, SIGKILL);
    ::waitpid(driver, nullptr, 0);
    CHECK(eventually(
        [&] { return std::none_of(family.begin(), family.end(), [](const auto& p) { return is_alive(p.first); }); }));
    for (const auto& [pid, status] : family) ::waitpid(pid, nullptr, 0); // orphans, inherited by this subreaper
  }
}

TEST_CASE("when the front end is killed while its own child holds all descriptors, the workers go all the same") {
  const leak_audit audit;
  shared.reset();
  const pid_t driver = ::fork();
  if (driver == 0) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2});
    ending<int> e;
    start(e, pool, blocker);
    shared->started.await(1);
    if (::fork() == 0)
      for (;;) ::pause();
    shared->ready.add();
    for (;;) ::pause();
  }
  REQUIRE(shared->ready.await(1));
  auto family = descendants_of(driver);
  ::kill(driver, SIGKILL);
  ::waitpid(driver, nullptr, 0);
  const auto is_ours = [](const auto& p) { return p.second.name.starts_with("coproc-"); };
  CHECK(std::count_if(family.begin(), family.end(), is_ours) == 4);
  CHECK(eventually([&] {
    return std::none_of(family.begin(), family.end(), [&](const auto& p) { return is_ours(p) && is_alive(p.first); });
  }));
  for (const auto& [pid, status] : family) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

TEST_CASE(
    "the fork server killed under load: running tasks are lost with it as the cause, all others go on in new workers") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 40});
  std::vector<ending<int>> running(2), rest(60);
  for (auto& e : running) start(e, pool, blocker);
  REQUIRE(shared->started.await(2));
  for (auto& e : rest) start(e, pool, identity, 1); // issued, queued, waiting for room
  io.run_for(milliseconds(20));
  ::kill(shared->server, SIGKILL);
  REQUIRE(run_all(io));
  for (const auto& e : running) {
    INFO(e.text());
    REQUIRE(e.failed_with(errc::worker_lost));
    CHECK(e.as<coproc::worker_lost>()->cause() == coproc::exit_cause::fork_server);
    CHECK(e.text().find("fork server died") != std::string::npos);
  }
  for (const auto& e : rest) {
    INFO(e.text());
    CHECK(e.succeeded());
  }
}

TEST_CASE("the fork server killed while the pool is idle and the loop stands still costs the next call nothing") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  ending<pid_t> server;
  start(server, pool, ::getppid);
  REQUIRE(run_all(io));
  ::kill(*server.value, SIGKILL);
  REQUIRE(eventually([&] { return !is_alive(*server.value); }));
  std::vector<ending<int>> calls(5);
  for (auto& e : calls) start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  for (const auto& e : calls) {
    INFO(e.text());
    CHECK(e.succeeded());
  }
}

TEST_CASE("one fork server after the other is killed: each time the next takes its place") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::set<pid_t> killed;
  while (killed.size() < 20) {
    const pid_t server = process_named("coproc-server");
    if (server != 0 && killed.insert(server).second) ::kill(server, SIGKILL);
    ending<int> e; // also what lets the pool see it
    start(e, pool, identity, 1);
    REQUIRE(run_all(io));
    INFO(e.text());
    REQUIRE((e.succeeded() || e.failed_with(errc::worker_lost)));
  }
  REQUIRE(eventually([&] {
    ending<int> e;
    start(e, pool, identity, 1);
    expect(run_all(io), "a call does not end");
    return e.succeeded() && process_named("coproc-server") != 0;
  }));
  expect_works(io, pool);
}

TEST_CASE("a fork server that stands by and is killed is replaced, too") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  REQUIRE(eventually([] { return process_named("coproc-standby") != 0; }));
  const pid_t first = process_named("coproc-standby");
  ::kill(first, SIGKILL);
  REQUIRE(eventually([&] {
    expect_works(io, pool); // the loop must run for the pool to see it
    const pid_t second = process_named("coproc-standby");
    return second != 0 && second != first;
  }));
  ::kill(process_named("coproc-server"), SIGKILL);
  ending<int> e;
  start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  INFO(e.text());
  REQUIRE((e.succeeded() || e.failed_with(errc::worker_lost)));
  expect_works(io, pool);
}

TEST_CASE("without a fork server, and none that stands by, calls are told why") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  expect_works(io, pool);
  for (const auto& [pid, status] : descendants_of(::getpid()))
    if (status.name == "coproc-server" || status.name == "coproc-standby") ::kill(pid, SIGKILL);
  ending<int> later;
  REQUIRE(eventually([&] {
    later = {};
    start(later, pool, identity, 1);
    expect(run_all(io), "a call does not end");
    return !later.succeeded();
  }));
  INFO(later.text());
  CHECK((later.failed_with(errc::worker_start_failed) || later.failed_with(errc::worker_lost)));
  ending<int> last;
  start(last, pool, identity, 1);
  REQUIRE(run_all(io));
  REQUIRE(last.failed_with(errc::worker_start_failed));
  CHECK(last.text().find("make a new pool") != std::string::npos);
  coproc::process_pool replacement(io, {.max_workers = 1});
  expect_works(io, replacement);
}

TEST_CASE("the fork server killed again and again at random moments: every call ends exactly once") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  for (int round = 0; round < 15; ++round) {
    ending<pid_t> server;
    start(server, pool, ::getppid);
    REQUIRE(run_all(io));
    if (!server.succeeded()) continue; // it was running when the last one was killed
    std::vector<ending<int>> calls(200);
    for (auto& e : calls)
      start(
          e, pool,
          +[](int n) {
            burn(20'000);
            return n;
          },
          round);
    io.restart();
    io.run_for(std::chrono::microseconds(200 * round));
    ::kill(*server.value, SIGKILL);
    REQUIRE(run_all(io));
    std::size_t lost = 0;
    for (const auto& e : calls) {
      INFO(e.text());
      REQUIRE((e.succeeded() || e.failed_with(errc::worker_lost)));
      lost += !e.succeeded();
    }
    CHECK(lost <= 2); // one for each worker
  }
}

TEST_CASE("a signal to every process of the program but the front end: what runs and what waits is drained") {
  const leak_audit audit;
  const int number = GENERATE(SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2);
  CAPTURE(number);
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<ending<int>> calls(6);
  for (auto& e : calls) start(e, pool, blocker);
  REQUIRE(shared->started.await(2));
  const auto family = descendants_of(::getpid());
  check_in_child([&] { // what the front end itself sends is meant
    for (const auto& [pid, status] : family) expect(::kill(pid, number) == 0, "kill");
  });
  shared->go.add();
  REQUIRE(run_all(io));
  for (const auto& e : calls) {
    INFO(e.text());
    CHECK(e.succeeded());
  }
}

TEST_CASE("a signal that a task sends to its fork server hurts nobody, and one that it sends itself ends it") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<pid_t> before, after;
  ending<void> to_server, to_itself;
  start(before, pool, ::getppid);
  start(to_server, pool, +[] { ::kill(::getppid(), SIGUSR1); });
  start(to_itself, pool, +[] { ::raise(SIGTERM); });
  start(after, pool, ::getppid);
  REQUIRE(run_all(io));
  CHECK(to_server.succeeded());
  REQUIRE(to_itself.failed_with(errc::worker_lost));
  CHECK(to_itself.as<coproc::worker_lost>()->signal() == SIGTERM);
  REQUIRE(after.succeeded());
  CHECK(*after.value == *before.value);
}

TEST_CASE("a task's own handler gets every signal") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> e;
  start(
      e, pool, +[] {
        ::signal(SIGTERM, [](int) { shared->ready.add(); });
        return blocker();
      });
  REQUIRE(shared->started.await(1));
  ::kill(shared->worker, SIGTERM);
  REQUIRE(shared->ready.await(1));
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

TEST_CASE("a front end that has given up its rights kills workers all the same") {
  if (::geteuid() != 0) return;
  const leak_audit audit;
  shared.reset();
  check_in_child([] {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = milliseconds(100)});
    ending<int> late;
    expect(::setresuid(65534, 65534, 65534) == 0, "setresuid");
    start(late, pool.with({.timeout = milliseconds(50)}), deaf_blocker);
    expect(run_all(io), "the call does not end");
    expect(late.failed_with(errc::task_timeout), late.text().c_str());
    expect(late.text().find("SIGKILL") != std::string::npos, late.text().c_str());
    expect(!is_alive(shared->worker), "the worker lives");
    expect_works(io, pool);
  });
}

TEST_CASE("a fork server that hangs delays the cause of a death by a second, and destruction by a few") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, coproc::pool_options{.max_workers = 1});
  ending<int> lost;
  start(lost, *pool, blocker);
  REQUIRE(shared->started.await(1));
  ::kill(shared->server, SIGSTOP);
  ::kill(shared->worker, SIGKILL);
  const stopwatch watch;
  REQUIRE(run_all(io));
  CHECK(watch.milliseconds() < 20'000);
  REQUIRE(lost.failed_with(errc::worker_lost));
  const auto e = lost.as<coproc::worker_lost>();
  CHECK_FALSE(e->exit().status_known);
  CHECK(e->signal() == 0);
  CHECK_FALSE(e->exit_code());
  CHECK(e->pid() == shared->worker);
  const stopwatch end;
  pool.reset();
  CHECK(end.milliseconds() < 20'000);
}

TEST_CASE("whatever the application does with SIGCHLD, deaths are noticed and explained") {
  const leak_audit audit;
  const auto check = [] {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2});
    for (int i = 0; i < 10; ++i) {
      ending<void> lost;
      start(lost, pool, +[] { ::raise(SIGKILL); });
      expect(run_all(io), "the call does not end");
      expect(lost.failed_with(errc::worker_lost), "the loss was not reported");
      expect(lost.as<coproc::worker_lost>()->signal() == SIGKILL, "the signal is unknown");
    }
    expect_works(io, pool);
  };
  SECTION("it is ignored") {
    check_in_child([&] {
      ::signal(SIGCHLD, SIG_IGN);
      check();
    });
  }
  SECTION("a handler reaps everything") {
    check_in_child([&] {
      ::signal(SIGCHLD, [](int) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
      });
      check();
    });
  }
  SECTION("a thread reaps everything") {
    check_in_child([&] {
      net::io_context io(1);
      coproc::process_pool pool(io, {.max_workers = 2});
      std::atomic<bool> stop{false};
      std::thread thief([&] {
        while (!stop)
          if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
      });
      ending<void> lost;
      start(lost, pool, +[] { ::raise(SIGKILL); });
      expect(run_all(io), "the call does not end");
      expect_works(io, pool);
      coproc::detail::front::engine_of(pool)->stop();
      stop = true;
      thief.join();
      expect(lost.failed_with(errc::worker_lost), "the loss was not reported");
    });
  }
}

TEST_CASE("Ctrl-C reaches the front end alone") {
  const leak_audit audit;
  shared.reset();
  check_in_child([] {
    ::setpgid(0, 0);
    ::signal(SIGINT, [](int) { shared->ready.add(); });
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 2});
    ending<int> running;
    start(running, pool, blocker);
    expect(shared->started.await(1), "the task does not start");
    ::kill(0, SIGINT);
    expect(shared->ready.get() == 1, "the signal did not arrive");
    shared->go.add();
    expect(run_all(io), "the call does not end");
    expect(running.succeeded(), "the task was hit");
    expect_works(io, pool);
  });
}

TEST_CASE("a worker starts clean, whatever the front end's signals and descriptors are") {
  const leak_audit audit;
  check_in_child([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    expect(::open("/etc/passwd", O_RDONLY) >= 0, "open");
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    ending<std::string> found;
    start(
        found, pool, +[]() -> std::string {
          sigset_t mask;
          ::sigprocmask(SIG_SETMASK, nullptr, &mask);
          for (int s = 1; s < 32; ++s) {
            if (::sigismember(&mask, s) == 1) return "signal " + std::to_string(s) + " is blocked";
            struct sigaction now{};
            if (::sigaction(s, nullptr, &now) != 0 || now.sa_handler == SIG_DFL) continue;
            // Ignored by the program, or because a background group may print.
            if (now.sa_handler == SIG_IGN && (s == SIGPIPE || s == SIGTTOU || s == SIGTTIN)) continue;
            // Those that a program's supervisor sends to all of its processes; what is started from here has their
            // default.

            const bool filtered =
                s == SIGHUP || s == SIGINT || s == SIGQUIT || s == SIGTERM || s == SIGUSR1 || s == SIGUSR2;
            if (!filtered || now.sa_handler == SIG_IGN) return "signal " + std::to_string(s) + " is not at its default";
          }
          if (::getpgrp() != ::getpid()) return "not in a process group of its own";
          for (const int fd : numbers_in("/proc/self/fd")) {
            char target[256] = {};
            static_cast<void>(::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1));
            if (std::string(target) == "/etc/passwd") return "a descriptor of the front end is open";
          }
          return "";
        });
    expect(run_all(io), "the call does not end");
    expect(found.succeeded(), "the call failed");
    if (!found.value->empty()) throw problem(*found.value);
  });
}

TEST_CASE("the pool works although descriptors 0 to 2 are closed, in any combination") {
  const leak_audit audit;
  for (unsigned closed = 1; closed < 8; ++closed) {
    INFO("closed: bits " << closed);
    check_in_child([closed] {
      net::io_context io(1);
      const net::steady_timer opens_the_descriptors_of_the_context(io);
      for (int fd = 0; fd < 3; ++fd)
        if ((closed >> fd & 1) != 0) ::close(fd);
      coproc::process_pool pool(io, {.max_workers = 2});
      for (int round = 0; round < 3; ++round) {
        std::vector<ending<int>> printing(20);
        for (auto& e : printing)
          start(
              e, pool,
              +[](int n) {
                char byte;
                // Whatever these descriptors are now: not the pool's memory and sockets.
                for (const int fd : {1, 2})
                  if (::lseek(fd, 0, SEEK_CUR) == 0 || errno != EBADF) {
                    char target[256] = {};
                    static_cast<void>(
                        ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1));
                    const std::string name = target;
                    if (name.find("coproc") != std::string::npos || name.find("socket") == 0 || name.find("anon") == 0)
                      return -1;
                  }
                if (::read(0, &byte, 1) > 0) return -2;
                return n;
              },
              5);
        ending<void> lost;
        start(lost, pool, +[] { ::raise(SIGKILL); });
        expect(run_all(io), "calls do not end");
        for (const auto& e : printing) {
          expect(e.succeeded(), "a call failed");
          expect(*e.value != -1, "stdout or stderr of a worker is a descriptor of the pool");
          expect(*e.value == 5, "stdin of a worker is not empty");
        }
        expect(lost.failed_with(errc::worker_lost), "the loss was not reported");
        expect_works(io, pool);
      }
    });
  }
}

TEST_CASE("a child of the application that holds copies of all descriptors does not delay the end of the pool") {
  const leak_audit audit;
  net::io_context io(1);
  pid_t child = 0;
  {
    coproc::process_pool pool(io, {.max_workers = 2});
    expect_works(io, pool);
    child = ::fork();
    if (child == 0)
      for (;;) ::pause();
    ending<void> lost;
    start(lost, pool, +[] { ::raise(SIGKILL); });
    REQUIRE(run_all(io));
    CHECK(lost.failed_with(errc::worker_lost));
    expect_works(io, pool);
    const stopwatch watch;
    coproc::detail::front::engine_of(pool)->stop();
    CHECK(watch.milliseconds() < 1500);
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("a program that the application starts inherits no descriptor of the pool") {
  const leak_audit audit;
  const auto before = numbers_in("/proc/self/fd");
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  expect_works(io, pool);
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[0], 0);
    ::execlp("cat", "cat", nullptr);
    ::_exit(127);
  }
  ::close(pipe[0]);
  REQUIRE(eventually([&] { return status_of(child).name == "cat"; }));
  for (const int fd : numbers_in(("/proc/" + std::to_string(child) + "/fd").c_str())) {
    INFO("descriptor " << fd);
    CHECK((fd == 0 || std::find(before.begin(), before.end(), fd) != before.end()));
  }
  ::close(pipe[1]);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("too few descriptors: the constructor throws and leaves nothing, or the pool works") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    const auto open_now = [] { return numbers_in("/proc/self/fd").size(); };
    int refused = 0, worked = 0;
    net::io_context io(1);
    const net::steady_timer opens_the_descriptors_of_the_context(io);
    const auto before = open_now();
    for (rlim_t spare = 0; spare < 40; ++spare) {
      set_limit(RLIMIT_NOFILE, before - 1 + spare);
      try {
        coproc::process_pool pool(io, {.max_workers = 2});
        set_limit(RLIMIT_NOFILE, 1024);
        expect_works(io, pool);
        ++worked;
      } catch (const coproc::pool_error& e) {
        ++refused;
        expect(std::string(e.what()).size() > 10, "the error says nothing");
      }
      set_limit(RLIMIT_NOFILE, 1024);
      expect(open_now() == before, "descriptors were left behind");
      expect(eventually([] { return descendants_of(::getpid()).empty(); }), "processes were left behind");
    }
    expect(refused > 5, "never refused");
    expect(worked > 5, "never worked");
  });
}

TEST_CASE("too few descriptors for the context itself are an error of the pool's constructor") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    net::io_context io(1);
    set_limit(RLIMIT_NOFILE, numbers_in("/proc/self/fd").size() + 1);
    bool refused = false;
    try {
      coproc::process_pool pool(io, {.max_workers = 1});
    } catch (const coproc::pool_error& e) {
      refused = e.code() == std::errc::too_many_files_open;
    }
    expect(refused, "no pool_error with the system's code");
  });
}

TEST_CASE("a replacement that cannot be made for want of descriptors is made when there are some again") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    expect_works(io, pool);
    set_limit(RLIMIT_NOFILE, 64);
    std::vector<int> hoard;
    for (int fd; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) hoard.push_back(fd);
    ending<void> lost;
    ending<int> waits;
    start(lost, pool, +[] { ::raise(SIGKILL); });
    start(waits, pool, identity, 8);
    expect(run_until(io, [&] { return lost.calls != 0; }), "the loss is not reported");
    io.run_for(milliseconds(50));
    expect(waits.calls == 0, "the call ended although there is no worker");
    for (const int fd : hoard) ::close(fd);
    expect(run_all(io), "the call does not end");
    expect(waits.succeeded(), "the call failed");
  });
}

TEST_CASE("a replacement that can never be made ends in an error, not in a hang") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .max_start_failures = 3});
    expect_works(io, pool);
    set_limit(RLIMIT_NOFILE, 64);
    while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    ending<void> lost;
    ending<int> waits;
    start(lost, pool, +[] { ::raise(SIGKILL); });
    start(waits, pool, identity, 8);
    expect(run_all(io), "the call does not end");
    expect(lost.failed_with(errc::worker_lost), "the loss was not reported");
    expect(waits.as<coproc::pool_error>().has_value(), "no pool_error");
    expect(waits.text().find("could not be started") != std::string::npos, "the cause is not named");
  });
}

TEST_CASE("a low limit of file sizes: a clear error, or a pool with smaller payloads; never SIGXFSZ") {
  const leak_audit audit;
  for (const rlim_t limit : {rlim_t{0}, rlim_t{4096}, rlim_t{30'000}, rlim_t{100'000}, rlim_t{1'000'001}}) {
    INFO("RLIMIT_FSIZE " << limit);
    check_in_child([limit] {
      set_limit(RLIMIT_FSIZE, limit);
      net::io_context io(1);
      std::optional<coproc::process_pool> pool;
      try {
        pool.emplace(io, coproc::pool_options{.max_workers = 1});
      } catch (const coproc::pool_error& e) {
        expect(limit < 30'000, "refused");
        expect(std::string(e.what()).find("RLIMIT_FSIZE") != std::string::npos, "the limit is not named");
        return;
      }
      for (const std::size_t n : {100u, 20'000u, 90'000u, 900'000u, 5'000'000u}) {
        ending<std::size_t> argument;
        ending<std::string> result;
        start(argument, *pool, +[](std::string_view s) { return s.size(); }, std::string(n, 'a'));
        start(result, *pool, +[](std::size_t size) { return std::string(size, 'b'); }, n);
        expect(run_all(io), "calls do not end");
        const bool argument_right = argument.succeeded() && *argument.value == n;
        const bool result_right = result.succeeded() && *result.value == std::string(n, 'b');
        const bool fits = n + 4096 < limit;
        expect(argument_right || (!fits && argument.as<coproc::pool_error>().has_value()), "argument");
        expect(result_right || (!fits && result.failed_with(errc::payload_too_large)), "result");
      }
    });
  }
}

TEST_CASE("too little address space: the constructor throws and leaves nothing") {
  const leak_audit audit;
  if (address_sanitizer) return; // its shadow alone exceeds any limit
  check_in_child([] {
    const auto before = numbers_in("/proc/self/fd").size();
    set_limit(RLIMIT_AS, rlim_t{1} << 30); // less than a result file
    net::io_context io(1);
    std::string text;
    try {
      coproc::process_pool pool(io, {.max_workers = 1});
    } catch (const coproc::pool_error& e) {
      text = e.what();
    }
    expect(!text.empty(), "no error");
    expect(text.find("mmap") != std::string::npos, "the cause is not named");
    expect(numbers_in("/proc/self/fd").size() == before + 3, "descriptors were left behind"); // those of the io_context
    coproc::process_pool small(io, {.max_workers = 1, .max_payload = 1 << 20});
    expect_works(io, small);
  });
}

} // namespace process_environment
