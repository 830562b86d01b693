// SPDX-License-Identifier: BSL-1.0
// The mechanism below gather and with_timeout: executors, the two rules for ending siblings, awaitable types.
#include <coproc/net/join.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace net = coproc::net;
using coproc::detail::join;
using coproc::detail::join_until;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

struct derived : net::awaitable<int> {};

net::awaitable<void> end() { co_return; }

net::awaitable<void> fail() {
  throw std::runtime_error("failed");
  co_return;
}

net::awaitable<void> note_executor(net::any_io_executor& ex) { ex = co_await net::this_coro::executor; }

/// Starts bodies with a plain handler.
template <class Handler>
void launch(net::any_io_executor ex, join_until until, std::vector<net::awaitable<void>> bodies, Handler handler) {
  auto j = std::make_shared<join>(bodies.size(), until);
  j->prepare(ex);
  join::launch<net::any_io_executor>(std::move(j), std::move(handler), {}, ex, std::move(bodies));
}

} // namespace

TEST_CASE("awaitables and what derives from them, by value") {
  STATIC_REQUIRE(coproc::awaitable_like<net::awaitable<int>>);
  STATIC_REQUIRE(coproc::awaitable_like<derived>);
  STATIC_REQUIRE(std::is_same_v<coproc::awaited_t<derived>, int>);
  STATIC_REQUIRE(std::is_void_v<coproc::awaited_t<net::awaitable<void>>>);
  STATIC_REQUIRE_FALSE(coproc::awaitable_like<net::awaitable<int>&>);
  STATIC_REQUIRE_FALSE(coproc::awaitable_like<const net::awaitable<int>>);
  STATIC_REQUIRE_FALSE(coproc::awaitable_like<int>);
  STATIC_REQUIRE(std::is_same_v<coproc::value_t<void>, std::monostate>);
  STATIC_REQUIRE(std::is_same_v<coproc::value_t<int>, int>);
}

TEST_CASE("a strand is serial enough, anything else gets a strand") {
  net::io_context io;
  net::thread_pool pool(1);
  const net::any_io_executor plain(io.get_executor()), threads(pool.get_executor());
  const net::any_io_executor strands[] = {net::make_strand(io), net::make_strand(plain), net::make_strand(pool)};
  for (const auto& strand : strands) CHECK(coproc::detail::serial_executor(strand) == strand);
  for (const auto& ex : {plain, threads}) {
    const auto serial = coproc::detail::serial_executor(ex);
    CHECK(serial != ex);
    CHECK(coproc::detail::serial_executor(serial) == serial);
    CHECK(serial != coproc::detail::serial_executor(ex));
  }
}

TEST_CASE("children of one strand run on it; others have a strand each, or share one when the first end ends all") {
  net::io_context io;
  const net::any_io_executor plain(io.get_executor()), strand(net::make_strand(io));
  const auto executors = [&](const net::any_io_executor& ex, join_until until) {
    std::vector<net::any_io_executor> seen(2);
    std::vector<net::awaitable<void>> bodies;
    for (auto& s : seen) bodies.push_back(note_executor(s));
    int calls = 0;
    launch(ex, until, std::move(bodies), [&](const std::shared_ptr<join>& j) {
      CHECK(j->error() == nullptr);
      ++calls;
    });
    CHECK(calls == 0); // never inside the call
    io.restart();
    io.run();
    CHECK(calls == 1);
    return seen;
  };
  for (auto until : {join_until::first_failure, join_until::first_end}) {
    const auto same = executors(strand, until);
    CHECK(same[0] == strand);
    CHECK(same[1] == strand);
  }
  const auto own = executors(plain, join_until::first_failure);
  CHECK(own[0] != own[1]);
  const auto shared = executors(plain, join_until::first_end);
  CHECK(shared[0] == shared[1]);
  CHECK(shared[0] != plain);
}

TEST_CASE("first_end cancels the others whatever the end was; first_failure only after a failure") {
  for (const bool fails : {false, true})
    for (auto until : {join_until::first_failure, join_until::first_end}) {
      net::io_context io;
      std::vector<net::awaitable<void>> bodies;
      bodies.push_back(wait_for_ever());
      bodies.push_back(fails ? fail() : end());
      int calls = 0;
      launch(io.get_executor(), until, std::move(bodies), [&](const std::shared_ptr<join>& j) {
        CHECK(j->first_to_end() == 1);
        CHECK(j->error() != nullptr);
        if (fails) CHECK_THROWS_AS(std::rethrow_exception(j->error()), std::runtime_error);
        ++calls;
      });
      const bool stuck = !fails && until == join_until::first_failure;
      CHECK(out_of_work(io) == !stuck);
      CHECK(calls == (stuck ? 0 : 1));
    }
}

TEST_CASE("no children: completed at once, posted") {
  net::io_context io;
  int calls = 0;
  launch(io.get_executor(), join_until::first_failure, {}, [&](const std::shared_ptr<join>&) { ++calls; });
  CHECK(calls == 0);
  io.run();
  CHECK(calls == 1);
}

TEST_CASE("the parent's handler runs on its own executor, with its own memory") {
  net::io_context io, other;
  allocation_count count;
  int calls = 0;
  std::vector<net::awaitable<void>> bodies;
  bodies.push_back(let_others_run());
  launch(io.get_executor(), join_until::first_failure, std::move(bodies),
         net::bind_executor(other, with_allocator(count, [&](const std::shared_ptr<join>&) {
                              CHECK(other.get_executor().running_in_this_thread());
                              CHECK(count.live == 0);
                              ++calls;
                            })));
  CHECK(count.live == 1);
  io.run();
  CHECK(calls == 0);
  other.run();
  CHECK(calls == 1);
}
