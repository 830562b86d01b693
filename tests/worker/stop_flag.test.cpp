// SPDX-License-Identifier: BSL-1.0
// The thread's stop flag: set for a scope, nested, one for each thread.
#include <coproc/worker/stop_flag.hpp>

#include <catch2/catch.hpp>

#include <thread>

using coproc::detail::worker::thread_stop_flag;
using coproc::detail::worker::thread_stop_scope;

TEST_CASE("a scope sets the flag of its thread, and the outer one comes back after it") {
  CHECK(thread_stop_flag == nullptr);
  std::atomic<bool> outer = false, inner = true;
  {
    const thread_stop_scope a(outer);
    CHECK(thread_stop_flag == &outer);
    {
      const thread_stop_scope b(inner);
      CHECK(thread_stop_flag == &inner);
      CHECK(thread_stop_flag->load());
    }
    CHECK(thread_stop_flag == &outer);
    const std::atomic<bool>* seen = &outer;
    std::thread([&] { seen = thread_stop_flag; }).join();
    CHECK(seen == nullptr);
  }
  CHECK(thread_stop_flag == nullptr);
}
