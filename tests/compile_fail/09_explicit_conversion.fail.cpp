// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument does not convert to the parameter of fn
#include <coproc/codec/callable.hpp>

struct metres {
  explicit constexpr metres(int n) : n(n) {}
  int n;
};
int cube(metres m);

int main() {
  if constexpr (coproc::detail::verify<decltype(&cube), int>()) return 0;
}
