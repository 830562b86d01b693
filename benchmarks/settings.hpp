// SPDX-License-Identifier: BSL-1.0
// What one invocation of the benchmark was asked for, and the few facts about the machine that rows need. Filled by
// main() before the first row; includes nothing of coproc.
#pragma once

#include "work.hpp"

#include <algorithm>
#include <string>

namespace bench {

struct settings {
  bool quick = false;
  std::string out;     ///< JSON file; empty: none
  std::string only;    ///< run only the rows whose id starts so; empty: all
  std::string peer;    ///< run only the arms whose name starts so; empty: all
  std::string sources; ///< this directory, for the scripts of Python and Node
  std::string build;   ///< where the build put piscina and the compiler's flags; scratch files go there too
  std::string commit = "unknown", command = "coproc.bench";
  int usable_cpus = 1;
  double loops_per_us = 0;

  std::size_t runs() const { return quick ? 5 : 7; }
  double seconds_per_run() const { return quick ? 0.02 : 0.1; }
  int loops(double microseconds) const { return static_cast<int>(microseconds * loops_per_us); }
  /// As many workers as leave a CPU to the front end, but one at least.
  int workers_beside_front_end() const { return std::max(1, usable_cpus - 1); }
};

} // namespace bench
