// SPDX-License-Identifier: BSL-1.0
// COPROC_CHECK_LEAKS, in builds with LeakSanitizer: a worker whose tasks have leaked says so at its orderly end, one
// whose tasks have not does not. An executable of its own, because the whole program is compiled with it.
#include "support/in_child.hpp"
#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

namespace process_leak_check {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

void leak() {
  auto* volatile lost = new int[100];
  lost = nullptr;
  static_cast<void>(lost);
}
void leak_nothing() {}

// How the worker that ran it ended.
std::optional<int> exit_code_after(void (*task)()) {
  net::io_context io(1);
  std::optional<coproc::worker_exit> how;
  coproc::process_pool pool(io, {.max_workers = 1,
                                 .initializer = [] { coproc::this_worker::make_state<std::vector<int>>(100); },
                                 .on_worker_exit = [&how](const coproc::worker_exit& e) { how = e; }});
  ending<void> e;
  start(e, pool, task);
  expect(run_all(io) && e.succeeded(), "the call failed");
  run_coroutine(io, pool.shutdown(30s));
  expect(run_until(io, [&] { return how.has_value(); }), "nobody was told of its end");
  return how->exit_code;
}

} // namespace

TEST_CASE("a worker whose task has leaked ends with exit code 72 and names itself; any other with 0") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const int err = ::dup(2);
  ::dup2(ends[1], 2);
  const auto leaking = exit_code_after(leak), clean = exit_code_after(leak_nothing);
  ::dup2(err, 2);
  ::close(err);
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  INFO(text);
  CHECK(leaking == 72);
  CHECK(clean == 0);
  CHECK(text.find("400 byte(s)") != std::string::npos);
  CHECK(text.find("coproc: worker 0, process ") != std::string::npos);
}

} // namespace process_leak_check
