// SPDX-License-Identifier: BSL-1.0
// expect: coproc: include <coproc/thread_bridge.hpp> to run on an asio::thread_pool or an executor
#include <coproc/run_in_executor.hpp>

int square(int x);

coproc::net::awaitable<void> serve(coproc::net::thread_pool& threads) { co_await coproc::run_in_executor(threads, square, 3); }

int main() {}
