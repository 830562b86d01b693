// SPDX-License-Identifier: BSL-1.0
// Crash-point enumeration: a worker, or the fork server, is killed at every store to shared memory and every system
// call that it passes, with an empty, a one-entry, a full and a wrapped ring, through the real pool. After each
// death: every task completes exactly once, at most the running one is lost, the pool goes on, nothing is left
// behind.
#include "crash_campaign.hpp"

using namespace coproc::testing;

TEST_CASE("a process that dies at any store or system call costs one task at most") {
  const leak_audit audit;
  crash_campaign(fate::killed, 2).execute();
}
