// SPDX-License-Identifier: BSL-1.0
// As crash_points, but the process is stopped (SIGSTOP) at each point, and stays: from outside it is a hang, and what
// ends it is a deadline. A worker that stopped while it ran costs its task a time-out, which no other task has; one
// that stopped between tasks, while it was made or while it ended costs nothing.
#include "crash_campaign.hpp"

using namespace coproc::testing;

TEST_CASE("a process that stops at any store or system call is ended by a deadline and costs one task at most") {
  const leak_audit audit;
  crash_campaign(fate::stopped, 96).execute();
}
