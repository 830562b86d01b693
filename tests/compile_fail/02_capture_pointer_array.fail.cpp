// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this callable captures a reference, a pointer, this or a view, which mean nothing in another process: capture values, or pass the object as an argument
#include <coproc/codec/callable.hpp>

int main() {
  int base = 1;
  int* bases[] = {&base, &base};
  auto fn = [bases](int n) { return *bases[0] + n; };
  if constexpr (coproc::detail::verify<decltype(fn), int>()) return 0;
}
