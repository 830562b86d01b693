// SPDX-License-Identifier: BSL-1.0
// The calls as users write them: run_in_executor, submit and task, async_run with every token; handlers' associations;
// what a task throws and returns.
#include "support/run.hpp"

#include <coproc/codec/codec.hpp>
#include <coproc/gather.hpp>
#include <coproc/run.hpp>
#include <coproc/this_worker.hpp>
#include <coproc/with_timeout.hpp>

#include "net/handlers.hpp"

#include <asio/experimental/awaitable_operators.hpp>

#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

struct board {
  tally started, go, ran;
};
shared_memory<board> shared;

int add(int a, int b) { return a + b; }
void nothing() { shared->ran.add(); }
int blocker() {
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int spin_for_ever() {
  shared->started.add();
  for (;;) burn(1000);
}

struct point {
  int x = 0;
  double y = 0;
  std::string name;
  friend bool operator==(const point&, const point&) = default;
  point moved_by(int dx) const { return {x + dx, y, name}; }
};

/// Neither default-constructible nor copyable; travels through its codec.
class ticket {
public:
  explicit ticket(int n) : number_(std::make_unique<int>(n)) {}
  int number() const { return *number_; }

private:
  std::unique_ptr<int> number_;
};

/// Its codec throws on one of its four sides.
struct fragile {
  enum side { nowhere, encoding_arguments, decoding_arguments, encoding_result, decoding_result };
  side where = nowhere;
};

/// Its codec writes more than it keeps.
struct hesitant {
  std::size_t attempt = 0;
  int number = 0;
};

class own_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

} // namespace

template <>
struct coproc::codec<ticket> {
  static void encode(writer& w, const ticket& t) { w.put(t.number()); }
  static ticket decode(reader& r) { return ticket(r.get<int>()); }
};

template <>
struct coproc::codec<fragile> {
  static void encode(writer& w, const fragile& f) {
    fail_if(f.where == (in_worker() ? fragile::encoding_result : fragile::encoding_arguments));
    w.put(static_cast<int>(f.where));
  }
  static fragile decode(reader& r) {
    const fragile f{static_cast<fragile::side>(r.get<int>())};
    fail_if(f.where == (in_worker() ? fragile::decoding_arguments : fragile::decoding_result));
    return f;
  }

private:
  static bool in_worker() { return coproc::this_worker::id().has_value(); }
  static void fail_if(bool fail) {
    if (fail) throw std::domain_error("fragile");
  }
};

namespace {

ticket next_ticket(const ticket& t) { return ticket(t.number() + 1); }

} // namespace

template <>
struct coproc::codec<hesitant> {
  static void encode(writer& w, const hesitant& h) {
    w.put(std::string(h.attempt, 'x'));
    w.rewind(); // it is all that there is
    w.put(h.attempt).put(h.number);
  }
  static hesitant decode(reader& r) {
    const auto attempt = r.get<std::size_t>();
    return {attempt, r.get<int>()};
  }
};

TEST_CASE("run_in_executor takes functions, members, lambdas and plain captures, and converts their arguments") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  run_coroutine(io, [](coproc::process_pool& p) -> net::awaitable<void> {
    const int sum = co_await coproc::run_in_executor(p, add, 1, short{2});
    CHECK(sum == 3);
    const int by_pointer = co_await coproc::run_in_executor(p, &add, 2.0, 2);
    CHECK(by_pointer == 4);
    co_await coproc::run_in_executor(p, nothing);
    const auto lambda = [](std::string_view a, const std::string& b) { return std::string(a) + b; };
    const std::string text = co_await coproc::run_in_executor(p, lambda, "ab", "cd");
    CHECK(text == "abcd");
    int offset = 90;
    offset += 10; // no constant, so that it is captured
    const auto with_capture = [offset](int n) { return n + offset; };
    const int shifted = co_await coproc::run_in_executor(p, with_capture, 5);
    CHECK(shifted == 105);
    const auto generic = [](const auto& a, const auto& b) { return a + b; };
    const double mixed = co_await coproc::run_in_executor(p, generic, 1, 0.5);
    CHECK(mixed == 1.5);
    const point origin{1, 2.5, "here"};
    const point there = co_await coproc::run_in_executor(p, &point::moved_by, origin, 3);
    CHECK(there == point{4, 2.5, "here"});
    const std::vector<int> numbers{1, 2, 3};
    const auto total = [](std::span<const int> s) { return std::accumulate(s.begin(), s.end(), 0); };
    const int six = co_await coproc::run_in_executor(p, total, numbers);
    CHECK(six == 6);
  }(pool));
  CHECK(shared->ran.get() == 1);
}

TEST_CASE("arguments behave as decay-copied before the call returns") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  std::string text(100'000, 'a');
  const auto last = [](const std::string& s) { return s.back(); };
  auto call = coproc::run_in_executor(pool, last, text);
  text.back() = 'b';
  auto task = pool.submit(last, text);
  text.assign(1, 'c');
  CHECK(run_coroutine(io, std::move(call)) == 'a');
  ending<char> e;
  task.async_wait(into(e));
  REQUIRE(run_all(io));
  REQUIRE(e.succeeded());
  CHECK(*e.value == 'b');
}

TEST_CASE("results may be void, large, nested, move-only or without a default constructor") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  run_coroutine(io, [](coproc::process_pool& p) -> net::awaitable<void> {
    const auto make = [](int n) {
      std::map<std::string, std::vector<std::optional<int>>> m;
      for (int i = 0; i < n; ++i) m[std::to_string(i)] = {i, std::nullopt};
      return m;
    };
    const auto m = co_await coproc::run_in_executor(p, make, 1000);
    CHECK(m.size() == 1000);
    CHECK(m.at("7") == std::vector<std::optional<int>>{7, std::nullopt});
    ticket first(41);
    ticket second = co_await coproc::run_in_executor(p, next_ticket, coproc::moved(first));
    CHECK(second.number() == 42);
    auto started = p.submit(next_ticket, std::move(second));
    const ticket third = co_await std::move(started);
    CHECK(third.number() == 43);
    const auto reference = [](const std::string& s) -> const std::string& { return s; };
    const std::string copy = co_await coproc::run_in_executor(p, reference, "copied");
    CHECK(copy == "copied");
  }(pool));
}

TEST_CASE("a call that fails although its result has no default constructor still says why") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto fails = [](int n) -> ticket { throw std::out_of_range(std::to_string(n)); };
  std::string caught;
  const auto body = [&](bool eager) -> net::awaitable<void> {
    try {
      if (eager) {
        auto task = pool.submit(fails, 7);
        co_await std::move(task);
      } else {
        co_await coproc::run_in_executor(pool, fails, 8);
      }
    } catch (const std::out_of_range& e) {
      caught += e.what();
    }
  };
  run_coroutine(io, body(false));
  run_coroutine(io, body(true));
  CHECK(caught == "87");
}

TEST_CASE("standard exceptions arrive as themselves, and can be told from local ones") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto check = [&](auto thrower, auto expected, const std::string& what, const std::string& type) {
    using expected_type = decltype(expected);
    ending<void> e;
    start(e, pool, thrower);
    REQUIRE(run_all(io));
    INFO(type << ": " << e.text());
    REQUIRE(e.calls == 1);
    REQUIRE(e.error);
    try {
      std::rethrow_exception(e.error);
    } catch (const expected_type& caught) {
      CHECK(std::string(caught.what()).find(what) != std::string::npos);
      const auto* remote = dynamic_cast<const coproc::remote_info*>(&caught);
      REQUIRE(remote != nullptr);
      CHECK(std::string(remote->type_name()).find(type) != std::string::npos);
    } catch (...) {
      FAIL("not the expected type");
    }
  };
  check(+[] { throw std::invalid_argument("bad one"); }, std::invalid_argument(""), "bad one", "std::invalid_argument");
  check(+[] { throw std::bad_alloc(); }, std::bad_alloc(), "bad_alloc", "std::bad_alloc");
  check(+[] { throw own_error("mine"); }, std::runtime_error(""), "mine", "own_error");
  check(+[] { static_cast<void>(std::vector<int>(3).at(7)); }, std::out_of_range(""), "7", "std::out_of_range");
  check(
      +[] { throw std::system_error(ENOENT, std::generic_category(), "opening"); },
      std::system_error(std::error_code()), "opening", "std::system_error");
  check(
      +[] { throw std::filesystem::filesystem_error("fs", "/a", std::error_code(EACCES, std::system_category())); },
      std::filesystem::filesystem_error("", std::error_code()), "/a", "filesystem_error");
  check(+[] { throw 42; }, coproc::remote_exception("", ""), "", "int");
  check(+[] { throw point{1, 2, "x"}; }, coproc::remote_exception("", ""), "", "point");
  ending<void> e;
  start(e, pool, +[] { throw std::system_error(ENOENT, std::generic_category()); });
  REQUIRE(run_all(io));
  CHECK(e.code() == std::errc::no_such_file_or_directory);
  ending<void> other;
  start(other, pool, +[] { throw 42; });
  REQUIRE(run_all(io));
  CHECK(other.code() == make_error_code(errc::remote_exception));
}

TEST_CASE("a codec that throws, on any of its four sides, fails that call alone") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const auto side : {fragile::encoding_arguments, fragile::decoding_arguments, fragile::encoding_result,
                          fragile::decoding_result, fragile::nowhere}) {
    INFO("side " << side);
    ending<fragile> broken;
    ending<int> healthy;
    start(broken, pool, +[](const fragile& f) { return f; }, fragile{side});
    start(healthy, pool, add, 1, 1);
    REQUIRE(run_all(io));
    CHECK(broken.calls == 1);
    CHECK(healthy.succeeded());
    if (side == fragile::nowhere) {
      CHECK(broken.succeeded());
      continue;
    }
    CHECK(broken.as<std::domain_error>());
    CHECK(broken.text() == "fragile");
  }
}

TEST_CASE("a codec may rewind its writer, wherever that has grown to") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (const std::size_t attempt : {0u, 20u, 100u, 300u, 100'000u}) {
    INFO(attempt << " bytes");
    ending<hesitant> e;
    start(e, pool, [](const hesitant& h) { return hesitant{h.attempt, h.number + 1}; }, hesitant{attempt, 6});
    REQUIRE(run_all(io));
    REQUIRE(e.succeeded());
    CHECK(e.value->attempt == attempt);
    CHECK(e.value->number == 7);
  }
}

TEST_CASE("async_run works with use_awaitable, deferred, use_future, as_tuple, detached and callbacks") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  run_coroutine(io, [](coproc::process_pool& p) -> net::awaitable<void> {
    const int a = co_await coproc::async_run(p, coproc::work(add, 1, 2));
    CHECK(a == 3);
    const int b = co_await coproc::async_run(p, coproc::work(add, 3, 4), net::use_awaitable);
    CHECK(b == 7);
    const auto [error, c] =
        co_await coproc::async_run(p, coproc::work(add, 5, 6), coproc::as_tuple(net::use_awaitable));
    CHECK_FALSE(error);
    CHECK(c == 11);
    const auto throws = [](int n) -> int { throw std::runtime_error(std::to_string(n)); };
    const auto [failure, d] =
        co_await coproc::async_run(p, coproc::work(throws, 1), coproc::as_tuple(net::use_awaitable));
    CHECK(failure);
    CHECK(coproc::code_of(failure) == make_error_code(errc::remote_exception));
    CHECK(d == 0);
  }(pool));
  auto deferred = coproc::async_run(pool, coproc::work(add, 7, 8), coproc::deferred);
  ending<int> from_deferred, from_callback;
  std::move(deferred)(into(from_deferred));
  coproc::async_run(pool, coproc::work(nothing), net::detached);
  coproc::async_run(pool, coproc::work(add, 9, 10), into(from_callback));
  std::future<int> future = coproc::async_run(pool, coproc::work(add, 11, 12), net::use_future);
  std::future<void> broken =
      coproc::async_run(pool, coproc::work(+[] { throw std::logic_error("no"); }), net::use_future);
  REQUIRE(run_all(io));
  CHECK(*from_deferred.value == 15);
  CHECK(*from_callback.value == 19);
  CHECK(future.get() == 23);
  CHECK_THROWS_AS(broken.get(), std::logic_error);
  CHECK(shared->ran.get() == 1);
}

TEST_CASE("a handler's executor, allocator and cancellation slot are honoured") {
  const leak_audit audit;
  shared.reset();
  net::io_context io, other;
  coproc::process_pool pool(io, {.max_workers = 1});
  allocation_count count;
  net::cancellation_signal signal;
  std::thread::id ran_on;
  ending<int> e;
  auto handler = net::bind_executor(
      other, net::bind_cancellation_slot(signal.slot(), with_allocator(count, [&](std::exception_ptr error, int n) {
                                           ran_on = std::this_thread::get_id();
                                           into<int> write(e);
                                           write(error, n);
                                         })));
  SECTION("a value") {
    coproc::async_run(pool, coproc::work(add, 1, 2), std::move(handler));
    CHECK(count.total > 0);
    std::thread::id other_thread;
    std::thread thread([&] {
      other_thread = std::this_thread::get_id();
      other.run(); // returns once the handler, whose work it counts, has run
    });
    io.run();
    thread.join();
    CHECK(e.succeeded());
    CHECK(ran_on == other_thread);
  }
  SECTION("a cancellation") {
    coproc::async_run(pool, coproc::work(spin_for_ever), std::move(handler));
    REQUIRE(shared->started.await(1));
    signal.emit(net::cancellation_type::terminal);
    std::thread thread([&] { other.run(); });
    io.run();
    thread.join();
    CHECK(e.aborted());
  }
  CHECK(e.calls == 1);
  CHECK(count.live == 0);
}

TEST_CASE("a handler that throws through run() loses nothing of the other calls") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  std::vector<ending<int>> calls(100);
  int thrown = 0, caught = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    start(calls[i], pool, add, static_cast<int>(i), 0);
    if (i % 10 == 3)
      coproc::async_run(pool, coproc::work(add, 0, 0), [&](std::exception_ptr, int) {
        ++thrown;
        throw std::runtime_error("from a handler");
      });
  }
  for (;;) {
    io.restart();
    try {
      io.run_for(hang_limit);
      break;
    } catch (const std::runtime_error&) {
      ++caught;
    }
  }
  CHECK(thrown == 10);
  CHECK(caught == 10);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    REQUIRE(calls[i].succeeded());
    CHECK(*calls[i].value == static_cast<int>(i));
  }
}

TEST_CASE("a task that is dropped is cancelled, unless it was detached or is awaited") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  {
    auto dropped = pool.submit(spin_for_ever);
  }
  auto detached = pool.submit(nothing);
  std::move(detached).detach();
  {
    auto queued = pool.submit(blocker);
  }
  ending<void> awaited;
  {
    auto task = pool.submit(nothing);
    task.async_wait(into(awaited));
  }
  REQUIRE(run_all(io));
  CHECK(awaited.succeeded());
  CHECK(shared->ran.get() == 2);
}

TEST_CASE("a task can be moved, asked whether it is done, and awaited after its end") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto running = pool.submit(blocker);
  auto moved = std::move(running);
  CHECK_FALSE(moved.done());
  shared->go.add();
  REQUIRE(run_all(io));
  CHECK(moved.done());
  ending<int> e;
  moved.async_wait(into(e));
  CHECK(e.calls == 0);
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
  auto finished = pool.submit(add, 1, 1);
  REQUIRE(run_until(io, [&] { return finished.done(); }));
  CHECK(run_coroutine(io, [](coproc::task<int> t) -> net::awaitable<int> {
          co_return co_await std::move(t);
        }(std::move(finished))) == 2);
}

TEST_CASE("several wait for one task: each gets the result, in the order in which they came") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto task = pool.submit(blocker);
  std::vector<int> order;
  ending<int> first, second, awaited, after, too_late;
  net::cancellation_signal of_second;
  const auto noting = [&](int number, ending<int>& e) {
    return [&order, number, take = into(e)](std::exception_ptr error, int value) {
      order.push_back(number);
      take(std::move(error), value);
    };
  };
  task.async_wait(noting(1, first));
  task.async_wait(net::bind_cancellation_slot(of_second.slot(), noting(2, second)));
  CHECK(first.calls == 0); // not completed inside the call
  REQUIRE(shared->started.await(1));
  SECTION("both while it runs, another one after its end, and then one that takes the result") {
    shared->go.add();
    REQUIRE(run_all(io));
    task.async_wait(noting(3, after));
    CHECK(after.calls == 0);
    REQUIRE(run_all(io));
    std::move(task).async_wait(noting(4, awaited));
    REQUIRE(run_all(io));
    CHECK(order == std::vector{1, 2, 3, 4});
    for (const auto* e : {&first, &second, &after, &awaited}) CHECK(e->value == 1);
    task.async_wait(into(too_late));
    REQUIRE(run_all(io));
    CHECK(too_late.failed_with(errc::already_awaited));
    CHECK(too_late.text().find("take its result out of it") != std::string::npos);
  }
  SECTION("one of them takes the result: the others get theirs all the same") {
    std::move(task).async_wait(noting(3, awaited));
    task.async_wait(noting(4, after));
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(order == std::vector{1, 2, 3, 4});
    for (const auto* e : {&first, &second, &after, &awaited}) CHECK(e->value == 1);
    task.async_wait(into(too_late));
    REQUIRE(run_all(io));
    CHECK(too_late.failed_with(errc::already_awaited));
  }
  SECTION("one of them cancels the call for all") {
    of_second.emit(net::cancellation_type::terminal);
    REQUIRE(run_all(io));
    CHECK(first.aborted());
    CHECK(second.aborted());
  }
  SECTION("the task is destroyed, and its call goes on for them") {
    {
      const auto dropped = std::move(task);
    }
    shared->go.add();
    REQUIRE(run_all(io));
    CHECK(first.value == 1);
    CHECK(second.value == 1);
  }
}

TEST_CASE("a result that cannot be copied is for the first who waits") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto task = pool.submit([] {
    std::vector<ticket> tickets;
    tickets.emplace_back(7);
    return tickets;
  });
  ending<std::vector<ticket>> first, second;
  task.async_wait(into(first));
  task.async_wait(into(second));
  REQUIRE(run_all(io));
  REQUIRE(first.succeeded());
  CHECK(first.value->front().number() == 7);
  CHECK(second.failed_with(errc::already_awaited));
  CHECK(second.text().find("cannot be copied") != std::string::npos);
}

TEST_CASE("cancel() says whether the call had ended") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  auto task = pool.submit(blocker);
  ending<int> e;
  task.async_wait(into(e));
  CHECK(task.cancel());
  REQUIRE(run_all(io));
  CHECK(e.aborted());
  CHECK_FALSE(task.cancel());
}

TEST_CASE("tasks combine with &&, ||, co_spawn, gather and with_timeout") {
  using namespace net::experimental::awaitable_operators;
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  run_coroutine(io, [](coproc::process_pool& p) -> net::awaitable<void> {
    auto one = p.submit(add, 1, 0);
    auto two = p.submit(add, 2, 0);
    const auto [a, b] = co_await (std::move(one) && std::move(two));
    CHECK(a + b == 3);
    auto endless = p.submit(spin_for_ever);
    auto quick = p.submit(add, 3, 0);
    const auto first = co_await (std::move(endless) || std::move(quick));
    CHECK(first.index() == 1);
    auto t1 = p.submit(add, 10, 0);
    auto t2 = p.submit(nothing);
    auto call = coproc::run_in_executor(p, add, 20, 0);
    const auto all = co_await coproc::gather(std::move(t1), std::move(t2), std::move(call));
    CHECK(std::get<0>(all) == 10);
    CHECK(std::get<2>(all) == 20);
    std::vector<coproc::task<int>> many;
    for (int i = 0; i < 50; ++i) many.push_back(p.submit(add, i, i));
    const std::vector<int> sums = co_await coproc::gather(std::move(many));
    for (std::size_t i = 0; i < 50; ++i) CHECK(sums[i] == static_cast<int>(2 * i));
    auto slow = p.submit(spin_for_ever);
    bool timed_out = false;
    try {
      co_await coproc::with_timeout(milliseconds(30), std::move(slow));
    } catch (const coproc::timed_out&) {
      timed_out = true;
    }
    CHECK(timed_out);
  }(pool));
  ending<int> e;
  net::co_spawn(io, pool.submit(add, 4, 5), into(e));
  REQUIRE(run_all(io));
  CHECK(e.succeeded());
}

TEST_CASE("gather cancels the siblings of a call that fails") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto fails = [](int n) -> int { throw std::domain_error(std::to_string(n)); };
  std::string what;
  run_coroutine(io, [&]() -> net::awaitable<void> {
    auto endless = pool.submit(spin_for_ever);
    auto broken = pool.submit(fails, 5);
    try {
      co_await coproc::gather(std::move(endless), std::move(broken));
    } catch (const std::domain_error& e) {
      what = e.what();
    }
  }());
  CHECK(what == "5");
}

TEST_CASE("coproc::run drives a pool of its own") {
  const leak_audit audit;
  const int result = coproc::run([]() -> net::awaitable<int> {
    coproc::process_pool pool(co_await net::this_coro::executor, {.max_workers = 1});
    co_return co_await coproc::run_in_executor(pool, add, 20, 22);
  }());
  CHECK(result == 42);
}

TEST_CASE("a task learns which worker it runs in") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  CHECK_FALSE(coproc::this_worker::id());
  std::vector<ending<unsigned>> ids(50);
  for (auto& e : ids) start(e, pool, +[] { return coproc::this_worker::id().value_or(99); });
  REQUIRE(run_all(io));
  for (const auto& e : ids) {
    REQUIRE(e.succeeded());
    CHECK(*e.value < 2);
  }
}

TEST_CASE("the call is not completed inside its initiation, nor is a failed one") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1, .max_payload = 1000});
  ending<std::size_t> too_large;
  const std::string text(2000, 'x');
  start(too_large, pool, +[](std::string_view s) { return s.size(); }, text);
  CHECK(too_large.calls == 0);
  REQUIRE(run_all(io));
  CHECK(too_large.failed_with(errc::payload_too_large));
}

TEST_CASE("very many awaits in a row overflow no stack") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  const long long sum = run_coroutine(io, [](coproc::process_pool& p) -> net::awaitable<long long> {
    long long total = 0;
    for (int i = 0; i < 200'000; ++i) total += co_await coproc::run_in_executor(p, add, i, 0);
    co_return total;
  }(pool));
  CHECK(sum == 200'000LL * 199'999 / 2);
}
