// SPDX-License-Identifier: BSL-1.0
// A forked copy knows that it is one, and its copies know it again. Forks.
#include <coproc/os/fork_generation.hpp>

#include <catch2/catch.hpp>

#include <sys/wait.h>
#include <unistd.h>

using namespace coproc::os;

TEST_CASE("each fork counts in the child alone, once however often counting was switched on") {
  count_forks();
  count_forks();
  const unsigned here = fork_generation.load();
  const pid_t child = ::fork();
  if (child == 0) {
    if (fork_generation.load() != here + 1) ::_exit(1);
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(fork_generation.load() == here + 2 ? 0 : 1);
    int status = 0;
    ::waitpid(grandchild, &status, 0);
    ::_exit(status == 0 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(fork_generation.load() == here);
}
