// SPDX-License-Identifier: BSL-1.0
// Several threads run the loop, and the one that ran the pool's turn leaves it: whatever goes on must not be left with it.
#include "support/run.hpp"

#include <future>
#include <thread>

namespace process_leaving_thread {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct thrown {};

// io.run() on a thread of its own; the future is ready when it has returned, and says whether by an exception.
class runner {
public:
  explicit runner(net::io_context& io) : io_(io), thread_([this] { run(); }) {}
  ~runner() {
    if (ended_.wait_for(0s) != std::future_status::ready) io_.stop();
    thread_.join();
  }
  bool ends() { return ended_.wait_for(20s) == std::future_status::ready; }

private:
  void run() {
    try {
      io_.run();
    } catch (const thrown&) {
    }
    end_.set_value();
  }

  net::io_context& io_;
  std::promise<void> end_;
  std::future<void> ended_ = end_.get_future();
  std::thread thread_;
};

} // namespace

TEST_CASE("the loop comes to its end although the thread that ran the turn was thrown out of it") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    net::io_context io;
    coproc::process_pool pool(io, {.max_workers = 1});
    const auto throws = [](std::exception_ptr, int) { throw thrown(); };
    if (round % 2 == 0)
      coproc::async_run(pool, coproc::work([] { return 1; }), throws);
    else // Asio keeps what it throws until the turn is over
      coproc::async_run(pool, coproc::work([] { return 1; }),
                        net::bind_executor(net::any_io_executor(net::require(io.get_executor(), net::execution::outstanding_work.tracked)), throws));
    runner a(io), b(io);
    REQUIRE(a.ends());
    REQUIRE(b.ends());
  }
}

TEST_CASE("a result arrives although the thread that looked for it last has gone to do something else") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  auto work = net::make_work_guard(io);
  runner other(io);
  for (int round = 0; round < 100; ++round) {
    std::promise<int> result;
    coproc::async_run(pool, coproc::work([] {
                        ::usleep(1000);
                        return 7;
                      }),
                      [&](std::exception_ptr, int value) { result.set_value(value); });
    io.poll_one();
    auto arrives = result.get_future();
    REQUIRE(arrives.wait_for(20s) == std::future_status::ready);
    CHECK(arrives.get() == 7);
  }
  work.reset();
  CHECK(other.ends());
}

} // namespace process_leaving_thread
