// SPDX-License-Identifier: BSL-1.0
// Results that are viewed where the worker made them: that nothing is copied, how long they stay, what becomes of the
// memory however a call ends, and that without room they are copied and nothing else changes.
#include "support/in_child.hpp"
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/result_view.hpp>
#include <coproc/shm/result_file.hpp>
#include <coproc/thread_bridge.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using coproc::result_array;
using coproc::result_view;

namespace {

constexpr std::size_t many = 5000; // numbers: more than is copied for its smallness
constexpr int more_than_loans = 150;

/// Does it lie in the result file of a worker?
bool in_place(const void* p) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:coproc-results") == line.npos) continue;
    char* rest = nullptr;
    const auto begin = std::strtoull(line.c_str(), &rest, 16), end = std::strtoull(rest + 1, nullptr, 16);
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    if (at >= begin && at < end) return true;
  }
  return false;
}

struct board {
  tally started, go;
};
shared_memory<board> shared;

bool counts_from(const result_view<int>& v, int first, std::size_t n) {
  if (v.size() != n) return false;
  return std::all_of(v.begin(), v.end(), [&](int value) { return value == first++; });
}

// ---- tasks

result_view<int> count(int first, std::size_t n) {
  result_array<int> a(n);
  std::iota(a.begin(), a.end(), first);
  return a;
}
result_view<int> count_many(int first) { return count(first, many); }

result_view<int> kept(int) {
  static const result_view<int> all = count(7, many);
  return all;
}
const result_view<int>& kept_reference() {
  static const result_view<int> all = count(7, many);
  return all;
}

result_view<int> throw_in_the_middle(int n) {
  result_array<int> a(many);
  a[0] = n;
  if (n >= 0) throw std::runtime_error("no result");
  return a;
}

result_view<int> signal_and_count(int first) {
  shared->started.add();
  shared->go.await(1);
  return count(first, many);
}

void die() { ::raise(SIGKILL); }

struct named_views {
  std::string name;
  result_view<double> x, y;
  int n = 0;
};

named_views make_named(std::size_t name_bytes, std::size_t n) {
  named_views r{std::string(name_bytes, 'n'), {}, {}, 17};
  result_array<double> x(n), y(n + 1);
  std::fill(x.begin(), x.end(), 1.5);
  std::fill(y.begin(), y.end(), 2.5);
  r.x = std::move(x);
  r.y = std::move(y);
  return r;
}

std::vector<result_view<int>> make_rows(int rows, std::size_t n) {
  std::vector<result_view<int>> all;
  for (int i = 0; i != rows; ++i) all.push_back(count(i, n));
  return all;
}

/// A value that fails in the worker, or in the front end, before or after the views around it.
struct fails {
  int where = 0;
};

struct around {
  fails before;
  result_view<int> view;
  fails after;
};

around make_around(int before, int after) { return {{before}, count(3, many), {after}}; }

} // namespace

template <>
struct coproc::codec<fails> {
  static void encode(writer& w, const fails& f) {
    if (f.where == 1) throw std::logic_error("not encoded");
    w.put(f.where);
  }
  static fails decode(reader& r) {
    const int where = r.get<int>();
    if (where == 2) throw bad_payload("not decoded");
    return {where};
  }
};

namespace {

/// The worker has all its loans, and all its memory: the next result is in place, at the beginning.
void check_nothing_lost(net::io_context& io, coproc::process_pool& pool) {
  std::vector<result_view<int>> views;
  for (unsigned i = 0; i != coproc::shm::max_loans; ++i) {
    ending<result_view<int>> e;
    start(e, pool, count_many, 1);
    REQUIRE(run_all(io));
    INFO(e.text());
    REQUIRE(e.succeeded());
    REQUIRE(in_place(e.value->data()));
    REQUIRE(counts_from(*e.value, 1, many));
    views.push_back(*e.value);
  }
}

result_view<int> call(net::io_context& io, coproc::process_pool& pool, int first, std::size_t n = many) {
  ending<result_view<int>> e;
  start(e, pool, count, first, n);
  REQUIRE(run_all(io));
  INFO(e.text());
  REQUIRE(e.succeeded());
  REQUIRE(counts_from(*e.value, first, n));
  return *e.value;
}

} // namespace

TEST_CASE("a large result is viewed where the worker made it, a small one is copied, and both are right") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{50}, std::size_t{100}, std::size_t{1023},
                              std::size_t{1024}, std::size_t{5000}, std::size_t{1} << 18, std::size_t{1} << 24}) {
    INFO(n << " numbers");
    const auto v = call(io, pool, 42, n);
    CHECK(v.empty() == (n == 0));
    CHECK(in_place(v.data()) == (n >= 1024));
    CHECK(reinterpret_cast<std::uintptr_t>(v.data()) % alignof(int) == 0);
    if (n != 0) CHECK(v[n - 1] == 41 + static_cast<int>(n));
  }
}

TEST_CASE("co_await, submit and async_run all give views") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  run_coroutine(io, [&]() -> net::awaitable<void> {
    const result_view<int> v = co_await coproc::run_in_executor(pool, count_many, 5);
    CHECK(in_place(v.data()));
    CHECK(counts_from(v, 5, many));
    auto task = pool.submit(count_many, 6);
    const result_view<int> u = co_await std::move(task);
    CHECK(in_place(u.data()));
    CHECK(counts_from(u, 6, many));
    CHECK(counts_from(v, 5, many));
  }());
}

TEST_CASE("views travel inside aggregates, tuples, optionals, vectors and maps") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  SECTION("aggregates, their other members inline or in the file") {
    for (const std::size_t name : {std::size_t{3}, std::size_t{1000}, std::size_t{100'000}}) {
      ending<named_views> e;
      start(e, pool, make_named, name, std::size_t{3000});
      REQUIRE(run_all(io));
      REQUIRE(e.succeeded());
      CHECK(e.value->name == std::string(name, 'n'));
      CHECK(e.value->n == 17);
      CHECK(in_place(e.value->x.data()));
      CHECK(in_place(e.value->y.data()));
      CHECK(std::count(e.value->x.begin(), e.value->x.end(), 1.5) == 3000);
      CHECK(std::count(e.value->y.begin(), e.value->y.end(), 2.5) == 3001);
    }
  }
  SECTION("vectors, of which all rows are one loan") {
    std::vector<ending<std::vector<result_view<int>>>> all(10);
    for (auto& e : all) start(e, pool, make_rows, 30, many);
    REQUIRE(run_all(io));
    for (const auto& e : all) {
      REQUIRE(e.succeeded());
      REQUIRE(e.value->size() == 30);
      for (int i = 0; i != 30; ++i) {
        const auto& row = (*e.value)[static_cast<std::size_t>(i)];
        REQUIRE(in_place(row.data()));
        REQUIRE(counts_from(row, i, many));
      }
    }
  }
  SECTION("optionals and tuples") {
    ending<std::tuple<int, std::optional<result_view<int>>, std::optional<result_view<int>>>> e;
    start(e, pool, +[] { return std::tuple(1, std::optional(count_many(2)), std::optional<result_view<int>>()); });
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    REQUIRE(std::get<1>(*e.value));
    CHECK(in_place(std::get<1>(*e.value)->data()));
    CHECK(counts_from(*std::get<1>(*e.value), 2, many));
    CHECK_FALSE(std::get<2>(*e.value));
  }
  SECTION("maps, and arrays of structs") {
    struct point {
      float x, y, z;
    };
    ending<std::map<std::string, result_view<point>>> e;
    start(
        e, pool, +[] {
          result_array<point> a(1000);
          for (std::size_t i = 0; i != a.size(); ++i) a[i] = {static_cast<float>(i), 1, 2};
          std::map<std::string, result_view<point>> m;
          m.emplace("points", std::move(a));
          return m;
        });
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    const auto& points = e.value->at("points");
    CHECK(in_place(points.data()));
    CHECK(points.size() == 1000);
    CHECK(points[999].x == 999);
    CHECK(points[999].z == 2);
  }
  check_nothing_lost(io, pool);
}

TEST_CASE("64 results are viewed at once in place, what comes then is copied, and every view that goes makes room") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::vector<result_view<int>> views;
  for (int i = 0; i != 70; ++i) {
    views.push_back(call(io, pool, i));
    CHECK(in_place(views.back().data()) == (i < 64));
  }
  std::mt19937 random(20261120);
  for (int i = 0; i != 200; ++i) { // in any order
    auto& v = views[random() % 64];
    const int first = v[0];
    v = {};
    v = call(io, pool, first);
    REQUIRE(in_place(v.data()));
  }
  for (int i = 0; i != 70; ++i) CHECK(counts_from(views[static_cast<std::size_t>(i)], i, many));
}

TEST_CASE("memory is used again once its views are gone, copies of views included, and not before") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto v = call(io, pool, 1);
  const int* const first = v.data();
  auto copy = v;
  v = {};
  auto u = call(io, pool, 2);
  CHECK(u.data() != first);
  CHECK(counts_from(copy, 1, many));
  copy = {};
  u = {};
  CHECK(call(io, pool, 3).data() == first);
  for (int i = 0; i != 1000; ++i) REQUIRE(call(io, pool, i).data() == first);
}

TEST_CASE("an array that a worker keeps is lent again and again, by value or by reference") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::optional<result_view<int>> by_value, by_reference;
  for (int i = 0; i != more_than_loans; ++i) {
    ending<result_view<int>> a, b;
    start(a, pool, kept, 0);
    start(b, pool, kept_reference);
    REQUIRE(run_all(io));
    REQUIRE((a.succeeded() && b.succeeded()));
    if (!by_value) by_value = a.value, by_reference = b.value;
    REQUIRE(in_place(a.value->data()));
    REQUIRE(a.value->data() == by_value->data());
    REQUIRE(b.value->data() == by_reference->data());
    REQUIRE(counts_from(*a.value, 7, many));
  }
}

TEST_CASE("views outlive their worker and their pool") {
  const leak_audit audit;
  net::io_context io(1);
  result_view<int> of_dead, of_pool;
  {
    coproc::process_pool pool(io, {.max_workers = 1});
    of_dead = call(io, pool, 1);
    ending<void> end;
    start(end, pool, die);
    REQUIRE(run_all(io));
    CHECK(end.as<coproc::worker_lost>());
    CHECK(counts_from(of_dead, 1, many));
    of_pool = call(io, pool, 2);
    CHECK(in_place(of_pool.data()));
  }
  CHECK(in_place(of_dead.data()));
  CHECK(counts_from(of_dead, 1, many));
  of_dead = {};
  CHECK(counts_from(of_pool, 2, many));
}

TEST_CASE("a worker that is killed while its results are viewed is replaced, and the views stay") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<result_view<int>> views;
  for (int i = 0; i != 20; ++i) {
    views.push_back(call(io, pool, i));
    ending<void> end;
    start(end, pool, die);
    REQUIRE(run_all(io));
    CHECK(end.as<coproc::worker_lost>());
  }
  for (int i = 0; i != 20; ++i) CHECK(counts_from(views[static_cast<std::size_t>(i)], i, many));
}

TEST_CASE("max_payload bounds what is lent as it bounds what is copied, and nothing is lost") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 100'000});
  const auto fails_for = [&](auto fn, auto... args) {
    ending<std::decay_t<decltype(fn(args...))>> e;
    start(e, pool, fn, args...);
    REQUIRE(run_all(io));
    INFO(e.text());
    CHECK(e.failed_with(errc::payload_too_large));
    CHECK(e.text().find("max_payload") != std::string::npos);
  };
  for (int i = 0; i != more_than_loans; ++i) {
    fails_for(count, 1, std::size_t{25'001});    // alone
    fails_for(make_rows, 6, std::size_t{5'000}); // together
    fails_for(make_named, std::size_t{60'000}, std::size_t{3'000});
  }
  CHECK(in_place(call(io, pool, 1, 24'990).data()));
  CHECK(in_place(call(io, pool, 1, 24'990).data()));
  ending<std::vector<result_view<int>>> rows;
  start(rows, pool, make_rows, 4, std::size_t{5'000});
  REQUIRE(run_all(io));
  CHECK(rows.succeeded());
}

TEST_CASE("without room for it a result is copied") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 100'000});
  const auto a = call(io, pool, 1, 20'000);
  CHECK(in_place(a.data()));
  const auto b = call(io, pool, 2, 20'000);
  CHECK_FALSE(in_place(b.data()));
  const auto c = call(io, pool, 3, 4'000);
  CHECK(in_place(c.data()));
  CHECK(counts_from(a, 1, 20'000));
  CHECK(counts_from(b, 2, 20'000));
}

TEST_CASE("tasks and codecs that throw lose nothing, wherever they throw") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 4 << 20});
  for (int i = 0; i != more_than_loans; ++i) {
    ending<result_view<int>> thrown;
    start(thrown, pool, throw_in_the_middle, i);
    ending<around> encode_before, encode_after, decode_before, decode_after;
    start(encode_before, pool, make_around, 1, 0);
    start(encode_after, pool, make_around, 0, 1);  // the view has been encoded
    start(decode_before, pool, make_around, 2, 0); // the view is never decoded
    start(decode_after, pool, make_around, 0, 2);
    REQUIRE(run_all(io));
    CHECK(thrown.text().find("no result") != std::string::npos);
    CHECK(encode_before.text().find("not encoded") != std::string::npos);
    CHECK(encode_after.text().find("not encoded") != std::string::npos);
    CHECK(decode_before.failed_with(errc::bad_payload));
    CHECK(decode_after.failed_with(errc::bad_payload));
  }
  check_nothing_lost(io, pool);
}

TEST_CASE("a call that is cancelled while it finishes gives a view or nothing, and loses nothing") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = std::chrono::milliseconds(100)});
  std::mt19937 random(1);
  int values = 0, aborted = 0;
  for (int i = 0; i != more_than_loans; ++i) {
    shared.reset();
    ending<result_view<int>> e;
    net::cancellation_signal cancel;
    // Terminal, at times: then the worker is gone, with all that it lent.
    const auto type = i % 4 == 0 ? net::cancellation_type::terminal : net::cancellation_type::partial;
    start(cancel.slot(), e, pool, signal_and_count, i);
    REQUIRE(run_until(io, [&] { return shared->started.get() == 1; }));
    shared->go.add();
    burn(static_cast<int>(random() % 60'000));
    cancel.emit(type);
    REQUIRE(run_all(io));
    REQUIRE((e.succeeded() || e.aborted()));
    ++(e.succeeded() ? values : aborted);
    if (e.succeeded()) CHECK(counts_from(*e.value, i, many));
  }
  CHECK(values > 0);
  check_nothing_lost(io, pool);
}

TEST_CASE("handlers that are destroyed uninvoked give their views back") {
  const leak_audit audit;
  shared.reset();
  auto io = std::make_unique<net::io_context>(1);
  std::vector<ending<result_view<int>>> endings(100);
  auto pool = std::make_unique<coproc::process_pool>(*io, coproc::pool_options{.max_workers = 1});
  for (auto& e : endings) start(e, *pool, count_many, 1);
  // Some are completed, some are drained, some are in the ring or the queue.
  REQUIRE(run_until(
      *io, [&] { return std::any_of(endings.begin(), endings.end(), [](const auto& e) { return e.calls; }); }));
  SECTION("with the pool first") { pool.reset(); }
  SECTION("with the loop first") {}
  io.reset();
  pool.reset();
  for (const auto& e : endings) CHECK(e.calls <= 1);
}

TEST_CASE("tasks that are dropped unawaited lose nothing") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (int i = 0; i != more_than_loans; ++i) {
    auto task = pool.submit(count_many, i);
    std::move(task).detach();
    REQUIRE(run_all(io));
  }
  check_nothing_lost(io, pool);
}

TEST_CASE("views may be let go by several threads at once, while the worker makes more") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2});
  std::atomic<int> right{0}, placed{0};
  const auto client = [&](int seed) -> net::awaitable<void> {
    for (int i = 0; i != 250; ++i) {
      const result_view<int> v = co_await coproc::run_in_executor(pool, count_many, seed + i);
      right += counts_from(v, seed + i, many);
      placed += in_place(v.data());
    }
  };
  constexpr int clients = 16;
  for (int c = 0; c != clients; ++c) net::co_spawn(net::make_strand(io), client(1000 * c), net::detached);
  std::vector<std::thread> threads;
  for (int t = 0; t != 4; ++t) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(right == clients * 250);
  CHECK(placed == clients * 250);
  check_nothing_lost(io, pool);
}

TEST_CASE("threads of a task may make arrays, too") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (int i = 0; i != 20; ++i) {
    ending<std::vector<result_view<int>>> e;
    start(
        e, pool, +[] {
          std::vector<result_view<int>> all(8);
          std::vector<std::thread> threads;
          for (int t = 0; t != 8; ++t)
            threads.emplace_back([&all, t] {
              for (int k = 0; k != 20; ++k) all[static_cast<std::size_t>(t)] = count_many(t);
            });
          for (auto& t : threads) t.join();
          return all;
        });
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    for (int t = 0; t != 8; ++t) {
      const auto& v = (*e.value)[static_cast<std::size_t>(t)];
      CHECK(in_place(v.data()));
      CHECK(counts_from(v, t, many));
    }
  }
  check_nothing_lost(io, pool);
}

TEST_CASE("an array that is not made in a worker is ordinary memory") {
  result_array<int> a(many);
  std::iota(a.begin(), a.end(), 3);
  const std::span<int> span(a);
  CHECK(span.size() == many);
  const std::span<const int> const_span(std::as_const(a));
  CHECK(const_span.data() == a.data());
  const int* const at = a.data();
  const result_view<int> v = std::move(a);
  CHECK(v.data() == at);
  CHECK(counts_from(v, 3, many));
  CHECK_FALSE(in_place(v.data()));
  CHECK_THROWS_AS(result_array<int>(~std::size_t{0}), std::bad_alloc);
  CHECK(result_array<int>(0).empty());

  net::io_context io(1);
  net::thread_pool threads(1);
  run_coroutine(io, [&]() -> net::awaitable<void> {
    const result_view<int> u = co_await coproc::run_in_executor(threads, count_many, 5);
    CHECK(counts_from(u, 5, many));
  }());
}

TEST_CASE("a view is an argument as well: copied, as a span or as a view") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto v = call(io, pool, 1);
  const long expected = std::accumulate(v.begin(), v.end(), 0l);
  ending<long> of_span, of_view;
  ending<result_view<int>> back;
  start(of_span, pool, +[](std::span<const int> s) { return std::accumulate(s.begin(), s.end(), 0l); }, v);
  start(of_view, pool, +[](const result_view<int>& s) { return std::accumulate(s.begin(), s.end(), 0l); }, v);
  start(back, pool, +[](const result_view<int>& s) { return s; }, v);
  REQUIRE(run_all(io));
  REQUIRE(of_span.succeeded());
  REQUIRE(of_view.succeeded());
  REQUIRE(back.succeeded());
  CHECK(*of_span.value == expected);
  CHECK(*of_view.value == expected);
  CHECK(counts_from(*back.value, 1, many)); // it was ordinary memory there
  CHECK_FALSE(in_place(back.value->data()));
}

TEST_CASE("a forked copy of the front end may end with views in hand, and gives nothing back") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto v = call(io, pool, 1);
  const int* const at = v.data();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    v = {};
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(call(io, pool, 2).data() != at);
  CHECK(counts_from(v, 1, many));
}

TEST_CASE("the last view in a forked copy unmaps nothing, since other memory may be there by now") {
  const leak_audit audit;
  net::io_context io(1);
  result_view<int> v;
  {
    coproc::process_pool pool(io, {.max_workers = 1});
    v = call(io, pool, 1);
  }
  check_in_child([&] {
    const auto page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(v.data()) / 4096 * 4096);
    void* const other =
        ::mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    expect(other == page, "the memory of views is mapped in a child");
    v = {};
    unsigned char resident = 0;
    expect(::mincore(other, 4096, &resident) == 0, "memory of the child was unmapped");
  });
  CHECK(counts_from(v, 1, many));
}

TEST_CASE("a child that a task forks has arrays of its own, and leaves the worker's alone") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<result_view<int>> e;
  start(
      e, pool, +[]() -> result_view<int> {
        result_array<int> a(many);
        std::iota(a.begin(), a.end(), 5);
        const pid_t child = ::fork();
        if (child == 0) {
          {
            result_array<int> gone = std::move(a);
            result_array<int> own(many);
            std::fill(own.begin(), own.end(), 0);
          }
          ::_exit(0);
        }
        int status = -1;
        if (::waitpid(child, &status, 0) != child || status != 0) throw std::runtime_error("the child failed");
        const result_array<int> another(many);
        if (another.data() == a.data()) throw std::runtime_error("the array was freed");
        return a;
      });
  REQUIRE(run_all(io));
  INFO(e.text());
  REQUIRE(e.succeeded());
  CHECK(in_place(e.value->data()));
  CHECK(counts_from(*e.value, 5, many));
}

TEST_CASE("memory beyond what a worker keeps goes back to the system when its views are gone") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  constexpr std::size_t n = std::size_t{25} << 20; // 100 MiB
  auto v = call(io, pool, 1, n);
  REQUIRE(in_place(v.data()));
  const int* const at = v.data();
  const auto resident = [&] {
    std::vector<unsigned char> pages(n * sizeof(int) / 4096);
    const auto page = reinterpret_cast<std::uintptr_t>(at) / 4096 * 4096;
    // Of the file, whoever maps it.
    const auto other = call(io, pool, 1, 2000); // keeps a mapping, and the pool's turn wakes the worker
    REQUIRE(::mincore(reinterpret_cast<void*>(page), n * sizeof(int), pages.data()) == 0);
    return static_cast<std::size_t>(std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return p & 1; })) *
           4096;
  };
  CHECK(resident() == n * sizeof(int));
  v = {};
  CHECK(run_until(io, [&] { return resident() <= coproc::shm::result_space::warm_bytes; }));
  CHECK(resident() > (std::size_t{40} << 20)); // some stays warm
}
