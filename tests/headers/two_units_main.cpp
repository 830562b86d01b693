// SPDX-License-Identifier: BSL-1.0
// First of two translation units with the umbrella header: links only if every function in it is inline, and succeeds
// only if both see the same objects and functions.
#include <coproc/coproc.hpp>

#include "two_units.hpp"

#include <cstdio>

int main() {
  const two_units::addresses here{&coproc::error_category(), reinterpret_cast<void (*)()>(&coproc::code_of)};
  if (here == two_units::seen_by_other()) return 0;
  std::fputs("the two translation units do not share one coproc\n", stderr);
  return 1;
}
