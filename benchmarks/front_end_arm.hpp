// SPDX-License-Identifier: BSL-1.0
// Arms that all peers share: so many tasks in flight, or one task at a time after an idle gap. Front end as in
// front_end.hpp, in a process of its own as in arm.hpp.
#pragma once

#include "arm.hpp"
#include "front_end.hpp"
#include "work.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace bench {

/// An io_context with a peer behind it, kept alive by the arm's run function.
template <class Peer>
struct front_end {
  net::io_context io{1};
  Peer peer;
  explicit front_end(int workers) : peer(io, workers) {}
};

/// Nanoseconds per task with `window` of them awaited at any time.
template <class Peer>
arm in_flight(std::string name, int workers, int window, int loops = 0) {
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<Peer>>(workers);
    return [=](const run_order& o) -> run_values {
      return {run_in_flight(f->io, window, o.tasks, loops, f->peer) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up, window};
}

/// Nanoseconds per task, one after the other, when everybody has been idle for `gap` before each; the gap does not
/// count.
template <class Peer>
arm after_gaps(std::string name, int workers, std::chrono::nanoseconds gap) {
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<Peer>>(workers);
    return [=](const run_order& o) -> run_values {
      return {run_after_pauses(f->io, gap, o.tasks, f->peer) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up};
}

/// Nanoseconds per task on one thread, without any hop: work and nothing else.
inline arm inline_work(int loops) {
  return {"inline", [=]() -> run_function {
            return [=](const run_order& o) -> run_values {
              return {run_inline(o.tasks, loops) * 1e9 / static_cast<double>(o.tasks)};
            };
          }};
}

} // namespace bench
