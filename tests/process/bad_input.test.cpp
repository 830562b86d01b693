// SPDX-License-Identifier: BSL-1.0
// What a user may get wrong: options, threads before the pool, nested use, forked copies, late libraries, hooks that
// fail. Each is a specific error that names cause and way out; nothing is lost, and the pool is usable afterwards.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <coproc/run.hpp>
#include <coproc/this_worker.hpp>

#include <csignal>
#include <cstdlib>
#include <dlfcn.h>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace process_bad_input {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

struct board {
  tally preloaded, initialized, finalized, started, go;
  std::atomic<pid_t> preload_pid{0};
  std::atomic<pid_t> initializer_pid[16]{};
};
shared_memory<board> shared;

int identity(int n) { return n; }
int blocker() {
  shared->started.add();
  shared->go.await(1);
  return 1;
}

/// What the pool's constructor throws, as text, or empty; and the code, where it is a pool_error.
struct refusal {
  std::string text;
  bool invalid_argument = false;
  net::error_code code;

  bool names(const char* what) const { return text.find(what) != std::string::npos; }
};

refusal refuse(const coproc::pool_options& options) {
  net::io_context io(1);
  refusal r;
  try {
    coproc::process_pool pool(io, options);
  } catch (const std::invalid_argument& e) {
    r.text = e.what();
    r.invalid_argument = true;
  } catch (const coproc::pool_error& e) {
    r.text = e.what();
    r.code = e.code();
  }
  return r;
}

void check_works(net::io_context& io, coproc::process_pool& pool) {
  ending<int> e;
  start(e, pool, identity, 77);
  REQUIRE(run_all(io));
  INFO(e.text());
  REQUIRE(e.succeeded());
  CHECK(*e.value == 77);
}

} // namespace

TEST_CASE("impossible options are refused by name, before anything is started") {
  const leak_audit audit;
  const auto check = [](const coproc::pool_options& options, const char* member) {
    const refusal r = refuse(options);
    INFO(member << ": " << r.text);
    CHECK(r.invalid_argument);
    CHECK(r.names((std::string("pool_options::") + member).c_str()));
  };
  check({.max_workers = -1}, "max_workers");
  check({.max_workers = 1025}, "max_workers");
  check({.max_workers = std::numeric_limits<long long>::min()}, "max_workers");
  check({.max_workers = std::numeric_limits<unsigned long long>::max()}, "max_workers");
  check({.max_queue = -1}, "max_queue");
  check({.max_queue = std::numeric_limits<long long>::max()}, "max_queue");
  check({.max_workers = 4, .max_queue = 3}, "max_queue");
  check({.max_queue_bytes = -5}, "max_queue_bytes");
  check({.max_queue_bytes = std::numeric_limits<long long>::max()}, "max_queue_bytes");
  check({.max_payload = -1}, "max_payload");
  check({.max_payload = std::numeric_limits<long long>::max()}, "max_payload");
  check({.kill_grace = milliseconds(0)}, "kill_grace");
  check({.kill_grace = milliseconds(-1)}, "kill_grace");
}

TEST_CASE("zero means the default, and unlimited is a kill_grace") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(
      io, {.max_workers = 0, .max_queue = 0, .max_queue_bytes = 0, .max_payload = 0, .kill_grace = coproc::unlimited});
  check_works(io, pool);
}

TEST_CASE("a pool made in a threaded process is refused with the reason and the ways out") {
  const leak_audit audit;
  std::atomic<bool> stop{false};
  std::thread other([&] { stop.wait(false); });
  ::pthread_setname_np(other.native_handle(), "a-library");
  const refusal r = refuse({.max_workers = 1});
  {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1, .dangerously_fork_with_threads = true});
    check_works(io, pool);
  }
  stop = true;
  stop.notify_all();
  other.join();
  INFO(r.text);
  CHECK(r.code == make_error_code(errc::worker_start_failed));
  CHECK(r.names("more than one thread"));
  CHECK(r.names("a-library ("));
  CHECK(r.names("before the first thread"));
  CHECK(r.names("process of its own"));
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  check_works(io, pool);
}

TEST_CASE("threads that have ended before the pool is made do not count") {
  const leak_audit audit;
  for (int i = 0; i < 20; ++i) {
    std::thread([] {}).join();
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
  }
}

namespace {
coproc::process_pool* own_pool = nullptr; // as the workers find it: a copy of the front end's object
}

TEST_CASE("the pool used, or shut down, inside one of its own tasks answers with an error, and goes on") {
  const leak_audit audit;
  alignas(coproc::process_pool) std::byte place[sizeof(coproc::process_pool)];
  own_pool = reinterpret_cast<coproc::process_pool*>(place);
  net::io_context io(1);
  const auto pool = std::unique_ptr<coproc::process_pool, void (*)(coproc::process_pool*)>(
      ::new (place) coproc::process_pool(io, {.max_workers = 2}), [](coproc::process_pool* p) { p->~process_pool(); });
  ending<std::string> nested, shut_down;
  // The worker's copy of the pool object was made while its constructor ran: only its core may be there.
  start(
      nested, *pool, +[]() -> std::string {
        try {
          return std::to_string(coproc::run(coproc::run_in_executor(*own_pool, identity, 1)));
        } catch (const coproc::pool_error& e) {
          return e.code() == make_error_code(errc::wrong_process) ? e.what() : "another error";
        }
      });
  start(
      shut_down, *pool, +[]() -> std::string {
        net::io_context own(1);
        ending<void> called;
        own_pool->async_shutdown(coproc::unlimited, net::bind_executor(own, into(called)));
        if (called.calls != 0) return "it completed inside the call";
        own.run();
        if (!called.failed_with(errc::wrong_process)) return "another end: " + called.text();
        try {
          coproc::run(own_pool->shutdown());
        } catch (const coproc::pool_error& e) {
          return e.code() == make_error_code(errc::wrong_process) ? e.what() : "another error";
        }
        return "it was shut down";
      });
  REQUIRE(run_all(io));
  for (const ending<std::string>* e : {&nested, &shut_down}) {
    INFO(e->text());
    REQUIRE(e->succeeded());
    INFO(*e->value);
    CHECK(e->value->find("a task cannot use the pool it runs in") != std::string::npos);
  }
  check_works(io, *pool);
}

TEST_CASE("a task may make a pool of its own") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> e;
  start(
      e, pool, +[] {
        net::io_context inner_io(1);
        coproc::process_pool inner(inner_io, {.max_workers = 2});
        ending<int> result;
        start(result, inner, identity, 12);
        inner_io.run();
        return result.value.value_or(-1);
      });
  REQUIRE(run_all(io));
  INFO(e.text());
  REQUIRE(e.succeeded());
  CHECK(*e.value == 12);
  check_works(io, pool);
}

TEST_CASE("a pool used in a forked copy of its process answers with an error; the original goes on") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, coproc::pool_options{.max_workers = 1});
  check_works(io, *pool);
  SECTION("it is called, and another pool is made there") {
    check_in_child([&] {
      ending<int> called, own;
      start(called, *pool, identity, 1);
      auto task = pool->submit(identity, 2);
      io.restart();
      io.run();
      expect(called.failed_with(errc::wrong_process), "the call did not fail with wrong_process");
      expect(called.text().find("make a pool of its own") != std::string::npos, "no way out is named");
      expect(task.done(), "the task has not ended");
      net::io_context own_io(1);
      coproc::process_pool own_pool_here(own_io, {.max_workers = 1});
      start(own, own_pool_here, identity, 3);
      own_io.run();
      expect(own.succeeded(), "a pool of the copy's own does not work");
    });
  }
  SECTION("a call that was made before the fork is awaited there, another one is not") {
    std::optional<net::awaitable<int>> awaited(coproc::run_in_executor(*pool, identity, 1));
    std::optional<net::awaitable<int>> dropped(coproc::run_in_executor(*pool, identity, 2));
    check_in_child([&] {
      ending<int> called;
      net::co_spawn(io, *std::exchange(awaited, {}), into(called));
      dropped.reset();
      io.restart();
      io.run();
      expect(called.failed_with(errc::wrong_process), "the call did not fail with wrong_process");
    });
    ending<int> e;
    net::co_spawn(io, *std::exchange(awaited, {}), into(e));
    REQUIRE(run_all(io));
    CHECK(e.value == 1);
  }
  SECTION("it is shut down there") {
    check_in_child([&] {
      ending<void> called, awaited;
      pool->async_shutdown(coproc::unlimited, into(called));
      net::co_spawn(io, pool->shutdown(milliseconds(10)), into(awaited));
      expect(called.calls == 0, "it completed inside the call");
      io.restart();
      io.run(); // the copy's own: as long as anything is outstanding
      expect(called.failed_with(errc::wrong_process), "async_shutdown did not complete with wrong_process");
      expect(awaited.failed_with(errc::wrong_process), "shutdown did not complete with wrong_process");
      expect(called.text().find("make a pool of its own") != std::string::npos, "no way out is named");
    });
  }
  SECTION("all else is called there that ends or changes a pool") {
    check_in_child([&] {
      pool->close();
      pool->recycle_workers();
      pool->terminate_workers();
      pool->kill_workers();
      pool->trace([](const coproc::trace_event&) {});
      net::error_code refused;
      try {
        static_cast<void>(pool->stats());
      } catch (const coproc::pool_error& e) {
        refused = e.code();
      }
      expect(refused == errc::wrong_process, "stats() did not throw wrong_process");
    });
  }
  SECTION("it is destroyed there") {
    check_in_child([&] { pool.reset(); });
  }
  SECTION("it is used there while the original has calls outstanding, which are cancelled there, too") {
    net::cancellation_signal of_running, of_queued;
    ending<int> running, queued, eager;
    start(of_running.slot(), running, *pool, blocker);
    start(of_queued.slot(), queued, *pool, identity, 5);
    auto submitted = pool->submit(identity, 6);
    REQUIRE(shared->started.await(1));
    // The copy has the front end's mailboxes and the pidfd of the worker: only the pool keeps it from using them.
    check_in_child([&] {
      auto task = pool->submit(identity, 2);
      task.cancel();
      for (net::cancellation_signal* signal : {&of_running, &of_queued}) {
        expect(signal->slot().has_handler(), "a call has not connected its slot");
        signal->emit(net::cancellation_type::terminal);
      }
      submitted.cancel();
      pool.reset();
    });
    submitted.async_wait(into(eager));
    shared->go.add();
    REQUIRE(run_all(io));
    INFO(running.text() << " / " << queued.text() << " / " << eager.text());
    CHECK(running.value == 1);
    CHECK(queued.value == 5);
    CHECK(eager.value == 6);
    // Here the same slots do cancel.
    shared.reset();
    ending<int> cancelled;
    start(of_running.slot(), cancelled, *pool, blocker);
    REQUIRE(shared->started.await(1));
    of_running.emit(net::cancellation_type::terminal);
    REQUIRE(run_all(io));
    CHECK(cancelled.aborted());
  }
  check_works(io, *pool);
}

TEST_CASE("a function from a library that was loaded after the pool was made is refused") {
  const leak_audit audit;
#if defined(COPROC_TEST_LIBRARY_DIR)
  net::io_context io(1);
  {
    coproc::process_pool pool(io, {.max_workers = 1});
    void* const library = ::dlopen(COPROC_TEST_LIBRARY_DIR "/late.so", RTLD_NOW);
    REQUIRE(library != nullptr);
    const auto late = reinterpret_cast<int (*)(int)>(::dlsym(library, "late_function"));
    REQUIRE(late != nullptr);
    ending<int> e;
    start(e, pool, late, 1);
    REQUIRE(run_all(io));
    INFO(e.text());
    CHECK(e.failed_with(errc::unknown_function));
    CHECK(e.text().find("loaded after the pool was made") != std::string::npos);
    CHECK(e.text().find("make the pool later") != std::string::npos);
    check_works(io, pool);
    coproc::process_pool later(io, {.max_workers = 1});
    ending<int> works;
    start(works, later, late, 1);
    REQUIRE(run_all(io));
    REQUIRE(works.succeeded());
    CHECK(*works.value == 2);
    ::dlclose(library);
  }
#else
  FAIL("the build must define COPROC_TEST_LIBRARY_DIR, where late.so is");
#endif
}

TEST_CASE(
    "preload runs once, in the parent of all workers; initializer in each; finalizer in each that ends in order") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  {
    int captured = 5;
    coproc::process_pool pool(io, {.max_workers = 3,
                                   .preload =
                                       [&captured] {
                                         captured += 1; // in the copy
                                         shared->preload_pid = ::getpid();
                                         shared->preloaded.add();
                                       },
                                   .initializer =
                                       [] {
                                         const auto n = shared->initialized.add();
                                         shared->initializer_pid[n] = ::getpid();
                                       },
                                   .finalizer = [] { shared->finalized.add(); }});
    CHECK(captured == 5);
    REQUIRE(shared->initialized.await(3));
    CHECK(shared->preloaded.get() == 1);
    CHECK(shared->preload_pid != ::getpid());
    ending<pid_t> parent;
    start(parent, pool, ::getppid);
    ending<void> lost;
    start(lost, pool, +[] { ::raise(SIGKILL); });
    REQUIRE(run_all(io));
    CHECK(*parent.value == shared->preload_pid);
    CHECK(lost.failed_with(errc::worker_lost));
    check_works(io, pool);
    CHECK(shared->preloaded.get() == 1);
    REQUIRE(shared->initialized.await(4)); // the replacement, too
    std::vector<ending<int>> everywhere(3);
    for (auto& e : everywhere)
      start(
          e, pool, +[] {
            shared->started.add();
            return shared->started.await(3) ? 1 : 0;
          });
    REQUIRE(run_all(io)); // so all three are known to be up
    CHECK(shared->finalized.get() == 0);
  }
  CHECK(shared->finalized.get() == 3);
}

TEST_CASE("an initializer that throws or crashes ends in worker_start_failed after some attempts, not in a hang") {
  const leak_audit audit;
  struct failing {
    const char* name;
    coproc::hook initializer;
  };
  const failing kinds[] = {
      {"throws", [] { throw std::runtime_error("no model"); }},
      {"crashes", [] { ::raise(SIGSEGV); }},
      {"exits", [] { ::_exit(0); }},
      {"crashes when the other worker is at it, too",
       [] {
         const auto n = shared->initialized.add();
         if (shared->go.get() == 0) shared->initialized.await(n + 2); // somebody else came after this one
         ::raise(SIGKILL);
       }},
  };
  for (const failing& kind : kinds) {
    INFO("the initializer " << kind.name);
    shared.reset();
    net::io_context io(1);
    coproc::process_pool pool(
        io, {.max_workers = 2, .max_queue = 2, .initializer = kind.initializer, .max_start_failures = 3});
    std::vector<ending<int>> calls(10);
    for (auto& e : calls) start(e, pool, identity, 1);
    REQUIRE(run_until(io, [&] { return calls.back().calls != 0; })); // it has given up, and nobody comes any more
    shared->go.add();
    shared->initialized.add();
    REQUIRE(run_all(io));
    for (const auto& e : calls) {
      INFO(e.text());
      CHECK(e.failed_with(errc::worker_start_failed));
      CHECK(e.text().find("initializer") != std::string::npos);
    }
    ending<int> later;
    start(later, pool, identity, 1);
    REQUIRE(run_all(io));
    CHECK(later.failed_with(errc::worker_start_failed));
  }
}

TEST_CASE("an initializer that fails a few times is retried") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .initializer = [] {
                                   if (shared->initialized.add() < 4) throw std::runtime_error("not yet");
                                 }});
  check_works(io, pool);
  CHECK(shared->initialized.get() == 5);
}

TEST_CASE("one worker that cannot be initialized leaves the work to the others") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .initializer = [] {
                                   if (coproc::this_worker::id() == 0u) ::_exit(1);
                                 }});
  std::vector<ending<int>> calls(100);
  for (auto& e : calls) start(e, pool, identity, 1);
  REQUIRE(run_all(io));
  for (const auto& e : calls) CHECK(e.succeeded());
}

TEST_CASE("a preload that fails makes the constructor throw its text") {
  const leak_audit audit;
  const auto check = [](const coproc::hook& preload, const char* text) {
    const refusal r = refuse({.max_workers = 2, .preload = preload});
    INFO(text << " / " << r.text);
    CHECK(r.code == make_error_code(errc::worker_start_failed));
    CHECK(r.names(text));
  };
  check([] { throw std::runtime_error("model not found"); }, "preload threw: model not found");
  check([] { throw 42; }, "preload threw");
  check([] { std::abort(); }, "preload");
  check([] { std::exit(0); }, "preload");
  check(
      [] {
        std::thread([] {
          for (;;) ::pause();
        }).detach();
      },
      "preload started a thread");
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .preload = [] { std::thread([] {}).join(); }});
  check_works(io, pool);
}

TEST_CASE("finalizers that hang or crash delay destruction by no more than the grace") {
  const leak_audit audit;
  for (const coproc::hook& finalizer : {coproc::hook([] { ::raise(SIGSEGV); }), coproc::hook([] {
                                          for (;;) ::pause();
                                        })}) {
    net::io_context io(1);
    std::optional<coproc::process_pool> pool(
        std::in_place, io,
        coproc::pool_options{.max_workers = 2, .finalizer = finalizer, .kill_grace = milliseconds(100)});
    check_works(io, *pool);
    const stopwatch watch;
    pool.reset();
    CHECK(watch.milliseconds() < 3200);
  }
}

} // namespace process_bad_input
