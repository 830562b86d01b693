// SPDX-License-Identifier: BSL-1.0
// When the drainer spins, and what it takes for the time. One thread; heads of rings that nobody else writes.
#include <coproc/front/drainer_spin.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>

using namespace std::chrono_literals;
using coproc::detail::front::drainer_spin;
using coproc::detail::front::head_set;
using coproc::os::clock_now;
namespace shm = coproc::shm;

namespace {

// One worker, whose head is done or not.
struct one_worker {
  shm::slot slot{};
  bool worth = true;
  mutable bool asked_for_any_tasks = false;

  static constexpr std::uint64_t done_word = shm::pack(0, shm::slot_state::done);
  void finish() { slot.state.store(done_word); }
  bool worth_spinning(int, bool any_tasks) const {
    asked_for_any_tasks = any_tasks;
    return worth;
  }
  void add_heads(head_set& set) const { set.add(slot, done_word); }
};

} // namespace

TEST_CASE("a slice ends with a result, or without one after a while") {
  drainer_spin spin(50us, 0ns);
  one_worker w;
  REQUIRE(spin.go_on(spin.exact_time(), w, false));
  CHECK_FALSE(w.asked_for_any_tasks);
  CHECK_FALSE(spin.slice());
  spin.end();
  REQUIRE(spin.go_on(spin.exact_time(), w, false));
  w.finish();
  CHECK(spin.slice());
}

TEST_CASE("no spin outlasts its limit, unless it is a busy poll or a result is due") {
  one_worker w;
  const auto begin = clock_now();
  SECTION("for about a wake-up") {
    drainer_spin spin(50us, 0ns);
    REQUIRE(spin.go_on(begin, w, false));
    CHECK(spin.go_on(begin + 49us, w, false));
    CHECK_FALSE(spin.go_on(begin + 51us, w, false));
    spin.end();
    CHECK(spin.go_on(begin + 51us, w, false));
  }
  SECTION("for as long as the busy poll lasts") {
    drainer_spin spin(50us, 1ms);
    REQUIRE(spin.go_on(begin, w, false));
    CHECK(spin.go_on(begin + 900us, w, false));
    CHECK(w.asked_for_any_tasks);
    CHECK_FALSE(spin.go_on(begin + 1001us, w, false));
  }
  SECTION("for as long as a result is due, whatever was learned") {
    drainer_spin spin(50us, 0ns);
    spin.slept(1ms);
    spin.slept(1ms);
    REQUIRE_FALSE(spin.go_on(begin, w, false));
    REQUIRE(spin.go_on(begin, w, true));
    CHECK(w.asked_for_any_tasks);
    CHECK(spin.go_on(begin + 60us, w, true));
    CHECK_FALSE(spin.go_on(begin + 61us, w, false));
  }
  SECTION("not at all where it may not") {
    drainer_spin spin(0ns, 0ns);
    CHECK_FALSE(spin.go_on(begin, w, false));
    CHECK_FALSE(spin.go_on(begin, w, true));
  }
  SECTION("nor where the workers say that it is no use") {
    drainer_spin spin(50us, 1ms);
    w.worth = false;
    CHECK_FALSE(spin.go_on(begin, w, false));
    CHECK_FALSE(spin.go_on(begin, w, true));
  }
}

TEST_CASE("two sleeps that were long end it until one is short") {
  drainer_spin spin(50us, 0ns);
  one_worker w;
  spin.slept(1ms);
  spin.slept(1ms);
  CHECK_FALSE(spin.go_on(clock_now(), w, false));
  spin.slept(10us);
  CHECK(spin.go_on(clock_now(), w, false));
}

TEST_CASE("the time of a slice is good for three rounds, then the clock is asked") {
  drainer_spin spin(50us, 0ns);
  one_worker w;
  REQUIRE(spin.go_on(spin.exact_time(), w, false));
  REQUIRE_FALSE(spin.slice());
  const auto looked = spin.last_time();
  for (int i = 0; i < 3; ++i) CHECK(spin.time() == looked);
  const auto before = clock_now();
  CHECK(spin.time() >= before);
  CHECK(spin.last_time() >= before);
}
