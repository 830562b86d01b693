// SPDX-License-Identifier: BSL-1.0
// The life of workers and tasks as users set it: time-outs, retries, priorities, keys, recycling, resizing, limits,
// hooks and observers, on real processes.
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/this_worker.hpp>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sched.h>
#include <set>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace process_lifecycle {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using coproc::exit_cause;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

struct board {
  tally started, go, ran, starts, finished;
  std::atomic<int> order[16]{};
};
shared_memory<board> shared;

int identity(int n) { return n; }
pid_t who() { return ::getpid(); }

void block_until_go() {
  shared->started.add();
  shared->go.await(1);
}

void note(int n) { shared->order[shared->ran.add()] = n; }

int die_twice() {
  if (shared->ran.add() < 2) ::raise(SIGKILL);
  return 7;
}

pid_t run_who(net::io_context& io, coproc::pool_ref pool) {
  ending<pid_t> e;
  start(e, pool, who);
  REQUIRE(run_all(io));
  REQUIRE(e.succeeded());
  return *e.value;
}

} // namespace

// ---- tasks ----

TEST_CASE("a soft time-out asks the task to stop, and if it does, that is a task_timeout") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const pid_t before = run_who(io, pool);
  ending<void> stops;
  ending<int> ignores;
  start(stops, pool.with({.soft_timeout = milliseconds(20)}), [] {
    for (;;) coproc::this_worker::throw_if_stopped();
  });
  REQUIRE(run_all(io));
  CHECK(stops.failed_with(errc::task_timeout));
  CHECK(stops.as<coproc::task_timeout>());
  CHECK(stops.text().find("soft_timeout") != std::string::npos);
  start(ignores, pool.with({.soft_timeout = milliseconds(1)}), [] {
    while (!coproc::this_worker::stop_requested()) {
    }
    return 5;
  });
  REQUIRE(run_all(io));
  CHECK(ignores.succeeded());
  CHECK(run_who(io, pool) == before); // nobody was killed
}

TEST_CASE("the task knows its deadline") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto left_ms = [] {
    const auto d = coproc::this_worker::deadline();
    if (d == std::chrono::steady_clock::time_point::max()) return -1ll;
    return static_cast<long long>(
        std::chrono::duration_cast<milliseconds>(d - std::chrono::steady_clock::now()).count());
  };
  ending<long long> none, hard, soft, again, endless;
  start(none, pool, left_ms);
  start(hard, pool.with({.timeout = seconds(100)}), left_ms);
  start(soft, pool.with({.timeout = seconds(100), .soft_timeout = seconds(50)}), left_ms);
  start(again, pool, left_ms);
  start(endless, pool.with({.timeout = coproc::duration::max() - coproc::duration(1)}), left_ms);
  REQUIRE(run_all(io));
  CHECK(none.value == -1);
  CHECK(*hard.value > 90'000);
  CHECK(*hard.value <= 100'000);
  CHECK(*soft.value > 40'000);
  CHECK(*soft.value <= 50'000);
  CHECK(again.value == -1);
  CHECK((*endless.value == -1 || *endless.value > 100'000)); // not in the past, however long the machine has been up
  CHECK(coproc::this_worker::deadline() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE("a task that has not begun within its queue_timeout ends with that, and the others go on") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue = 3});
  ending<void> blocks;
  ending<int> queued, waiting, patient;
  start(blocks, pool, block_until_go);
  start(patient, pool, identity, 1);
  start(queued, pool.with({.queue_timeout = milliseconds(20)}), identity, 2);
  start(waiting, pool.with({.queue_timeout = milliseconds(20)}), identity, 3);
  REQUIRE(run_until(io, [&] { return queued.calls + waiting.calls == 2; }));
  for (const auto* e : {&queued, &waiting}) {
    CHECK(e->failed_with(errc::queue_timeout));
    CHECK(e->code() == std::errc::timed_out);
    CHECK(e->as<coproc::timed_out>());
    CHECK_FALSE(e->as<coproc::task_timeout>());
  }
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(blocks.succeeded());
  CHECK(patient.succeeded());
}

TEST_CASE("an idempotent task is run again when its worker dies, max_retries times; for another one that is refused") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> retried, too_few, refused;
  start(retried, pool.with({.max_retries = 2, .retry_on = coproc::retry::idempotent}), die_twice);
  REQUIRE(run_all(io));
  CHECK(retried.succeeded());
  CHECK(shared->ran.get() == 3);
  shared.reset();
  start(too_few, pool.with({.max_retries = 1, .retry_on = coproc::retry::idempotent}), die_twice);
  REQUIRE(run_all(io));
  CHECK(too_few.failed_with(errc::worker_lost));
  CHECK(too_few.text().find("run 2 times") != std::string::npos);
  shared.reset();
  start(refused, pool.with({.max_retries = 5}), die_twice);
  REQUIRE(run_all(io));
  CHECK(refused.calls == 1);
  CHECK(refused.as<std::invalid_argument>());
  CHECK(refused.text().find("max_retries is 5") != std::string::npos);
  CHECK(refused.text().find("coproc::retry::idempotent") != std::string::npos);
  CHECK(shared->ran.get() == 0);
}

TEST_CASE("a task that had not begun when its worker died moves by itself and runs once; the one that ran is lost") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> dies;
  std::vector<ending<void>> behind(8); // in the ring of the worker that dies, and in the queue
  start(
      dies, pool, +[] {
        shared->started.add();
        shared->go.await(1);
        ::raise(SIGKILL);
      });
  REQUIRE(shared->started.await(1));
  for (int i = 0; i < 8; ++i) start(behind[static_cast<std::size_t>(i)], pool, note, i);
  REQUIRE(run_until(io, [&] { return pool.stats().queued < 8; })); // some are in the ring
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(dies.failed_with(errc::worker_lost));
  CHECK(dies.text().find("while it ran this task") != std::string::npos);
  for (const auto& e : behind) CHECK(e.succeeded());
  CHECK(shared->ran.get() == 8);
  CHECK(pool.stats().counters.moved > 0);
  CHECK(pool.stats().counters.retried == 0);
}

TEST_CASE("tasks of higher priority overtake") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> blocks[4], noted[6];
  for (auto& e : blocks) start(e, pool, block_until_go); // fills the ring
  const int priorities[] = {0, -10, 5, 0, 10, 5};
  for (int i = 0; i < 6; ++i) start(noted[i], pool.with({.priority = priorities[i]}), note, i);
  shared->go.add();
  REQUIRE(run_all(io));
  std::vector<int> order;
  for (int i = 0; i < 6; ++i) order.push_back(shared->order[i]);
  CHECK(order == std::vector{4, 2, 5, 0, 3, 1});
}

TEST_CASE("tasks with one key share a worker and what it remembers") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3});
  std::set<pid_t> used;
  for (std::uint64_t key = 0; key < 12; ++key) {
    const pid_t first = run_who(io, pool.with({.worker_key = key}));
    for (int i = 0; i < 3; ++i) CHECK(run_who(io, pool.with({.worker_key = key})) == first);
    used.insert(first);
  }
  CHECK(used.size() == 3);
}

// tests/front/options_check has each value; these are about how a call is refused.
TEST_CASE("a call with impossible options ends with the reason, never inside the initiating function") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  using coproc::duration;
  const auto rejected = [&](const coproc::task_options& o, const char* member) {
    ending<int> e;
    start(e, pool.with(o), identity, 1);
    CHECK(e.calls == 0);
    REQUIRE(run_all(io));
    CHECK(e.as<std::invalid_argument>());
    CHECK(e.text().find(member) != std::string::npos);
  };
  rejected({.timeout = duration(0)}, "timeout");
  rejected({.soft_timeout = duration(-1)}, "soft_timeout");
  rejected({.timeout = seconds(1), .soft_timeout = seconds(1)}, "soft_timeout");
  rejected({.max_retries = -1}, "max_retries");
  rejected({.max_retries = 1}, "retry::idempotent");
  rejected({.priority = 11}, "priority");
}

TEST_CASE("tasks at the limits of their options run") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  using coproc::duration;
  const auto accepted = [&](const coproc::task_options& o) {
    ending<int> e;
    start(e, pool.with(o), identity, 1);
    REQUIRE(run_all(io));
    CHECK(e.succeeded());
  };
  accepted({.timeout = coproc::unlimited, .queue_timeout = coproc::unlimited, .soft_timeout = coproc::unlimited});
  accepted({.timeout = duration::max() - duration(1)});
  accepted({.queue_timeout = duration::max() - duration(1), .soft_timeout = duration::max() - duration(2)});
  accepted({.max_retries = (1ll << 32) - 1, .retry_on = coproc::retry::idempotent, .priority = 10});
  accepted({.priority = -10, .worker_key = ~0ull});
  accepted({.worker_key = 0, .kill_grace = coproc::unlimited});
  accepted({.kill_grace = duration(1)});
  ending<int> e; // as short as can be: it ends one way or the other, and the pool goes on
  start(e, pool.with({.timeout = duration(1), .queue_timeout = duration(1), .kill_grace = duration(1)}), identity, 1);
  REQUIRE(run_all(io));
  INFO(e.text());
  CHECK((e.succeeded() || e.failed_with(errc::task_timeout) || e.failed_with(errc::queue_timeout)));
  accepted({});
}

// ---- workers ----

TEST_CASE("max_tasks_per_child = 1 gives every task a fresh process") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_tasks_per_child = 1});
  std::vector<ending<pid_t>> all(40);
  for (auto& e : all) start(e, pool, who);
  REQUIRE(run_all(io));
  std::set<pid_t> pids;
  for (const auto& e : all) {
    REQUIRE(e.succeeded());
    pids.insert(*e.value);
  }
  CHECK(pids.size() == all.size());
}

TEST_CASE("a worker that grew too large is replaced") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_memory_per_child = 64 << 20});
  const pid_t small = run_who(io, pool);
  ending<void> grows;
  start(grows, pool, [] {
    auto* const leak = new std::vector<char>(100 << 20, 'x');
    asm volatile("" : : "r"(leak->data()) : "memory");
    ::usleep(20'000);
  });
  REQUIRE(run_all(io));
  REQUIRE(grows.succeeded());
  pid_t now = small;
  REQUIRE(eventually([&] { return (now = run_who(io, pool)) != small; }));
  CHECK(eventually([&] { return run_who(io, pool), pool.stats().counters.exits_by(exit_cause::memory_limit) >= 1; }));
}

TEST_CASE("recycle_workers replaces all of them and loses no task") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3});
  std::set<pid_t> before, after;
  for (const auto& w : pool.stats().workers) before.insert(w.pid);
  REQUIRE(before.size() == 3);
  std::vector<ending<int>> all(2000);
  int at = 0;
  pool.recycle_workers();
  pool.recycle_workers(); // once more changes nothing
  for (auto& e : all) start(e, pool, identity, at++);
  REQUIRE(run_all(io));
  for (int i = 0; i < at; ++i) {
    REQUIRE(all[static_cast<std::size_t>(i)].succeeded());
    REQUIRE(*all[static_cast<std::size_t>(i)].value == i);
  }
  const auto s = pool.stats();
  for (const auto& w : s.workers)
    if (w.state != coproc::worker_state::ending) after.insert(w.pid);
  CHECK(after.size() == 3);
  for (const pid_t pid : before) CHECK(after.count(pid) == 0);
}

TEST_CASE("a pool shrinks when it is idle, without anybody looking, and grows when there is work") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3, .min_workers = 1, .idle_timeout = milliseconds(50)});
  CHECK(pool.stats().workers.size() == 1);
  ending<void> blocks[3];
  for (auto& e : blocks) start(e, pool, block_until_go);
  REQUIRE(run_until(io, [&] { return shared->started.get() == 3; })); // three at once: it has grown
  const auto grown = descendants_of(::getpid());
  CHECK(grown.size() == 5); // with a fork server and one that stands by
  shared->go.add();
  REQUIRE(run_all(io));
  // The loop does not run: workers leave by themselves.
  REQUIRE(eventually([&] {
    std::size_t workers = 0;
    for (const auto& [pid, status] : descendants_of(::getpid()))
      workers += status.state != 'Z' && status.name != "coproc-server" && status.name != "coproc-standby";
    return workers == 1;
  }));
  ending<int> e;
  start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

TEST_CASE("workers have the limits, the CPU and the oom score that they were given") {
  const leak_audit audit;
  const auto score = [] {
    int n = -1;
    std::ifstream("/proc/self/oom_score_adj") >> n;
    return n;
  };
  const int ours = score();
  net::io_context io(1);
  coproc::process_pool pool(
      io, {.max_workers = 2,
           .limits = {.stack_bytes = 4 << 20, .core_bytes = 0, .cpu_seconds = 1000, .open_files = 100},
           .cpu_affinity = coproc::affinity_policy::spread,
           .oom_score_adj = 300});
  const auto limit = [](int which) {
    rlimit l{};
    ::getrlimit(static_cast<decltype(RLIMIT_AS)>(which), &l);
    return std::pair(static_cast<std::uint64_t>(l.rlim_cur), static_cast<std::uint64_t>(l.rlim_max));
  };
  const auto cpus = [] {
    cpu_set_t set;
    ::sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set);
  };
  ending<std::pair<std::uint64_t, std::uint64_t>> stack, core, cpu, files;
  ending<int> count, oom;
  start(stack, pool, limit, int(RLIMIT_STACK));
  start(core, pool, limit, int(RLIMIT_CORE));
  start(cpu, pool, limit, int(RLIMIT_CPU));
  start(files, pool, limit, int(RLIMIT_NOFILE));
  start(count, pool, cpus);
  start(oom, pool, score);
  REQUIRE(run_all(io));
  CHECK(stack.value == std::pair<std::uint64_t, std::uint64_t>(4 << 20, 4 << 20));
  CHECK(core.value == std::pair<std::uint64_t, std::uint64_t>(0, 0));
  CHECK(cpu.value == std::pair<std::uint64_t, std::uint64_t>(1000, 1000));
  CHECK(files.value == std::pair<std::uint64_t, std::uint64_t>(100, 100));
  CHECK(count.value == 1);
  CHECK(oom.value == std::min(ours + 300, 1000));
}

TEST_CASE("a task that runs into a limit is the only one that fails") {
  const leak_audit audit;
  if (sanitized) return; // its shadow alone exceeds any limit
  net::io_context io(1);
  coproc::process_pool pool(io,
                            {.max_workers = 1, .max_payload = 1 << 20, .limits = {.address_space_bytes = 400 << 20}});
  ending<std::size_t> large;
  ending<int> small;
  start(large, pool, [] { return std::vector<char>(std::size_t{1} << 30).size(); });
  start(small, pool, identity, 3);
  REQUIRE(run_all(io));
  CHECK(large.as<std::bad_alloc>());
  CHECK(small.succeeded());
}

TEST_CASE("per-worker state is made by the initializer and found by tasks; without it, an error says so") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1,
                                 .initializer = [] { coproc::this_worker::make_state<std::string>("made"); },
                                 .finalizer =
                                     [] {
                                       if (coproc::this_worker::state<std::string>() == "made!") shared->finished.add();
                                     }});
  ending<std::string> found;
  ending<int> missing;
  start(found, pool, [] { return coproc::this_worker::state<std::string>() += "!"; });
  start(missing, pool, [] { return coproc::this_worker::state<int>(); });
  REQUIRE(run_all(io));
  CHECK(found.value == "made!");
  CHECK(missing.as<std::logic_error>());
  CHECK(missing.text().find("make_state") != std::string::npos);
  pool.recycle_workers();
  REQUIRE(run_all(io));
  CHECK(shared->finished.await(1)); // in the old worker, when its successor is already there
}

TEST_CASE("recycling begins at once, also while one worker is at a long task and the front end asleep") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::size_t starts = 0;
  bool ended = false;
  coproc::process_pool pool(io, {.max_workers = 3, .on_worker_start = [&](const coproc::worker_start&) { ++starts; }});
  coproc::async_run(pool, coproc::work(+[] { return shared->go.await(1); }),
                    [&](std::exception_ptr, bool) { ended = true; });
  REQUIRE(run_until(io, [&] { return starts == 3; }));
  net::steady_timer asleep(io, std::chrono::milliseconds(20));
  asleep.async_wait([&](net::error_code) { pool.recycle_workers(); });
  REQUIRE(run_until(io, [&] { return starts > 3; }));
  CHECK_FALSE(ended);
  shared->go.add();
  REQUIRE(run_until(io, [&] { return ended && starts == 6; }));
}

TEST_CASE("observers hear of every worker that begins and ends, and why") {
  const leak_audit audit;
  net::io_context io(1);
  std::vector<coproc::worker_start> starts;
  std::vector<coproc::worker_exit> exits;
  {
    coproc::process_pool pool(io, {.max_workers = 2,
                                   .on_worker_start = [&](const coproc::worker_start& e) { starts.push_back(e); },
                                   .on_worker_exit = [&](const coproc::worker_exit& e) { exits.push_back(e); }});
    CHECK(starts.empty()); // on the executor, not in the constructor
    ending<void> crashes, times_out;
    start(crashes, pool, +[] { ::_exit(3); });
    start(
        times_out, pool.with({.timeout = milliseconds(10)}), +[] {
          for (;;) burn(1000);
        });
    REQUIRE(run_until(io, [&] { return starts.size() == 4 && exits.size() == 2; }));
    pool.recycle_workers();
    REQUIRE(run_until(io, [&] { return starts.size() == 6 && exits.size() == 4; }));
  }
  const auto how_many = [&](exit_cause c) {
    return std::count_if(exits.begin(), exits.end(), [&](const auto& e) { return e.cause == c; });
  };
  CHECK(how_many(exit_cause::self) == 1);
  CHECK(how_many(exit_cause::timed_out) == 1);
  CHECK(how_many(exit_cause::recycled) == 2);
  for (const auto& e : exits) {
    CHECK(e.pid > 0);
    CHECK(e.index < 2);
    CHECK(e.age.count() > 0);
    CHECK(std::count_if(starts.begin(), starts.end(), [&](const auto& s) { return s.pid == e.pid; }) == 1);
    if (e.cause == exit_cause::self) {
      CHECK(e.exit_code == 3);
      CHECK(e.phase == coproc::exit_phase::running);
    }
    if (e.cause == exit_cause::recycled) CHECK(e.exit_code == 0);
  }
}

TEST_CASE("an observer that throws throws out of run(), and the pool goes on") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .on_worker_start = [](const coproc::worker_start&) {
                                   throw std::runtime_error("observer");
                                 }});
  CHECK_THROWS_AS(io.run(), std::runtime_error);
  ending<int> e;
  start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

TEST_CASE("an initializer that throws, crashes or hangs ends in worker_start_failed, not in a hang") {
  const leak_audit audit;
  const int kind = GENERATE(0, 1, 2);
  CAPTURE(kind);
  net::io_context io(1);
  coproc::pool_options options{.max_workers = 2, .max_start_failures = 1};
  if (kind == 0) options.initializer = [] { throw std::runtime_error("no"); };
  if (kind == 1) options.initializer = [] { ::raise(SIGSEGV); };
  if (kind == 2) {
    options.start_timeout = milliseconds(300);
    options.initializer = [] {
      for (;;) ::pause();
    };
  }
  coproc::process_pool pool(io, options);
  ending<int> e;
  start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::worker_start_failed));
  CHECK(e.text().find("initialize") != std::string::npos);
}

// tests/front/options_check has what is refused, and the values in between.
TEST_CASE("pools at the limits of their options work") {
  const leak_audit audit;
  net::io_context io(1);
  using coproc::pool_options;
  const auto works = [&](const char* what, const pool_options& o) {
    INFO(what);
    coproc::process_pool pool(io, o);
    for (int i = 0; i < 3; ++i) {
      ending<int> e;
      start(e, pool, identity, i);
      REQUIRE(run_all(io));
      INFO(e.text());
      CHECK(e.succeeded());
    }
  };
  works("max_workers", {.max_workers = 1024, .min_workers = 1});
  works("max_queue", {.max_workers = 1, .max_queue = 1});
  works("max_queue, the most", {.max_workers = 1, .max_queue = 1ll << 32});
  constexpr auto one_call = static_cast<long long>(sizeof(&identity) + sizeof(int));
  works("max_queue_bytes", {.max_workers = 1, .max_queue_bytes = one_call});
  works("max_payload", {.max_workers = 1, .max_payload = one_call});
  if (!sanitized) works("max_payload, the most", {.max_workers = 1, .max_payload = 1ll << 40});
  works("max_tasks_per_child", {.max_workers = 1, .max_tasks_per_child = 1});
  works("max_tasks_jitter", {.max_workers = 1, .max_tasks_per_child = 2, .max_tasks_jitter = 1});
  works("max_memory_per_child", {.max_workers = 1, .max_memory_per_child = 1});
  works("min_workers", {.max_workers = 2, .min_workers = 2, .idle_timeout = coproc::unlimited});
  works("idle_timeout", {.max_workers = 2, .min_workers = 1, .idle_timeout = std::chrono::nanoseconds(1)});
  works("kill_grace", {.max_workers = 1, .kill_grace = std::chrono::nanoseconds(1)});
  works("start_timeout", {.max_workers = 1, .start_timeout = coproc::unlimited});
  works("max_start_failures", {.max_workers = 1, .max_start_failures = 1});
  works("oom_score_adj", {.max_workers = 1, .oom_score_adj = 0});
  works("oom_score_adj, the most", {.max_workers = 1, .oom_score_adj = 1000});
  works("limits of zero", {.max_workers = 1, .limits = {.core_bytes = 0, .open_files = 0, .processes = 0}});
}

TEST_CASE("a start_timeout that no start can meet is an error, not a hang") {
  const leak_audit audit;
  net::io_context io(1);
  ending<int> e;
  try {
    coproc::process_pool pool(
        io, {.max_workers = 1, .max_start_failures = 2, .start_timeout = std::chrono::nanoseconds(1)});
    start(e, pool, identity, 1);
    REQUIRE(run_all(io));
    INFO(e.text());
    CHECK(e.calls == 1);
    CHECK((e.succeeded() || e.failed_with(errc::worker_start_failed))); // a worker may be faster than anybody looks
  } catch (const coproc::pool_error& error) {
    INFO(error.what());
    CHECK(std::string(error.what()).find("start_timeout") != std::string::npos);
  }
}

// ---- what is counted ----

TEST_CASE("stats say what happened") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::vector<ending<int>> ok(100);
  ending<void> throws, dies;
  for (auto& e : ok) start(e, pool, identity, 1);
  start(throws, pool, +[] { throw std::runtime_error("x"); });
  start(dies, pool, +[] { ::raise(SIGKILL); });
  REQUIRE(run_all(io));
  REQUIRE(eventually([&] { // the replacement
    ending<int> e;
    start(e, pool, identity, 1);
    return run_all(io) && e.succeeded();
  }));
  const auto s = pool.stats();
  CHECK(s.counters.returned >= 101);
  CHECK(s.counters.threw == 1);
  CHECK(s.counters.lost == 1);
  CHECK(s.counters.exits_by(exit_cause::self) == 1);
  CHECK(s.active == 0);
  CHECK(s.queued == 0);
  CHECK(s.waiting == 0);
  CHECK(s.queued_bytes == 0);
  REQUIRE(s.workers.size() == 1);
  CHECK(s.workers[0].pid > 0);
  CHECK(s.workers[0].private_bytes > 0);
  CHECK(s.workers[0].age.count() > 0);
  CHECK(s.run_time.count() == s.counters.returned + s.counters.threw);
  CHECK(s.run_time.percentile(50) <= s.run_time.percentile(99));
}

} // namespace process_lifecycle
