// SPDX-License-Identifier: BSL-1.0
// A pool on an executor that runs out of memory when something is posted to it: what was asked for completes with that,
// or is withdrawn whole, and the pool goes on.
#include <coproc/coproc.hpp>

#include "support/relay_executor.hpp"
#include "support/run.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <new>

namespace process_no_memory_to_post {

namespace net = coproc::net;
using namespace coproc::testing;

namespace {

int twice(int n) { return 2 * n; }

struct answer {
  int calls = 0, value = 0;
  std::exception_ptr exception;

  bool lacked_memory() const {
    if (calls != 1 || !exception) return false;
    try {
      std::rethrow_exception(exception);
    } catch (const std::bad_alloc&) {
      return true;
    } catch (...) {
      return false;
    }
  }
};

/// Its handlers run on a context of their own.
struct bench {
  net::io_context io{1}, handlers{1};
  relay executor{io};
  coproc::process_pool pool{net::any_io_executor(relay_executor(executor)), {.max_workers = 1}};

  void no_memory(bool yes) {
    executor.before = [yes] {
      if (yes) throw std::bad_alloc();
    };
  }

  void call(answer& a, int n) {
    coproc::async_run(pool, coproc::work(twice, n), net::bind_executor(handlers, [&a](std::exception_ptr e, int value) {
                        ++a.calls;
                        a.exception = e;
                        a.value = value;
                      }));
  }

  void run() {
    io.restart();
    io.run();
    handlers.restart();
    handlers.run();
  }
};

} // namespace

TEST_CASE("a call for which the pool's executor has no memory completes with bad_alloc, and the next one runs") {
  const leak_audit audit;
  bench b;
  b.run();
  answer first, second;
  b.no_memory(true);
  b.call(first, 1);
  b.no_memory(false);
  b.run();
  CHECK(first.lacked_memory());
  b.call(second, 21);
  b.run();
  CHECK(second.calls == 1);
  CHECK(second.exception == nullptr);
  CHECK(second.value == 42);
}

TEST_CASE(
    "a shutdown for which the pool's executor has no memory completes with bad_alloc, and the next one ends the pool") {
  const leak_audit audit;
  bench b;
  b.run();
  int refused = 0, ended = 0;
  const auto count = [&](int& n) {
    return net::bind_executor(b.handlers, [&n](std::exception_ptr e) { n += e ? 100 : 1; });
  };
  b.no_memory(true);
  b.pool.async_shutdown(coproc::unlimited, count(refused));
  b.no_memory(false);
  b.run();
  CHECK(refused == 100);
  b.pool.async_shutdown(coproc::unlimited, count(ended));
  b.run();
  CHECK(ended == 1);
}

TEST_CASE("what has no result begins with the next call where the pool's executor had no memory for it") {
  const leak_audit audit;
  bench b;
  b.run();
  b.no_memory(true);
  b.pool.recycle_workers();
  b.pool.close();
  b.no_memory(false);
  b.run();
  answer refused;
  b.call(refused, 1);
  b.run();
  CHECK(refused.calls == 1);
  CHECK(coproc::code_of(refused.exception) == coproc::make_error_code(coproc::errc::pool_closed));
}

} // namespace process_no_memory_to_post
