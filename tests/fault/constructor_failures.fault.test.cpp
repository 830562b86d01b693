// SPDX-License-Identifier: BSL-1.0
// n-th failure injection for the pool's constructor: every system call that it makes, in the front end and in the fork
// server, fails once at each of its calls. The constructor throws, or does without; a pool that was made works; nothing is
// left behind.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <sys/mman.h>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;
using os::call;

namespace {

constexpr unsigned calls = static_cast<unsigned>(call::count_);

enum class role : unsigned { front_end, server, worker };

struct control {
  std::atomic<pid_t> front_end{0};
  std::atomic<bool> active{false};
  std::atomic<unsigned> victim_role{0}, victim_call{calls};
  std::atomic<int> nth{0}, error{0}, failed{0};
  std::atomic<int> made[3][calls]{};
};

control& shared() {
  static control* const c = new (::mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) control;
  return *c;
}

int fail_or_not(call c) {
  control& s = shared();
  if (!s.active) return 0;
  const pid_t front_end = s.front_end;
  const auto who = static_cast<unsigned>(::getpid() == front_end      ? role::front_end
                                         : ::getppid() == front_end ? role::server
                                                                      : role::worker);
  const auto which = static_cast<unsigned>(c);
  const int n = ++s.made[who][which];
  if (who != s.victim_role || which != s.victim_call || n != s.nth) return 0;
  ++s.failed;
  return s.error;
}

std::vector<int> plausible_errors(call c) {
  switch (c) {
  case call::memfd_create: return {EMFILE, ENFILE, ENOMEM};
  case call::ftruncate: return {EFBIG, EIO};
  case call::add_seals: return {EPERM};
  case call::map: return {ENOMEM};
  case call::eventfd: case call::epoll_create: case call::timerfd_create: case call::socketpair: return {EMFILE, ENOMEM};
  case call::epoll_ctl: return {ENOSPC, ENOMEM};
  case call::sendmsg: return {EINTR, ENOBUFS, ETOOMANYREFS};
  case call::recvmsg: return {EINTR, ENOMEM};
  case call::poll: return {EINTR, ENOMEM};
  case call::fork: return {EAGAIN, ENOMEM};
  case call::pidfd_open: return {EMFILE, ENODEV};
  case call::open: case call::read: return {EMFILE, EACCES};
  case call::unshare: return {EPERM};
  case call::wait4: return {EINTR};
  // A wake-up on mapped memory and a ring of a bell that is not full cannot fail, and nobody could do without.
  case call::futex_wake: case call::eventfd_write: return {};
  default: return {EPERM};
  }
}

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
      async_run(pool, work([](int n) { return n + 1; }, i), [&, i](std::exception_ptr e, int n) { right += !e && n == i + 1; });
    io.run_for(10s);
    r.works = right == 3;
  } catch (const pool_error& e) {
    r.error = e.code();
    r.what = e.what();
  }
  return r;
}

} // namespace

TEST_CASE("each system call of the constructor fails at each of its calls, and nothing is left behind") {
  control& s = shared();
  s.front_end = ::getpid();
  os::faults.before_call = fail_or_not;
  constexpr unsigned workers = 2;

  s.active = true;
  REQUIRE(try_pool(workers).works);
  s.active = false;
  int made[3][calls];
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c) made[who][c] = s.made[who][c];

  // What is done without, or tried again.
  const std::set<call> best_effort{call::open, call::read, call::unshare, call::poll, call::epoll_wait, call::wait4, call::recvmsg, call::sigaction, call::setpgid, call::close_range,
                                   call::dup2, call::sigmask, call::timerfd_settime, call::prctl, call::exit, call::futex_wait};
  int runs = 0, refused = 0;
  for (unsigned who = 0; who != 3; ++who)
    for (unsigned c = 0; c != calls; ++c)
      for (int n = 1; n <= std::min(made[who][c], 40); ++n)
        for (const int error : plausible_errors(static_cast<call>(c))) {
          CAPTURE(who, c, n, error);
          for (auto& of_role : s.made)
            for (auto& count : of_role) count = 0;
          s.victim_role = who;
          s.victim_call = c;
          s.nth = n;
          s.error = error;
          s.failed = 0;
          result r;
          {
            const leak_audit audit;
            s.active = true;
            r = try_pool(workers);
            s.active = false;
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
