// SPDX-License-Identifier: BSL-1.0
// coproc itself, with default options but for the number of workers. Made before the first thread of the process.
#pragma once

#include "../front_end.hpp"
#include "../work.hpp"

#include <coproc/coproc.hpp>

#include <cstddef>
#include <span>

namespace bench {

class coproc_peer {
public:
  coproc_peer(net::io_context& io, int workers) : pool_(io.get_executor(), {.max_workers = workers}) {}

  net::awaitable<int> operator()(int value, int loops) {
    return coproc::run_in_executor(pool_, increment, value, loops);
  }

  /// One task whose argument is `bytes`; the worker looks at both ends of its view of them.
  net::awaitable<int> look_at(std::span<const std::byte> bytes) {
    return coproc::run_in_executor(pool_, ends_of, bytes);
  }

private:
  static int ends_of(std::span<const std::byte> bytes) {
    return static_cast<int>(bytes.front()) + static_cast<int>(bytes.back());
  }

  coproc::process_pool pool_;
};

} // namespace bench
