// SPDX-License-Identifier: BSL-1.0
// coproc itself, with default options but for the number of workers. Made before the first thread of its process.
#pragma once

#include "../front_end.hpp"
#include "../work.hpp"

#include <coproc/coproc.hpp>

namespace bench {

class coproc_peer {
public:
  coproc_peer(net::io_context& io, int workers) : pool_(io.get_executor(), {.max_workers = workers}) {}

  net::awaitable<int> operator()(int value, int loops) {
    return coproc::run_in_executor(pool_, increment, value, loops);
  }

  coproc::process_pool& pool() { return pool_; }

private:
  coproc::process_pool pool_;
};

} // namespace bench
