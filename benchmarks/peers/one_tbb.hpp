// SPDX-License-Identifier: BSL-1.0
// oneTBB, where libtbb-dev is installed: enqueue to a task_arena whose slots are all for worker threads, run, dispatch
// back to the coroutine's executor. No isolation, as asio::thread_pool.
#pragma once

#include "../arm.hpp"
#include "../front_end.hpp"
#include "../work.hpp"

#if defined(COPROC_BENCH_TBB)
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#endif

#include <utility>

namespace bench {

#if defined(COPROC_BENCH_TBB)

class one_tbb_peer {
public:
  // One more than the threads asked for: oneTBB counts the thread that made the arena, which runs no task here.
  one_tbb_peer(net::io_context&, int threads)
      : allowed_(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads) + 1),
        arena_(threads, 0) {}

  net::awaitable<int> operator()(int value, int loops) {
    co_return co_await net::async_initiate<const net::use_awaitable_t<>&, void(int)>(
        [](auto handler, tbb::task_arena* arena, int v, int n) {
          auto back = net::prefer(net::get_associated_executor(handler), net::execution::outstanding_work.tracked);
          // A task must be copyable, a handler need not be.
          auto* waiting = new auto(std::move(handler));
          arena->enqueue([waiting, back, v, n] {
            const int result = increment(v, n);
            net::dispatch(back, [waiting, result] {
              auto resume = std::move(*waiting);
              delete waiting;
              std::move(resume)(result);
            });
          });
        },
        net::use_awaitable, &arena_, value, loops);
  }

private:
  tbb::global_control allowed_;
  tbb::task_arena arena_;
};

#else

class one_tbb_peer {
public:
  one_tbb_peer(net::io_context&, int) { throw peer_missing("libtbb-dev was not installed when this was built"); }
  net::awaitable<int> operator()(int, int) { co_return 0; }
};

#endif

} // namespace bench
