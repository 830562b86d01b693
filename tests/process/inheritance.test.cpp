// SPDX-License-Identifier: BSL-1.0
// What a worker has of the program, and what it leaves: exit handlers, buffered output, ignored signals, locked
// memory, environment, random state; programs that tasks have started, floating-point modes. Real pools; most in
// children, which may spoil their surroundings.
#include "support/in_child.hpp"
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/this_worker.hpp>

#include <algorithm>
#include <cfenv>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <unistd.h>
#include <vector>

namespace process_inheritance {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using namespace std::chrono_literals;

namespace {

struct board {
  tally program_handlers, worker_handlers, started, go;
  std::atomic<pid_t> grandchild{0};
};
shared_memory<board> shared;

/// Everything that is written to descriptor 1 from now on.
class captured_output {
public:
  captured_output() {
    int ends[2];
    expect(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    expect(::dup2(ends[1], 1) == 1, "dup2");
    ::close(ends[1]);
    from_ = ends[0];
  }
  /// Once nobody holds the other end any more.
  std::string all() {
    ::close(1);
    std::string text;
    char buffer[512];
    for (ssize_t n; (n = ::read(from_, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
    return text;
  }

private:
  int from_ = -1;
};

void run_coroutine_in_child(net::io_context& io, net::awaitable<void> body) {
  ending<void> e;
  net::co_spawn(io, std::move(body), into(e));
  expect(run_all(io) && e.succeeded(), "a coroutine failed");
}

std::size_t count_of(std::string_view what, std::string_view in) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = in.find(what, at)) != in.npos; ++at) ++n;
  return n;
}

// A task that has a program running in its process group, and waits.
int start_program_and_wait() {
  const pid_t child = ::fork();
  if (child == 0) {
    shared->grandchild = ::getpid();
    shared->started.add();
    for (;;) ::pause();
  }
  shared->go.await(1);
  return 0;
}

int start_program_and_return() {
  const pid_t child = ::fork();
  if (child == 0) {
    shared->grandchild = ::getpid();
    shared->started.add();
    for (;;) ::pause();
  }
  shared->started.await(1);
  return 0;
}

// It was inherited by this subreaper.
bool grandchild_dies() {
  const bool died = eventually([] { return !is_alive(shared->grandchild); });
  if (!died) ::kill(shared->grandchild, SIGKILL);
  ::waitpid(shared->grandchild, nullptr, 0);
  return died;
}

long kilobytes_of(const char* what, const char* file) {
  std::ifstream status(file);
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what)) return std::atol(line.c_str() + std::string_view(what).size());
  return -1;
}

} // namespace

TEST_CASE(
    "programs that a task has started end with its worker: after a time-out, a cancellation, a shutdown, a crash") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = 100ms});
  SECTION("time-out") {
    shared.reset();
    ending<int> e;
    start(e, pool.with({.timeout = 50ms}), start_program_and_wait);
    REQUIRE(run_all(io));
    CHECK(e.failed_with(errc::task_timeout));
    REQUIRE(shared->started.await(1));
    CHECK(grandchild_dies());
  }
  SECTION("cancellation") {
    shared.reset();
    ending<int> e;
    net::cancellation_signal cancel;
    start(cancel.slot(), e, pool, start_program_and_wait);
    REQUIRE(run_until(io, [] { return shared->started.get() == 1; }));
    cancel.emit(net::cancellation_type::terminal);
    REQUIRE(run_all(io));
    CHECK(e.aborted());
    CHECK(grandchild_dies());
  }
  SECTION("shutdown") {
    shared.reset();
    ending<int> e;
    start(e, pool, start_program_and_wait);
    REQUIRE(run_until(io, [] { return shared->started.get() == 1; }));
    run_coroutine(io, pool.shutdown(1ms));
    CHECK(e.aborted());
    CHECK(grandchild_dies());
  }
  SECTION("an orderly end") {
    shared.reset();
    ending<int> e;
    start(e, pool, start_program_and_return);
    REQUIRE(run_all(io));
    CHECK(e.succeeded());
    pool.recycle_workers();
    CHECK(run_until(io, [] { return !is_alive(shared->grandchild); }));
    CHECK(grandchild_dies());
  }
}

TEST_CASE("programs that a task has started end with the pool that is destroyed") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  ending<int> e;
  {
    coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = 100ms});
    start(e, pool, start_program_and_wait);
    REQUIRE(run_until(io, [] { return shared->started.get() == 1; }));
  }
  CHECK(grandchild_dies());
}

TEST_CASE("who wants survivors says on_worker_end::keep, or has them leave the group") {
  const leak_audit audit;
  for (const bool keep : {true, false}) {
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(
        io, {.max_workers = 1, .descendants = keep ? coproc::on_worker_end::keep : coproc::on_worker_end::kill});
    ending<int> e;
    start(
        e, pool,
        +[](bool in_the_group) {
          if (const pid_t child = ::fork(); child != 0) return static_cast<int>(child);
          if (!in_the_group) ::setsid();
          shared->grandchild = ::getpid();
          shared->started.add();
          for (;;) ::pause();
        },
        keep);
    ending<int> lost;
    REQUIRE(run_all(io));
    REQUIRE(shared->started.await(1));
    start(lost, pool, +[] { return ::raise(SIGKILL); });
    REQUIRE(run_all(io));
    CHECK(lost.failed_with(errc::worker_lost));
    run_coroutine(io, pool.shutdown(1s)); // all has been reaped
    CHECK(is_alive(shared->grandchild));
    ::kill(shared->grandchild, SIGKILL);
    ::waitpid(shared->grandchild, nullptr, 0);
  }
}

TEST_CASE("exit() in a task runs what was registered in its worker, and nothing of the program's") {
  const leak_audit audit;
  for (const bool quick : {false, true}) {
    shared.reset();
    check_in_child([quick] {
      captured_output output;
      const auto of_the_program = [] { shared->program_handlers.add(); };
      std::atexit(of_the_program);
      std::at_quick_exit(of_the_program);
      ::on_exit([](int, void*) { shared->program_handlers.add(); }, nullptr);
      {
        net::io_context io(1);
        const auto preload = [] { std::atexit([] { shared->program_handlers.add(); }); };
        const auto initializer = [] {
          std::atexit([] { shared->worker_handlers.add(); });
          std::at_quick_exit([] { shared->worker_handlers.add(); });
        };
        coproc::process_pool pool(io, {.max_workers = 1, .preload = preload, .initializer = initializer});
        ending<int> e;
        start(
            e, pool,
            +[](bool in_a_hurry) -> int {
              std::atexit([] { shared->worker_handlers.add(); });
              std::at_quick_exit([] { shared->worker_handlers.add(); });
              std::fputs("not flushed by the task", stdout);
              in_a_hurry ? std::quick_exit(3) : std::exit(3);
            },
            quick);
        expect(run_all(io), "the call does not end");
        const auto lost = e.as<coproc::worker_lost>();
        expect(lost.has_value() && lost->signal() == 0, "it is not lost by an exit");
        expect(lost->exit_code() == 3, "its exit code is another");
      }
      expect(shared->program_handlers.get() == 0, "a handler of the program ran in a worker or in the fork server");
      expect(shared->worker_handlers.get() == 2, "handlers of the worker did not run");
      expect(quick || output.all() == "not flushed by the task", "what the task printed is lost");
    });
  }
}

TEST_CASE("what lies in buffers is written once: of the program, of preload, of tasks; by C and by C++") {
  const leak_audit audit;
  for (const bool synchronised : {true, false}) {
    INFO("sync_with_stdio " << synchronised);
    check_in_child([synchronised] {
      captured_output output;
      std::ios::sync_with_stdio(synchronised);
      std::cout << "C++ banner\n";
      std::wcout << L"wide banner\n";
      std::fputs("C banner\n", stdout);
      static std::FILE* file = std::tmpfile();
      std::fputs("banner\n", file);
      {
        net::io_context io(1);
        const auto preload = [] {
          std::cout << "C++ preload\n";
          std::fputs("C preload\n", stdout);
        };
        coproc::process_pool pool(io, {.max_workers = 2, .preload = preload, .inherit_descriptors = {::fileno(file)}});
        std::vector<ending<void>> calls(4);
        for (auto& e : calls)
          start(
              e, pool, +[] {
                std::cout << "C++ task\n";
                std::fputs("C task\n", stdout);
                std::fputs("task\n", file);
              });
        expect(run_all(io), "calls do not end");
        run_coroutine_in_child(io, pool.shutdown(10s));
      }
      std::cout.flush();
      std::rewind(file);
      std::string written;
      for (int c; (c = std::getc(file)) != EOF;) written += static_cast<char>(c);
      expect(count_of("banner", written) == 1 && count_of("task", written) == 4, ("file: " + written).c_str());
      const std::string text = output.all();
      for (const char* once : {"C++ banner", "wide banner", "C banner", "C++ preload", "C preload"})
        expect(count_of(once, text) == 1, (std::string(once) + " in " + text).c_str());
      expect(count_of("C++ task", text) == 4 && count_of("C task", text) == 4, text.c_str());
    });
  }
}

TEST_CASE("a signal that the program ignores stays ignored in tasks, but for those that the pool and errors need") {
  const leak_audit audit;
  check_in_child([] {
    for (const int s : {SIGPIPE, SIGUSR1, SIGTERM, SIGCHLD, SIGSEGV}) ::signal(s, SIG_IGN);
    ::signal(SIGUSR2, [](int) {});
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = 60s});
    const auto disposition = [](int number) {
      struct sigaction now{};
      ::sigaction(number, nullptr, &now);
      return now.sa_handler == SIG_IGN ? 'i' : now.sa_handler == SIG_DFL ? 'd' : 'h'; // h: what others send is ignored
    };
    ending<std::string> e;
    start(e, pool, [disposition] {
      std::string text;
      for (const int s : {SIGPIPE, SIGUSR1, SIGTERM, SIGCHLD, SIGSEGV, SIGUSR2, SIGTTOU, SIGTTIN})
        text += disposition(s);
      return text;
    });
    ending<int> status, timed_out;
    start(status, pool, +[] { return std::system("exit 3"); }); // -1 where SIGCHLD is ignored
    expect(run_all(io), "calls do not end");
    expect(e.succeeded() && *e.value == "iihddhii", ("dispositions: " + e.value.value_or("none")).c_str());
    expect(status.succeeded() && WEXITSTATUS(*status.value) == 3, "system() in a task");
    start(timed_out, pool.with({.timeout = 10ms}), +[] { return ::pause(); });
    expect(run_all(io) && timed_out.failed_with(errc::task_timeout), "SIGTERM does not end a task");
  });
}

TEST_CASE("a standard output that nobody reads costs no worker where the program ignores SIGPIPE") {
  const leak_audit audit;
  check_in_child([] {
    int ends[2];
    expect(::pipe2(ends, O_CLOEXEC) == 0 && ::dup2(ends[1], 1) == 1, "pipe");
    ::close(ends[0]);
    ::signal(SIGPIPE, SIG_IGN);
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    std::vector<ending<pid_t>> calls(10);
    for (auto& e : calls)
      start(
          e, pool, +[] {
            static_cast<void>(!::write(1, "x", 1));
            return ::getpid();
          });
    expect(run_all(io), "calls do not end");
    std::set<pid_t> workers;
    for (const auto& e : calls) {
      expect(e.succeeded(), "a call failed");
      workers.insert(*e.value);
    }
    expect(workers.size() == 1, "a worker died");
  });
}

TEST_CASE("a task prints on the terminal of the program, also under stty tostop") {
  const leak_audit audit;
  check_in_child([] {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    expect(master >= 0 && ::grantpt(master) == 0 && ::unlockpt(master) == 0, "no terminal to be had");
    expect(::setsid() >= 0, "setsid");
    const int terminal = ::open(::ptsname(master), O_RDWR); // becomes the controlling one
    expect(terminal >= 0 && ::dup2(terminal, 1) == 1, "no terminal");
    termios settings{};
    expect(::tcgetattr(1, &settings) == 0, "tcgetattr");
    settings.c_lflag |= TOSTOP;
    expect(::tcsetattr(1, TCSANOW, &settings) == 0, "tcsetattr");
    ::signal(SIGHUP, SIG_IGN); // of the terminal that goes away
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    ending<long> e;
    start(e, pool, +[] { return static_cast<long>(::write(1, "hello", 5)); });
    expect(run_all(io), "the task is stopped");
    expect(e.succeeded() && *e.value == 5, "it could not print");
    char text[16] = {};
    expect(::read(master, text, 5) == 5 && std::string(text) == "hello", "nothing arrived");
  });
}

TEST_CASE("in a program that locks its memory the address space of results is no memory") {
  if (sanitized) return; // their shadow would be locked as well
  const leak_audit audit;
  check_in_child([] {
    if (::mlockall(MCL_FUTURE) != 0) return; // RLIMIT_MEMLOCK
    net::io_context io(1);
    constexpr long megabyte = 1024;
    const auto locked = [] { return kilobytes_of("VmLck:", "/proc/self/status"); };
    const auto resident = [] { return kilobytes_of("VmRSS:", "/proc/self/status"); };
    const long before = locked(), resident_before = resident();
    coproc::process_pool pool(io, {.max_workers = 2, .max_payload = 64 << 20});
    expect(locked() - before < 32 * megabyte, "the front end has locked the memory of results");
    expect(resident() - resident_before < 32 * megabyte, "the memory of results is resident");
    ending<long> e;
    ending<std::string> large;
    start(e, pool, +[] { return kilobytes_of("VmLck:", "/proc/self/status"); });
    start(large, pool, +[](std::string_view s) { return std::string(s); }, std::string(1 << 20, 'x'));
    expect(run_all(io), "calls do not end");
    expect(e.succeeded() && *e.value < 32 * megabyte, "a worker has locked memory");
    expect(large.succeeded() && large.value->size() == 1 << 20, "a large call failed");
  });
}

TEST_CASE(
    "environment, working directory and umask of hooks and tasks are as the options say; the program keeps its own") {
  const leak_audit audit;
  check_in_child([] {
    ::setenv("COPROC_TEST_GONE", "1", 1);
    const auto where = std::filesystem::current_path();
    const coproc::environment_variable variables[] = {{"COPROC_TEST_SET", "yes"}, {"COPROC_TEST_GONE", nullptr}};
    net::io_context io(1);
    const auto preload = [] {
      if (std::getenv("COPROC_TEST_SET") == nullptr) throw std::runtime_error("not set in preload");
    };
    const mode_t own = ::umask(027);
    coproc::process_pool pool(
        io, {.max_workers = 1, .preload = preload, .env = variables, .working_directory = "/proc", .umask = 077});
    ending<std::string> e;
    start(
        e, pool, +[] {
          const char* const set = std::getenv("COPROC_TEST_SET");
          const char* const gone = std::getenv("COPROC_TEST_GONE");
          return std::string(set ? set : "-") + (gone ? gone : "-") + std::filesystem::current_path().string() +
                 std::to_string(::umask(0));
        });
    expect(run_all(io) && e.succeeded(), "the call failed");
    expect(*e.value == "yes-/proc63", e.value->c_str());
    expect(::umask(own) == 027 && std::filesystem::current_path() == where && std::getenv("COPROC_TEST_SET") == nullptr,
           "the program's are others now");
    const auto refusal = [&](const coproc::pool_options& options) -> std::string {
      try {
        coproc::process_pool other(io, options);
      } catch (const std::exception& error) {
        return error.what();
      }
      return {};
    };
    expect(refusal({.max_workers = 1, .working_directory = "/nowhere/at/all"}).find("working_directory") !=
               std::string::npos,
           "a directory that is not there");
    expect(refusal({.max_workers = 1, .umask = 01000}).find("umask") != std::string::npos, "a umask out of range");
    const coproc::environment_variable wrong[] = {{"a=b", "c"}};
    expect(refusal({.max_workers = 1, .env = wrong}).find("'a=b'") != std::string::npos, "a name with =");
  });
}

TEST_CASE("each worker process has a seed of its own, and the same seeds come again with the same option") {
  const leak_audit audit;
  const auto seeds = [](std::optional<std::uint64_t> of_the_pool) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .max_tasks_per_child = 1, .seed = of_the_pool});
    std::vector<std::uint64_t> all;
    for (int i = 0; i < 5; ++i) {
      ending<std::uint64_t> e;
      start(e, pool, +[] { return coproc::this_worker::seed(); });
      REQUIRE(run_all(io));
      REQUIRE(e.succeeded());
      all.push_back(*e.value);
    }
    return all;
  };
  const auto first = seeds(17), again = seeds(17), other = seeds(18), unset = seeds({}), unset_again = seeds({});
  CHECK(std::set(first.begin(), first.end()).size() == 5);
  CHECK(std::set(unset.begin(), unset.end()).size() == 5);
  CHECK(first == again);
  CHECK(first != other);
  CHECK(unset != unset_again);
  CHECK(coproc::this_worker::seed() == 0);
}

TEST_CASE("a task finds the floating-point modes of the initializer, whatever the one before it did") {
  const leak_audit audit;
  net::io_context io(1);
  const auto initializer = [] { std::fesetround(FE_DOWNWARD); };
  coproc::process_pool pool(io, {.max_workers = 1, .initializer = initializer});
  const auto modes = +[] { return std::fegetround() * 2 + (::fegetexcept() != 0); };
  ending<int> before, after, changed;
  start(before, pool, modes);
  start(
      changed, pool, +[] {
        std::fesetround(FE_UPWARD);
        return ::feenableexcept(FE_DIVBYZERO);
      });
  start(after, pool, modes);
  ending<double> infinite;
  start(infinite, pool, +[](double zero) { return 1 / zero; }, 0.0);
  REQUIRE(run_all(io));
  REQUIRE((before.succeeded() && changed.succeeded() && after.succeeded()));
  CHECK(*before.value == FE_DOWNWARD * 2);
  CHECK(*after.value == *before.value);
  CHECK(infinite.succeeded());
}

TEST_CASE("what a task changes of its process hits the next one, unless restore_state is set") {
  const leak_audit audit;
  const auto initializer = [] {
    if (::chdir("/proc") != 0) throw std::runtime_error("chdir");
    ::umask(026);
    ::signal(SIGUSR1, SIG_IGN);
  };
  const auto spoil = +[] {
    ::alarm(1);
    const itimerval soon{{}, {1, 0}};
    ::setitimer(ITIMER_PROF, &soon, nullptr);
    ::umask(0);
    ::signal(SIGUSR1, [](int) {});
    sigset_t usr2;
    ::sigemptyset(&usr2);
    ::sigaddset(&usr2, SIGUSR2);
    ::sigprocmask(SIG_BLOCK, &usr2, nullptr);
    std::setlocale(LC_ALL, "C.UTF-8");
    return ::chdir("/");
  };
  const auto look = +[] {
    itimerval prof{};
    ::getitimer(ITIMER_PROF, &prof);
    struct sigaction usr1{};
    ::sigaction(SIGUSR1, nullptr, &usr1);
    sigset_t mask;
    ::sigprocmask(SIG_BLOCK, nullptr, &mask);
    std::string text = ::alarm(0) != 0 || prof.it_value.tv_sec + prof.it_value.tv_usec != 0 ? "timer " : "";
    text += std::filesystem::current_path().string() + " " + std::to_string(::umask(0)) + " ";
    text += usr1.sa_handler == SIG_IGN ? "ignored " : "handled ";
    text += ::sigismember(&mask, SIGUSR2) ? "blocked " : "open ";
    return text + std::setlocale(LC_ALL, nullptr);
  };
  for (const bool restore : {false, true}) {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .initializer = initializer, .restore_state = restore});
    ending<int> spoilt;
    ending<std::string> seen, at_first;
    start(at_first, pool, look); // sets umask to 0, which is to be restored, too
    start(spoilt, pool, spoil);
    start(seen, pool, look);
    REQUIRE(run_all(io));
    REQUIRE((at_first.succeeded() && spoilt.succeeded() && seen.succeeded()));
    CHECK(*at_first.value == "/proc 22 ignored open C");
    CHECK(*seen.value == (restore ? "/proc 22 ignored open C" : "timer / 0 handled blocked C.UTF-8"));
  }
}

TEST_CASE("with restore_state a timer that fired while its signal was blocked does not kill the next task") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .restore_state = true});
  ending<void> pending;
  ending<int> next;
  start(
      pending, pool, +[] {
        sigset_t alarm;
        ::sigemptyset(&alarm);
        ::sigaddset(&alarm, SIGALRM);
        ::sigprocmask(SIG_BLOCK, &alarm, nullptr);
        const itimerval now{{}, {0, 1}};
        ::setitimer(ITIMER_REAL, &now, nullptr);
        for (sigset_t waiting{}; ::sigpending(&waiting) == 0 && !::sigismember(&waiting, SIGALRM);) {
        }
      });
  start(next, pool, +[] { return 5; });
  REQUIRE(run_all(io));
  CHECK(pending.succeeded());
  CHECK(next.succeeded());
}

} // namespace process_inheritance
