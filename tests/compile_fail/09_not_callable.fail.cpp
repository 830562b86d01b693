// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn cannot be called with these arguments
#include <coproc/codec/callable.hpp>

int main() {
  if constexpr (coproc::detail::verify<int>()) return 0;
}
