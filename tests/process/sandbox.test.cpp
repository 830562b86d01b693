// SPDX-License-Identifier: BSL-1.0
// A seccomp filter that the initializer installs: the list of docs/workers.md is all that a worker itself needs.
#include "support/run.hpp"

#include <coproc/argument_array.hpp>
#include <coproc/result_view.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <vector>

#include "support/sanitized.hpp"

namespace process_sandbox {

namespace net = coproc::net;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

// As docs/workers.md has them.
const std::map<std::string, long> allowed{
    {"brk", SYS_brk},
    {"close", SYS_close},
    {"exit_group", SYS_exit_group},
    {"fstat", SYS_newfstatat},
    {"futex", SYS_futex},
    {"getppid", SYS_getppid},
    {"getrandom", SYS_getrandom},
    {"madvise", SYS_madvise},
    {"mmap", SYS_mmap},
    {"mprotect", SYS_mprotect},
    {"munmap", SYS_munmap},
    {"prctl", SYS_prctl},
    {"read", SYS_read},
    {"recvmsg", SYS_recvmsg},
    {"rt_sigreturn", SYS_rt_sigreturn},
    {"sched_yield", SYS_sched_yield},
    {"write", SYS_write},
    {"fcntl", SYS_fcntl},
};

void enter_sandbox() {
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const auto& [name, number] : allowed) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    throw std::runtime_error("seccomp");
}

coproc::result_view<char> viewed(std::size_t n) {
  coproc::result_array<char> out(n);
  std::ranges::fill(std::span<char>(out), 'v');
  return out;
}

} // namespace

TEST_CASE("a worker works, sleeps and ends behind a filter that allows what the documentation lists") {
  if (sanitized) return; // they make calls of their own
  const leak_audit audit;
  net::io_context io(1);
  std::vector<int> ends;
  coproc::process_pool pool(io, {.max_workers = 1,
                                 .max_tasks_per_child = 40,
                                 .initializer = enter_sandbox,
                                 .on_worker_exit = [&ends](const coproc::worker_exit& e) {
                                   ends.push_back(e.status_known ? e.exit_code.value_or(-e.signal) : -1000);
                                 }});
  for (int round = 0; round != 3; ++round) {
    std::vector<ending<std::string>> copied(8);
    std::vector<ending<coproc::result_view<char>>> views(4);
    std::vector<ending<int>> small(20);
    ending<void> throws, prints;
    const coproc::argument_array<char> array(pool, 3 << 20);
    ending<std::size_t> from_array;
    for (std::size_t i = 0; i != copied.size(); ++i)
      start(
          copied[i], pool, +[](std::string_view s) { return std::string(s); },
          std::string(std::size_t{1} << (3 * i), 'x'));
    for (auto& e : views) start(e, pool, viewed, std::size_t{5} << 20);
    for (auto& e : small) start(e, pool, +[](int n) { return n + 1; }, 1);
    start(throws, pool, +[] { throw std::runtime_error("thrown"); });
    start(prints, pool, +[] { std::fputs("", stdout); });
    start(from_array, pool, +[](std::span<const char> s) { return s.size(); }, array);
    REQUIRE(run_all(io));
    for (const auto& e : copied) CHECK(e.succeeded());
    for (const auto& e : views) CHECK(e.succeeded());
    for (const auto& e : small) CHECK(e.succeeded());
    CHECK(throws.text() == "thrown");
    CHECK(prints.succeeded());
    CHECK(from_array.succeeded());
    io.restart();
    io.run_for(5ms); // it sleeps
  }
  run_coroutine(io, pool.shutdown(10s));
  REQUIRE(run_until(io, [&] { return ends.size() >= 3; }));
  for (const int how : ends) CHECK(how == 0);
}

} // namespace process_sandbox
