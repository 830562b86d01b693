// SPDX-License-Identifier: BSL-1.0
// The program of the README: one pool, calls that run in worker processes, and a crash that is only an exception.
// Python's ProcessPoolExecutor is "broken" after such a crash: every later call fails. Here one call fails.
#include <coproc/coproc.hpp>

#include <cstdlib>
#include <fmt/core.h>

// Stands for somebody else's code: it works, except for the input that kills it.
int parse(int input) { return input != 13 ? input * input : (std::abort(), 0); }

coproc::net::awaitable<void> serve() {
  coproc::process_pool pool(co_await coproc::net::this_coro::executor, {.max_workers = 2});
  for (const int request : {12, 13, 14}) {
    try {
      fmt::print("request {}: {}\n", request, co_await coproc::run_in_executor(pool, parse, request));
    } catch (const coproc::worker_lost& lost) {
      fmt::print("request {}: worker lost, signal {}; the server lives on\n", request, lost.signal());
    }
  }
}

int main() { coproc::run(serve()); }
