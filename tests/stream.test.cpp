// SPDX-License-Identifier: BSL-1.0
// stream and make_stream: order, backpressure, the end, failures, cancelled readers, readers that go, every token
// family, several threads, both orders of destruction.
#include <coproc/stream.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace public_stream {

namespace net = coproc::net;
using coproc::collect;
using coproc::make_stream;
using coproc::stream;
using coproc::yielder;
using namespace coproc::testing;

namespace {

/// A vector of these. In braces inside co_await it is too much for g++ 12.
template <class T, class... A>
std::vector<T> list_of(A... items) {
  return {static_cast<T>(items)...};
}

const net::error_code aborted = net::error::operation_aborted;

/// Told what next() gave, in order; "end" for nullopt.
struct told {
  std::vector<std::string> all;
  auto handler() {
    return [this](std::exception_ptr e, std::optional<int> n) {
      all.push_back(e ? coproc::code_of(e).message() : n ? std::to_string(*n) : "end");
    };
  }
};

stream<int> numbers(net::io_context& io, int n) {
  return make_stream<int>(io, [n](yielder<int>& out) -> net::awaitable<void> {
    for (int i = 0; i < n; ++i) co_await out.yield(i);
  });
}

} // namespace

TEST_CASE("a stream gives what its producer yields, in order, and then nullopt for ever") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    auto s = numbers(io, 100);
    for (int i = 0; i < 100; ++i) {
      const auto got = co_await s.next();
      CHECK(got == i);
    }
    for (int i = 0; i < 3; ++i) {
      const auto got = co_await s.next();
      CHECK_FALSE(got);
    }
    std::vector<int> expected(1000);
    std::iota(expected.begin(), expected.end(), 0);
    const auto got_3 = co_await collect(numbers(io, 1000));
    CHECK(got_3 == expected);
    const auto got_4 = co_await collect(numbers(io, 0));
    CHECK(got_4.empty());
    auto begun = numbers(io, 3);
    const auto got_5 = co_await begun.next();
    CHECK(got_5 == 0);
    const auto got_6 = co_await collect(std::move(begun));
    CHECK(got_6 == list_of<int>(1, 2));
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("the producer starts with the first next and is never more than one item ahead") {
  net::io_context io;
  int made = 0;
  auto s = make_stream<int>(io, [&made](yielder<int>& out) -> net::awaitable<void> {
    for (;;) co_await out.yield(made++);
  });
  CHECK(out_of_work(io));
  CHECK(made == 0);
  const auto body = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 10; ++i) {
      const auto got_7 = co_await s.next();
      CHECK(got_7 == i);
      co_await let_others_run();
      CHECK(made <= i + 4); // this one, perhaps its companion in a batch, one in the buffer, one that waits
    }
    s.cancel();
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("what the producer throws comes once, after everything that it yielded") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    auto s = make_stream<std::string>(io, [](yielder<std::string>& out) -> net::awaitable<void> {
      std::string first = "one";
      const std::string second = "two";
      co_await out.yield(std::move(first));
      co_await out.yield(second);
      CHECK(second == "two");
      throw std::runtime_error("no more");
    });
    const auto got_8 = co_await s.next();
    CHECK(got_8 == "one");
    const auto got_9 = co_await s.next();
    CHECK(got_9 == "two");
    std::string error;
    try {
      co_await s.next();
    } catch (const std::runtime_error& e) {
      error = e.what();
    }
    CHECK(error == "no more");
    const auto got_10 = co_await s.next();
    CHECK_FALSE(got_10);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("items need not be copied, nor default-constructed, and may be bools") {
  struct odd {
    explicit odd(int n) : value(std::make_unique<int>(n)) {}
    std::unique_ptr<int> value;
  };
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    auto s = make_stream<odd>(io, [](yielder<odd>& out) -> net::awaitable<void> {
      for (int i = 0; i < 3; ++i) co_await out.yield(odd(i));
      odd named(3);
      co_await out.yield(coproc::moved(named));
      CHECK(named.value == nullptr);
    });
    const auto all = co_await collect(std::move(s));
    REQUIRE(all.size() == 4);
    for (int i = 0; i < 4; ++i) CHECK(*all[static_cast<std::size_t>(i)].value == i);
    auto bits = make_stream<bool>(io, [](yielder<bool>& out) -> net::awaitable<void> {
      co_await out.yield(true);
      co_await out.yield(false);
    });
    const auto got_11 = co_await bits.next();
    CHECK(got_11 == true);
    const auto got_12 = co_await bits.next();
    CHECK(got_12 == false);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("a second next at the same time is refused, and the first goes on") {
  net::io_context io;
  bool go = false;
  auto s = make_stream<int>(io, [&go](yielder<int>& out) -> net::awaitable<void> {
    while (!go) co_await let_others_run();
    co_await out.yield(7);
  });
  std::optional<int> first;
  net::co_spawn(io, s.next(), [&](std::exception_ptr e, std::optional<int> n) {
    CHECK(e == nullptr);
    first = n;
  });
  const auto body = [&]() -> net::awaitable<void> {
    co_await let_others_run();
    std::exception_ptr error;
    try {
      co_await s.next();
    } catch (...) {
      error = std::current_exception();
    }
    CHECK(coproc::code_of(error) == coproc::errc::already_awaited);
    CHECK(text_of(error).find("one at a time") != std::string::npos);
    go = true;
  };
  CHECK(run_to_end(io, body) == nullptr);
  CHECK(first == 7);
  const auto rest = [&]() -> net::awaitable<void> {
    const auto end = co_await s.next();
    CHECK_FALSE(end);
  };
  CHECK(run_to_end(io, rest) == nullptr);
}

TEST_CASE("cancelling next with any type loses no item") {
  for (const auto type :
       {net::cancellation_type::total, net::cancellation_type::partial, net::cancellation_type::terminal}) {
    net::io_context io;
    bool go = false;
    auto s = make_stream<int>(io, [&go](yielder<int>& out) -> net::awaitable<void> {
      while (!go) co_await let_others_run();
      for (int i = 0; i < 3; ++i) co_await out.yield(i);
    });
    told t;
    net::cancellation_signal signal;
    s.async_next(net::bind_cancellation_slot(signal.slot(), t.handler()));
    for (int i = 0; i < 100; ++i) io.poll_one();
    CHECK(t.all.empty());
    signal.emit(type);
    while (t.all.empty()) io.run_one();
    go = true;
    const auto body = [&]() -> net::awaitable<void> {
      for (int i = 0; i < 3; ++i) {
        const auto got = co_await s.next();
        CHECK(got == i);
      }
      const auto got_14 = co_await s.next();
      CHECK_FALSE(got_14);
    };
    CHECK(run_to_end(io, body) == nullptr);
    CHECK(t.all == std::vector<std::string>{aborted.message()});
  }
}

TEST_CASE("cancel ends the producer, the next that waits, and the stream") {
  net::io_context io;
  bool producer_was_cancelled = false;
  const auto produce = [&](yielder<int>& out) -> net::awaitable<void> {
    co_await out.yield(1);
    co_await out.yield(2);
    co_await out.yield(3);
    try {
      co_await wait_for_ever();
    } catch (const net::system_error& e) {
      producer_was_cancelled = e.code() == aborted;
      throw;
    }
  };
  told t;
  SECTION("while next waits") {
    auto s = make_stream<int>(io, produce);
    for (int i = 0; i < 4; ++i) {
      s.async_next(t.handler());
      for (int j = 0; j < 100; ++j) io.poll_one();
    }
    CHECK(t.all == std::vector<std::string>{"1", "2", "3"});
    s.cancel();
    s.cancel();
    io.run();
    CHECK(producer_was_cancelled);
    s.async_next(t.handler());
    io.restart();
    io.run();
    CHECK(t.all == std::vector<std::string>{"1", "2", "3", aborted.message(), "end"});
  }
  SECTION("while items are there") {
    auto s = make_stream<int>(io, produce);
    s.async_next(t.handler());
    for (int j = 0; j < 100; ++j) io.poll_one();
    s.cancel();
    s.async_next(t.handler());
    io.run();
    CHECK(t.all == std::vector<std::string>{"1", aborted.message()});
  }
  SECTION("before anything") {
    auto s = make_stream<int>(io, produce);
    s.cancel();
    s.async_next(t.handler());
    io.run();
    CHECK(t.all == std::vector<std::string>{aborted.message()});
  }
  SECTION("by the destructor") {
    {
      auto s = make_stream<int>(io, produce);
      for (int i = 0; i < 4; ++i) {
        s.async_next(t.handler());
        for (int j = 0; j < 100; ++j) io.poll_one();
      }
    }
    io.run();
    CHECK(producer_was_cancelled);
    CHECK(t.all == std::vector<std::string>{"1", "2", "3", aborted.message()});
  }
  SECTION("not when it is over") {
    auto s = make_stream<int>(io, [](yielder<int>&) -> net::awaitable<void> { co_return; });
    s.async_next(t.handler());
    io.run();
    s.cancel();
    s.async_next(t.handler());
    io.restart();
    io.run();
    CHECK(t.all == std::vector<std::string>{"end", "end"});
  }
}

TEST_CASE("a producer that waits for room, or yields after the reader has gone, gets operation_aborted") {
  net::io_context io;
  int refused = 0, yielded = 0;
  {
    auto s = make_stream<int>(io, [&](yielder<int>& out) -> net::awaitable<void> {
      for (int i = 0; i < 100; ++i) {
        std::exception_ptr refusal;
        try {
          co_await out.yield(i);
          ++yielded;
        } catch (...) {
          refusal = std::current_exception();
        }
        if (!refusal) continue;
        CHECK(coproc::code_of(refusal) == aborted);
        if (++refused == 3) std::rethrow_exception(refusal);
        co_await net::this_coro::reset_cancellation_state();
      }
    });
    told t;
    s.async_next(t.handler());
    for (int j = 0; j < 100; ++j) io.poll_one();
    CHECK(t.all == std::vector<std::string>{"0"});
  }
  io.run();
  CHECK(refused == 3);
  CHECK(yielded < 6);
}

TEST_CASE("async_next never completes inside, takes every token, and completes on the handler's executor") {
  net::io_context io, other;
  auto s = numbers(io, 10);
  told t;
  s.async_next(t.handler());
  CHECK(t.all.empty());
  while (t.all.empty()) io.run_one(); // the producer waits for room, so that run() would not return
  CHECK(t.all == std::vector<std::string>{"0"});
  bool on_other = false;
  s.async_next(net::bind_executor(other, [&](std::exception_ptr, std::optional<int> n) {
    CHECK(other.get_executor().running_in_this_thread());
    CHECK(n == 1);
    on_other = true;
  }));
  while (!on_other) {
    io.poll();
    other.restart();
    other.poll();
  }
  std::future<std::optional<int>> future = s.async_next(net::use_future);
  while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) io.run_one();
  CHECK(future.get() == 2);
  const auto body = [&]() -> net::awaitable<void> {
    const auto got_15 = co_await s.async_next(net::use_awaitable);
    CHECK(got_15 == 3);
    const auto got_16 = co_await s.async_next(coproc::deferred)(net::use_awaitable);
    CHECK(got_16 == 4);
    s.cancel();
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("a reader that never waits lets others run") {
  net::io_context io;
  int others = 0;
  bool over = false;
  const auto other = [&]() -> net::awaitable<void> {
    while (!over) {
      ++others;
      co_await net::post(net::use_awaitable);
    }
  };
  net::co_spawn(io, other, net::detached);
  const auto body = [&]() -> net::awaitable<void> {
    auto s = numbers(io, 100);
    while (co_await s.next()) {
    }
    over = true;
  };
  CHECK(run_to_end(io, body) == nullptr);
  CHECK(others >= 30);
}

TEST_CASE("a context that is destroyed first takes the producer and who waits along, uninvoked") {
  struct witness {
    explicit witness(int& n) : live(&n) { ++n; }
    witness(const witness& o) : live(o.live) { ++*live; }
    ~witness() { --*live; }
    int* live;
  };
  int live = 0;
  told t;
  std::optional<stream<int>> s;
  {
    net::io_context io;
    s.emplace(make_stream<int>(net::make_strand(io), [w = witness(live)](yielder<int>&) -> net::awaitable<void> {
      const witness mine = w;
      co_await wait_for_ever();
    }));
    s->async_next(t.handler());
    io.poll();
    CHECK(live > 0);
  }
  s->cancel();
  s.reset();
  CHECK(live == 0);
  CHECK(t.all.empty());
}

TEST_CASE("reader, producer and a thread that cancels may run on several threads") {
  for (int round = 0; round < 50; ++round) {
    net::io_context io;
    std::atomic<int> read = 0, ends = 0;
    const int until = round % 2 == 0 ? 1000 : 1'000'000'000; // the end, or cancelled in the middle
    auto s = make_stream<int>(io, [until](yielder<int>& out) -> net::awaitable<void> {
      for (int i = 0; i < until; ++i) co_await out.yield(i);
    });
    const auto body = [&]() -> net::awaitable<void> {
      int expected = 0;
      while (const auto n = co_await s.next()) {
        if (*n != expected++) throw std::logic_error("order");
        read.store(expected);
        read.notify_all();
      }
    };
    std::exception_ptr error;
    net::co_spawn(net::make_strand(io), body, [&](std::exception_ptr e) {
      error = e;
      ++ends;
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
    if (round % 2 != 0) {
      read.wait(0);
      s.cancel();
    }
    for (std::thread& each : threads) each.join();
    CHECK(ends == 1);
    if (round % 2 == 0) {
      CHECK(error == nullptr);
      CHECK(read == 1000);
    } else {
      CHECK(coproc::code_of(error) == aborted);
    }
  }
}

} // namespace public_stream
