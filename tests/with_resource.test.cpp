// SPDX-License-Identifier: BSL-1.0
// with_resource: closed on every path, once, and awaited; what both throw; cancellation does not reach the closing.
#include <coproc/with_resource.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace public_with_resource {

namespace net = coproc::net;
using coproc::with_resource;
using namespace coproc::testing;

namespace {

class connection {
public:
  connection(int& opened, int& closed, bool fails = false) : opened_(&opened), closed_(&closed), fails_(fails) {}
  connection(connection&&) = default;

  void open() { ++*opened_; }
  net::awaitable<void> close() {
    co_await let_others_run();
    ++*closed_;
    if (fails_) throw std::runtime_error("close");
  }

private:
  int* opened_;
  int* closed_;
  bool fails_;
};

struct plain {
  explicit plain(int& n) : closed(&n) {}
  void close() { ++*closed; }
  int* closed;
};

} // namespace

TEST_CASE("the resource is used, then closed, and the closing is awaited; the result is the user's") {
  net::io_context io;
  int opened = 0, closed = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto r =
        co_await with_resource(connection(opened, closed), [](connection& c) -> net::awaitable<std::unique_ptr<int>> {
          c.open();
          co_await let_others_run();
          co_return std::make_unique<int>(4);
        });
    CHECK(*r == 4);
    CHECK(opened == 1);
    CHECK(closed == 1);
    connection named(opened, closed);
    co_await with_resource(coproc::moved(named), [&](connection& c) -> net::awaitable<void> {
      c.open();
      CHECK(closed == 1);
      co_return;
    });
    CHECK(closed == 2);
    co_await with_resource(plain(closed), [](plain&) -> net::awaitable<void> { co_return; });
    CHECK(closed == 3);
  };
  CHECK(text_of(run_to_end(io, body)) == "");
}

TEST_CASE("it is closed also when its use fails; both failures arrive") {
  net::io_context io;
  int opened = 0, closed = 0;
  const auto one = [&]() -> net::awaitable<void> {
    co_await with_resource(connection(opened, closed), [](connection&) -> net::awaitable<void> {
      throw std::runtime_error("use");
      co_return;
    });
  };
  CHECK(text_of(run_to_end(io, one)) == "use");
  CHECK(closed == 1);
  const auto other = [&]() -> net::awaitable<void> {
    co_await with_resource(connection(opened, closed, true), [](connection&) -> net::awaitable<int> { co_return 1; });
  };
  CHECK(text_of(run_to_end(io, other)) == "close");
  CHECK(closed == 2);
  const auto both = [&]() -> net::awaitable<void> {
    co_await with_resource(connection(opened, closed, true), [](connection&) -> net::awaitable<void> {
      throw std::runtime_error("use");
      co_return;
    });
  };
  const auto e = run_to_end(io, both);
  CHECK_THROWS_AS(std::rethrow_exception(e), coproc::exception_group);
  CHECK(closed == 3);
}

TEST_CASE("cancellation ends the use and not the closing, also when it comes again") {
  net::io_context io;
  int opened = 0, closed = 0;
  net::cancellation_signal signal;
  std::exception_ptr error;
  bool went_on = false;
  const auto body = [&]() -> net::awaitable<void> {
    try {
      co_await with_resource(connection(opened, closed), [&](connection&) -> net::awaitable<void> {
        try {
          co_await wait_for_ever();
        } catch (...) {
          net::post(io, [&] { signal.emit(net::cancellation_type::terminal); }); // while it closes
          throw;
        }
      });
    } catch (const net::system_error& e) {
      CHECK(e.code() == net::error::operation_aborted);
      CHECK(closed == 1);
    }
    co_await let_others_run(); // is cancelled, as it would be without
    went_on = true;
  };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  signal.emit(net::cancellation_type::terminal);
  io.restart();
  io.run();
  CHECK(closed == 1);
  CHECK(error);
  CHECK_FALSE(went_on);
}

} // namespace public_with_resource
