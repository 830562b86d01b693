// SPDX-License-Identifier: BSL-1.0
// argument_array: workers view what the front end filled, and nothing is copied; with other arguments, in every kind of
// call, in several workers at once, through crashes, and beyond the pool's end; used wrongly, the call says so.
#include "support/in_child.hpp"
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/argument_array.hpp>
#include <coproc/run.hpp>
#include <coproc/thread_bridge.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <utility>
#include <vector>

namespace process_argument_array {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::argument_array;
using coproc::errc;

namespace {

struct board {
  tally started, go, died;
};
shared_memory<board> shared;

using numbers = std::span<const std::uint64_t>;

std::uint64_t sum(numbers v) { return std::accumulate(v.begin(), v.end(), std::uint64_t{0}); }
std::uint64_t sum_when_told(numbers v) {
  shared->started.add();
  shared->go.await(1);
  return sum(v);
}
std::uint64_t sum_at_second_attempt(numbers v) {
  if (shared->died.add() == 0) ::raise(SIGKILL);
  return sum(v);
}
std::uint64_t die(numbers) {
  ::raise(SIGKILL);
  return 0;
}
std::uint64_t dot(double factor, numbers a, std::string_view name, numbers b) {
  return static_cast<std::uint64_t>(factor) * std::inner_product(a.begin(), a.end(), b.begin(), std::uint64_t{0}) +
         name.size();
}
std::uint64_t sum3(std::span<const std::uint64_t, 3> v) { return v[0] + v[1] + v[2]; }
std::uint64_t sum_of_sorted_copy(std::vector<std::uint64_t> v) {
  std::sort(v.begin(), v.end());
  return v.front() + 10 * v.back();
}
std::size_t count_true(std::span<const bool> v) {
  return static_cast<std::size_t>(std::count(v.begin(), v.end(), true));
}
std::size_t first_space(std::string_view text) { return text.find(' '); }
std::string doubled(std::string text) { return text + text; }
const std::uint64_t& largest(numbers v) { return *std::max_element(v.begin(), v.end()); }
std::uint64_t reject_empty(numbers v) {
  if (v.empty()) throw std::length_error("nothing to sum");
  return sum(v);
}

struct point {
  float x = 0, y = 0;
};
float sum_x(std::span<const point> v) {
  return std::accumulate(v.begin(), v.end(), 0.0f, [](float s, const point& p) { return s + p.x; });
}

struct filter {
  std::uint64_t threshold = 0;
  std::uint64_t above(numbers v) const {
    return static_cast<std::uint64_t>(
        std::count_if(v.begin(), v.end(), [&](std::uint64_t n) { return n > threshold; }));
  }
};

argument_array<std::uint64_t> counting(const coproc::process_pool& pool, std::size_t n) {
  argument_array<std::uint64_t> a(pool, n);
  std::iota(a.begin(), a.end(), std::uint64_t{1});
  return a;
}
std::uint64_t sum_to(std::uint64_t n) { return n * (n + 1) / 2; }

} // namespace

TEST_CASE("an array of every size is viewed in the worker") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{127}, std::size_t{128}, std::size_t{129},
                              std::size_t{100'000}, std::size_t{8} << 20}) {
    INFO(n << " elements");
    const auto a = counting(pool, n);
    CHECK(a.size() == n);
    CHECK(a.empty() == (n == 0));
    CHECK(a.end() - a.begin() == static_cast<std::ptrdiff_t>(n));
    ending<std::uint64_t> e;
    start(e, pool, sum, a);
    REQUIRE(run_all(io));
    INFO(e.text());
    REQUIRE(e.succeeded());
    CHECK(*e.value == sum_to(n));
  }
}

TEST_CASE("nothing is copied: a worker sees what is written while it waits") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto a = counting(pool, 1000);
  ending<std::uint64_t> e;
  start(e, pool, sum_when_told, a);
  REQUIRE(shared->started.await(1));
  a[999] += 7; // with an event behind it; without one, the worker would see it at some time
  shared->go.add();
  REQUIRE(run_all(io));
  REQUIRE(e.succeeded());
  CHECK(*e.value == sum_to(1000) + 7);
}

TEST_CASE("the bytes of an array count neither towards max_payload of a call nor towards max_queue_bytes") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_queue_bytes = 1000, .max_payload = 8000});
  const auto a = counting(pool, 1000), b = counting(pool, 1000);
  ending<std::uint64_t> e;
  start(e, pool, dot, 2.0, a, "four", b);
  CHECK(pool.stats().queued_bytes < 200);
  REQUIRE(run_all(io));
  REQUIRE(e.succeeded());
  CHECK(*e.value == 2 * (1000ull * 1001 * 2001 / 6) + 4);
}

TEST_CASE("one array goes to many calls at once, in all workers") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3, .max_queue = 5000});
  const auto a = counting(pool, 5000), b = counting(pool, 200);
  std::vector<ending<std::uint64_t>> calls(3000);
  for (std::size_t i = 0; i != calls.size(); ++i) start(calls[i], pool, sum, i % 2 == 0 ? a : b);
  REQUIRE(run_all(io));
  for (std::size_t i = 0; i != calls.size(); ++i) {
    INFO(i << calls[i].text());
    REQUIRE(calls[i].succeeded());
    REQUIRE(*calls[i].value == sum_to(i % 2 == 0 ? 5000 : 200));
  }
}

TEST_CASE("an array mixes with ordinary arguments that are too large for a slot") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto a = counting(pool, 3);
  const std::vector<std::uint64_t> large(100'000, 1);
  const std::string name(5000, 'x');
  for (int i = 0; i != 3; ++i) { // records and their blocks are recycled
    ending<std::uint64_t> e, plain;
    start(e, pool, dot, 1.0, a, name, large);
    start(plain, pool, sum, large);
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    CHECK(*e.value == 6 + 5000);
    REQUIRE(plain.succeeded());
    CHECK(*plain.value == 100'000);
  }
}

TEST_CASE("every kind of call takes an array") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  run_coroutine(io, [&]() -> net::awaitable<void> {
    auto a = counting(pool, 1000);
    const std::uint64_t expected = sum_to(1000);
    const auto generic = [](const auto& v) {
      static_assert(std::is_same_v<decltype(v), const numbers&>);
      return v.size();
    };
    const filter above_ten{10};
    const auto captures = [factor = std::uint64_t{3}](numbers v) { return factor * sum(v); };
    CHECK(co_await coproc::run_in_executor(pool, sum, a) == expected);
    CHECK(co_await coproc::run_in_executor(pool, sum, std::as_const(a)) == expected);
    CHECK(co_await coproc::run_in_executor(pool, sum, coproc::moved(a)) == expected);
    CHECK(a.size() == 1000); // a handle that was moved from is still one
    CHECK(co_await coproc::run_in_executor(pool, sum, std::span<const std::uint64_t>(a)) == expected); // this is a copy
    CHECK(co_await coproc::run_in_executor(pool, generic, a) == 1000);
    CHECK(co_await coproc::run_in_executor(pool, &filter::above, above_ten, a) == 990);
    CHECK(co_await coproc::run_in_executor(pool, captures, a) == 3 * expected);
    CHECK(co_await coproc::run_in_executor(pool, largest, a) == 1000); // a returned reference is copied
    CHECK(co_await coproc::run_in_executor(pool, sum_of_sorted_copy, a) == 10'001);
    CHECK(co_await coproc::async_run(pool, coproc::work(sum, a)) == expected);
    CHECK(co_await coproc::run_in_executor(pool, sum, counting(pool, 1000)) == expected);
    CHECK(co_await pool.submit(sum, a) == expected);
    CHECK(co_await pool.with({.timeout = std::chrono::minutes(1)}).submit(sum, a) == expected);
    CHECK(coproc::detail::array_access::memory_of(a).use_count() == 1);
  }());
}

TEST_CASE("elements may be characters, bools and aggregates") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  argument_array<char> text(pool, 3000);
  std::fill(text.begin(), text.end(), 'a');
  text[2000] = ' ';
  argument_array<bool> flags(pool, 999);
  for (std::size_t i = 0; i != flags.size(); ++i) flags[i] = i % 3 == 0;
  argument_array<point> points(pool, 1000);
  std::fill(points.begin(), points.end(), point{2, 1});
  const std::span<point> all = points;
  all[0].x = 7;
  ending<std::size_t> space, count;
  ending<std::string> twice;
  ending<float> x;
  start(space, pool, first_space, text);
  start(twice, pool, doubled, text);
  start(count, pool, count_true, flags);
  start(x, pool, sum_x, points);
  REQUIRE(run_all(io));
  CHECK(space.value == 2000);
  REQUIRE(twice.succeeded());
  CHECK((*twice.value == std::string(text.begin(), text.end()) + std::string(text.begin(), text.end())));
  CHECK(count.value == 333);
  CHECK(x.value == 2005);
}

TEST_CASE("the replacement of a crashed worker maps the arrays, too, and a retried call has its array still") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto a = counting(pool, 1000), b = counting(pool, 100'000);
  ending<std::uint64_t> first, lost, retried, last;
  start(first, pool, sum, a);
  start(lost, pool, die, b);
  start(retried, pool.with({.max_retries = 1, .retry_on = coproc::retry::idempotent}), sum_at_second_attempt, b);
  start(last, pool, dot, 1.0, a, "", b);
  REQUIRE(run_all(io));
  CHECK(first.value == sum_to(1000));
  CHECK(lost.failed_with(errc::worker_lost));
  INFO(retried.text());
  CHECK(retried.value == sum_to(100'000));
  CHECK(last.value == 1000ull * 1001 * 2001 / 6);
  CHECK(pool.stats().counters.retried == 1);
}

TEST_CASE("the memory is used again when the last handle and the last call are gone, not before") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::optional<argument_array<std::uint64_t>> a(counting(pool, 1000));
  const std::uint64_t* const where = a->data();
  ending<std::uint64_t> e;
  start(e, pool, sum_when_told, *a);
  REQUIRE(shared->started.await(1));
  a.reset();
  {
    argument_array<std::uint64_t> other(pool, 1000);
    std::fill(other.begin(), other.end(), 0);
    CHECK(other.data() != where);
  }
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(e.value == sum_to(1000));
  std::vector<argument_array<std::uint64_t>> others;
  for (int i = 0; i != 2; ++i) others.emplace_back(pool, 1000);
  CHECK((others[0].data() == where || others[1].data() == where));
}

TEST_CASE("a call that fails, is killed or is never awaited lets go of its array") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto a = counting(pool, 1000), none = counting(pool, 0);
  ending<std::uint64_t> threw, killed;
  start(threw, pool, reject_empty, none);
  REQUIRE(run_all(io));
  CHECK(threw.as<std::length_error>());
  net::cancellation_signal kill;
  start(kill.slot(), killed, pool, sum_when_told, a);
  REQUIRE(shared->started.await(1));
  kill.emit(net::cancellation_type::terminal);
  REQUIRE(run_all(io));
  CHECK(killed.aborted());
  {
    const auto dropped = coproc::run_in_executor(pool, sum, a);
  }
  CHECK(coproc::detail::array_access::memory_of(a).use_count() == 1);
  CHECK(coproc::detail::array_access::memory_of(none).use_count() == 1);
}

TEST_CASE("an array outlives its pool, whose end aborts the calls that have it") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<argument_array<std::uint64_t>> a;
  std::vector<ending<std::uint64_t>> calls(20);
  {
    coproc::process_pool pool(io, {.max_workers = 1});
    a.emplace(counting(pool, 100'000));
    for (auto& e : calls) start(e, pool, sum_when_told, *a);
    REQUIRE(shared->started.await(1));
  }
  REQUIRE(run_all(io));
  for (const auto& e : calls) CHECK(e.aborted());
  CHECK(coproc::detail::array_access::memory_of(*a).use_count() == 1);
  CHECK(sum(*a) == sum_to(100'000));
  coproc::process_pool next(io, {.max_workers = 1});
  ending<std::uint64_t> wrong, copied;
  start(wrong, next, sum, *a);
  start(copied, next, sum, std::span<const std::uint64_t>(*a));
  REQUIRE(run_all(io));
  CHECK(wrong.as<std::invalid_argument>());
  CHECK(copied.value == sum_to(100'000));
}

TEST_CASE("an array of another pool is refused with cause and way out, and the call lets go of all its arrays") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool one(io, {.max_workers = 1}), other(io, {.max_workers = 1});
  const auto a = counting(one, 10), b = counting(other, 10);
  ending<std::uint64_t> wrong, right, later;
  start(wrong, one, dot, 1.0, a, "", b);
  start(right, one, dot, 1.0, a, "", a);
  REQUIRE(run_all(io));
  REQUIRE(wrong.as<std::invalid_argument>());
  CHECK(wrong.calls == 1);
  CHECK(wrong.text().find("another pool") != std::string::npos);
  CHECK(wrong.text().find("std::span") != std::string::npos);
  CHECK(right.value == 385);
  CHECK(coproc::detail::array_access::memory_of(a).use_count() == 1);
  CHECK(coproc::detail::array_access::memory_of(b).use_count() == 1);
  start(later, one, sum, a); // with the record of the refused call
  REQUIRE(run_all(io));
  CHECK(later.value == 55);
}

TEST_CASE("a worker cannot write to an array") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto a = counting(pool, 10);
  const auto write = +[](numbers v) {
    ::signal(SIGSEGV, SIG_DFL); // whatever a sanitizer makes of it
    const_cast<std::uint64_t&>(v[0]) = 7;
  };
  ending<void> e;
  start(e, pool, write, a);
  REQUIRE(run_all(io));
  const auto how = e.as<coproc::worker_lost>();
  REQUIRE(how);
  CHECK(how->signal() == SIGSEGV);
  CHECK(a[0] == 1);
}

TEST_CASE("a span of fixed length takes arrays of that length only") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto three = counting(pool, 3), four = counting(pool, 4);
  ending<std::uint64_t> right, wrong;
  start(right, pool, sum3, three);
  start(wrong, pool, sum3, four);
  REQUIRE(run_all(io));
  CHECK(right.value == 6);
  CHECK(wrong.failed_with(errc::bad_payload));
  CHECK(wrong.text().find("wrong length") != std::string::npos);
}

TEST_CASE("an array beyond max_payload is refused by its constructor") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 8000});
  CHECK(counting(pool, 1000).size() == 1000);
  for (const std::size_t n : {std::size_t{1001}, std::size_t{1} << 61, ~std::size_t{0}}) {
    try {
      argument_array<std::uint64_t>(pool, n);
      FAIL("not refused");
    } catch (const coproc::pool_error& e) {
      CHECK(e.code() == make_error_code(errc::payload_too_large));
      CHECK(std::string(e.what()).find("max_payload") != std::string::npos);
    }
  }
}

TEST_CASE("no array can be made in a forked copy of the process, and the copies of handles there do no harm") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::optional<argument_array<std::uint64_t>> a(counting(pool, 1000));
  check_in_child([&] {
    try {
      argument_array<int>(pool, 10);
      expect(false, "not refused");
    } catch (const coproc::pool_error& e) {
      expect(e.code() == make_error_code(errc::wrong_process), "not refused with wrong_process");
    }
    a.reset();
  });
  ending<std::uint64_t> e;
  start(e, pool, sum, *a);
  REQUIRE(run_all(io));
  CHECK(e.value == sum_to(1000));
}

TEST_CASE("a worker that cannot map an array ends, and its replacement takes the next call") {
  if (sanitized) return; // it needs memory of its own
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  // Not before the next call lies in its ring: an idle worker maps what it is told to before it begins a task, and a
  // task that has not begun moves to the replacement.
  const auto no_more_memory = +[] {
    const rlimit nothing{1, 1};
    const int error = ::setrlimit(RLIMIT_AS, &nothing);
    shared->started.add();
    shared->go.await(1);
    return error;
  };
  const auto a = counting(pool, 1000);
  ending<int> squeezed;
  ending<std::uint64_t> lost, next;
  start(squeezed, pool, no_more_memory);
  REQUIRE(run_until(io, [] { return shared->started.get() == 1; }));
  start(lost, pool, sum, a);
  REQUIRE(run_until(io, [&] { return pool.stats().active == 2; }));
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(squeezed.value == 0);
  const auto how = lost.as<coproc::worker_lost>();
  REQUIRE(how);
  CHECK(how->exit_code() == 71); // as docs/errors.md says
  start(next, pool, sum, a);
  REQUIRE(run_all(io));
  CHECK(next.value == sum_to(1000));
}

TEST_CASE("a thread pool takes the same call, and views the array, too") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  net::thread_pool threads(1);
  const auto a = counting(pool, 1000);
  CHECK(run_coroutine(io, coproc::run_in_executor(threads, sum, a)) == sum_to(1000));
}

TEST_CASE("segments of dropped arrays are unmapped by workers while others stay in use") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto kept = counting(pool, 1000);
  for (int round = 0; round != 12; ++round) { // more than the segment pool keeps warm: each has a segment of its own
    std::vector<argument_array<std::uint64_t>> arrays;
    for (std::size_t i = 0; i != 4; ++i) {
      arrays.emplace_back(pool, std::size_t{12} << 20);
      arrays.back()[0] = i;
      arrays.back().end()[-1] = i + 1;
    }
    std::vector<ending<std::uint64_t>> calls(arrays.size());
    const auto ends = +[](numbers v, numbers k) { return v.front() + v.back() + k.back(); };
    for (std::size_t i = 0; i != calls.size(); ++i) start(calls[i], pool, ends, arrays[i], kept);
    REQUIRE(run_all(io));
    for (std::size_t i = 0; i != calls.size(); ++i) CHECK(calls[i].value == 2 * i + 1 + 1000);
  }
}

} // namespace process_argument_array
