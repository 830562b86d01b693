// SPDX-License-Identifier: BSL-1.0
// A pool's trace as Chrome trace events: complete, in the lanes of the workers, and JSON.
#include <coproc/chrome_trace.hpp>

#include "support/run.hpp"

#include <algorithm>
#include <cctype>
#include <csignal>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace process_chrome_trace {

namespace net = coproc::net;
using namespace coproc::testing;

namespace {

int identity(int n) { return n; }

/// Is it JSON, as far as brackets, commas and strings go?
bool balanced(const std::string& text) {
  std::string open;
  bool in_string = false, value = false;
  for (const char c : text) {
    if (c == '"') in_string = !in_string, value = true;
    if (in_string || std::isspace(static_cast<unsigned char>(c))) continue;
    if (c == '[' || c == '{') open += c, value = false;
    if (c == ',' && !std::exchange(value, false)) return false;
    if (c == ']' || c == '}') {
      if (open.empty() || open.back() != (c == ']' ? '[' : '{')) return false;
      open.pop_back();
      value = true;
    }
    if (std::isdigit(static_cast<unsigned char>(c))) value = true;
  }
  return open.empty() && !in_string;
}

std::size_t times(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

} // namespace

TEST_CASE("every task is one complete event in the lane of its worker") {
  const leak_audit audit;
  std::ostringstream out;
  net::io_context io(1);
  {
    coproc::process_pool pool(io, {.max_workers = 2});
    pool.trace(coproc::chrome_trace(out));
    std::vector<ending<int>> ok(50);
    ending<void> throws, dies;
    for (auto& e : ok) start(e, pool, identity, 1);
    start(throws, pool, +[] { throw 1; });
    start(dies, pool, +[] { ::raise(SIGKILL); });
    REQUIRE(run_all(io));
    pool.trace({});
    ending<int> untraced;
    start(untraced, pool, identity, 1);
    REQUIRE(run_all(io));
  }
  const std::string text = out.str();
  CHECK(balanced(text));
  CHECK(times(text, R"("ph":"X")") == 52);
  CHECK(times(text, R"("outcome":"value")") == 50);
  CHECK(times(text, R"("outcome":"exception")") == 1);
  CHECK(times(text, R"("outcome":"lost")") == 1);
  CHECK(times(text, "ends") == 1);
  CHECK(times(text, R"("dur":-)") == 0);
}

TEST_CASE("events name the worker, and a task lies between its submission and its end") {
  const leak_audit audit;
  std::vector<coproc::trace_event> events;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  pool.trace([&](const coproc::trace_event& e) { events.push_back(e); });
  ending<pid_t> who;
  const auto before = std::chrono::steady_clock::now();
  start(who, pool, [] { return ::getpid(); });
  REQUIRE(run_all(io));
  REQUIRE(events.size() == 1);
  CHECK(events[0].what == coproc::trace_event::kind::task);
  CHECK(events[0].pid == who.value);
  CHECK(events[0].worker == 0);
  CHECK(events[0].submitted >= before);
  CHECK(events[0].began >= events[0].submitted);
  CHECK(events[0].ended >= events[0].began);
  CHECK(events[0].ended <= std::chrono::steady_clock::now());
}

TEST_CASE("a trace that nothing was written to is an empty array") {
  std::ostringstream out;
  const coproc::chrome_trace trace(out);
  trace.close();
  trace.close();
  CHECK(balanced(out.str()));
  trace({coproc::trace_event::kind::task, "value", 0, 1, 1, {}, {}, {}}); // too late
  CHECK(times(out.str(), "task") == 0);
}

} // namespace process_chrome_trace
