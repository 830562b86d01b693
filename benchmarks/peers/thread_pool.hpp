// SPDX-License-Identifier: BSL-1.0
// asio::thread_pool: post to the pool, run, dispatch back to the coroutine's executor. No isolation, no copy of the
// arguments: what one gives up for processes.
#pragma once

#include "../front_end.hpp"
#include "../work.hpp"

#include <utility>

namespace bench {

class thread_pool_peer {
public:
  thread_pool_peer(net::io_context&, int threads) : threads_(static_cast<std::size_t>(threads)) {}

  net::awaitable<int> operator()(int value, int loops) {
    co_return co_await net::async_initiate<const net::use_awaitable_t<>&, void(int)>(
        [](auto handler, net::thread_pool* threads, int v, int n) {
          auto back = net::prefer(net::get_associated_executor(handler), net::execution::outstanding_work.tracked);
          net::post(*threads, [handler = std::move(handler), back, v, n]() mutable {
            const int result = increment(v, n);
            net::dispatch(back, [handler = std::move(handler), result]() mutable { std::move(handler)(result); });
          });
        },
        net::use_awaitable, &threads_, value, loops);
  }

private:
  net::thread_pool threads_;
};

} // namespace bench
