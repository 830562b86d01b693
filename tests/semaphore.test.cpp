// SPDX-License-Identifier: BSL-1.0
// semaphore: the bound, the order, permits that are never lost, both orders of destruction.
#include <coproc/semaphore.hpp>

#include "net/handlers.hpp"
#include "support/relay_executor.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace public_semaphore {

namespace net = coproc::net;
using coproc::semaphore;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

const net::error_code aborted = net::error::operation_aborted;

/// What callbacks were told, in order; keeps the permits.
struct told {
  std::vector<net::error_code> codes;
  std::vector<semaphore::permit> permits;

  auto on_acquire() {
    return [this](net::error_code ec, semaphore::permit p) {
      codes.push_back(ec);
      CHECK(bool(p) == !ec);
      if (p) permits.push_back(std::move(p));
    };
  }
};

} // namespace

TEST_CASE("no more than n hold a permit at a time, and everybody gets one in the end") {
  net::io_context io;
  semaphore s(io, 3);
  int inside = 0, most = 0, done = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto permit = co_await s.acquire();
    most = std::max(most, ++inside);
    co_await let_others_run();
    --inside;
    ++done;
  };
  for (int i = 0; i < 20; ++i) net::co_spawn(io, body, net::detached);
  io.run();
  CHECK(most == 3);
  CHECK(done == 20);
}

TEST_CASE("permits are handed out in the order in which they were asked for") {
  net::io_context io;
  semaphore s(io, 1);
  std::optional<semaphore::permit> held = s.try_acquire();
  REQUIRE(held);
  std::vector<int> order;
  for (int i = 0; i < 4; ++i) s.async_acquire([&order, i](net::error_code, semaphore::permit) { order.push_back(i); });
  CHECK_FALSE(out_of_work(io));
  CHECK(order.empty());
  CHECK_FALSE(s.try_acquire());
  held->release();
  CHECK_FALSE(*held);
  CHECK_FALSE(s.try_acquire()); // it belongs to the first in line already
  io.run();
  CHECK(order == std::vector<int>{0, 1, 2, 3});
  CHECK(s.try_acquire());
}

TEST_CASE("acquire never completes inside the call") {
  net::io_context io;
  semaphore s(io.get_executor(), 1);
  told t;
  s.async_acquire(t.on_acquire());
  CHECK(t.codes.empty());
  io.run();
  CHECK(t.codes == std::vector<net::error_code>(1));
}

TEST_CASE("n below one is an error that names it") {
  net::io_context io;
  for (long long n : {0ll, -1ll}) CHECK_THROWS_WITH(semaphore(io, n), "coproc: semaphore: n must be at least 1");
  CHECK_THROWS_AS(semaphore(io, 0), std::invalid_argument);
}

TEST_CASE("a permit is given back once, by whoever has it in the end") {
  net::io_context io;
  semaphore s(io, 1);
  {
    semaphore::permit a = s.try_acquire().value();
    semaphore::permit b(std::move(a));
    CHECK_FALSE(a);
    a.release();
    CHECK_FALSE(s.try_acquire());
    semaphore::permit c;
    c = std::move(b);
    CHECK(c);
    CHECK_FALSE(s.try_acquire());
  }
  auto again = s.try_acquire();
  CHECK(again);
  CHECK_FALSE(s.try_acquire());
  again = semaphore::permit();
  CHECK(s.try_acquire());
}

TEST_CASE("a cancelled wait loses no permit") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    semaphore s(io, 1);
    told t;
    net::cancellation_signal first, second;
    auto held = s.try_acquire();
    s.async_acquire(net::bind_cancellation_slot(first.slot(), t.on_acquire()));
    s.async_acquire(net::bind_cancellation_slot(second.slot(), t.on_acquire()));
    first.emit(type);
    held.reset();
    second.emit(type); // too late: it has the permit
    io.run();
    CHECK(t.codes == std::vector<net::error_code>{aborted, {}});
    t.permits.clear();
    CHECK(s.try_acquire());
  }
}

TEST_CASE("a permit on its way to a handler that is destroyed goes back") {
  std::optional<net::io_context> io(std::in_place);
  net::io_context home;
  semaphore s(home, 1);
  s.async_acquire(net::bind_executor(*io, [](net::error_code, semaphore::permit) { FAIL("invoked"); }));
  CHECK_FALSE(s.try_acquire());
  io.reset();
  CHECK(s.try_acquire());
}

TEST_CASE("every completion token works") {
  net::io_context io;
  semaphore s(io, 1);

  auto future = s.async_acquire(net::use_future);
  io.run();
  CHECK(future.get());
  s.async_acquire(net::detached);
  io.restart();
  io.run();
  CHECK(s.try_acquire());

  told t;
  auto later = s.async_acquire(coproc::deferred);
  CHECK(s.try_acquire());
  std::move(later)(t.on_acquire());
  io.restart();
  io.run();
  CHECK(t.permits.size() == 1);
  t.permits.clear();

  allocation_count count;
  net::io_context other;
  s.async_acquire(net::bind_executor(other, with_allocator(count, [&](net::error_code, semaphore::permit p) {
                                       CHECK(p);
                                       CHECK(other.get_executor().running_in_this_thread());
                                       CHECK(count.live == 0);
                                     })));
  CHECK(other.run() == 1);
  CHECK(count.total > 0);

  int done = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto both = co_await s.async_acquire(coproc::as_tuple(net::use_awaitable));
    CHECK(std::get<1>(both));
    ++done;
  };
  net::co_spawn(io, body, net::detached);
  io.restart();
  io.run();
  CHECK(done == 1);
}

TEST_CASE("destroying the semaphore aborts what waits; permits outlive it") {
  net::io_context io;
  told t;
  std::optional<semaphore> s(std::in_place, io, 1);
  semaphore::permit permit = s->try_acquire().value();
  s->async_acquire(t.on_acquire());
  auto later = s->async_acquire(coproc::deferred);
  s.reset();
  CHECK(t.codes.empty());
  io.run();
  CHECK(t.codes == std::vector<net::error_code>{aborted});
  permit.release();
  std::move(later)(t.on_acquire());
  io.restart();
  io.run();
  CHECK(t.codes == std::vector<net::error_code>(2, aborted));
}

TEST_CASE("the context may be destroyed first; permits outlive it too") {
  std::optional<net::io_context> io(std::in_place);
  auto witness = std::make_shared<int>();
  semaphore s(*io, 1);
  semaphore::permit permit = s.try_acquire().value();
  for (int i = 0; i < 2; ++i)
    net::co_spawn(
        *io,
        [&s, witness]() -> net::awaitable<void> {
          auto p = co_await s.acquire();
          FAIL("resumed");
        },
        net::detached);
  io->poll();
  CHECK(witness.use_count() == 3);
  io.reset();
  CHECK(witness.use_count() == 1);
  permit.release();
  CHECK(s.try_acquire());
}

TEST_CASE("an object that was made on a strand may outlive the context, and its permits, too") {
  std::optional<net::io_context> io(std::in_place);
  std::optional<semaphore> s(std::in_place, net::make_strand(*io), 1);
  semaphore::permit permit = s->try_acquire().value();
  told t;
  s->async_acquire(t.on_acquire());
  io->poll();
  io.reset();
  CHECK(t.codes.empty());
  s->async_acquire(t.on_acquire()); // destroyed uninvoked, like those that waited
  s.reset();
  permit.release();
  CHECK(t.codes.empty());
}

TEST_CASE("a permit that is given back while the context is destroyed is posted to a living context, or not at all") {
  std::optional<net::io_context> io(std::in_place);
  net::io_context home;
  semaphore s(*io, 1);
  std::optional<semaphore::permit> permit = s.try_acquire();
  std::atomic<int> stage{0};
  std::atomic<bool> gone{false};
  relay slow(home);
  slow.before = [&] {
    stage = 1;
    stage.notify_all();
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // so that the other thread would be through by then
    if (gone) stage = 2;
  };
  s.async_acquire(net::bind_executor(relay_executor(slow), [](net::error_code, semaphore::permit) {}));
  std::thread other([&] { permit.reset(); });
  stage.wait(0);
  io.reset();
  gone = true;
  other.join();
  CHECK(stage == 1);
}

TEST_CASE(
    "threads that ask for a permit, or for the executor, while the context is destroyed meet it alive or not at all") {
  net::io_context home;
  for (int i = 0; i < 20; ++i) {
    std::optional<net::io_context> io(std::in_place);
    semaphore s(*io, 1);
    const auto held = s.try_acquire();
    std::atomic<bool> began{false};
    std::thread other([&] {
      while (s.get_executor()) {
        s.async_acquire(net::bind_executor(home, [](net::error_code, semaphore::permit) { FAIL("called"); }));
        began = true;
        began.notify_one();
      }
    });
    began.wait(false);
    io.reset();
    other.join();
    CHECK_FALSE(s.get_executor());
  }
  home.run();
}

namespace {

net::awaitable<void> acquire_and_keep(semaphore& s, std::shared_ptr<int>) {
  auto p = co_await s.acquire();
  co_await wait_for_ever();
}

} // namespace

TEST_CASE("coroutines that hold permits for which others wait go with the context") {
  std::optional<net::io_context> io(std::in_place);
  auto witness = std::make_shared<int>();
  semaphore s(*io, 2);
  for (int i = 0; i < 6; ++i) net::co_spawn(*io, acquire_and_keep(s, witness), net::detached);
  io->poll();
  io.reset();
  CHECK(witness.use_count() == 1);
  CHECK(s.try_acquire());
  CHECK(s.try_acquire());
}

namespace {

// Where it is destroyed it waits for the event, ten seconds at most.
struct blocks_its_destroyer {
  std::atomic<bool>* reached;
  std::future<void>* event;
  bool* came;

  blocks_its_destroyer(std::atomic<bool>& r, std::future<void>& e, bool& c) : reached(&r), event(&e), came(&c) {}
  blocks_its_destroyer(blocks_its_destroyer&& o) noexcept
      : reached(o.reached), event(std::exchange(o.event, nullptr)), came(o.came) {}
  ~blocks_its_destroyer() {
    if (event == nullptr) return;
    *reached = true;
    reached->notify_all();
    *came = event->wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  }
  void operator()(net::error_code, semaphore::permit) const { FAIL("called"); }
};

} // namespace

TEST_CASE("a thread that is held up destroying a waiter is not in the way of permits that others give back") {
  net::io_context io;
  std::optional<net::io_context> dying(std::in_place);
  semaphore s(io, 2);
  auto mine = s.try_acquire();
  std::promise<void> served;
  auto is_served = served.get_future();
  std::atomic<bool> reached{false};
  bool came = false;
  {
    const auto strand = net::make_strand(*dying);
    net::post(strand, [p = std::move(*s.try_acquire())] {});
    s.async_acquire(net::bind_executor(strand, blocks_its_destroyer(reached, is_served, came)));
  }
  s.async_acquire([&](net::error_code, semaphore::permit) { served.set_value(); });
  std::thread other([&] {
    reached.wait(false);
    mine.reset();
    io.poll();
  });
  dying.reset();
  other.join();
  CHECK(came);
  CHECK(s.try_acquire());
  CHECK(s.try_acquire());
}

TEST_CASE("many coroutines that wait on a strand go with the context, one after the other") {
  std::optional<net::io_context> io(std::in_place);
  auto witness = std::make_shared<int>();
  semaphore s(*io, 1);
  {
    const auto strand = net::make_strand(*io); // its service is younger than the semaphore, and ends first
    for (int i = 0; i < 100'000; ++i) net::co_spawn(strand, acquire_and_keep(s, witness), net::detached);
  }
  io->poll();
  io.reset();
  CHECK(witness.use_count() == 1);
  CHECK(s.try_acquire());
}

namespace {

/// Acquires, enters, leaves, over and over on a strand; cancels some of its waits.
class visitor : public std::enable_shared_from_this<visitor> {
public:
  visitor(net::io_context& io, semaphore& s, std::atomic<int>& inside, std::atomic<int>& most, int visits)
      : strand_(net::make_strand(io)), semaphore_(s), inside_(inside), most_(most), left_(visits) {}

  void start() {
    net::post(strand_, [self = shared_from_this()] { self->step(); });
  }

private:
  void step() {
    if (left_-- == 0) return;
    semaphore_.async_acquire(net::bind_cancellation_slot(
        signal_.slot(), net::bind_executor(strand_, [self = shared_from_this()](net::error_code, semaphore::permit p) {
          if (p) {
            const int now = ++self->inside_;
            for (int most = self->most_; now > most && !self->most_.compare_exchange_weak(most, now);) {
            }
            --self->inside_;
          }
          p.release();
          self->step();
        })));
    if (left_ % 3 == 0) signal_.emit(cancellation_type::partial);
  }

  net::strand<net::io_context::executor_type> strand_;
  semaphore& semaphore_;
  std::atomic<int>& inside_;
  std::atomic<int>& most_;
  int left_;
  net::cancellation_signal signal_;
};

} // namespace

TEST_CASE("the bound holds and no permit is lost under cancellation from several threads") {
  net::io_context io;
  semaphore s(io, 3);
  std::atomic<int> inside = 0, most = 0;
  for (int i = 0; i < 8; ++i) std::make_shared<visitor>(io, s, inside, most, 2000)->start();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(most <= 3);
  CHECK(most >= 1);
  std::vector<semaphore::permit> all;
  while (auto p = s.try_acquire()) all.push_back(std::move(*p));
  CHECK(all.size() == 3);
}

} // namespace public_semaphore
