// SPDX-License-Identifier: BSL-1.0
// Time that the front end's own handlers take is not the task's: a call made at the end of a slow handler has its whole
// time-out before it.
#include "support/run.hpp"

namespace process_slow_handler {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;

TEST_CASE("a time-out does not begin before its call, however slow the handler that makes it") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<int> timed;
  coproc::async_run(pool, coproc::work([] { return 1; }), [&](std::exception_ptr, int) {
    const auto end = std::chrono::steady_clock::now() + 300ms; // a handler that computes
    while (std::chrono::steady_clock::now() < end) {
    }
    start(timed, pool.with({.timeout = 250ms}), [] {
      ::usleep(20'000);
      return 2;
    });
  });
  REQUIRE(run_all(io));
  INFO(timed.text());
  CHECK(timed.succeeded());
}

} // namespace process_slow_handler
