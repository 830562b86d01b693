// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn cannot be called with these arguments
#include <coproc/codec/callable.hpp>

int main() {
  auto fn = [](auto n, auto m) { return n + m; };
  if constexpr (coproc::detail::verify<decltype(fn), int>()) return 0;
}
