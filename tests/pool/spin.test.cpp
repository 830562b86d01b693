// SPDX-License-Identifier: BSL-1.0
// When spinning is given up and taken up again. One thread.
#include <coproc/pool/spin.hpp>

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using coproc::pool::spin_gate;

TEST_CASE("with a limit of 0 nobody spins") {
  spin_gate gate(0ns);
  CHECK_FALSE(gate.worthwhile());
  gate.success();
  CHECK_FALSE(gate.worthwhile());
}

TEST_CASE("two fruitless spins end it, a success or a short sleep begins it again") {
  spin_gate gate(20us);
  CHECK(gate.worthwhile());
  gate.slept(1ms);
  CHECK(gate.worthwhile());
  gate.slept(1ms);
  CHECK_FALSE(gate.worthwhile());
  gate.slept(1ms);
  CHECK_FALSE(gate.worthwhile());
  SECTION("a short sleep") {
    gate.slept(30us);
    CHECK(gate.worthwhile());
  }
  SECTION("a success") {
    gate.success();
    CHECK(gate.worthwhile());
  }
  gate.slept(1ms);
  CHECK(gate.worthwhile());
}

TEST_CASE("a spin ends when its predicate says so, or at the limit") {
  spin_gate gate(200us);
  int calls = 0;
  CHECK(gate.until([&] { return ++calls == 5; }));
  CHECK(calls == 5);
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(gate.until([] { return false; }));
  CHECK(std::chrono::steady_clock::now() - begin >= 200us);
}
