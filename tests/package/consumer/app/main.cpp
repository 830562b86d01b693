// SPDX-License-Identifier: BSL-1.0
// A user's program: one call runs in a worker process, its result comes back to the coroutine that awaits it.
#include <coproc/coproc.hpp>

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <utility>

namespace {

std::pair<int, pid_t> multiply(int a, int b) { return {a * b, ::getpid()}; }

coproc::net::awaitable<void> compute(coproc::process_pool& pool) {
  const auto [product, pid] = co_await coproc::run_in_executor(pool, multiply, 6, 7);
  std::printf("6 x 7 = %d, computed by %s process\n", product, pid == ::getpid() ? "this" : "another");
}

} // namespace

int main() {
  coproc::net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  coproc::net::co_spawn(io, compute(pool), [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  io.run();
}
