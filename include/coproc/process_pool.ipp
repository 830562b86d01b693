// SPDX-License-Identifier: BSL-1.0
// How a pool gets its engine.
#pragma once

#include <coproc/front/options_check.hpp>
#include <coproc/front/pool_impl.hpp>
#include <coproc/pool.hpp>

#include <memory>
#include <utility>

namespace coproc {

COPROC_DEF process_pool::process_pool(executor_type ex, const pool_options& options) {
  using detail::front::pool_impl;
  // In a forked copy of the process it is leaked on purpose: the sockets and the epoll still belong to the original,
  // locks may be

  // held for ever, and what would be unmapped may be somebody else's by then.
  const auto destroy = [](pool_impl<>* p) {
    if (p->is_own_process()) delete p;
  };
  const std::shared_ptr<pool_impl<>> made(new pool_impl<>(std::move(ex), detail::front::resolve(options)), destroy);
  engine_ = made; // before the fork: a task finds it there, and is told that it cannot use it
  made->start();
}

} // namespace coproc
