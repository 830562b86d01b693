// SPDX-License-Identifier: BSL-1.0
// expect: coproc: with_timeout has a limit, but no operation: that is a net::awaitable<T> or a task<T>, as a call of a coroutine returns, not the coroutine itself: with_timeout(200ms, read(socket))
#include <coproc/with_timeout.hpp>

using namespace std::chrono_literals;

coproc::net::awaitable<int> receive();
coproc::net::awaitable<void> serve() { co_await coproc::with_timeout(200ms, receive); }

int main() {}
