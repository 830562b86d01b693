// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the first argument is the pool: run_in_executor(pool, fn, arguments...), with a process_pool by its name, pool.with({...}), or an asio::thread_pool
#include <coproc/coproc.hpp>

int square(int x);

coproc::net::awaitable<void> serve() { co_await coproc::run_in_executor(square, 3); }

int main() {}
