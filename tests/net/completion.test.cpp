// SPDX-License-Identifier: BSL-1.0
// Completions: where a handler runs, and what it keeps alive.
#include <coproc/net/completion.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <utility>

namespace net = coproc::net;
using coproc::detail::completion;
using coproc::detail::work_tracking;
using namespace coproc::testing;

namespace {

template <class Handler>
completion<Handler> waiting(Handler handler, const net::any_io_executor& ex, work_tracking t = work_tracking::here) {
  return completion<Handler>(std::move(handler), ex, t);
}

} // namespace

TEST_CASE("post never calls the handler inline") {
  net::io_context io;
  int calls = 0;
  net::post(io, [&] {
    auto handler = [&](int n) { calls += n; };
    waiting(std::move(handler), io.get_executor()).post(1);
    CHECK(calls == 0);
  });
  io.run();
  CHECK(calls == 1);
}

TEST_CASE("dispatch calls the handler inline on its executor, and posts it from elsewhere") {
  net::io_context io;
  int calls = 0;
  const auto dispatch = [&](work_tracking tracking) {
    auto handler = [&](int n) { calls += n; };
    waiting(std::move(handler), io.get_executor(), tracking).dispatch(1);
  };
  for (auto tracking : {work_tracking::here, work_tracking::elsewhere}) {
    calls = 0;
    dispatch(tracking);
    CHECK(calls == 0);
    io.restart();
    io.run();
    CHECK(calls == 1);
    net::post(io, [&] {
      dispatch(tracking);
      CHECK(calls == 2);
    });
    io.restart();
    io.run();
    CHECK(calls == 2);
  }
}

TEST_CASE("a handler bound to a strand runs on the strand") {
  net::io_context io;
  auto strand = net::make_strand(io);
  int calls = 0;
  auto handler = [&] {
    CHECK(strand.running_in_this_thread());
    ++calls;
  };
  auto bound = net::bind_executor(strand, handler);
  net::post(io, [&] { waiting(std::move(bound), io.get_executor()).dispatch(); });
  auto erased = net::bind_executor(net::any_io_executor(strand), handler);
  waiting(std::move(erased), io.get_executor()).post();
  io.run();
  CHECK(calls == 2);
}

TEST_CASE("a handler of another context runs there") {
  net::io_context io, other;
  int calls = 0;
  auto handler = net::bind_executor(other, [&] { ++calls; });
  waiting(std::move(handler), io.get_executor()).post();
  io.run();
  CHECK(calls == 0);
  other.run();
  CHECK(calls == 1);
}

TEST_CASE("a waiting handler keeps its contexts running, unless somebody else does") {
  net::io_context io, other;
  const auto plain = [](int) {};
  const auto elsewhere = net::bind_executor(other, [](int) {});
  const auto on_strand = net::bind_executor(net::any_io_executor(net::make_strand(io)), [](int) {});
  {
    auto c = waiting(plain, io.get_executor());
    CHECK_FALSE(out_of_work(io));
    auto moved = std::move(c);
    CHECK_FALSE(out_of_work(io));
  }
  CHECK(out_of_work(io));
  {
    auto c = waiting(plain, io.get_executor(), work_tracking::elsewhere);
    CHECK(out_of_work(io));
  }
  {
    auto c = waiting(on_strand, io.get_executor());
    CHECK_FALSE(out_of_work(io));
  }
  CHECK(out_of_work(io));
  {
    auto c = waiting(elsewhere, io.get_executor());
    CHECK_FALSE(out_of_work(io));
    CHECK_FALSE(out_of_work(other));
  }
  {
    auto c = waiting(elsewhere, io.get_executor(), work_tracking::elsewhere);
    CHECK(out_of_work(io));
    CHECK_FALSE(out_of_work(other));
  }
  CHECK(out_of_work(other));
}
