// SPDX-License-Identifier: BSL-1.0
// Channels, semaphores, gates, calls on threads and joins at each allocation that fails: everything completes, once, or
// was refused by an exception of whoever began it; nothing is lost, and nothing terminates.
#include <coproc/bounded_channel.hpp>
#include <coproc/gather.hpp>
#include <coproc/net/shutdown_gate.hpp>
#include <coproc/semaphore.hpp>
#include <coproc/thread_bridge.hpp>
#include <coproc/with_timeout.hpp>

#include "net/handlers.hpp"
#include "support/failing_heap.hpp"
#include "support/relay_executor.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace net = coproc::net;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

const net::error_code aborted = net::error::operation_aborted;
const net::error_code no_memory = net::error::no_memory;

/// What a handler was told. Destroyed uninvoked counts as well.
struct ending {
  int calls = 0;
  net::error_code code;
  std::weak_ptr<void> handler;

  bool refused() const { return calls == 0 && handler.expired(); }
  bool completed() const { return calls == 1 && handler.expired(); }
};

template <class... Values>
auto into(ending& e, std::function<void(Values...)> keep = [](Values...) {}) {
  auto alive = std::make_shared<int>();
  e.handler = alive;
  return [&e, alive, keep](net::error_code code, Values... values) {
    ++e.calls;
    e.code = code;
    keep(std::move(values)...);
  };
}

/// The executors that handlers and objects can have, each with a loop below it that the test runs.
struct setting {
  net::io_context io{1};
  net::io_context other{1};
  relay strange{other};
  bool last_resort = false; // no executor is known to Asio: what one does not take is destroyed

  std::vector<std::pair<const char*, net::any_io_executor>> executors() {
    return {{"the io_context", io.get_executor()},
            {"another io_context", other.get_executor()},
            {"a strand", net::make_strand(io)},
            {"a strand on another io_context", net::make_strand(other)},
            {"an executor of a user", relay_executor(strange)}};
  }

  void run() {
    for (int i = 0; i < 3; ++i) {
      io.restart();
      io.poll();
      other.restart();
      other.poll();
    }
  }
};

/// body(setting, executor of the object, executor of the handler, n, how), for all of them, at each allocation.
template <class Body>
void on_all_executors(Body body) {
  constexpr std::size_t kinds = 5;
  for (std::size_t i = 0; i < kinds; ++i)
    for (std::size_t j = 0; j < kinds; ++j) {
      setting s;
      const auto executors = s.executors();
      REQUIRE(executors.size() == kinds);
      s.last_resort = i == kinds - 1 && j == kinds - 1;
      INFO("object on " << executors[i].first << ", handler on " << executors[j].first);
      at_each_allocation([&](long n, failing how) {
        INFO("allocation " << n << (how == failing::once ? "" : " and all later ones"));
        return body(s, executors[i].second, executors[j].second, n, how);
      });
    }
}

/// Begins an operation on a heap that fails; begin() throws if it is refused.
template <class Begin>
bool begin_on(long n, failing how, bool& refused, Begin begin) {
  failing_heap heap(n, how);
  refused = false;
  try {
    begin();
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  return heap.end();
}

} // namespace

TEST_CASE("to acquire a permit that is free: done, told that there is no memory, or refused; never lost") {
  on_all_executors([](setting& s, const auto& on, const auto& at, long n, failing how) {
    coproc::semaphore semaphore(on, 1);
    net::cancellation_signal signal;
    ending e;
    bool refused = false;
    auto handler =
        net::bind_cancellation_slot(signal.slot(), net::bind_executor(at, into<coproc::semaphore::permit>(e)));
    const bool failed = begin_on(n, how, refused, [&] { semaphore.async_acquire(std::move(handler)); });
    CHECK(e.calls == 0);
    s.run();
    CHECK((refused || s.last_resort ? e.calls == 0 || e.completed() : e.completed()));
    if (!failed) CHECK(e.calls == 1);
    if (e.calls == 1) CHECK((!e.code || e.code == no_memory));
    CHECK(semaphore.try_acquire());
    return failed;
  });
}

TEST_CASE("to wait for a permit: it is served later, or has heard at once that there is no memory") {
  on_all_executors([](setting& s, const auto& on, const auto& at, long n, failing how) {
    coproc::semaphore semaphore(on, 1);
    net::cancellation_signal signal;
    ending e;
    bool refused = false;
    auto held = semaphore.try_acquire();
    auto handler =
        net::bind_cancellation_slot(signal.slot(), net::bind_executor(at, into<coproc::semaphore::permit>(e)));
    const bool failed = begin_on(n, how, refused, [&] { semaphore.async_acquire(std::move(handler)); });
    s.run();
    if (e.calls == 1) CHECK(e.code == no_memory);
    held.reset();
    s.run();
    CHECK((refused || s.last_resort ? e.calls == 0 || e.completed() : e.completed()));
    CHECK(semaphore.try_acquire());
    return failed;
  });
}

TEST_CASE("a permit that is given back without memory reaches the next in line") {
  on_all_executors([](setting& s, const auto& on, const auto& at, long n, failing how) {
    coproc::semaphore semaphore(on, 1);
    ending e;
    auto held = semaphore.try_acquire();
    semaphore.async_acquire(net::bind_executor(at, into<coproc::semaphore::permit>(e)));
    failing_heap heap(n, how);
    held.reset();
    const bool failed = heap.end();
    CHECK(e.calls == 0);
    s.run();
    CHECK((s.last_resort ? e.refused() || e.completed() : e.completed() && !e.code));
    CHECK(semaphore.try_acquire());
    return failed;
  });
}

TEST_CASE("a wait that is cancelled without memory is aborted, and so is one whose semaphore goes") {
  for (const bool destroyed : {false, true})
    on_all_executors([=](setting& s, const auto& on, const auto& at, long n, failing how) {
      std::optional<coproc::semaphore> semaphore(std::in_place, on, 1);
      net::cancellation_signal signal;
      ending e;
      const auto held = semaphore->try_acquire();
      semaphore->async_acquire(
          net::bind_cancellation_slot(signal.slot(), net::bind_executor(at, into<coproc::semaphore::permit>(e))));
      failing_heap heap(n, how);
      if (destroyed)
        semaphore.reset();
      else
        signal.emit(cancellation_type::terminal);
      const bool failed = heap.end();
      CHECK(e.calls == 0);
      s.run();
      CHECK((s.last_resort ? e.refused() || e.completed() : e.completed() && e.code == aborted));
      return failed;
    });
}

namespace {

using channel = coproc::bounded_channel<std::unique_ptr<int>>;
using message = std::optional<std::unique_ptr<int>>;

/// A channel, destroyed while those exist to whom whoever still waits in it reports that.
class channel_to_its_end {
public:
  channel_to_its_end(setting& s, const net::any_io_executor& ex) : setting_(s), channel_(std::in_place, ex, 1) {}
  channel_to_its_end(const channel_to_its_end&) = delete;
  channel_to_its_end& operator=(const channel_to_its_end&) = delete;
  ~channel_to_its_end() {
    channel_.reset();
    setting_.run();
  }
  channel& operator*() const { return *channel_; }

private:
  setting& setting_;
  mutable std::optional<channel> channel_;
};

auto keep(int& received) {
  return std::function<void(message)>([&received](message m) { received = m && *m ? **m : -1; });
}

} // namespace

TEST_CASE("to send: the message is in the channel, or with the receiver that waited, or was not sent at all") {
  for (const bool awaited : {false, true})
    on_all_executors([=](setting& s, const auto& on, const auto& at, long n, failing how) {
      ending sent, received;
      net::cancellation_signal signal;
      int value = 0;
      bool refused = false;
      const channel_to_its_end c_to_its_end(s, on);
      channel& c = *c_to_its_end;
      if (awaited) c.async_receive(net::bind_executor(at, into<message>(received, keep(value))));
      auto handler = net::bind_cancellation_slot(signal.slot(), net::bind_executor(at, into(sent)));
      auto m = std::make_unique<int>(7);
      const bool failed = begin_on(n, how, refused, [&] { c.async_send(std::move(m), std::move(handler)); });
      s.run();
      CHECK((refused || s.last_resort ? sent.calls == 0 || sent.completed() : sent.completed()));
      const bool delivered = sent.calls == 1 && !sent.code;
      if (sent.calls == 1 && sent.code) CHECK(sent.code == no_memory);
      if (!s.last_resort) {
        if (awaited) CHECK(value == (delivered ? 7 : 0));
        if (!awaited) CHECK(bool(c.try_receive()) == delivered);
      }
      return failed;
    });
}

TEST_CASE("to receive: the message that was there, and the place for the sender that waited; or nothing was taken") {
  on_all_executors([](setting& s, const auto& on, const auto& at, long n, failing how) {
    ending sent, received;
    net::cancellation_signal signal;
    int value = 0;
    bool refused = false;
    const channel_to_its_end c_to_its_end(s, on);
    channel& c = *c_to_its_end;
    REQUIRE(c.try_send(std::make_unique<int>(1)));
    c.async_send(std::make_unique<int>(2), net::bind_executor(at, into(sent)));
    auto handler =
        net::bind_cancellation_slot(signal.slot(), net::bind_executor(at, into<message>(received, keep(value))));
    const bool failed = begin_on(n, how, refused, [&] { c.async_receive(std::move(handler)); });
    s.run();
    CHECK((refused || s.last_resort ? received.calls == 0 || received.completed() : received.completed()));
    if (s.last_resort) return failed;
    if (received.calls == 1 && !received.code) {
      CHECK(value == 1);
    } else {
      CHECK(sent.calls == 0);
      CHECK(**c.try_receive() == 1);
      s.run();
    }
    CHECK((sent.completed() && !sent.code));
    CHECK(**c.try_receive() == 2);
    return failed;
  });
}

TEST_CASE("what does not wait finds room, or a message, for others all the same") {
  on_all_executors([](setting& s, const auto& on, const auto& at, long n, failing how) {
    ending received, sent;
    int value = 0;
    bool refused = false;
    const channel_to_its_end c_to_its_end(s, on), full_to_its_end(s, on);
    channel& c = *c_to_its_end;
    c.async_receive(net::bind_executor(at, into<message>(received, keep(value))));
    auto m = std::make_unique<int>(3);
    bool failed = begin_on(n, how, refused, [&] { CHECK(c.try_send(std::move(m))); });
    s.run();
    CHECK((refused == (m != nullptr)));
    if (!s.last_resort) CHECK((refused ? received.calls == 0 : received.completed() && value == 3));

    channel& full = *full_to_its_end;
    REQUIRE(full.try_send(std::make_unique<int>(4)));
    full.async_send(std::make_unique<int>(5), net::bind_executor(at, into(sent)));
    message taken;
    failed |= begin_on(n, how, refused, [&] { taken = full.try_receive(); });
    s.run();
    CHECK(bool(taken) == !refused);
    if (!s.last_resort) CHECK((refused ? sent.calls == 0 : sent.completed() && !sent.code));
    return failed;
  });
}

TEST_CASE("a channel that is closed or destroyed without memory tells all who wait") {
  for (const bool destroyed : {false, true})
    for (const bool full : {false, true})
      on_all_executors([=](setting& s, const auto& on, const auto& at, long n, failing how) {
        std::optional<channel> c(std::in_place, on, 1);
        ending e[2];
        if (full) REQUIRE(c->try_send(std::make_unique<int>(1)));
        for (auto& each : e) {
          if (full)
            c->async_send(std::make_unique<int>(2), net::bind_executor(at, into(each)));
          else
            c->async_receive(net::bind_executor(at, into<message>(each)));
        }
        failing_heap heap(n, how);
        if (destroyed)
          c.reset();
        else
          c->close();
        const bool failed = heap.end();
        s.run();
        for (const auto& each : e) {
          if (s.last_resort) continue;
          CHECK(each.completed());
          if (destroyed) CHECK(each.code == aborted);
          if (!destroyed && full) CHECK(each.code == coproc::make_error_code(coproc::errc::channel_closed));
          if (!destroyed && !full) CHECK(!each.code);
        }
        return failed;
      });
}

TEST_CASE("a gate opens without memory; a wait that begins without it fails") {
  for (const bool opened_first : {false, true})
    on_all_executors([=](setting& s, const auto& on, const auto& at, long n, failing how) {
      const auto gate = coproc::detail::shutdown_gate::make(on);
      ending e;
      std::exception_ptr error;
      bool refused = false;
      if (opened_first) gate->open();
      auto told = into(e);
      auto handler = net::bind_executor(at, [&error, told = std::move(told)](const std::exception_ptr& x) mutable {
        error = x;
        told(coproc::code_of(x));
      });
      auto memory = coproc::detail::memory_for_operation<coproc::detail::shutdown_gate::waiter>();
      bool failed = false;
      if (opened_first) {
        failed = begin_on(n, how, refused, [&] { gate->wait(std::move(handler), std::move(memory)); });
      } else {
        gate->wait(std::move(handler), std::move(memory));
        failing_heap heap(n, how);
        gate->open();
        failed = heap.end();
      }
      s.run();
      if (s.last_resort) return failed;
      CHECK((refused ? e.calls == 0 : e.completed()));
      if (e.calls == 1 && error) CHECK_THROWS_AS(std::rethrow_exception(error), std::bad_alloc);
      return failed;
    });
}

namespace {

template <class F>
auto call_on_threads(F fn) {
  return std::make_shared<coproc::detail::thread_task_of<F>>(std::move(fn));
}

} // namespace

TEST_CASE("a call on a thread that finds no memory has no effect, or the usual one; so has its cancellation") {
  enum end { runs, is_cancelled };
  for (const auto how_it_ends : {runs, is_cancelled})
    on_all_executors([=](setting& s, const auto& on, const auto& at, long n, failing how) {
      std::optional<net::io_context> threads(std::in_place, 1);
      relay strange(*threads);
      const net::any_io_executor places[] = {threads->get_executor(), net::make_strand(*threads),
                                             relay_executor(strange)};
      bool failed = false;
      for (const auto& where : places) {
        net::cancellation_signal signal;
        ending e;
        std::exception_ptr error;
        bool refused = false;
        int ran = 0;
        const auto task = call_on_threads([&ran] { return ++ran; });
        auto memory = task->prepare(on);
        auto told = into(e);
        auto handler = net::bind_cancellation_slot(
            signal.slot(),
            net::bind_executor(
                at, [&error, told = std::move(told)](const std::exception_ptr& x, const std::shared_ptr<int>&) mutable {
                  error = x;
                  told(coproc::code_of(x));
                }));
        const auto start = [&] { task->start(where, std::move(handler), std::move(memory), on); };
        if (how_it_ends == runs) {
          failed |= begin_on(n, how, refused, start);
          threads->restart();
          threads->poll();
        } else {
          start();
          failing_heap heap(n, how);
          signal.emit(cancellation_type::terminal);
          failed |= heap.end();
        }
        CHECK(e.calls == 0);
        s.run();
        if (s.last_resort) continue;
        CHECK((refused ? e.calls == 0 : e.completed()));
        if (how_it_ends != runs && !failed) CHECK(e.code == aborted); // else bad_alloc, for want of a text
        if (e.calls == 1) CHECK(ran == (error ? 0 : 1));
        if (e.calls == 1 && error && how_it_ends == runs)
          CHECK_THROWS_AS(std::rethrow_exception(error), std::bad_alloc);
      }
      return failed;
    });
}

namespace {

using io_executor = net::io_context::executor_type;

// Without an exception, for which newer Asio terminates when it finds no memory.
template <class Executor>
net::awaitable<void, Executor> wait_in(coproc::basic_semaphore<Executor>& s) {
  const auto told = co_await s.async_acquire(coproc::as_tuple(net::use_awaitable_t<Executor>()));
  static_cast<void>(told);
}

template <class Executor>
net::awaitable<void, Executor> fail_on(std::optional<failing_heap>& heap, long n, failing how) {
  co_await net::post(net::use_awaitable_t<Executor>());
  heap.emplace(n, how);
  throw std::runtime_error("failed");
}

/// Runs what may throw for want of memory, which then is there again.
void run_on(net::io_context& io, std::optional<failing_heap>& heap) {
  for (bool threw = true; threw;) {
    threw = false;
    try {
      io.restart();
      io.run();
    } catch (const std::bad_alloc&) {
      threw = true;
      if (heap) heap->end();
    }
  }
}

} // namespace

TEST_CASE("coroutines that wait together are cancelled by their parent without memory") {
  for (const bool on_strand : {false, true})
    at_each_allocation([=](long n, failing how) {
      INFO((on_strand ? "on a strand" : "on the io_context")
           << ", allocation " << n << (how == failing::once ? "" : " and all later ones"));
      net::io_context io(1);
      net::any_io_executor ex = io.get_executor();
      if (on_strand) ex = net::make_strand(io);
      net::cancellation_signal signal;
      std::exception_ptr error;
      const auto body = []() -> net::awaitable<void> { co_await coproc::gather(wait_for_ever(), wait_for_ever()); };
      net::co_spawn(ex, body,
                    net::bind_cancellation_slot(signal.slot(), [&](const std::exception_ptr& e) { error = e; }));
      io.poll();
      failing_heap heap(n, how);
      signal.emit(cancellation_type::terminal);
      const bool failed = heap.end();
      io.run();
      CHECK(coproc::code_of(error) == aborted);
      return failed;
    });
}

// Coroutines whose type names the io_context's executor, which Asio resumes without memory. On a strand it needs some,
// and terminates where it finds none.
TEST_CASE("coroutines that wait together are cancelled without memory by the one of them that failed, or by a timer") {
  for (const bool by_timer : {false, true})
    at_each_allocation([=](long n, failing how) {
      INFO((by_timer ? "by a timer" : "by a child")
           << ", allocation " << n << (how == failing::once ? "" : " and all later ones"));
      net::io_context io(1);
      coproc::basic_semaphore<io_executor> none(io, 1);
      const auto held = none.try_acquire();
      std::optional<failing_heap> heap;
      std::exception_ptr error;
      int ended = 0;
      // Asio's own want of memory, when it tells how the body has ended, is of no interest.
      const auto body = [&]() -> net::awaitable<void, io_executor> {
        try {
          if (by_timer)
            co_await coproc::with_timeout(std::chrono::milliseconds(1), wait_in(none));
          else
            co_await coproc::gather(wait_in(none), fail_on<io_executor>(heap, n, how), wait_in(none));
        } catch (...) {
          error = std::current_exception();
        }
        heap->end();
        ++ended;
      };
      net::co_spawn(io, body, net::detached);
      if (by_timer) {
        io.poll();
        heap.emplace(n, how);
      }
      run_on(io, heap);
      const bool failed = heap->end();
      CHECK(ended == 1);
      if (by_timer || failed) return failed;
      REQUIRE(error);
      CHECK_THROWS_AS(std::rethrow_exception(error), std::runtime_error);
      return failed;
    });
}

// On the io_context itself: a strand whose coroutine posts to it allocates in a destructor, and terminates.
TEST_CASE("a coroutine that begins to wait without memory goes on with an exception, and loses nothing") {
  for (const bool cancellable : {false, true})
    at_each_allocation([=](long n, failing how) {
      INFO("allocation " << n << (how == failing::once ? "" : " and all later ones"));
      net::io_context io(1);
      coproc::semaphore semaphore(io, 1);
      channel c(io, 1);
      net::cancellation_signal signal;
      bool failed = false;
      int ended = 0;
      const auto body = [&]() -> net::awaitable<void> {
        for (int step = 0; step < 3; ++step) {
          try {
            failing_heap heap(n, how);
            if (step == 0)
              static_cast<void>(co_await semaphore.async_acquire(coproc::as_tuple(net::use_awaitable)));
            else if (step == 1)
              static_cast<void>(co_await c.async_send(std::unique_ptr<int>(), coproc::as_tuple(net::use_awaitable)));
            else
              static_cast<void>(co_await c.async_receive(coproc::as_tuple(net::use_awaitable)));
            failed |= heap.end();
          } catch (const std::bad_alloc&) {
            failed = true;
          }
          if (step == 1) static_cast<void>(c.try_send(nullptr));
        }
        ++ended;
      };
      if (cancellable)
        net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [](const std::exception_ptr&) {}));
      else
        net::co_spawn(io, body, net::detached);
      io.run();
      CHECK(ended == 1);
      CHECK(semaphore.try_acquire());
      return failed;
    });
}
