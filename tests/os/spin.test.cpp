// SPDX-License-Identifier: BSL-1.0
// When spinning is given up and taken up again. One thread.
#include <coproc/os/spin.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>

using namespace std::chrono_literals;
using coproc::os::spin_gate;

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

TEST_CASE("after a sleep that twice the limit would have caught, a spin lasts so long, until another sleep") {
  spin_gate gate(2ms);
  const auto spun = [&] {
    const auto begin = std::chrono::steady_clock::now();
    CHECK_FALSE(gate.until([] { return false; }));
    return std::chrono::steady_clock::now() - begin;
  };
  gate.slept(3999us);
  CHECK(spun() >= 4ms);
  gate.success();
  CHECK(spun() >= 4ms);
  gate.slept(4ms);
  std::chrono::nanoseconds least = 1h;
  for (int i = 0; i != 5; ++i) least = std::min<std::chrono::nanoseconds>(least, spun()); // it may lose its CPU
  CHECK(least < 4ms);
  CHECK(least >= 2ms);
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
