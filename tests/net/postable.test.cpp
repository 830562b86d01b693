// SPDX-License-Identifier: BSL-1.0
// What is posted reaches its executor whatever that throws, in order, and in memory of its own.
#include <coproc/net/postable.hpp>

#include "support/relay_executor.hpp"

#include <catch2/catch.hpp>

#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace net = coproc::net;
using coproc::detail::base_context;
using coproc::detail::base_of;
using coproc::detail::io_executor;
using coproc::detail::post_allocator;
using coproc::detail::post_room;
using coproc::detail::postable;
using namespace coproc::testing;

namespace {

/// Counts what becomes of it; may be posted again when it has run.
class probe final : public postable {
public:
  explicit probe(net::any_io_executor ex, base_context or_else = {}) : executor_(std::move(ex)), or_else_(or_else) {}

  bool prepare() noexcept { return prepare_post_to(executor_); }
  void post() noexcept { post_to(executor_, or_else_); }
  void dispatch() { dispatch_to(executor_, or_else_); }
  void forget_executor() { executor_ = {}; } // a strand must not outlive its context
  void destroy() noexcept override { ++destroyed; }

  int runs = 0, destroyed = 0, retries = 0;
  std::vector<int>* order = nullptr;
  int name = 0;
  bool throws = false;
  std::promise<void>* tell = nullptr;

private:
  void run() override {
    ++runs;
    if (order != nullptr) order->push_back(name);
    if (throws) throw std::bad_alloc();
    if (tell != nullptr) tell->set_value();
  }
  void post_again() override {
    ++retries;
    dispatch_to(executor_, or_else_);
  }

  net::any_io_executor executor_;
  base_context or_else_;
};

void run(net::io_context& io) {
  io.restart();
  io.run();
}

} // namespace

TEST_CASE("the context below: an io_context or a thread_pool, also below strands; none below others") {
  net::io_context io;
  net::thread_pool threads(1);
  relay strange(io);
  const net::any_io_executor plain(io.get_executor());
  CHECK(base_of(plain).io == &io);
  CHECK(base_of(net::any_io_executor(net::make_strand(io))).io == &io);
  CHECK(base_of(net::any_io_executor(net::make_strand(plain))).io == &io);
  CHECK(base_of(net::make_strand(io)).io == &io);
  CHECK(base_of(net::any_io_executor(threads.get_executor())).threads == &threads);
  CHECK(base_of(net::any_io_executor(net::make_strand(threads))).threads == &threads);
  CHECK_FALSE(base_of(net::any_io_executor(relay_executor(strange))));
  CHECK_FALSE(base_of(net::any_io_executor()));
  const auto tracked = net::execution::outstanding_work.tracked;
  CHECK(base_of(net::any_io_executor(net::prefer(plain, tracked))).io == &io);
}

TEST_CASE("posted again and again, it runs each time, and never inline; dispatched, it runs at once where it may") {
  net::io_context io;
  for (const net::any_io_executor& ex :
       {net::any_io_executor(io.get_executor()), net::any_io_executor(net::make_strand(io))}) {
    probe p(ex);
    for (int i = 0; i < 3; ++i) {
      CHECK(p.prepare());
      net::post(ex, [&] { p.post(); });
      net::post(ex, [&, before = p.runs] { CHECK(p.runs == before); });
      run(io);
      CHECK(p.runs == 2 * i + 1);
      net::post(ex, [&] {
        p.dispatch();
        CHECK(p.runs == 2 * i + 2);
      });
      run(io);
    }
    CHECK(p.destroyed == 0);
    CHECK(p.retries == 0);
  }
}

TEST_CASE("posts to a strand keep their order") {
  net::io_context io;
  const net::any_io_executor strand = net::make_strand(io);
  std::vector<int> order;
  std::vector<std::unique_ptr<probe>> probes;
  for (int i = 0; i < 10; ++i) {
    probes.push_back(std::make_unique<probe>(strand));
    probes.back()->name = i;
    probes.back()->order = &order;
    REQUIRE(probes.back()->prepare());
  }
  for (auto& p : probes) p->post();
  run(io);
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("a strand for which nothing was prepared gets it through the context below") {
  net::io_context io;
  probe p(net::make_strand(io));
  p.post();
  CHECK(p.runs == 0);
  run(io);
  CHECK(p.runs == 1);
  CHECK(p.retries == 1);
}

TEST_CASE("an executor without memory is asked again by the context of the I/O object, as often as it takes") {
  net::io_context io, strange_io;
  relay strange(strange_io);
  int refusals = 3;
  strange.before = [&] {
    if (refusals-- > 0) throw std::bad_alloc();
  };
  probe p(relay_executor(strange), base_of(io.get_executor()));
  p.post();
  CHECK(strange.executed == 0);
  io.poll();
  CHECK(p.retries == 3);
  CHECK(p.runs == 0);
  run(strange_io);
  CHECK(p.runs == 1);
  CHECK(p.destroyed == 0);
}

TEST_CASE("where nobody can ask again it is destroyed; so it is when an executor throws anything else") {
  net::io_context io;
  relay strange(io);
  probe alone{net::any_io_executor(relay_executor(strange))};
  strange.before = [] { throw std::bad_alloc(); };
  alone.post();
  CHECK(alone.destroyed == 1);
  probe refused(relay_executor(strange), base_of(io.get_executor()));
  strange.before = [] { throw std::runtime_error("closed"); };
  refused.post();
  CHECK(refused.destroyed == 1);
  io.run();
  CHECK(alone.runs + refused.runs == 0);
}

TEST_CASE("what the handler throws is not taken for the executor's") {
  net::io_context io;
  for (const net::any_io_executor& ex :
       {net::any_io_executor(io.get_executor()), net::any_io_executor(net::make_strand(io))}) {
    probe p(ex);
    p.throws = true;
    net::post(ex, [&] { p.dispatch(); });
    CHECK_THROWS_AS(run(io), std::bad_alloc);
    CHECK(p.runs == 1);
    CHECK(p.destroyed == 0);
    CHECK(p.retries == 0);
  }
}

TEST_CASE("a context that goes destroys what was posted to it, or to a strand on it, before or after its end") {
  std::optional<net::io_context> io(std::in_place);
  probe plain(io->get_executor());
  std::optional<net::strand<io_executor>> strand(net::make_strand(*io));
  {
    probe on_strand(*strand);
    CHECK(on_strand.prepare());
    on_strand.post();
    plain.post();
    strand.reset();
    on_strand.forget_executor();
    io.reset();
    CHECK(on_strand.destroyed == 1);
    CHECK(on_strand.runs == 0);
  }
  CHECK(plain.destroyed == 1);
  CHECK(plain.runs == 0);
}

TEST_CASE("threads post it, one after the other, and another thread runs it") {
  net::io_context io;
  const auto work = net::make_work_guard(io);
  std::thread loop([&] { io.run(); });
  for (const net::any_io_executor& ex :
       {net::any_io_executor(io.get_executor()), net::any_io_executor(net::make_strand(io))})
    for (int i = 0; i < 500; ++i) {
      probe p(ex);
      std::promise<void> ran;
      p.tell = &ran;
      if (i % 2 == 0) p.prepare();
      std::thread poster([&] { p.post(); });
      ran.get_future().wait();
      poster.join();
    }
  io.stop();
  loop.join();
}

TEST_CASE("the room holds one function, and one turn of a strand if asked to; the heap has the rest") {
  post_room room;
  post_allocator<std::byte> a(room);
  const auto inside = [&](const std::byte* p) {
    const auto* const begin = reinterpret_cast<const std::byte*>(&room);
    return p >= begin && p < begin + sizeof room;
  };
  std::byte* const first = a.allocate(48);
  std::byte* const second = a.allocate(48);
  CHECK(inside(first));
  CHECK_FALSE(inside(second));
  a.deallocate(first, 48);
  CHECK(inside(a.allocate(64)));
  a.deallocate(second, 48);

  post_room prepared;
  post_allocator<std::byte> b(prepared);
  CHECK_FALSE(prepared.has_spare());
  prepared.add_spare();
  CHECK(prepared.has_spare());
  b.allocate(48);
  std::byte* const spare = b.allocate(100);
  CHECK_FALSE(prepared.has_spare());
  b.deallocate(spare, 100);
}

TEST_CASE("the spare may be freed when the room is gone") {
  std::byte* spare = nullptr;
  std::optional<post_room> room(std::in_place);
  post_allocator<std::byte> a(*room);
  room->add_spare();
  std::byte* const place = a.allocate(48);
  spare = a.allocate(48);
  a.deallocate(place, 48);
  room.reset();
  a.deallocate(spare, 48);
  SUCCEED();
}
