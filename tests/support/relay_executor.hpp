// SPDX-License-Identifier: BSL-1.0
// An executor as users write them: Asio knows nothing of it. It passes functions on to an io_context, and tells the
// test before it does, which may throw or take its time. Front end only.
#pragma once

#include <coproc/net/asio.hpp>

#include <functional>
#include <utility>

namespace coproc::testing {

struct relay {
  explicit relay(net::io_context& to) : io(to) {}
  relay(const relay&) = delete;
  relay& operator=(const relay&) = delete;

  net::io_context& io;
  std::function<void()> before = [] {};
  int executed = 0;
};

class relay_executor {
public:
  explicit relay_executor(relay& r) noexcept : relay_(&r) {}

  net::execution_context& query(net::execution::context_t) const noexcept { return relay_->io; }
  static constexpr net::execution::blocking_t::never_t query(net::execution::blocking_t) noexcept { return {}; }

  template <class F>
  void execute(F f) const {
    relay_->before();
    net::post(relay_->io, std::move(f));
    ++relay_->executed;
  }

  friend bool operator==(const relay_executor& a, const relay_executor& b) noexcept { return a.relay_ == b.relay_; }
  friend bool operator!=(const relay_executor& a, const relay_executor& b) noexcept { return !(a == b); }

private:
  relay* relay_;
};

} // namespace coproc::testing
