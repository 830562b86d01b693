// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

int main() {
  auto fn = [](auto p) { return *p; };
  if constexpr (coproc::detail::verify<decltype(fn), int*>()) return 0;
}
