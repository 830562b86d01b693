// SPDX-License-Identifier: BSL-1.0
// The life of one call against an engine that has records only: what keeps it alive, and that each call completes once,
// whatever goes wrong on its way, and leaves its record behind.
#include <coproc/front/call.hpp>

#include "fake_engine.hpp"
#include "net/handlers.hpp"
#include "support/in_child.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;
using coproc::writer;
using front::prepared_call;
using front::task_record;

namespace {

int identity(int n) { return n; }
std::size_t size_of(const std::string& s) { return s.size(); }

/// Submits nothing: the test plays the pool.
class played_engine final : public fake_engine {
public:
  using fake_engine::fake_engine;

  void submit(task_record& t) override {
    if (submit_error) std::rethrow_exception(submit_error);
    submitted = &t;
  }
  void cancel(task_record& t, std::uint64_t ticket, net::cancellation_type type) noexcept override {
    cancelled = &t;
    cancelled_ticket = ticket;
    cancelled_with = type;
  }
  void grow_arguments(task_record& t, writer& w, std::size_t more_bytes) override {
    coproc::shm::argument_block& block = make_details(t).block = segments->allocate(w.size() + more_bytes);
    t.encumbered = true;
    std::memcpy(block.data(), w.data(), w.size());
    w.rebase(block.data(), block.capacity());
  }
  void seal_arguments(task_record& t, writer& w) override { t.call.length = w.size(); }

  void context_goes() {
    context_.store(nullptr);
    context_is_gone_.store(true);
    executor_.take_back();
  }

  /// Ends what was submitted as identity(n) would.
  void return_number(int n, front::ending how) {
    task_record& t = *std::exchange(submitted, nullptr);
    writer w(t.bytes, sizeof t.bytes, nullptr, nullptr);
    w.put(n);
    t.result_length = w.size();
    t.outcome = front::verdict::value;
    t.end(t, how);
  }

  task_record* submitted = nullptr;
  std::exception_ptr submit_error;
  task_record* cancelled = nullptr;
  std::uint64_t cancelled_ticket = 0;
  net::cancellation_type cancelled_with{};
  std::shared_ptr<coproc::shm::segment_pool> segments = std::make_shared<coproc::shm::segment_pool>();
};

struct outcome {
  int calls = 0;
  std::exception_ptr exception;
  int value = 0;

  bool failed_with(errc e) const { return calls == 1 && exception && coproc::code_of(exception) == make_error_code(e); }
};

/// A handler whose whole state tells whether it is still there.
struct caller {
  std::shared_ptr<outcome> out;
  void operator()(std::exception_ptr e, int n) {
    ++out->calls;
    out->exception = std::move(e);
    out->value = n;
  }
};

/// One that wants memory which is not to be had.
template <class T>
struct no_allocator {
  using value_type = T;
  no_allocator() = default;
  template <class U>
  no_allocator(const no_allocator<U>&) noexcept {}
  T* allocate(std::size_t) { throw std::bad_alloc(); }
  void deallocate(T*, std::size_t) noexcept {}
  bool operator==(const no_allocator&) const = default;
};
struct greedy_caller : caller {
  using allocator_type = no_allocator<void>;
  allocator_type get_allocator() const noexcept { return {}; }
};

struct bench {
  net::io_context io;
  std::shared_ptr<played_engine> engine = std::make_shared<played_engine>(io.get_executor(), &io);
  std::shared_ptr<outcome> out = std::make_shared<outcome>();

  prepared_call call(int n = 7) { return prepared_call::make(engine, nullptr, true, &identity, n); }

  /// Is `t` the next record that is taken, so that it has been given back?
  bool is_free(const task_record* t) { return &engine->records.acquire() == t; }
};

} // namespace

TEST_CASE("a call that is never submitted may outlive its pool, whose engine goes with the last of them") {
  bench b;
  const std::weak_ptr<played_engine> engine = b.engine;
  const std::shared_ptr<coproc::shm::segment_pool> segments = b.engine->segments;
  std::optional<prepared_call> small(b.call());
  std::optional<prepared_call> large(prepared_call::make(b.engine, nullptr, true, &size_of, std::string(1000, 'x')));
  b.engine.reset(); // as a pool that is destroyed
  CHECK_FALSE(engine.expired());
  CHECK(segments.use_count() == 3); // mine, the engine's, that of the arguments
  large.reset();
  CHECK(segments.use_count() == 2);
  CHECK_FALSE(engine.expired());
  SECTION("dropped") { small.reset(); }
  SECTION("moved, and dropped") { prepared_call moved(std::move(*small)), again(std::move(moved)); }
  CHECK(engine.expired());
  CHECK(segments.use_count() == 1);
}

TEST_CASE("a call that is submitted completes where its engine says, and its engine need not live longer") {
  bench b;
  const std::weak_ptr<played_engine> engine = b.engine;
  prepared_call call = b.call();
  const auto [record, ticket] = call.identity();
  CHECK(record->call.entry == reinterpret_cast<std::uintptr_t>(coproc::detail::entry_of<int (*)(int), int>));
  CHECK(ticket == record->ticket.load());
  std::move(call).start<int>(caller{b.out});
  CHECK(b.out->calls == 0);
  REQUIRE(b.engine->submitted == record);
  net::post(b.io, [&] { b.engine->return_number(7, front::ending::invoke); });
  b.io.run();
  CHECK(b.out->calls == 1);
  CHECK_FALSE(b.out->exception);
  CHECK(b.out->value == 7);
  b.engine.reset();
  CHECK(engine.expired());
}

TEST_CASE("a call that cannot be encoded completes with the reason, posted, and leaves no record behind") {
  struct refusing_engine final : public fake_engine {
    using fake_engine::fake_engine;
    void grow_arguments(task_record&, writer&, std::size_t) override { throw std::length_error("too long"); }
  };
  net::io_context io;
  const auto engine = std::make_shared<refusing_engine>(io.get_executor(), &io);
  const auto out = std::make_shared<outcome>();
  task_record* const first = &engine->records.acquire();
  engine->recycle(*first);
  auto call = prepared_call::make(
      engine, nullptr, true, [](const std::string& s) { return int(s.size()); }, std::string(100, 'x'));
  CHECK(call.identity().first == nullptr);
  CHECK(&engine->records.acquire() == first);
  SECTION("awaited") {
    std::move(call).start<int>(caller{out});
    CHECK(out->calls == 0);
    io.run();
    REQUIRE(out->calls == 1);
    CHECK_THROWS_AS(std::rethrow_exception(out->exception), std::length_error);
  }
  SECTION("dropped") {}
}

TEST_CASE("a call that its pool cannot take completes with the reason, and its handler's memory is given back") {
  bench b;
  b.engine->submit_error = GENERATE(std::make_exception_ptr(std::bad_alloc()),
                                    std::make_exception_ptr(coproc::pool_error(make_error_code(errc::pool_closed))));
  prepared_call call = b.call();
  task_record* const record = call.identity().first;
  SECTION("near the record") { std::move(call).start<int>(caller{b.out}); }
  SECTION("far from it") {
    net::cancellation_signal signal;
    std::move(call).start<int>(net::bind_cancellation_slot(signal.slot(), caller{b.out}));
    CHECK(b.out->calls == 0);
    b.io.run();
    CHECK_FALSE(signal.slot().has_handler());
  }
  SECTION("where its allocator says") {
    allocation_count count;
    std::move(call).start<int>(with_allocator(count, caller{b.out}));
    CHECK(b.out->calls == 0);
    b.io.run();
    CHECK(count.live == 0);
    CHECK(count.total > 0);
  }
  b.io.run();
  REQUIRE(b.out->calls == 1);
  CHECK(b.out->exception == b.engine->submit_error);
  CHECK(b.out.use_count() == 1);
  CHECK(b.is_free(record));
}

TEST_CASE("a handler that there is no memory for is refused at once, and the record is given back") {
  bench b;
  prepared_call call = b.call();
  task_record* const record = call.identity().first;
  CHECK_THROWS_AS(std::move(call).start<int>(greedy_caller{{b.out}}), std::bad_alloc);
  b.io.run();
  CHECK(b.out->calls == 0);
  CHECK(b.out.use_count() == 1);
  CHECK(b.engine->submitted == nullptr);
  CHECK(b.is_free(record));
}

TEST_CASE("when the context is gone, only a coroutine of another one hears of it; nothing is posted to "
          "the one that is gone") {
  bench b;
  prepared_call call = b.call();
  task_record* const record = call.identity().first;
  b.engine->context_goes();
  SECTION("a handler of the pool's own executor is destroyed") {
    std::move(call).start<int>(caller{b.out});
    CHECK(b.out.use_count() == 1);
    CHECK(b.io.poll() == 0);
    CHECK(b.out->calls == 0);
  }
  SECTION("one that has an executor of another context is called there") {
    net::io_context other;
    std::move(call).start<int>(net::bind_executor(net::any_io_executor(other.get_executor()), caller{b.out}));
    CHECK(b.io.poll() == 0);
    CHECK(b.out->calls == 0);
    other.run();
    CHECK(b.out->failed_with(errc::pool_closed));
  }
  CHECK(b.engine->submitted == nullptr);
  CHECK(b.is_free(record));
}

TEST_CASE("a cancellation says of which life of the record it is, as long as its engine lives") {
  bench b;
  net::cancellation_signal signal;
  prepared_call call = b.call();
  const auto [record, ticket] = call.identity();
  std::move(call).start<int>(net::bind_cancellation_slot(signal.slot(), caller{b.out}));
  signal.emit(net::cancellation_type::partial);
  CHECK(b.engine->cancelled == record);
  CHECK(b.engine->cancelled_ticket == ticket);
  CHECK(b.engine->cancelled_with == net::cancellation_type::partial);
  b.engine->cancelled = nullptr;
  net::post(b.io, [&] { b.engine->return_number(7, front::ending::invoke); });
  b.io.run();
  CHECK(b.out->value == 7);
  signal.emit(net::cancellation_type::terminal); // the slot is empty by now
  CHECK(b.engine->cancelled == nullptr);
}

TEST_CASE("in a forked copy of the process a call fails, and touches no record") {
  coproc::os::count_forks();
  bench b;
  std::optional<prepared_call> started(b.call()), dropped(b.call());
  const task_record* const records[] = {started->identity().first, dropped->identity().first};
  check_in_child([&] {
    std::move(*started).start<int>(caller{b.out});
    expect(b.out->calls == 0, "it completed inside the initiating call");
    b.io.run();
    expect(b.out->failed_with(errc::wrong_process), "it did not fail with wrong_process");
    dropped.reset();
    for (const task_record* const r : records) expect(!b.is_free(r), "the record was given back");
  });
}
