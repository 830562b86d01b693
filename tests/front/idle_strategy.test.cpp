// SPDX-License-Identifier: BSL-1.0
// How the drainer falls asleep and wakes up: what the workers are told, and what the timer is set to. One thread, no
// clock.
#include <coproc/front/idle_strategy.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using coproc::detail::front::bell_moderation;
using coproc::detail::front::head_set;
using coproc::detail::front::idle_strategy;
using coproc::os::time_point;

namespace {

constexpr auto never = time_point::max();
constexpr time_point begin{1h};
constexpr int cpu = 3;

// Writes down in which order it is told what.
struct scripted_host {
  struct waking_stub {
    scripted_host& host;
    bell_moderation::workload work{};
    time_point due = never;
    bool head_done = false;
    bool short_tasks = true;

    bell_moderation::workload workload(int on) const { return host.asked_for(on), work; }
    time_point first_due(time_point, int on) const { return host.asked_for(on), due; }
    bool worth_spinning(int, bool any_tasks) const { return short_tasks || any_tasks; }
    void add_heads(head_set&) const {}
    bool any_head_done() const { return host.log += "look ", head_done; }
    void arm(std::uint64_t epoch) { host.log += "arm" + std::to_string(epoch) + " "; }
    void arm_idle(std::uint64_t epoch) { host.log += "arm_idle" + std::to_string(epoch) + " "; }
    void disarm() { host.log += "disarm "; }
    void silence() { host.log += "silence "; }
  };

  waking_stub waking_{*this};
  time_point deadline = never, timer = never;
  bool timer_works = true;
  std::string log;

  scripted_host& tasks() { return *this; }
  waking_stub& waking() { return waking_; }
  time_point next_deadline() const { return deadline; }
  bool set_timer(time_point at) {
    log += "timer ";
    if (timer_works) timer = at;
    return timer_works;
  }
  void asked_for(int on) const { CHECK(on == cpu); }
  std::string told() { return std::exchange(log, {}); }
};

// Each ring has another task to go on with for long: the clock may end the sleep.
constexpr bell_moderation::workload long_rings{.long_backlog = 200us};

struct sleeper {
  scripted_host host;
  idle_strategy<scripted_host, scripted_host::waking_stub> idle{host, host.waking_, 50us, 0ns};
};

} // namespace

TEST_CASE("before a sleep bells are armed first, then heads are looked at, then the timer gets the next deadline") {
  sleeper s;
  s.host.deadline = begin + 7ms;
  REQUIRE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told() == "arm1 look timer ");
  CHECK(s.host.timer == begin + 7ms);
  s.idle.woken(begin + 1ms);
  CHECK(s.host.told() == "disarm ");
  REQUIRE(s.idle.falls_asleep(begin + 1ms, cpu));
  CHECK(s.host.told() == "arm2 look timer "); // each sleep has a number of its own
}

TEST_CASE("a worker that was faster is not slept on, and is not asked to ring any more") {
  sleeper s;
  s.host.waking_.head_done = true;
  CHECK_FALSE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told() == "arm1 look disarm ");
}

TEST_CASE("where the clock is to end the sleep, only workers without work ring, unless there is no timer") {
  sleeper s;
  s.host.waking_.work = long_rings;
  SECTION("the clock ends it") {
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    CHECK(s.host.told() == "timer arm_idle1 ");
    CHECK(s.host.timer == begin + 50us);
  }
  SECTION("a deadline ends it sooner") {
    s.host.deadline = begin + 20us;
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    CHECK(s.host.told() == "timer arm_idle1 ");
    CHECK(s.host.timer == begin + 20us);
  }
  SECTION("the timer cannot be set") {
    s.host.timer_works = false;
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    CHECK(s.host.told() == "timer arm1 look timer ");
  }
  SECTION("nobody is woken early for a result that is due meanwhile") {
    s.host.waking_.due = begin + 100us;
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    CHECK(s.host.timer == begin + 50us);
    s.idle.woken(begin + 60us);
    CHECK(s.host.told() == "timer arm_idle1 disarm ");
  }
}

TEST_CASE("after three pauses that brought nothing bells ring again, until something comes") {
  sleeper s;
  s.host.waking_.work = long_rings;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    s.idle.woken(begin + 50us);
    s.idle.moved(0);
  }
  s.host.told();
  REQUIRE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told() == "arm4 look timer ");
  s.idle.woken(begin + 1ms);
  s.idle.moved(1);
  s.host.told();
  REQUIRE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told() == "timer arm_idle5 ");
}

TEST_CASE(
    "woken by the clock ahead of a result it silences the bells, and spins until the result is there or overdue") {
  sleeper s;
  const auto due = begin + 100us;
  s.host.waking_.due = due;
  s.host.waking_.short_tasks = false;
  REQUIRE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told() == "arm1 look timer ");
  const auto alarm = s.host.timer;
  CHECK(alarm > begin);
  CHECK(alarm < due);
  SECTION("by the clock") {
    s.idle.woken(alarm);
    CHECK(s.host.told() == "disarm silence ");
    CHECK(s.idle.spins(alarm));
    CHECK(s.idle.spins(due));
    SECTION("it is overdue") { CHECK_FALSE(s.idle.spins(due + 1ms)); }
    SECTION("it is there") {
      s.idle.moved(1);
      CHECK_FALSE(s.idle.spins(due));
      s.host.waking_.due = due + 100us;
      REQUIRE(s.idle.falls_asleep(due, cpu));
      CHECK(s.host.timer < due + 100us); // it was right, so it tries again
    }
  }
  SECTION("by a bell, before that: nothing is silenced, and nobody spins") {
    s.idle.woken(alarm - 1us);
    CHECK(s.host.told() == "disarm ");
    CHECK_FALSE(s.idle.spins(alarm));
  }
}

TEST_CASE("no deadline is forgotten for a result that is due") {
  sleeper s;
  s.host.waking_.due = begin + 100us;
  s.host.deadline = begin + 10us;
  REQUIRE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.timer == begin + 10us);
}

TEST_CASE("it does not fall asleep where a result is about to be there, and spins for it") {
  sleeper s;
  s.host.waking_.due = begin + 45us;
  s.host.waking_.short_tasks = false;
  CHECK_FALSE(s.idle.spins(begin));
  CHECK_FALSE(s.idle.falls_asleep(begin, cpu));
  CHECK(s.host.told().empty());
  CHECK(s.idle.spins(begin));
  CHECK(s.idle.spins(begin + 45us));
}

TEST_CASE("long sleeps end spinning, but not those that the clock was to end") {
  sleeper s;
  const auto sleep_for = [&](std::chrono::nanoseconds time) {
    REQUIRE(s.idle.falls_asleep(begin, cpu));
    s.idle.woken(begin + time);
    s.idle.moved(1);
  };
  SECTION("by a bell") {
    for (int i = 0; i < 4; ++i) sleep_for(1ms);
    CHECK_FALSE(s.idle.spins(begin));
    sleep_for(20us);
    CHECK(s.idle.spins(begin));
  }
  SECTION("by the clock") {
    s.host.waking_.work = long_rings;
    for (int i = 0; i < 4; ++i) sleep_for(1ms);
    CHECK(s.idle.spins(begin));
  }
}
