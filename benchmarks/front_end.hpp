// SPDX-License-Identifier: BSL-1.0
// The front end that all C++ peers share, so that they differ in the hop only: one io_context(1), run by one thread,
// and `in_flight` coroutines that each await one task after the other. Sees coproc only as its door to Asio.
#pragma once

#include <coproc/net/asio.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>

namespace bench {

namespace net = coproc::net;

/// A completion handler for void(int) without its type, for peers that keep their own table of waiting operations.
class waiting_task {
public:
  virtual void complete(int result) = 0; // deletes this
protected:
  virtual ~waiting_task() = default;
};

/// Suspends the coroutine; `start(waiting_task*)` sends the task on its way. Completion runs on the front-end thread.
template <class Start>
net::awaitable<int> await_completion(Start start) {
  co_return co_await net::async_initiate<const net::use_awaitable_t<>&, void(int)>(
      [](auto handler, Start begin) {
        class operation final : public waiting_task {
        public:
          explicit operation(decltype(handler) h) : handler_(std::move(h)) {}
          void complete(int result) override {
            auto resume = std::move(handler_);
            delete this;
            std::move(resume)(result);
          }

        private:
          decltype(handler) handler_;
        };
        begin(new operation(std::move(handler)));
      },
      net::use_awaitable, std::move(start));
}

/// Runs the loop until it has nothing left to do, then throws what a coroutine failed with, if one did.
inline void run_to_end(net::io_context& io, const std::exception_ptr& failure) {
  io.restart();
  io.run();
  if (failure) std::rethrow_exception(failure);
}

inline auto keep_failure(std::exception_ptr& failure) {
  return [&failure](std::exception_ptr e) {
    if (e) failure = e;
  };
}

inline void expect(bool right) {
  if (!right) throw std::logic_error("a task returned a wrong result");
}

/// Seconds that `tasks` tasks take with `in_flight` of them awaited at any time. `hop(value, loops)` is an
/// awaitable<int>. The coroutines have been made when the time begins, for to make thousands of them takes a good part
/// of a run.
template <class Hop>
double run_in_flight(net::io_context& io, int in_flight, long tasks, int loops, Hop& hop) {
  std::exception_ptr failure;
  const auto client = [&](long count) -> net::awaitable<void> {
    for (long i = 0; i < count; ++i) {
      const int value = static_cast<int>(i);
      const int result = co_await hop(value, loops);
      expect(result == value + 1);
    }
  };
  for (int i = 0; i < in_flight; ++i) net::co_spawn(io, client(tasks / in_flight), keep_failure(failure));
  const auto start = std::chrono::steady_clock::now();
  run_to_end(io, failure);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds that `tasks` tasks take, one after the other, when everybody has been idle for `pause` before each.
template <class Hop>
double run_after_pauses(net::io_context& io, std::chrono::nanoseconds pause, long tasks, Hop& hop) {
  std::exception_ptr failure;
  std::chrono::duration<double> awaited{};
  const auto client = [&]() -> net::awaitable<void> {
    net::steady_timer timer(io);
    for (long i = 0; i < tasks; ++i) {
      timer.expires_after(pause);
      co_await timer.async_wait(net::use_awaitable);
      const auto start = std::chrono::steady_clock::now();
      const int result = co_await hop(1, 0);
      awaited += std::chrono::steady_clock::now() - start;
      expect(result == 2);
    }
  };
  net::co_spawn(io, client(), keep_failure(failure));
  run_to_end(io, failure);
  return awaited.count();
}

} // namespace bench
