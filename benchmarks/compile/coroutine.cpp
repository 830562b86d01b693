// SPDX-License-Identifier: BSL-1.0
// What calls are measured against: the least program with a coroutine on bare Asio.
#include <asio.hpp>

asio::awaitable<void> wait() {
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
  co_await timer.async_wait(asio::use_awaitable);
}

int main() {
  asio::io_context io;
  asio::co_spawn(io, wait(), asio::detached);
  io.run();
}
