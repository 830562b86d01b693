// SPDX-License-Identifier: BSL-1.0
// What the two translation units of this test say to each other: the addresses of entities that must exist only once.
#pragma once

namespace two_units {

struct addresses {
  const void* category;
  void (*code_of)();

  bool operator==(const addresses&) const = default;
};

addresses seen_by_other();

} // namespace two_units
