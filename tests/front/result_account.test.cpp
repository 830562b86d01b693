// SPDX-License-Identifier: BSL-1.0
// Results are given back in the order in which they were drained, in whatever order they are done with, and all of
// them.
#include <coproc/front/result_account.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <vector>

using coproc::detail::front::result_account;

TEST_CASE("one at a time, each is given back at once") {
  result_account account;
  for (std::uint64_t i = 1; i != 100; ++i) {
    std::uint64_t given = 0;
    account.done(account.drained(), [&](std::uint64_t n) { given = n; });
    CHECK(given == i);
  }
}

TEST_CASE("never more is given back than is done with, and in the end all is") {
  std::mt19937 random(5);
  result_account account;
  struct result {
    std::uint64_t number;
    unsigned group;
  };
  std::vector<result> open;
  std::uint64_t drained = 0, given = 0;
  const auto finish = [&](std::size_t i) {
    const result r = open[i];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
    account.done(r.group, [&](std::uint64_t n) {
      REQUIRE(n >= given);
      given = n;
    });
    for (const result& other : open) REQUIRE(other.number > given);
  };
  std::uint64_t longest_wait = 0;
  for (int step = 0; step < 50'000; ++step) {
    if (open.empty() || (open.size() < 40 && random() % 2 == 0)) {
      const unsigned group = account.drained();
      open.push_back({++drained, group});
    } else {
      finish(random() % 3 == 0 ? random() % open.size() : 0);
    }
    longest_wait = std::max(longest_wait, drained - given);
  }
  CHECK(longest_wait < 2000); // results come back while others are still open
  while (!open.empty()) finish(0);
  CHECK(given == drained);
}
