// SPDX-License-Identifier: BSL-1.0
// Several threads run the loop, and the one that ran the pool's turn leaves it: whatever goes on must not be left with
// it.
#include "support/run.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace process_leaving_thread {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct thrown {};

shared_memory<tally> go;
int seven_when_told() { return go->await(1) ? 7 : 0; }

// io.run() on a thread of its own, which ends when it returns or a handler throws `thrown`.
class runner {
public:
  explicit runner(net::io_context& io) : io_(io), thread_([this] { run(); }) {}
  ~runner() {
    if (!has_ended()) io_.stop();
    thread_.join();
  }
  bool ends() { return ended_.wait_for(hang_limit) == std::future_status::ready; }
  bool has_ended() { return ended_.wait_for(0s) == std::future_status::ready; }

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
    coproc::async_run(pool, coproc::work([] { return 1; }), [](std::exception_ptr, int) { throw thrown(); });
    runner a(io), b(io);
    REQUIRE(a.ends());
    REQUIRE(b.ends());
  }
}

// Asio keeps what a handler of another executor throws until the turn that called it is over, which knows nothing of
// it.
TEST_CASE("a result arrives although the thread that looked for it last was thrown out of the loop afterwards") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    net::io_context io;
    coproc::process_pool pool(io, {.max_workers = 1});
    go.reset();
    std::atomic<int> result{0};
    net::any_io_executor tracked = net::require(io.get_executor(), net::execution::outstanding_work.tracked);
    coproc::async_run(pool, coproc::work([] { return 1; }),
                      net::bind_executor(std::exchange(tracked, {}), [](std::exception_ptr, int) { throw thrown(); }));
    coproc::async_run(pool, coproc::work(seven_when_told), [&](std::exception_ptr, int value) { result = value; });
    runner a(io), b(io);
    CHECK(eventually([&] { return a.has_ended() || b.has_ended(); }));
    go->add();
    REQUIRE(a.ends());
    REQUIRE(b.ends());
    CHECK(result == 7);
  }
}

TEST_CASE("a result arrives although the thread that looked for it last has gone to do something else") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    net::io_context io;
    coproc::process_pool pool(io, {.max_workers = 1});
    auto work = net::make_work_guard(io);
    runner other(io);
    std::promise<int> result;
    auto arrives = result.get_future();
    go.reset();
    coproc::async_run(pool, coproc::work(seven_when_told),
                      [&](std::exception_ptr, int value) { result.set_value(value); });
    io.poll_one();
    go->add();
    REQUIRE(arrives.wait_for(hang_limit) == std::future_status::ready);
    CHECK(arrives.get() == 7);
    work.reset();
    CHECK(other.ends());
  }
}

TEST_CASE("the loop comes to its end although the pool is destroyed while threads come and go") {
  const leak_audit audit;
  for (int round = 0; round < 20; ++round) {
    net::io_context io;
    auto pool = std::make_unique<coproc::process_pool>(io, coproc::pool_options{.max_workers = 1});
    std::atomic<int> ends{0};
    std::function<void()> call = [&] {
      coproc::async_run(*pool, coproc::work([] { return 1; }), [&](std::exception_ptr e, int) {
        ++ends;
        if (!e && ends < 10'000) call();
      });
    };
    for (int i = 0; i < 4; ++i) call();
    auto work = net::make_work_guard(io);
    std::thread visitor([&] {
      while (ends < 200) io.poll_one();
    });
    {
      runner other(io);
      visitor.join();
      std::promise<void> destroyed; // where no handler runs that uses it
      net::post(io, [&] {
        pool.reset();
        destroyed.set_value();
      });
      destroyed.get_future().wait();
      work.reset();
      CHECK(other.ends());
    }
  }
}

} // namespace process_leaving_thread
