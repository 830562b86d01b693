// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn is a coroutine; a worker has no event loop: pass an ordinary function, and co_await in the caller
#include <coproc/codec/callable.hpp>

#include <coroutine>

// A coroutine type of its own, so that no executor library is needed.
struct future_value {
  struct promise_type {
    future_value get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_value(int) {}
    void unhandled_exception() {}
  };
};

int main() {
  auto twice = [](auto n) -> future_value { co_return 2 * n; };
  if constexpr (coproc::detail::verify<decltype(twice), int>()) return 0;
}
