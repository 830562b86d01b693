// SPDX-License-Identifier: BSL-1.0
// Events are kept while somebody listens, until they are taken.
#include <coproc/front/trace_buffer.hpp>

#include <catch2/catch.hpp>

using coproc::trace_event;
using coproc::detail::front::trace_buffer;

TEST_CASE("events are kept in order while somebody listens, and taken once") {
  trace_buffer b;
  trace_event e;
  b.add(e);
  CHECK(b.empty());
  b.set(true);
  for (const unsigned worker : {3u, 1u}) {
    e.worker = worker;
    b.add(e);
  }
  CHECK_FALSE(b.empty());
  const auto events = b.take();
  REQUIRE(events.size() == 2);
  CHECK(events[0].worker == 3);
  CHECK(events[1].worker == 1);
  CHECK(b.empty());
  CHECK(b.take().empty());
  b.set(false);
  b.add(e);
  CHECK(b.empty());
}
