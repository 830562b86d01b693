// SPDX-License-Identifier: BSL-1.0
// Payloads of every size, in both directions: inline, through argument segments, through the result file; the limits;
// and many of them at once, compared byte for byte.
#include "support/run.hpp"

#include <coproc/argument_array.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace process_payload {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

using bytes = std::vector<std::uint8_t>;

struct board {
  tally started, go;
};
shared_memory<board> shared;

/// The same on both sides; every byte depends on its place.
bytes pattern(std::size_t n, std::uint64_t seed) {
  bytes b(n);
  std::uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(b.data() + i, &x, 8);
  }
  for (; i < n; ++i) b[i] = static_cast<std::uint8_t>(x >> (8 * (i % 8)));
  return b;
}

std::uint64_t checksum(std::span<const std::uint8_t> b) {
  std::uint64_t sum = 0xcbf29ce484222325u + b.size();
  std::size_t i = 0;
  for (; i + 8 <= b.size(); i += 8) {
    std::uint64_t x;
    std::memcpy(&x, b.data() + i, 8);
    sum = (sum ^ x) * 0x100000001b3u;
  }
  for (; i < b.size(); ++i) sum = (sum ^ b[i]) * 0x100000001b3u;
  return sum;
}

bytes echo(std::span<const std::uint8_t> b) { return bytes(b.begin(), b.end()); }
bytes make(std::size_t n, std::uint64_t seed) { return pattern(n, seed); }
int identity(int n) { return n; }

/// Of a type whose size is known when the call is compiled.
template <std::size_t N>
std::array<std::uint8_t, N> echo_array(const std::array<std::uint8_t, N>& a) {
  return a;
}

template <std::size_t N>
void check_array(net::io_context& io, coproc::process_pool& pool) {
  std::array<std::uint8_t, N> in;
  std::ranges::copy(pattern(N, 3), in.begin());
  ending<std::array<std::uint8_t, N>> e;
  start(e, pool, echo_array<N>, in);
  REQUIRE(run_all(io));
  REQUIRE(e.succeeded());
  CHECK((*e.value == in));
}

} // namespace

TEST_CASE("arrays around what fits into a record's hot lines, and into a slot") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (check_array<I + 30>(io, pool), ...);
    (check_array<I + 222>(io, pool), ...);
  }(std::make_index_sequence<6>());
}

TEST_CASE("arguments and results of every size arrive byte for byte") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  for (std::size_t n = 0; n < 260; ++n) { // around what fits into a record's hot lines, and into a slot
    ending<bytes> e;
    start(e, pool, echo, pattern(n, n));
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    REQUIRE(*e.value == pattern(n, n));
  }
  constexpr std::size_t mib = std::size_t{1} << 20;
  for (const std::size_t n :
       {std::size_t{0}, std::size_t{1}, std::size_t{223}, std::size_t{224}, std::size_t{225}, std::size_t{256},
        std::size_t{4095}, std::size_t{4096}, std::size_t{65536}, mib, 64 * mib}) {
    INFO(n << " bytes");
    const bytes in = pattern(n, 1);
    ending<std::uint64_t> sum;
    ending<bytes> out, there_and_back;
    start(sum, pool, checksum, in);
    start(out, pool, make, n, 2u);
    start(there_and_back, pool, echo, in);
    REQUIRE(run_all(io));
    REQUIRE(sum.succeeded());
    CHECK(*sum.value == checksum(in));
    REQUIRE(out.succeeded());
    CHECK((*out.value == pattern(n, 2)));
    REQUIRE(there_and_back.succeeded());
    CHECK((*there_and_back.value == in));
  }
}

TEST_CASE("arguments up to max_payload are taken, larger ones refused, and the pool goes on") {
  const leak_audit audit;
  constexpr std::size_t limit = 5000;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = limit});
  // Some bytes of the limit go to lengths and padding; from one size on, all are refused.
  std::size_t largest = 0;
  for (std::size_t n = limit - 100; n < limit + 2; ++n) {
    INFO(n << " bytes");
    ending<std::uint64_t> e;
    ending<int> next;
    start(e, pool, checksum, pattern(n, 3));
    start(next, pool, identity, 1);
    REQUIRE(run_all(io));
    if (e.succeeded()) {
      CHECK(*e.value == checksum(pattern(n, 3)));
      CHECK(largest + 1 == (largest == 0 ? 1 : n));
      largest = n;
    } else {
      CHECK(e.failed_with(errc::payload_too_large));
      CHECK(e.text().find("max_payload") != std::string::npos);
    }
    CHECK(next.succeeded());
  }
  CHECK(largest < limit);
  CHECK(largest >= limit - 72);
}

TEST_CASE("results up to max_payload are delivered, larger ones refused, and the worker goes on") {
  const leak_audit audit;
  constexpr std::size_t limit = 5000;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = limit});
  ending<pid_t> before, after;
  start(before, pool, ::getpid);
  std::size_t largest = 0;
  const auto check = [&](std::size_t n) {
    INFO(n << " bytes");
    ending<bytes> e;
    start(e, pool, make, n, 4u);
    REQUIRE(run_all(io));
    if (e.succeeded()) {
      CHECK((*e.value == pattern(n, 4)));
      CHECK(largest + 1 == (largest == 0 ? 1 : n));
      largest = n;
    } else {
      CHECK(e.failed_with(errc::payload_too_large));
      CHECK(e.text().find("max_payload") != std::string::npos);
    }
  };
  for (std::size_t n = limit - 100; n < limit + 2; ++n) check(n);
  check(100 * limit);
  CHECK(largest < limit);
  CHECK(largest >= limit - 72);
  start(after, pool, ::getpid);
  REQUIRE(run_all(io));
  CHECK(before.value == after.value);
}

TEST_CASE("a max_payload smaller than a slot is a limit, too") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 100});
  ending<std::uint64_t> small, large;
  ending<bytes> large_result;
  start(small, pool, checksum, pattern(50, 1));
  start(large, pool, checksum, pattern(150, 1));
  start(large_result, pool, make, std::size_t{150}, 1u);
  REQUIRE(run_all(io));
  CHECK(small.succeeded());
  CHECK(large.failed_with(errc::payload_too_large));
  CHECK(large_result.failed_with(errc::payload_too_large));
}

TEST_CASE("a worker whose results fill its result file waits for room, and wraps around") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  constexpr std::size_t limit = 100'000; // the file holds two of these
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = limit});
  std::mt19937 random(20240611);
  for (int round = 0; round < 20; ++round) {
    std::vector<ending<bytes>> calls(30);
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      sizes.push_back(random() % 4 == 0 ? random() % 300 : random() % (limit - 8));
      start(calls[i], pool, make, sizes[i], i);
    }
    // The loop has not run: the worker fills its file and must wait.
    REQUIRE(run_all(io));
    for (std::size_t i = 0; i < calls.size(); ++i) {
      INFO("round " << round << ", call " << i << ", " << sizes[i] << " bytes: " << calls[i].text());
      REQUIRE(calls[i].succeeded());
      REQUIRE((*calls[i].value == pattern(sizes[i], i)));
    }
  }
}

TEST_CASE("a pool destroyed while its worker waits for room in the result file is gone in time") {
  const leak_audit audit;
  net::io_context io(1);
  std::vector<ending<bytes>> calls(10);
  {
    coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 100'000});
    for (auto& e : calls) start(e, pool, make, std::size_t{90'000}, 1u);
  }
  REQUIRE(run_all(io));
  for (const auto& e : calls) CHECK((e.succeeded() || e.aborted()));
}

TEST_CASE("large results may be held by slow handlers while the worker goes on") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 1 << 20});
  std::vector<std::vector<bytes>> kept(8);
  for (std::size_t i = 0; i < kept.size(); ++i)
    coproc::async_run(pool, coproc::work(make, std::size_t{800'000}, i),
                      [&kept, i](std::exception_ptr, bytes b) { kept[i].push_back(std::move(b)); });
  REQUIRE(run_all(io));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    REQUIRE(kept[i].size() == 1);
    CHECK((kept[i][0] == pattern(800'000, i)));
  }
}

TEST_CASE("arguments arrive byte for byte while the memory of earlier ones is dropped at every return") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_warm_bytes = 1});
  constexpr std::size_t clients = 6, each = 300;
  // Of both kinds, and of all sizes of blocks in turn: what has come back drives out what came back before.
  const auto both = +[](std::span<const std::uint8_t> copied, std::span<const std::uint8_t> lent) {
    return checksum(copied) ^ 31 * checksum(lent);
  };
  const auto client = [&](std::size_t seed, int& right) -> net::awaitable<void> {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i != each; ++i) {
      const bytes copied = pattern(300 + random() % (std::size_t{1} << (8 + random() % 9)), random());
      const bytes in_array = pattern(300 + random() % (std::size_t{1} << (8 + random() % 9)), random());
      coproc::argument_array<std::uint8_t> lent(pool, in_array.size());
      std::ranges::copy(in_array, lent.begin());
      const auto sum = co_await coproc::run_in_executor(pool, both, copied, lent);
      right += sum == (checksum(copied) ^ 31 * checksum(in_array));
    }
  };
  int right = 0;
  std::vector<ending<void>> endings(clients);
  for (std::size_t c = 0; c != clients; ++c) net::co_spawn(io, client(c, right), into(endings[c]));
  REQUIRE(run_all(io));
  for (const auto& e : endings) CHECK(e.succeeded());
  CHECK(right == static_cast<int>(clients * each));
}

TEST_CASE("ten thousand mixed tasks from several threads, 0 to 8 MiB each, are compared byte for byte") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2, .max_queue = 64});
  constexpr std::size_t threads = 4, each = 2500;
  // Mostly small, some large: every power of two is as likely as the others, up to 8 MiB for one in fifty.
  const auto random_size = [](std::mt19937_64& random) -> std::size_t {
    const unsigned top = random() % 50 == 0 ? 24 : 15;
    return random() % (std::size_t{1} << (random() % top));
  };
  const auto client = [&](std::size_t seed, std::atomic<int>& right) -> net::awaitable<void> {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < each / 10; ++i) {
      const std::size_t n = random_size(random);
      const std::uint64_t s = random();
      switch (random() % 4) {
      case 0: {
        const bytes in = pattern(n, s);
        const auto sum = co_await coproc::run_in_executor(pool, checksum, in);
        right += sum == checksum(in);
        break;
      }
      case 1: {
        const bytes out = co_await coproc::run_in_executor(pool, make, n, s);
        right += out == pattern(n, s);
        break;
      }
      case 2: {
        const bytes in = pattern(n, s);
        const bytes out = co_await coproc::run_in_executor(pool, echo, in);
        right += out == in;
        break;
      }
      default: {
        bytes in = pattern(n, s);
        auto task = pool.submit(echo, in);
        in.clear();
        try {
          const bytes out = co_await std::move(task);
          right += out == pattern(n, s);
        } catch (const coproc::pool_error& e) {
          right += e.code() == make_error_code(errc::queue_full); // submit never waits
        }
      }
      }
    }
  };
  std::atomic<int> right{0};
  std::vector<std::exception_ptr> errors(threads * 10);
  std::vector<std::thread> runners;
  for (std::size_t t = 0; t < threads; ++t)
    runners.emplace_back([&, t] {
      for (std::size_t c = 0; c < 10; ++c)
        net::co_spawn(io, client(t * 10 + c, right), [&errors, t, c](std::exception_ptr e) { errors[t * 10 + c] = e; });
      io.run();
    });
  for (auto& r : runners) r.join();
  io.restart();
  io.run();
  for (const auto& e : errors) CHECK_FALSE(e);
  CHECK(right == static_cast<int>(threads * each));
}

} // namespace process_payload
