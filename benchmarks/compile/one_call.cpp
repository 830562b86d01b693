// SPDX-License-Identifier: BSL-1.0
// A file of a larger program: it makes one call on a pool that another file made.
#include <coproc/run_in_executor.hpp>

int twice(int x);

coproc::net::awaitable<int> call(coproc::process_pool& pool, int x) {
  co_return co_await coproc::run_in_executor(pool, twice, x);
}
