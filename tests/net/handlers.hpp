// SPDX-License-Identifier: BSL-1.0
// What the tests of operations and coroutines share: an allocator that counts, a handler with every association,
// helpers to run a context, and what a coroutine ended with. Front end only.
#pragma once

// A false alarm of g++ 12 inside Asio 1.22's use_future, when it inlines less than usual (sanitizers).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <coproc/net/asio.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace coproc::testing {

struct allocation_count {
  int live = 0;
  int total = 0;
};

template <class T>
class counting_allocator {
public:
  using value_type = T;

  explicit counting_allocator(allocation_count& count) noexcept : count_(&count) {}
  template <class U>
  counting_allocator(const counting_allocator<U>& other) noexcept : count_(other.count_) {}

  T* allocate(std::size_t n) {
    ++count_->live;
    ++count_->total;
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* p, std::size_t n) noexcept {
    --count_->live;
    std::allocator<T>().deallocate(p, n);
  }

  friend bool operator==(const counting_allocator&, const counting_allocator&) = default;

private:
  template <class U>
  friend class counting_allocator;
  allocation_count* count_;
};

/// f with an allocator, on top of which bind_executor and bind_cancellation_slot can be put.
template <class F>
class with_allocator {
public:
  using allocator_type = counting_allocator<void>;

  with_allocator(allocation_count& count, F f) : allocator_(count), f_(std::move(f)) {}

  allocator_type get_allocator() const noexcept { return allocator_; }

  template <class... A>
  void operator()(A&&... a) {
    std::move(f_)(std::forward<A>(a)...);
  }

private:
  allocator_type allocator_;
  F f_;
};

/// True when nothing keeps the context's run() from returning; runs what is ready.
inline bool out_of_work(net::io_context& io) {
  io.restart();
  io.poll();
  return io.stopped();
}

/// Runs a coroutine, or a function that makes one, on the context to its end; gives what it threw.
template <class Body>
std::exception_ptr run_to_end(net::io_context& io, Body body) {
  std::exception_ptr error;
  int ends = 0;
  net::co_spawn(io, std::move(body), [&](std::exception_ptr e) {
    error = e;
    ++ends;
  });
  io.restart();
  io.run();
  CHECK(ends == 1);
  return error;
}

/// Empty: nothing was thrown.
inline std::string text_of(const std::exception_ptr& e) {
  if (!e) return {};
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  }
}

/// Lets everything else that is ready on the executor run first, as often as it takes for posted chains of a few steps.
inline net::awaitable<void> let_others_run() {
  for (int i = 0; i < 16; ++i) co_await net::post(net::use_awaitable);
}

/// Never ends by itself; throws operation_aborted when cancelled with any type that gets through the filters.
inline net::awaitable<void> wait_for_ever() {
  net::any_io_executor ex = co_await net::this_coro::executor;
  net::steady_timer timer(ex);
  timer.expires_at(net::steady_timer::time_point::max());
  co_await timer.async_wait(net::use_awaitable);
}

} // namespace coproc::testing
