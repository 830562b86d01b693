// SPDX-License-Identifier: BSL-1.0
// Sleeping and waking: when a wake-up is owed, that it comes, and that none is lost when both sides go at once. Two
// threads stand in for two processes.
#include <coproc/shm/sleep.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <thread>

using namespace coproc::shm;

TEST_CASE("a worker that found something to do does not sleep, and says that it is awake") {
  auto m = std::make_unique<mailbox>();
  bool asked = false;
  sleep_unless(*m, [&] {
    asked = true;
    CHECK(m->worker.sleeping.load() == sleep_tag(0));
    return true;
  });
  CHECK(asked);
  CHECK(m->worker.sleeping.load() == 0);
}

TEST_CASE("a worker whose epoch has moved on does not sleep") {
  auto m = std::make_unique<mailbox>();
  sleep_unless(*m, [&] {
    m->parent.epoch.store(1); // between its look at the epoch and the system call
    return false;
  });
  CHECK(m->worker.sleeping.load() == 0);
}

TEST_CASE("a wake-up is owed once per sleep, and only to who sleeps on the present epoch") {
  auto m = std::make_unique<mailbox>();
  waker w;
  CHECK_FALSE(w.must_wake(*m));
  CHECK_FALSE(w.looks_asleep(*m));
  m->worker.sleeping.store(sleep_tag(0));
  CHECK(w.looks_asleep(*m));
  CHECK(w.must_wake(*m));
  CHECK(m->parent.epoch.load() == 1);
  CHECK_FALSE(w.looks_asleep(*m)); // it is on its way
  CHECK_FALSE(w.must_wake(*m));
  m->worker.sleeping.store(sleep_tag(1));
  CHECK(w.must_wake(*m));
  m->worker.sleeping.store(sleep_tag(7)); // forged
  CHECK_FALSE(w.must_wake(*m));
  w.force(*m);
  CHECK(m->parent.epoch.load() == 3);
}

TEST_CASE("sleeping is never mistaken for awake: no epoch gives the tag 0") {
  CHECK(sleep_tag(0) != 0);
  CHECK(sleep_tag(0xffffffff) != 0);
  CHECK(sleep_tag(1) != sleep_tag(2));
}

TEST_CASE("the doorbell is owed once per arm epoch") {
  auto m = std::make_unique<mailbox>();
  std::uint64_t last = 0;
  CHECK_FALSE(must_ring(*m, last));
  m->doorbell.armed.store(1);
  CHECK(must_ring(*m, last));
  CHECK_FALSE(must_ring(*m, last));
  m->doorbell.armed.store(2);
  CHECK(must_ring(*m, last));
  m->doorbell.armed.store(0);
  CHECK_FALSE(must_ring(*m, last));
  m->doorbell.armed.store(3);
  CHECK(must_ring(*m, last));
}

TEST_CASE("no wake-up is lost between publishing and falling asleep") {
  constexpr std::uint64_t rounds = 30'000;
  auto m = std::make_unique<mailbox>();
  std::atomic<std::uint64_t> published{0}, consumed{0};
  std::thread worker([&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      while (published.load(std::memory_order_acquire) < n)
        sleep_unless(*m, [&] { return published.load(std::memory_order_acquire) >= n; });
      consumed.store(n, std::memory_order_release);
    }
  });
  waker w;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool hung = false;
  for (std::uint64_t n = 1; n <= rounds && !hung; ++n) {
    published.store(n, std::memory_order_release);
    full_fence();
    if (w.must_wake(*m)) waker::wake(*m);
    while (consumed.load(std::memory_order_acquire) < n && !hung) hung = std::chrono::steady_clock::now() > deadline;
  }
  CHECK_FALSE(hung);
  published.store(rounds);
  w.force(*m);
  waker::wake(*m);
  worker.join();
}
