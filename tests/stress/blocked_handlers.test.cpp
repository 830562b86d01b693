// SPDX-License-Identifier: BSL-1.0
// The delivery guard at its edges (tests/model/delivery.pml found both): handlers that block where nothing but the
// guard could make the pool go on. Two threads run the loop; a handler that is never released says so.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <future>
#include <sys/mman.h>
#include <vector>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct signals {
  std::atomic<bool> gate{false};
  std::atomic<int> ended{0};
  std::atomic<pid_t> worker{0};
};

signals& shared() {
  static signals* const s =
      new (::mmap(nullptr, sizeof(signals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) signals;
  return *s;
}

void begin() {
  shared().gate = false;
  shared().ended = 0;
}

int at_once(int n) {
  shared().worker = ::getpid();
  ++shared().ended;
  return n;
}
int after_gate(int n) {
  while (!shared().gate) ::usleep(100);
  return at_once(n);
}

/// Have all tasks returned, and has their worker said so before it went to sleep?
bool await_ended(int tasks) {
  return eventually([&] { return shared().ended == tasks; }) && eventually([] { return is_asleep(shared().worker); });
}

/// Does every other thread of this process wait for something?
bool others_sleep() {
  for (const int tid : numbers_in("/proc/self/task"))
    if (tid != ::gettid() && !is_asleep(tid)) return false;
  return true;
}

void run_on_two_threads(net::io_context& io) {
  std::thread other([&] { io.run(); });
  io.run();
  other.join();
}

} // namespace

namespace {

std::atomic<bool> second_has_ended{false};

// Takes the front end so long to decode that another thread takes the turn over.
struct slow_to_decode {
  std::vector<char> bytes;
};
constexpr std::size_t large = 3'500'000; // the worker's file has room for two of them

} // namespace

template <>
struct coproc::codec<slow_to_decode> {
  static void encode(writer& w, const slow_to_decode& s) { w.put(s.bytes); }
  static slow_to_decode decode(reader& r) {
    slow_to_decode s{r.get<std::vector<char>>()};
    eventually([] { return second_has_ended.load(); });
    eventually(others_sleep);
    return s;
  }
};

TEST_CASE("a result that a turn frees after it was taken over wakes the worker that waits for its room") {
  const leak_audit audit;
  net::io_context io(2);
  process_pool pool(io, {.max_workers = 1, .max_payload = 4 << 20});
  second_has_ended = false;
  std::atomic<bool> third_has_ended{false};
  const auto block = +[] { return std::vector<char>(large, 'y'); };
  async_run(pool, work(+[] { return slow_to_decode{std::vector<char>(large, 'x')}; }),
            [](std::exception_ptr e, slow_to_decode) { CHECK(!e); });
  async_run(pool, work(block), [](std::exception_ptr e, std::vector<char>) {
    CHECK(!e);
    second_has_ended = true;
  });
  async_run(pool, work(block), [&](std::exception_ptr e, std::vector<char>) {
    CHECK(!e);
    third_has_ended = true;
  });
  std::thread other([&] { io.run_for(hang_limit); });
  io.run_for(hang_limit);
  other.join();
  CHECK(third_has_ended);
}

TEST_CASE("a handler may wait for its neighbour, though both tasks ended last and at once") {
  const leak_audit audit;
  begin();
  net::io_context io(2);
  process_pool pool(io, {.max_workers = 1});
  std::promise<void> second;
  bool released = false;
  async_run(pool, work(after_gate, 1), [&](std::exception_ptr, int) {
    released = second.get_future().wait_for(hang_limit) == std::future_status::ready;
  });
  async_run(pool, work(after_gate, 2), [&](std::exception_ptr, int) { second.set_value(); });
  // The pool sleeps, and its guard has run out, when both threads are kept busy until both tasks have ended.
  std::atomic<int> busy{0};
  std::atomic<bool> both_busy{true};
  const auto keep_busy = [&] {
    ++busy;
    if (!eventually([&] { return busy == 2; })) both_busy = false;
    shared().gate = true;
    if (!await_ended(2)) both_busy = false;
  };
  net::steady_timer later(io, 50ms);
  later.async_wait([&](net::error_code) {
    net::post(io, keep_busy);
    net::post(io, keep_busy);
  });
  run_on_two_threads(io);
  CHECK(both_busy);
  CHECK(released);
}

TEST_CASE("a handler may wait for a task that runs, though the handler before it was slow") {
  const leak_audit audit;
  begin();
  net::io_context io(2);
  process_pool pool(io, {.max_workers = 1});
  std::promise<void> third;
  bool released = false;
  async_run(pool, work(at_once, 1), [](std::exception_ptr, int) { std::this_thread::sleep_for(50ms); });
  async_run(pool, work(at_once, 2), [&](std::exception_ptr, int) {
    shared().gate = true;
    released = third.get_future().wait_for(hang_limit) == std::future_status::ready;
  });
  async_run(pool, work(after_gate, 3), [&](std::exception_ptr, int) { third.set_value(); });
  REQUIRE(await_ended(2));
  run_on_two_threads(io);
  CHECK(released);
}

TEST_CASE("a trace's sink is called by one thread at a time, though a call takes so long that the turn seems stuck") {
  const leak_audit audit;
  begin();
  net::io_context io(2);
  process_pool pool(io, {.max_workers = 1});
  std::atomic<int> inside{0}, calls{0};
  std::atomic<bool> overlapped{false};
  pool.trace([&](const trace_event&) {
    if (++inside != 1) overlapped = true;
    if (++calls % 4 == 0) eventually([&] { return overlapped.load(); }, 20ms);
    --inside;
  });
  std::function<void(int)> go_on = [&](int left) {
    if (left == 0) return;
    for (int i = 0; i < 2; ++i)
      async_run(pool, work(at_once, i), [&, i, left](std::exception_ptr e, int) {
        CHECK(!e);
        if (i == 0) go_on(left - 1);
      });
  };
  go_on(20);
  run_on_two_threads(io);
  CHECK(calls >= 40);
  CHECK_FALSE(overlapped);
}
