// SPDX-License-Identifier: BSL-1.0
// Code in a shared library that hides its symbols sees the same worker, the same forks and the same errors as the
// program. Built twice: with the library compiled separately, and header-only.
#include "process/hidden_library.hpp"
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <coproc/this_worker.hpp>
#include <coproc/thread_bridge.hpp>

#include <atomic>
#include <cstdint>
#include <dlfcn.h>
#include <string>
#include <system_error>

namespace process_shared_library {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

/// A library, loaded before the pool is made, so that the workers have it.
class library {
public:
  explicit library(const char* name)
      : handle_(::dlopen((std::string(COPROC_TEST_LIBRARY_DIR "/") + name).c_str(), RTLD_NOW)) {
    if (handle_ == nullptr) FAIL(::dlerror());
    const auto entry = reinterpret_cast<library_entry*>(::dlsym(handle_, "hidden_library"));
    REQUIRE(entry != nullptr);
    functions_ = entry();
  }
  library(const library&) = delete;
  library& operator=(const library&) = delete;
  ~library() { ::dlclose(handle_); }

  const library_functions* operator->() const noexcept { return functions_; }

private:
  void* handle_;
  const library_functions* functions_;
};

const char* any_library() {
#if defined(COPROC_SEPARATE_COMPILATION)
  return GENERATE("hidden.so", "hidden_compiled.so");
#else
  return "hidden.so";
#endif
}

shared_memory<std::atomic<bool>> begun;

/// How fn ends when it has begun and is asked to stop.
template <class Pool>
ending<bool> stop_running(net::io_context& io, Pool& pool, bool (*fn)(std::uintptr_t)) {
  *begun = false;
  ending<bool> e;
  net::cancellation_signal cancel;
  const auto body = [&]() -> net::awaitable<bool> {
    co_await net::this_coro::reset_cancellation_state(net::enable_partial_cancellation());
    co_return co_await coproc::run_in_executor(pool, fn, reinterpret_cast<std::uintptr_t>(&*begun));
  };
  net::co_spawn(io, body(), net::bind_cancellation_slot(cancel.slot(), into(e)));
  REQUIRE(run_until(io, [] { return begun->load(); }));
  cancel.emit(net::cancellation_type::partial);
  REQUIRE(run_all(io));
  return e;
}

} // namespace

TEST_CASE("a task in a library that hides its symbols learns which worker it runs in, and that it is asked to stop") {
  const library lib(any_library());
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = std::chrono::milliseconds(100)});
  ending<std::optional<unsigned>> worker;
  start(worker, pool, lib->worker);
  REQUIRE(run_all(io));
  INFO(worker.text());
  REQUIRE(worker.succeeded());
  CHECK(*worker.value == std::optional(0u));
  CHECK_FALSE(lib->worker());
  CHECK(stop_running(io, pool, lib->wait_until_stopped).value == true);
  CHECK(stop_running(io, pool, lib->stop_when_asked).aborted());
}

TEST_CASE("a task that such a library calls itself runs") {
  const library lib(any_library());
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<unsigned> e;
  net::co_spawn(io, lib->submit(pool), into(e));
  REQUIRE(run_all(io));
  INFO(e.text());
  CHECK(e.value == 0u);
}

TEST_CASE("such a library may have a pool of its own") {
  const library lib(any_library());
  const leak_audit audit;
  CHECK(lib->use_pool_of_its_own() == 0);
}

TEST_CASE("a task in such a library finds the state that the initializer made") {
  const library lib(any_library());
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(
      io, {.max_workers = 1, .initializer = [] { coproc::this_worker::make_state<expensive>(expensive{42}); }});
  ending<int> e;
  start(e, pool, lib->value_of_state);
  REQUIRE(run_all(io));
  INFO(e.text());
  CHECK(e.value == 42);
}

TEST_CASE("a task of the thread bridge in such a library is asked to stop") {
  const library lib(any_library());
  net::io_context io(1);
  net::thread_pool threads(1);
  CHECK(stop_running(io, threads, lib->wait_until_stopped).value == true);
}

TEST_CASE("error codes are the same on both sides of such a library") {
  const library lib(any_library());
  for (const errc e : {errc::worker_lost, errc::queue_full, errc::timed_out, errc::already_awaited}) {
    const net::error_code here = e, there = lib->code(e);
    CHECK(&there.category() == &coproc::error_category());
    CHECK(there == e);
    CHECK(there == here);
    CHECK(lib->is(here, e));
    CHECK(lib->is(there, e));
    CHECK((there == std::errc::timed_out) == (e == errc::timed_out));
  }
  CHECK_FALSE(lib->is(make_error_code(errc::queue_full), errc::pool_closed));
  CHECK(lib->is_aborted(net::error::operation_aborted));
}

TEST_CASE("an exception crosses the border of such a library, and comes out of a worker as itself") {
  const library lib(any_library());
  const leak_audit audit;
  try {
    lib->fail(errc::bad_payload);
    FAIL("it did not throw");
  } catch (const coproc::pool_error& e) {
    CHECK(e.code() == errc::bad_payload);
  }
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> e;
  start(e, pool, lib->fail, errc::queue_timeout);
  REQUIRE(run_all(io));
  CHECK(e.failed_with(errc::queue_timeout));
  CHECK(lib->is(e.code(), errc::queue_timeout));
}

TEST_CASE("a forked copy of the process is noticed in such a library, too") {
  const library lib(any_library());
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1}); // from here on forks are counted
  const coproc::os::process_mark mark;
  CHECK(mark.is_own());
  CHECK(lib->is_own_process(mark));
  check_in_child([&] {
    expect(!mark.is_own(), "the program does not notice");
    expect(!lib->is_own_process(mark), "the library does not notice");
  });
}

} // namespace process_shared_library
