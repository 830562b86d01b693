// SPDX-License-Identifier: BSL-1.0
// The set of seats with something to do: what is in it, who is first, who is forgotten.
#include <coproc/front/active_seats.hpp>

#include <catch2/catch.hpp>

#include <vector>

using coproc::detail::front::active_seats;

namespace {

std::vector<unsigned> all(const active_seats& s) { return {s.begin(), s.end()}; }

} // namespace

TEST_CASE("seats are visited in the order in which they were added, or from where the last visit ended") {
  active_seats s(5);
  for (const unsigned i : {4u, 0u, 2u}) s.add(i);
  CHECK(s.contains(4));
  CHECK_FALSE(s.contains(1));
  CHECK(all(s) == std::vector<unsigned>{4, 0, 2});
  s.begin_with(2);
  CHECK(all(s) == std::vector<unsigned>{2, 4, 0});
  s.begin_with(3);
  CHECK(all(s) == std::vector<unsigned>{2, 4, 0});
}

TEST_CASE("idle seats are forgotten, neighbours too, and may come back") {
  active_seats s(4);
  for (unsigned i = 0; i != 4; ++i) s.add(i);
  s.prune([](unsigned i) { return i != 1; });
  CHECK(all(s) == std::vector<unsigned>{1});
  CHECK_FALSE(s.contains(0));
  CHECK_FALSE(s.contains(3));
  s.add(3);
  CHECK(s.contains(3));
  CHECK(all(s) == std::vector<unsigned>{1, 3});
}
