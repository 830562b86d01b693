// SPDX-License-Identifier: BSL-1.0
// What a pool must not leave behind: descriptors, processes, threads, mappings. A test opens with a leak_audit, and
// when its scope ends everything must be back to where it was. Runs in the test process; reads /proc only.
#pragma once

#include "support/holdings.hpp"

#include <catch2/catch.hpp>

namespace coproc::testing {

class leak_audit {
public:
  // As a subreaper this process inherits orphaned workers, which would otherwise vanish from its sight.
  leak_audit() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    before_ = take_holdings();
  }

  leak_audit(const leak_audit&) = delete;
  leak_audit& operator=(const leak_audit&) = delete;

  ~leak_audit() {
    const std::string left = left_behind(before_);
    INFO("left behind: " << left);
    CHECK(left.empty());
  }

private:
  holdings before_;
};

} // namespace coproc::testing
