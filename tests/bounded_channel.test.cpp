// SPDX-License-Identifier: BSL-1.0
// bounded_channel: order, backpressure, closing, every token family, every way to cancel, both orders of destruction.
#include <coproc/bounded_channel.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace public_bounded_channel {

namespace net = coproc::net;
using coproc::bounded_channel;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

const net::error_code aborted = net::error::operation_aborted;
const net::error_code closed = coproc::make_error_code(coproc::errc::channel_closed);

/// What callbacks were told, in order.
struct told {
  std::vector<net::error_code> sent;
  std::vector<std::pair<net::error_code, std::optional<int>>> received;

  auto on_send() {
    return [this](net::error_code ec) { sent.push_back(ec); };
  }
  auto on_receive() {
    return [this](net::error_code ec, std::optional<int> n) { received.emplace_back(ec, n); };
  }
};

using received = std::vector<std::pair<net::error_code, std::optional<int>>>;

std::pair<net::error_code, std::optional<int>> got(int n) { return {net::error_code(), n}; }

net::awaitable<void> send_range(bounded_channel<int>& channel, int first, int end) {
  for (int i = first; i < end; ++i) co_await channel.send(i);
}

net::awaitable<void> receive_all(bounded_channel<int>& channel, std::vector<int>& out) {
  while (auto message = co_await channel.receive()) out.push_back(*message);
}

} // namespace

TEST_CASE("messages arrive in order through a channel that is full most of the time") {
  net::io_context io;
  for (int capacity : {1, 2, 7}) {
    bounded_channel<int> channel(io, capacity);
    std::vector<int> out;
    const auto send = [&]() -> net::awaitable<void> {
      co_await send_range(channel, 0, 100);
      channel.close();
    };
    net::co_spawn(io, send, net::detached);
    CHECK(run_to_end(io, receive_all(channel, out)) == nullptr);
    std::vector<int> expected(100);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(out == expected);
  }
}

TEST_CASE("a sender waits when capacity messages are under way, and in line") {
  net::io_context io;
  bounded_channel<int> channel(io.get_executor(), 2);
  told l;
  for (int i = 0; i < 4; ++i) channel.async_send(i, l.on_send());
  CHECK(l.sent.empty()); // never completed inside the call
  CHECK_FALSE(out_of_work(io));
  CHECK(l.sent.size() == 2);
  CHECK(channel.try_receive() == 0);
  io.poll();
  CHECK(l.sent.size() == 3);
  for (int i = 1; i < 4; ++i) CHECK(channel.try_receive() == i);
  CHECK_FALSE(channel.try_receive());
  io.run();
  CHECK(l.sent == std::vector<net::error_code>(4));
}

TEST_CASE("receivers wait in line and keep the context running") {
  net::io_context io;
  bounded_channel<int> channel(io, 2);
  told l;
  for (int i = 0; i < 3; ++i) channel.async_receive(l.on_receive());
  CHECK_FALSE(out_of_work(io));
  for (int i = 0; i < 3; ++i) CHECK(channel.try_send(int(i)));
  CHECK(l.received.empty());
  io.run();
  CHECK(l.received == received{got(0), got(1), got(2)});
}

TEST_CASE("a capacity below one is an error that names it") {
  net::io_context io;
  for (long long capacity : {0ll, -1ll, std::numeric_limits<long long>::min()})
    CHECK_THROWS_WITH(bounded_channel<int>(io, capacity), "coproc: bounded_channel: capacity must be at least 1");
  CHECK_THROWS_AS(bounded_channel<int>(io, 0), std::invalid_argument);
}

TEST_CASE("close fails senders, also those that wait, and lets receivers drain") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);
  told l;
  CHECK(channel.is_open());
  for (int i = 0; i < 3; ++i) channel.async_send(i, l.on_send());
  channel.close();
  channel.close();
  CHECK_FALSE(channel.is_open());
  channel.async_send(3, l.on_send());
  int unsent = 4;
  CHECK_FALSE(channel.try_send(std::move(unsent)));
  for (int i = 0; i < 2; ++i) channel.async_receive(l.on_receive());
  io.run();
  CHECK(l.sent == std::vector<net::error_code>{{}, closed, closed, closed});
  CHECK(l.received == received{got(0), {net::error_code(), std::nullopt}});
  CHECK_FALSE(channel.try_receive());
}

TEST_CASE("close ends receivers that wait, without an error") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);
  told l;
  for (int i = 0; i < 2; ++i) channel.async_receive(l.on_receive());
  channel.close();
  CHECK(l.received.empty());
  io.run();
  CHECK(l.received == received(2));
}

TEST_CASE("send on a closed channel throws channel_closed") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);
  channel.close();
  CHECK(coproc::code_of(run_to_end(io, channel.send(1))) == closed);
}

TEST_CASE("a cancelled send has not delivered") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    bounded_channel<int> channel(io, 1);
    net::cancellation_signal signal;
    told l;
    channel.async_send(0, l.on_send());
    channel.async_send(1, net::bind_cancellation_slot(signal.slot(), l.on_send()));
    channel.async_send(2, l.on_send());
    signal.emit(type);
    io.poll();
    CHECK(l.sent == std::vector<net::error_code>{{}, aborted});
    for (int i = 0; i < 2; ++i) channel.async_receive(l.on_receive());
    io.run();
    CHECK(l.received == received{got(0), got(2)});
    CHECK(l.sent == std::vector<net::error_code>{{}, aborted, {}});
  }
}

TEST_CASE("a cancelled receive has not consumed") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    bounded_channel<int> channel(io, 1);
    net::cancellation_signal signal;
    told l;
    channel.async_receive(net::bind_cancellation_slot(signal.slot(), l.on_receive()));
    channel.async_receive(l.on_receive());
    signal.emit(type);
    channel.async_send(1, l.on_send());
    io.run();
    CHECK(l.received == received{{aborted, std::nullopt}, got(1)});
  }
}

TEST_CASE("a cancellation after the message was handed over is ignored") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);
  net::cancellation_signal receiving, sending;
  told l;
  channel.async_receive(net::bind_cancellation_slot(receiving.slot(), l.on_receive()));
  channel.async_send(1, net::bind_cancellation_slot(sending.slot(), l.on_send()));
  receiving.emit(cancellation_type::terminal);
  sending.emit(cancellation_type::terminal);
  io.run();
  CHECK(l.received == received{got(1)});
  CHECK(l.sent == std::vector<net::error_code>(1));
}

TEST_CASE("a cancelled coroutine gets operation_aborted from its receive, and the message goes to the next one") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);
  net::cancellation_signal signal;
  std::exception_ptr error;
  std::vector<int> out;
  net::co_spawn(io, receive_all(channel, out),
                net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  signal.emit(cancellation_type::terminal);
  io.poll();
  CHECK(coproc::code_of(error) == aborted);
  CHECK(channel.try_send(5));
  CHECK(channel.try_receive() == 5);
  CHECK(out.empty());
}

TEST_CASE("try_send moves only on success") {
  net::io_context io;
  bounded_channel<std::unique_ptr<int>> channel(io, 1);
  auto first = std::make_unique<int>(1), second = std::make_unique<int>(2);
  CHECK(channel.try_send(std::move(first)));
  CHECK(first == nullptr);
  CHECK_FALSE(channel.try_send(std::move(second)));
  REQUIRE(second != nullptr);
  CHECK(*channel.try_receive().value() == 1);
  CHECK(channel.try_send(std::move(second)));
}

namespace {

struct aggregate {
  std::string text;
  std::vector<int> numbers;
};

struct not_default_constructible {
  explicit not_default_constructible(int n) : value(n) {}
  int value;
};

} // namespace

TEST_CASE("messages may be aggregates, move-only, or not default-constructible") {
  net::io_context io;
  bounded_channel<aggregate> aggregates(io, 4);
  bounded_channel<std::unique_ptr<int>> pointers(io, 1);
  bounded_channel<not_default_constructible> others(io, 1);
  int checks = 0;
  const auto body = [&]() -> net::awaitable<void> {
    aggregate a;
    a.text = "a text that is longer than any small string";
    a.numbers = {1, 2, 3};
    co_await aggregates.send(a);
    CHECK_FALSE(a.text.empty());
    co_await aggregates.send(coproc::moved(a));
    CHECK(a.text.empty());
    for (int i = 0; i < 2; ++i) {
      auto received = co_await aggregates.receive();
      CHECK(received->text.size() > 20);
      CHECK(received->numbers.size() == 3);
    }
    co_await pointers.send(std::make_unique<int>(8));
    auto pointer = co_await pointers.receive();
    CHECK(**pointer == 8);
    co_await others.send(not_default_constructible(9));
    auto other = co_await others.receive();
    CHECK(other->value == 9);
    ++checks;
  };
  net::co_spawn(io, body, net::detached);
  io.run();
  CHECK(checks == 1);
}

TEST_CASE("a message is taken before send returns") {
  net::io_context io;
  bounded_channel<std::string> channel(io, 1);
  std::string text = "before";
  auto sending = channel.send(text);
  text = "after";
  CHECK(run_to_end(io, std::move(sending)) == nullptr);
  CHECK(channel.try_receive() == "before");
}

TEST_CASE("every completion token works for both operations") {
  net::io_context io;
  bounded_channel<int> channel(io, 1);

  auto sent = channel.async_send(1, net::use_future);
  auto received_future = channel.async_receive(net::use_future);
  io.run();
  sent.get();
  CHECK(received_future.get() == 1);

  channel.async_send(2, net::detached);
  channel.async_receive(net::detached);
  io.restart();
  io.run();
  CHECK_FALSE(channel.try_receive());

  auto later = channel.async_send(3, coproc::deferred);
  io.restart();
  io.run();
  CHECK_FALSE(channel.try_receive());
  told l;
  std::move(later)(l.on_send());
  channel.async_receive(coproc::deferred)(l.on_receive());
  io.restart();
  io.run();
  CHECK(l.received == received{got(3)});
  CHECK(l.sent == std::vector<net::error_code>(1));

  int done = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto ok = co_await channel.async_send(4, coproc::as_tuple(net::use_awaitable));
    CHECK_FALSE(std::get<0>(ok));
    auto both = co_await channel.async_receive(coproc::as_tuple(net::use_awaitable));
    CHECK(std::get<1>(both) == 4);
    auto deferred = channel.async_send(5, coproc::deferred);
    co_await std::move(deferred)(net::use_awaitable);
    auto message = co_await channel.async_receive(net::use_awaitable);
    CHECK(message == 5);
    channel.close();
    auto refused = co_await channel.async_send(6, coproc::as_tuple(net::use_awaitable));
    CHECK(std::get<0>(refused) == closed);
    ++done;
  };
  CHECK(run_to_end(io, body()) == nullptr);
  CHECK(done == 1);
}

TEST_CASE("callbacks run on their executor, with memory of their allocator") {
  net::io_context io, other;
  bounded_channel<int> channel(io, 1);
  allocation_count count;
  int calls = 0;
  channel.async_receive(net::bind_executor(other, with_allocator(count, [&](net::error_code, std::optional<int> n) {
                                             CHECK(other.get_executor().running_in_this_thread());
                                             CHECK(count.live == 0);
                                             CHECK(n == 1);
                                             ++calls;
                                           })));
  CHECK(count.live == 1);
  CHECK(channel.try_send(1));
  io.run();
  CHECK(calls == 0);
  other.run();
  CHECK(calls == 1);
  CHECK(count.live == 0);
}

TEST_CASE("destroying the channel aborts what waits, posted") {
  net::io_context io;
  told l;
  {
    bounded_channel<int> full(io, 1), empty(io, 1);
    CHECK(full.try_send(0));
    full.async_send(1, l.on_send());
    empty.async_receive(l.on_receive());
  }
  CHECK(l.sent.empty());
  io.run();
  CHECK(l.sent == std::vector<net::error_code>{aborted});
  CHECK(l.received == received{{aborted, std::nullopt}});
}

TEST_CASE("an awaitable that outlives its channel throws operation_aborted") {
  net::io_context io;
  std::optional<bounded_channel<int>> channel(std::in_place, io, 1);
  CHECK(channel->try_send(1));
  auto sending = channel->send(2);
  auto receiving = channel->async_receive(coproc::deferred);
  channel.reset();
  CHECK(coproc::code_of(run_to_end(io, std::move(sending))) == aborted);
  told l;
  std::move(receiving)(l.on_receive());
  io.restart();
  io.run();
  CHECK(l.received == received{{aborted, std::nullopt}});
}

TEST_CASE("a moved channel goes on, and assignment ends the old one") {
  net::io_context io;
  bounded_channel<int> a(io, 1), b(io, 1);
  told l;
  a.async_receive(l.on_receive());
  b.async_receive(l.on_receive());
  a = std::move(b);
  bounded_channel<int> c(std::move(a));
  CHECK(c.try_send(7));
  io.run();
  CHECK(l.received == received{{aborted, std::nullopt}, got(7)});
}

TEST_CASE("the context may be destroyed first: what waits is destroyed uninvoked") {
  std::optional<net::io_context> io(std::in_place);
  auto witness = std::make_shared<int>();
  bounded_channel<int> full(*io, 1), empty(*io, 1);
  CHECK(full.try_send(0));
  full.async_send(1, [witness](net::error_code) { FAIL("invoked"); });
  empty.async_receive([witness](net::error_code, std::optional<int>) { FAIL("invoked"); });
  net::co_spawn(*io, [&, witness]() -> net::awaitable<void> { co_await full.send(1); }, net::detached);
  net::co_spawn(
      net::make_strand(*io), [&, witness]() -> net::awaitable<void> { co_await empty.receive(); }, net::detached);
  io->poll();
  CHECK(witness.use_count() > 4);
  io.reset();
  CHECK(witness.use_count() == 1);
  CHECK(full.try_receive() == 0);
  full.close();
}

TEST_CASE("coroutines that own the channels in which others wait go with the context") {
  auto witness = std::make_shared<int>();
  {
    net::io_context io;
    auto shared = std::make_shared<bounded_channel<int>>(io, 1);
    for (int i = 0; i < 3; ++i)
      net::co_spawn(
          io,
          [shared, witness, &io]() -> net::awaitable<void> {
            bounded_channel<std::shared_ptr<int>> own(io, 1);
            co_await own.send(witness);
            co_await shared->receive();
          },
          net::detached);
    shared.reset();
    io.poll();
  }
  CHECK(witness.use_count() == 1);
}

// Actors on strands of a context that four threads run. Each sends, or receives, one message after the other, and
// often cancels the operation that it has just begun; what was sent successfully must arrive, exactly once.
namespace {

class sender : public std::enable_shared_from_this<sender> {
public:
  sender(net::io_context& io, bounded_channel<int>& channel, int first, int end, std::atomic<int>& running)
      : strand_(net::make_strand(io)), channel_(channel), next_(first), end_(end), running_(running) {}

  void step() {
    if (next_ == end_) {
      if (--running_ == 0) channel_.close();
      return;
    }
    channel_.async_send(
        next_, net::bind_cancellation_slot(signal_.slot(),
                                           net::bind_executor(strand_, [self = shared_from_this()](net::error_code ec) {
                                             if (!ec) self->delivered.push_back(self->next_);
                                             ++self->next_;
                                             self->step();
                                           })));
    if (next_ % 3 == 0) signal_.emit(cancellation_type::total);
  }

  void start() {
    net::post(strand_, [self = shared_from_this()] { self->step(); });
  }

  std::vector<int> delivered;

private:
  net::strand<net::io_context::executor_type> strand_;
  bounded_channel<int>& channel_;
  int next_, end_;
  std::atomic<int>& running_;
  net::cancellation_signal signal_;
};

class receiver : public std::enable_shared_from_this<receiver> {
public:
  receiver(net::io_context& io, bounded_channel<int>& channel) : strand_(net::make_strand(io)), channel_(channel) {}

  void step() {
    channel_.async_receive(net::bind_cancellation_slot(
        signal_.slot(),
        net::bind_executor(strand_, [self = shared_from_this()](net::error_code ec, std::optional<int> n) {
          if (n) self->arrived.push_back(*n);
          if (n || ec) self->step();
        })));
    if (++steps_ % 5 == 0) signal_.emit(cancellation_type::terminal);
  }

  void start() {
    net::post(strand_, [self = shared_from_this()] { self->step(); });
  }

  std::vector<int> arrived;

private:
  net::strand<net::io_context::executor_type> strand_;
  bounded_channel<int>& channel_;
  int steps_ = 0;
  net::cancellation_signal signal_;
};

} // namespace

TEST_CASE("under cancellation from several threads every delivered message arrives exactly once") {
  net::io_context io;
  bounded_channel<int> channel(io, 3);
  constexpr int senders = 6, receivers = 4, messages = 2000;
  std::atomic<int> running = senders;
  std::vector<std::shared_ptr<sender>> sending;
  std::vector<std::shared_ptr<receiver>> receiving;
  for (int i = 0; i < senders; ++i)
    sending.push_back(std::make_shared<sender>(io, channel, i * messages, (i + 1) * messages, running));
  for (int i = 0; i < receivers; ++i) receiving.push_back(std::make_shared<receiver>(io, channel));
  for (auto& r : receiving) r->start();
  for (auto& s : sending) s->start();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();

  std::vector<int> delivered, arrived;
  for (auto& s : sending) delivered.insert(delivered.end(), s->delivered.begin(), s->delivered.end());
  for (auto& r : receiving) arrived.insert(arrived.end(), r->arrived.begin(), r->arrived.end());
  std::sort(delivered.begin(), delivered.end());
  std::sort(arrived.begin(), arrived.end());
  CHECK(delivered == arrived);
  CHECK(arrived.size() > static_cast<std::size_t>(senders * messages / 2));
}

} // namespace public_bounded_channel
