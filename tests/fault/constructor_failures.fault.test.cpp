// SPDX-License-Identifier: BSL-1.0
// n-th failure injection for the pool's constructor: every system call that it makes, in the front end and in the
// fork server, fails once at each of its calls. The constructor throws, or does without; a pool that was made works;
// nothing is left behind.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "fail_nth.hpp"
#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <set>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct result {
  bool made = false, works = false;
  net::error_code error;
  std::string what;
};

result try_pool(unsigned workers) {
  result r;
  net::io_context io(1);
  try {
    process_pool pool(io, {.max_workers = workers});
    r.made = true;
    int right = 0;
    for (int i = 0; i != 3; ++i)
      async_run(pool, work([](int n) { return n + 1; }, i),
                [&, i](std::exception_ptr e, int n) { right += !e && n == i + 1; });
    io.run_for(hang_limit);
    r.works = right == 3;
  } catch (const pool_error& e) {
    r.error = e.code();
    r.what = e.what();
  }
  return r;
}

} // namespace

TEST_CASE("each system call of the constructor fails at each of its calls, and nothing is left behind") {
  fault_control& s = fault_plan();
  s.front_end = ::getpid();
  os::faults.before_call = fail_or_not;
  constexpr unsigned workers = 2;

  s.arm(role::front_end, call::fork, 0, 0);
  REQUIRE(try_pool(workers).works);
  s.disarm();
  int made[3][calls];
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c) made[who][c] = s.made[who][c];

  // What is done without, or tried again.
  const std::set<call> best_effort{
      call::open,       call::read,    call::unshare,          call::poll,         call::epoll_wait,
      call::wait4,      call::recvmsg, call::sigaction,        call::setpgid,      call::close_range,
      call::dup2,       call::sigmask, call::timerfd_settime,  call::prctl,        call::exit,
      call::futex_wait, call::advise,  call::getaffinity,      call::sysconf,      call::shutdown,
      call::sleep,      call::write,   call::descriptor_flags, call::eventfd_write};
  int runs = 0, refused = 0;
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c)
      for (int n = 1; n <= std::min(made[who][c], 40); ++n)
        for (const int error : errors_to_try(static_cast<call>(c))) {
          CAPTURE(who, c, n, error);
          result r;
          {
            const leak_audit audit;
            s.arm(static_cast<role>(who), static_cast<call>(c), n, error);
            r = try_pool(workers);
            s.disarm();
          }
          ++runs;
          CAPTURE(r.what);
          if (r.made) CHECK(r.works);
          if (!r.made) {
            ++refused;
            CHECK((r.error == make_error_code(errc::worker_start_failed) || r.error == os::system_code(error)));
            CHECK_FALSE(r.what.empty());
            CHECK_FALSE(best_effort.contains(static_cast<call>(c)));
            CHECK(error != EINTR);
          }
        }
  CHECK(refused > 20);
  WARN(runs << " runs, " << refused << " times no pool");
  os::faults = {};
}
