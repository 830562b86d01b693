// SPDX-License-Identifier: BSL-1.0
// Who sits where: a successor takes over, and whoever has left is found until it is buried.
#include <coproc/front/roster.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using front::roster;

namespace {

constexpr os::time_point noon = os::time_point{} + 12h;

front::worker& sit(roster& r, unsigned index, std::uint64_t incarnation) {
  auto w = std::make_unique<front::worker>(index, incarnation, make_worker_memory(), 64);
  w->on_start({1s, 1s, 1s, 0, false}, noon);
  front::worker& there = *w;
  r.sit(std::move(w));
  return there;
}

void initialize(front::worker& w) {
  w.go_live();
  w.mailbox().worker.phase = static_cast<std::uint32_t>(shm::worker_phase::initialized);
}

} // namespace

TEST_CASE("the first in a seat works, the second stands by, and takes over") {
  roster r(2);
  CHECK(r[0].vacant());
  auto& first = sit(r, 0, 1);
  auto& second = sit(r, 0, 2);
  CHECK(r[0].worker.get() == &first);
  CHECK(r[0].successor.get() == &second);
  CHECK(r[1].vacant());
  CHECK(r.find(2) == &second);

  CHECK(r.depart(first));
  CHECK_FALSE(r.depart(first)); // it is out already
  CHECK(r[0].worker.get() == &second);
  CHECK_FALSE(r[0].successor);
  CHECK(r.find(1) == &first);
  CHECK(r.find(3) == nullptr);
}

TEST_CASE("a worker whose successor is gone works on") {
  roster r(1);
  auto& works = sit(r, 0, 1);
  initialize(works);
  auto& successor = sit(r, 0, 2);
  works.relieve(true);
  CHECK(r.take(successor).get() == &successor);
  CHECK(works.takes_work());
}

TEST_CASE("a seat for which somebody is on the way is not vacant") {
  roster r(1);
  r[0].requested = true;
  CHECK_FALSE(r[0].vacant());
  CHECK(r.in_transition());
  CHECK_FALSE(r.gone());
  sit(r, 0, 1);
  CHECK_FALSE(r[0].requested);
}

TEST_CASE("only initialized workers count as such, and none is in transition then") {
  roster r(1);
  auto& w = sit(r, 0, 1);
  CHECK_FALSE(r.any_initialized());
  CHECK(r.in_transition());
  initialize(w);
  CHECK(r.any_initialized());
  CHECK_FALSE(r.in_transition());
}

TEST_CASE("a pool is gone when nobody is left but who cannot be killed") {
  roster r(1);
  auto& w = sit(r, 0, 1);
  initialize(w);
  std::size_t processes = 0;
  r.depart(w);
  CHECK(r.in_transition());
  CHECK_FALSE(r.gone());
  r.each_process([&](front::worker&) { ++processes; });
  CHECK(processes == 1);
  w.end(SIGKILL, noon);
  CHECK(w.on_deadline(noon + 1s).give_up);
  CHECK(r.gone());
  CHECK_FALSE(r.in_transition());
  w.on_death(noon);
  r.each_process([&](front::worker&) { ++processes; });
  CHECK(processes == 1); // the dead do not count
}
