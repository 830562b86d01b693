// SPDX-License-Identifier: BSL-1.0
// The locks of the hot path exclude, before there is a second thread and after, and whoever waits for one gets it.
#include <coproc/os/lock.hpp>

#include "support/holdings.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace coproc;

namespace {

// Increments that are no atomic operations: one that is lost shows, and is a data race to ThreadSanitizer.
template <class Lock>
long count_with(int threads, long times, bool sleep_inside) {
  Lock lock;
  long count = 0;
  { // while the test may still have one thread
    std::lock_guard guard(lock);
    ++count;
  }
  std::vector<std::thread> all;
  for (int i = 0; i != threads; ++i)
    all.emplace_back([&] {
      for (long n = 0; n != times; ++n) {
        std::lock_guard guard(lock);
        ++count;
        // others go to sleep
        if (sleep_inside && n % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
  for (auto& t : all) t.join();
  std::lock_guard guard(lock);
  return count;
}

} // namespace

TEMPLATE_TEST_CASE("no increment under the lock is lost", "", os::spin_lock, os::mutex) {
  CHECK(count_with<TestType>(4, 20'000, false) == 1 + 4 * 20'000);
  CHECK(count_with<TestType>(3, 2'000, true) == 1 + 3 * 2'000);
}

TEST_CASE("who waits for a mutex while its holder sleeps gets it when that lets go") {
  os::mutex lock;
  for (int i = 0; i != 20; ++i) {
    bool inside = false, seen = true;
    std::atomic<pid_t> waiting{0};
    std::thread waiter;
    {
      std::lock_guard guard(lock);
      inside = true;
      waiter = std::thread([&] {
        waiting = ::gettid();
        std::lock_guard mine(lock);
        seen = inside;
      });
      CHECK(testing::eventually([&] { return waiting != 0 && testing::is_asleep(waiting); }));
      inside = false;
    }
    waiter.join();
    CHECK_FALSE(seen);
  }
}
