// SPDX-License-Identifier: BSL-1.0
// How long tasks waited and ran, and what a trace says of it.
#include <coproc/front/run_meter.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

#include <array>

using namespace coproc;
using namespace coproc::testing;

namespace {

struct meter_bench {
  meter_bench() {
    w.on_start({1s, 1s, 1s, 0, false}, now);
    w.on_started(77, {});
    w.go_live();
  }
  front::task_record& give() {
    front::task_record& t = engine.records.acquire();
    t.call = {};
    t.submitted_at = now;
    w.give(t, now);
    return t;
  }

  fake_engine engine;
  os::time_point now = os::time_point{} + 1h;
  front::worker w{2, 1, make_worker_memory(), 64};
  front::run_meter meter;
};

} // namespace

TEST_CASE("tasks that ended between two rounds share that time evenly") {
  meter_bench b;
  const std::array tasks{&b.give(), &b.give()};
  b.meter.ran(b.w, tasks, b.now + 10ms);
  CHECK(b.meter.run_time.count() == 2);
  CHECK(b.meter.run_time.max() == 5ms);
  CHECK(b.meter.wait_time.count() == 2);
  CHECK(b.meter.wait_time.max() == 5ms); // the second, for the first
}

TEST_CASE("a trace tells who ran when and how it ended, once somebody listens") {
  meter_bench b;
  std::array tasks{&b.give()};
  tasks[0]->outcome = front::verdict::exception;
  b.meter.ran(b.w, tasks, b.now + 3ms);
  CHECK(b.meter.traced.empty());

  b.meter.traced.set(true);
  b.meter.worker_started(b.w, b.now);
  b.meter.ran(b.w, tasks, b.now + 3ms);
  b.w.on_death(b.now + 5ms);
  b.meter.died_with(b.w, *tasks[0], "lost");
  b.meter.worker_ended(b.w);
  const auto events = b.meter.traced.take();
  REQUIRE(events.size() == 4);
  CHECK(events[0].what == trace_event::kind::worker_start);
  CHECK(events[0].pid == 77);
  CHECK(events[1].outcome == std::string("exception"));
  CHECK(events[1].began == b.now);
  CHECK(events[1].ended == b.now + 3ms);
  CHECK(events[1].worker == 2);
  CHECK(events[2].outcome == std::string("lost"));
  CHECK(events[2].ended == b.now + 5ms);
  CHECK(events[3].what == trace_event::kind::worker_exit);
  CHECK(b.meter.traced.empty());
}
