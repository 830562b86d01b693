// SPDX-License-Identifier: BSL-1.0
// Every verb in coroutines whose type names their executor, and with the default tokens of executors that have one.
#include <coproc/coproc.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <concepts>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace public_awaiting_executors {

namespace net = coproc::net;
using namespace std::chrono_literals;

namespace {

using io_executor = net::io_context::executor_type;
using io_strand = net::strand<io_executor>;

int twice(int n) { return 2 * n; }

template <class E>
net::awaitable<int, E> number(int n) {
  co_await net::post(net::use_awaitable_t<E>());
  co_return n;
}

template <class E>
net::awaitable<void, E> nothing() {
  co_await net::post(net::use_awaitable_t<E>());
}

template <class E>
net::awaitable<void, E> use_channel() {
  const E ex = co_await net::this_coro::executor;
  coproc::basic_bounded_channel<int, E> c(ex, 2);
  CHECK(c.get_executor() == ex);
  co_await c.send(1);
  co_await c.async_send(2);
  const std::optional<int> first = co_await c.receive();
  const std::optional<int> second = co_await c.async_receive();
  CHECK((first == 1 && second == 2));
}

template <class E>
net::awaitable<void, E> use_semaphore() {
  const E ex = co_await net::this_coro::executor;
  coproc::basic_semaphore<E> s(ex, 2);
  CHECK(s.get_executor() == ex);
  const auto first = co_await s.acquire();
  const auto second = co_await s.async_acquire();
  CHECK((first && second));
}

template <class E>
net::awaitable<void, E> use_default_tokens() {
  const E ex = co_await net::this_coro::executor;
  using token = net::use_awaitable_t<E>;
  auto s = token::as_default_on(coproc::semaphore(ex, 2));
  static_assert(std::same_as<decltype(s), typename token::template as_default_on_t<coproc::semaphore>>);
  CHECK(net::any_io_executor(s.get_executor()) == net::any_io_executor(ex));
  const auto first = co_await s.acquire();
  const auto second = co_await s.async_acquire();
  CHECK((first && second));

  typename token::template as_default_on_t<coproc::bounded_channel<int>> c(ex, 2);
  co_await c.send(1);
  co_await c.async_send(2);
  c.close();
  const std::optional<int> one = co_await c.receive();
  const std::optional<int> two = co_await c.async_receive();
  CHECK((one == 1 && two == 2));

  auto told = decltype(coproc::as_tuple(token()))::as_default_on(std::move(c));
  const auto [error, message] = co_await told.async_receive();
  CHECK_FALSE(error);
  CHECK_FALSE(message);
  const std::optional<int> no_more = co_await told.receive();
  CHECK_FALSE(no_more);
}

template <class E>
net::awaitable<void, E> wait_together() {
  const E ex = co_await net::this_coro::executor;
  const auto [n, none] = co_await coproc::gather(number<E>(1), nothing<E>());
  CHECK(n == 1);
  static_cast<void>(none);
  std::vector<net::awaitable<int, E>> children;
  for (int i = 0; i < 3; ++i) children.push_back(number<E>(i));
  const std::vector<int> numbers = co_await coproc::gather(std::move(children));
  CHECK(numbers == std::vector<int>{0, 1, 2});

  const int in_time = co_await coproc::with_timeout(1h, number<E>(2));
  CHECK(in_time == 2);
  coproc::basic_semaphore<E> s(ex, 1);
  const auto held = s.try_acquire();
  bool late = false;
  try {
    co_await coproc::with_timeout(1ms, s.acquire());
  } catch (const coproc::timed_out&) {
    late = true;
  }
  CHECK(late);
  co_await coproc::with_timeout(coproc::unlimited, nothing<E>());
}

template <class E>
net::awaitable<void, E> call_threads() {
  net::thread_pool threads(1);
  const int n = co_await coproc::run_in_executor<E>(threads, twice, 3);
  CHECK(n == 6);
  co_await coproc::run_in_executor<E>(threads.get_executor(), [] {});
}

template <class E>
net::awaitable<void, E> call_processes() {
  const E ex = co_await net::this_coro::executor;
  using token = net::use_awaitable_t<E>;
  coproc::process_pool pool(ex, {.max_workers = 1});
  const int run = co_await coproc::run_in_executor<E>(pool, twice, 4);
  CHECK(run == 8);
  const int with_options = co_await coproc::run_in_executor<E>(pool.with({.timeout = 1h}), twice, 5);
  CHECK(with_options == 10);
  const int async = co_await coproc::async_run(pool, coproc::work(twice, 6), token());
  CHECK(async == 12);
  const int submitted = co_await pool.submit(twice, 7).async_wait(token());
  CHECK(submitted == 14);
  const auto [first, second] = co_await coproc::gather(
      coproc::run_in_executor<E>(pool, twice, 8), coproc::with_timeout(1h, coproc::run_in_executor<E>(pool, twice, 9)));
  CHECK((first == 16 && second == 18));
  co_await pool.template shutdown<E>();
  co_await pool.async_shutdown(coproc::unlimited, token());
}

// What has no token awaits in coroutines of the usual type.
net::awaitable<void> use_usual_defaults() {
  coproc::process_pool pool(co_await net::this_coro::executor, {.max_workers = 1});
  const int n = co_await coproc::async_run(pool, coproc::work(twice, 1));
  CHECK(n == 2);
  co_await pool.async_shutdown(coproc::unlimited);
  coproc::semaphore s(co_await net::this_coro::executor, 1);
  const auto permit = co_await s.async_acquire();
  CHECK(permit);
  coproc::bounded_channel<int> c(co_await net::this_coro::executor, 1);
  co_await c.async_send(1);
  const std::optional<int> message = co_await c.async_receive();
  CHECK(message == 1);
}

} // namespace

TEMPLATE_TEST_CASE("verbs in coroutines of this executor", "", io_executor, io_strand, net::any_io_executor) {
  using E = TestType;
  coproc::run(use_channel<E>());
  coproc::run(use_semaphore<E>());
  coproc::run(use_default_tokens<E>());
  coproc::run(wait_together<E>());
  coproc::run(call_processes<E>()); // forks: before there are threads
  coproc::run(call_threads<E>());
  CHECK(coproc::run(number<E>(5)) == 5);
}

TEST_CASE("async verbs without a token are awaited") { coproc::run(use_usual_defaults()); }

} // namespace public_awaiting_executors
