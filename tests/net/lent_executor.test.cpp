// SPDX-License-Identifier: BSL-1.0
// An executor and its end: nobody uses it after that, and the end waits for those who do.
#include <coproc/net/lent_executor.hpp>

#include <catch2/catch.hpp>

#include <optional>
#include <thread>

namespace net = coproc::net;
using coproc::detail::lent_executor;

TEST_CASE("what was taken back has no executor, and lends none") {
  net::io_context io;
  lent_executor lent(io.get_executor());
  {
    const lent_executor::use u(lent);
    REQUIRE(u);
    CHECK(*u == io.get_executor());
  }
  CHECK(lent.get() == io.get_executor());
  lent.take_back();
  CHECK_FALSE(lent_executor::use(lent));
  CHECK_FALSE(lent.get());
  lent.take_back(); // newer Asio shuts a context down twice
  CHECK_FALSE(lent.get());
}

TEST_CASE("taking it back waits for those who use it, on whatever thread") {
  for (int round = 0; round < 100; ++round) {
    net::io_context io;
    lent_executor lent(net::make_strand(io));
    std::optional<lent_executor::use> first(std::in_place, lent), second(std::in_place, lent);
    std::thread end([&] { lent.take_back(); });
    while (lent_executor::use(lent)) std::this_thread::yield(); // until it has begun
    first.reset();
    CHECK(**second);
    int posted = 0;
    net::post(**second, [&] { ++posted; });
    second.reset();
    end.join();
    CHECK_FALSE(lent.get());
    io.run();
    CHECK(posted == 1);
  }
}
