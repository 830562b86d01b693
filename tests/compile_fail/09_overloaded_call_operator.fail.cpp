// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn cannot be called with these arguments
#include <coproc/codec/callable.hpp>

#include <string>

struct visitor {
  int operator()(int n) const;
  int operator()(double d) const;
};

int main() {
  if constexpr (coproc::detail::verify<visitor, std::string>()) return 0;
}
