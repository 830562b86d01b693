// SPDX-License-Identifier: BSL-1.0
// An executor that an object has of a context, which takes it back when it goes: a strand cannot be destroyed later.
// Front end, any thread. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace coproc::detail {

/// \par Threads  any, for all but take_back()
class lent_executor {
public:
  explicit lent_executor(net::any_io_executor ex) noexcept : executor_(std::move(ex)) {}
  lent_executor(const lent_executor&) = delete;
  lent_executor& operator=(const lent_executor&) = delete;

  /// While one that is true exists, so do the executor and its context: take_back() waits for it. Not to be kept while
  /// anything runs that could destroy the context.
  class use {
  public:
    explicit use(lent_executor& of) noexcept
        : of_(&of), granted_((of.uses_.fetch_add(one_use, std::memory_order_acquire) & taken_back) == 0) {
      if (!granted_) end();
    }
    use(const use&) = delete;
    use& operator=(const use&) = delete;
    ~use() {
      if (granted_) end();
    }

    explicit operator bool() const noexcept { return granted_; }
    const net::any_io_executor& operator*() const noexcept { return of_->executor_; }

  private:
    void end() noexcept {
      if (of_->uses_.fetch_sub(one_use, std::memory_order_release) == (taken_back | one_use)) of_->uses_.notify_all();
    }

    lent_executor* of_;
    bool granted_;
  };

  /// A copy, which the caller must not keep longer than the context lives; empty when it was taken back.
  net::any_io_executor get() noexcept {
    const use u(*this);
    return u ? *u : net::any_io_executor();
  }

  /// From now on there is no use, and when this returns no executor. By the context's shutdown alone.
  void take_back() noexcept {
    auto uses = uses_.fetch_or(taken_back, std::memory_order_acquire) | taken_back;
    for (; uses != taken_back; uses = uses_.load(std::memory_order_acquire))
      uses_.wait(uses, std::memory_order_acquire);
    executor_ = {};
  }

private:
  static constexpr std::uint32_t taken_back = 1, one_use = 2;

  net::any_io_executor executor_; // written by take_back() alone, when no use is left
  std::atomic<std::uint32_t> uses_{0};
};

} // namespace coproc::detail
