// SPDX-License-Identifier: BSL-1.0
// The channel's state by itself: what happens between two threads of control inside one call.
#include <coproc/net/channel_state.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace net = coproc::net;
using channel = coproc::detail::channel_state<std::unique_ptr<int>>;
using namespace coproc::testing;

namespace {

/// Takes the message that arrives, and looks at the channel from inside the cancellation slot's old handler.
struct probe {
  std::shared_ptr<channel> state;
  std::unique_ptr<int> message;

  ~probe() {
    if (message) static_cast<void>(state->try_send(message));
  }
  void operator()(net::cancellation_type) const {}
};

} // namespace

TEST_CASE("a message sent while the receiver's cancellation is being set up is received") {
  net::io_context io;
  auto state = channel::make(io.get_executor(), 1);
  net::cancellation_signal signal;
  // Destroyed when the receive puts its own handler into the slot, between its two looks at the buffer.
  signal.slot().emplace<probe>(state, std::make_unique<int>(9));
  int received = 0;
  state->start_receive(net::bind_cancellation_slot(signal.slot(),
                                                   [&](net::error_code ec, std::optional<std::unique_ptr<int>> m) {
                                                     CHECK_FALSE(ec);
                                                     received = **m;
                                                   }),
                       {});
  io.run();
  CHECK(received == 9);
  CHECK_FALSE(state->try_receive());
}

TEST_CASE("an operation begun while the context goes is dropped") {
  auto witness = std::make_shared<int>();
  std::shared_ptr<channel> state;
  {
    net::io_context io;
    state = channel::make(io.get_executor(), 1);
    static_cast<coproc::detail::shutdown_listener&>(*state).context_shutting_down();
    state->start_receive([witness](net::error_code, std::optional<std::unique_ptr<int>>) { FAIL("invoked"); }, {});
    CHECK(witness.use_count() == 1);
    io.run();
  }
  auto message = std::make_unique<int>(1);
  CHECK(state->try_send(message));
  CHECK(*state->try_receive().value() == 1);
}
