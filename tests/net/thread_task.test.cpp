// SPDX-License-Identifier: BSL-1.0
// One call on a thread, begun with plain handlers: associations, and each phase of its life against each end.
#include <coproc/net/thread_task.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

namespace net = coproc::net;
using coproc::detail::thread_task_of;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

// "Threads" whose turn comes when the test says so: a second context.
struct setting {
  net::io_context io, threads;

  template <class F, class Handler>
  void start(F fn, Handler handler) {
    auto task = std::make_shared<thread_task_of<F>>(std::move(fn));
    auto memory = task->prepare(io.get_executor());
    task->start(threads.get_executor(), std::move(handler), std::move(memory), io.get_executor());
  }

  void run_both() {
    threads.restart();
    threads.run();
    io.restart();
    io.run();
  }
};

using result = std::shared_ptr<int>;

} // namespace

TEST_CASE("the handler gets the value, or the exception, on its own executor and with its own memory") {
  setting s;
  allocation_count count;
  int calls = 0;
  s.start([] { return 5; }, with_allocator(count, [&](std::exception_ptr e, result n) {
            CHECK(s.io.get_executor().running_in_this_thread());
            CHECK(e == nullptr);
            REQUIRE(n);
            CHECK(*n == 5);
            CHECK(count.live == 0);
            ++calls;
          }));
  CHECK(count.live == 1);
  CHECK_FALSE(out_of_work(s.io));
  s.run_both();
  CHECK(calls == 1);
  s.start([]() -> int { throw std::runtime_error("thrown"); },
          [&](std::exception_ptr e, result n) {
            CHECK_THROWS_WITH(std::rethrow_exception(e), "thrown");
            CHECK_FALSE(n);
            ++calls;
          });
  s.run_both();
  CHECK(calls == 2);
}

TEST_CASE("any cancellation withdraws a call that has not started, and drops it at once") {
  for (auto type : {cancellation_type::total, cancellation_type::partial, cancellation_type::terminal}) {
    setting s;
    net::cancellation_signal signal;
    auto argument = std::make_shared<int>();
    int calls = 0;
    s.start(
        [argument] {
          FAIL("called");
          return 1;
        },
        net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e, result n) {
          CHECK(coproc::code_of(e) == net::error::operation_aborted);
          CHECK_FALSE(n);
          ++calls;
        }));
    signal.emit(cancellation_type::none);
    CHECK(argument.use_count() == 2);
    signal.emit(type);
    CHECK(argument.use_count() == 1);
    signal.emit(type);
    CHECK(calls == 0);
    s.io.run();
    CHECK(calls == 1);
    s.run_both();
    signal.emit(type);
    CHECK(calls == 1);
  }
}

TEST_CASE("cancellation of a running call: total nothing, partial the stop flag, terminal both the flag and the end") {
  const auto all = cancellation_type::total | cancellation_type::partial | cancellation_type::terminal;
  for (auto type : {cancellation_type::total, cancellation_type::partial, cancellation_type::terminal, all}) {
    const bool terminal = (type & cancellation_type::terminal) != cancellation_type::none;
    setting s;
    net::cancellation_signal signal;
    std::optional<bool> stop_seen;
    int aborted = 0, completed = 0;
    s.start(
        [&] {
          CHECK_FALSE(coproc::detail::worker::thread_stop_flag->load());
          signal.emit(type);
          stop_seen = coproc::detail::worker::thread_stop_flag->load();
          s.io.poll();
          CHECK(aborted == (terminal ? 1 : 0));
          signal.emit(type);
          return 3;
        },
        net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e, result n) {
          if (e) ++aborted;
          if (n && *n == 3) ++completed;
        }));
    s.run_both();
    CHECK(stop_seen == (type != cancellation_type::total));
    CHECK(aborted == (terminal ? 1 : 0));
    CHECK(completed == (terminal ? 0 : 1));
  }
}

TEST_CASE("an executor that goes before the call starts completes it as aborted") {
  net::io_context io;
  int calls = 0;
  {
    net::io_context threads;
    auto task = std::make_shared<thread_task_of<int (*)()>>([] { return 1; });
    auto memory = task->prepare(io.get_executor());
    task->start(
        threads.get_executor(),
        [&](std::exception_ptr e, result) {
          CHECK(coproc::code_of(e) == net::error::operation_aborted);
          ++calls;
        },
        std::move(memory), io.get_executor());
  }
  CHECK(calls == 0);
  io.run();
  CHECK(calls == 1);
}

TEST_CASE("a waiter's context that goes takes the handler with it, queued or running") {
  net::io_context threads;
  auto witness = std::make_shared<int>();
  std::optional<net::io_context> io(std::in_place);
  const auto handler = [witness](std::exception_ptr, result) { FAIL("invoked"); };
  int calls = 0;
  const auto start = [&](auto fn) {
    auto task = std::make_shared<thread_task_of<decltype(fn)>>(std::move(fn));
    auto memory = task->prepare(io->get_executor());
    task->start(threads.get_executor(), handler, std::move(memory), io->get_executor());
  };
  start([&] {
    ++calls;
    CHECK(witness.use_count() == 4);
    io.reset();
    CHECK(witness.use_count() == 2);
    return 1;
  });
  start([&] { return ++calls; });
  threads.run();
  CHECK(calls == 2);
}
