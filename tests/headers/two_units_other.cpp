// SPDX-License-Identifier: BSL-1.0
// Second of two translation units with the umbrella header: see two_units_main.cpp.
#include <coproc/coproc.hpp>

#include "two_units.hpp"

two_units::addresses two_units::seen_by_other() {
  return {&coproc::error_category(), reinterpret_cast<void (*)()>(&coproc::code_of)};
}
