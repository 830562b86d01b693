// SPDX-License-Identifier: BSL-1.0
// A handler with a record: near where it runs on the pool's own context, far or in memory of its own elsewhere; each
// ending.
#include <coproc/front/record_handler.hpp>

#include "fake_engine.hpp"
#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>

namespace net = coproc::net;
using namespace coproc::testing;
using front::ending;
using front::record_handler;
using front::task_record;

namespace {

// Has its allocator by way of something that it owns, so that nothing is left of it where it was moved from.
struct owner {
  using allocator_type = counting_allocator<void>;
  std::shared_ptr<allocation_count> count;
  int* calls;

  allocator_type get_allocator() const noexcept { return allocator_type(*count); }
  void operator()(std::exception_ptr e) { *calls += e == nullptr; }
};

struct caller {
  std::shared_ptr<int> alive;
  int* calls;
  void operator()(std::exception_ptr e) { *calls += e == nullptr; }
};

task_record& finished(fake_engine& engine) {
  task_record& t = engine.records.acquire();
  t.outcome = front::verdict::value;
  t.result_length = 0;
  return t;
}

} // namespace

TEST_CASE("memory of the handler's allocator is given back however the wait ends") {
  net::io_context io;
  const auto how = GENERATE(ending::invoke, ending::post, ending::destroy);
  fake_engine engine(io.get_executor(), &io);
  auto count = std::make_shared<allocation_count>();
  int calls = 0;
  std::optional<front::engine::executor_use> context;
  task_record& t = finished(engine);
  record_handler<void, owner>::put(t, owner{count, &calls}, engine, context);
  CHECK(count->live == 1);
  t.end(t, how);
  io.run();
  CHECK(count->live == 0);
  CHECK(count.use_count() == 1);
  CHECK(calls == (how != ending::destroy));
  CHECK(&engine.records.acquire() == &t);
}

TEST_CASE("a small handler on the pool's context is called in place, and posted or destroyed if that is wanted") {
  net::io_context io;
  const auto how = GENERATE(ending::invoke, ending::post, ending::destroy);
  const bool on_the_context = GENERATE(true, false);
  fake_engine engine(io.get_executor(), on_the_context ? &io : nullptr);
  auto alive = std::make_shared<int>();
  int calls = 0;
  std::optional<front::engine::executor_use> context;
  task_record& t = finished(engine);
  record_handler<void, caller>::put(t, caller{alive, &calls}, engine, context);
  int calls_in_place = -1;
  net::post(io, [&] { // a turn runs on the context
    t.end(t, how);
    calls_in_place = calls;
  });
  io.run();
  CHECK(calls_in_place == (how == ending::invoke));
  CHECK(calls == (how != ending::destroy));
  CHECK(alive.use_count() == 1);
  CHECK(&engine.records.acquire() == &t);
}

TEST_CASE("a handler with another executor is called there") {
  net::io_context io, other;
  fake_engine engine(io.get_executor(), &io);
  auto alive = std::make_shared<int>();
  int calls = 0;
  std::optional<front::engine::executor_use> context;
  task_record& t = finished(engine);
  auto handler = net::bind_executor(other, caller{alive, &calls});
  record_handler<void, decltype(handler)>::put(t, std::move(handler), engine, context);
  net::post(io, [&] { t.end(t, ending::invoke); });
  io.run();
  CHECK(calls == 0);
  CHECK(&engine.records.acquire() == &t); // before the handler runs
  other.run();
  CHECK(calls == 1);
  CHECK(alive.use_count() == 1);
}
