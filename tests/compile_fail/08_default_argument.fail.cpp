// SPDX-License-Identifier: BSL-1.0
// expect: coproc: wrong number of arguments for fn (default arguments do not survive a function pointer: wrap fn in a lambda)
#include <coproc/codec/callable.hpp>

int power(int n, int exponent = 2);

int main() {
  if constexpr (coproc::detail::verify<decltype(&power), int>()) return 0;
}
