// SPDX-License-Identifier: BSL-1.0
// Stored operations: whose memory they use, every token family, the cancellation slot, threads.
#include <coproc/net/operation.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace net = coproc::net;
using coproc::detail::operation;
using coproc::detail::operation_ptr;
using coproc::detail::work_tracking;
using namespace coproc::testing;

namespace {

using signature = void(net::error_code, std::unique_ptr<int>);
using stored = operation_ptr<operation<signature>>;

/// Puts the operation into `out`, for the test to finish.
struct initiation {
  using executor_type = net::any_io_executor;
  executor_type get_executor() const noexcept { return ex; }
  template <class Handler>
  void operator()(Handler handler) const {
    *out = coproc::detail::make_operation<operation<signature>>(std::move(handler), {}, ex, tracking);
  }

  net::any_io_executor ex;
  stored* out;
  work_tracking tracking = work_tracking::here;
};

template <class Token>
auto begin(net::any_io_executor ex, stored& out, Token&& token) {
  return net::async_initiate<Token, signature>(initiation{std::move(ex), &out}, token);
}

void finish(stored op, int value) {
  coproc::detail::post(std::move(op), net::error_code(), std::make_unique<int>(value));
}

} // namespace

TEST_CASE("a stored operation destroyed uninvoked releases handler and work") {
  net::io_context io;
  auto witness = std::make_shared<int>();
  stored op;
  begin(io.get_executor(), op, [witness](net::error_code, std::unique_ptr<int>) { FAIL("invoked"); });
  CHECK_FALSE(out_of_work(io));
  CHECK(witness.use_count() == 2);
  op.reset();
  CHECK(out_of_work(io));
  CHECK(witness.use_count() == 1);
}

TEST_CASE("memory comes from the handler's allocator and is back before the handler runs") {
  net::io_context io;
  allocation_count count;
  int calls = 0;
  const auto body = [&](net::error_code ec, std::unique_ptr<int> value) {
    CHECK(count.live == 0);
    CHECK_FALSE(ec);
    CHECK(*value == 7);
    ++calls;
  };
  stored op;
  begin(io.get_executor(), op, with_allocator(count, body));
  CHECK(count.live == 1);
  finish(std::move(op), 7);
  io.run();
  CHECK(count.total == 1); // the operation, which has room for Asio's queue entry

  begin(io.get_executor(), op, net::bind_executor(net::make_strand(io), with_allocator(count, body)));
  finish(std::move(op), 7);
  io.restart();
  io.run();
  CHECK(count.total == 2);
  CHECK(count.live == 0);
  CHECK(calls == 2);
}

TEST_CASE("the cancellation slot is empty when the handler runs") {
  net::io_context io;
  net::cancellation_signal signal;
  int calls = 0, emitted = 0;
  const auto handler = net::bind_cancellation_slot(signal.slot(), [&](net::error_code, std::unique_ptr<int>) {
    signal.emit(net::cancellation_type::terminal);
    ++calls;
  });
  stored op;
  begin(io.get_executor(), op, net::bind_cancellation_slot(handler.get_cancellation_slot(), handler.get()));
  signal.slot().assign([&](net::cancellation_type) { ++emitted; });
  signal.emit(net::cancellation_type::terminal);
  CHECK(emitted == 1);
  finish(std::move(op), 1);
  io.run();
  CHECK(calls == 1);
  CHECK(emitted == 1);
}

TEST_CASE("every completion token gets its result") {
  net::io_context io;
  stored op;

  auto future = begin(io.get_executor(), op, net::use_future);
  finish(std::move(op), 1);
  io.run();
  CHECK(*future.get() == 1);

  begin(io.get_executor(), op, net::detached);
  finish(std::move(op), 1);
  io.restart();
  CHECK(io.run() == 1);

  auto deferred = begin(io.get_executor(), op, coproc::deferred);
  CHECK_FALSE(op);
  int seen = 0;
  std::move(deferred)([&](net::error_code, std::unique_ptr<int> value) { seen = *value; });
  finish(std::move(op), 2);
  io.restart();
  io.run();
  CHECK(seen == 2);

  const auto awaiting = [&]() -> net::awaitable<void> {
    auto value = co_await begin(io.get_executor(), op, net::use_awaitable);
    CHECK(*value == 3);
    auto both = co_await begin(io.get_executor(), op, coproc::as_tuple(net::use_awaitable));
    CHECK(std::get<0>(both) == net::error::eof);
    CHECK(std::get<1>(both) == nullptr);
    ++seen;
  };
  net::co_spawn(io, awaiting, net::detached);
  io.restart();
  io.poll();
  finish(std::move(op), 3);
  io.poll();
  coproc::detail::post(std::move(op), net::error_code(net::error::eof), std::unique_ptr<int>());
  io.run();
  CHECK(seen == 3);
}

TEST_CASE("operations may be finished by other threads") {
  net::io_context io;
  constexpr int operations = 1000;
  std::vector<stored> pending(operations);
  int calls = 0;
  for (auto& op : pending) begin(io.get_executor(), op, [&](net::error_code, std::unique_ptr<int>) { ++calls; });
  std::thread thread([&] {
    for (auto& op : pending) finish(std::move(op), 1);
  });
  io.run();
  thread.join();
  CHECK(calls == operations);
}
