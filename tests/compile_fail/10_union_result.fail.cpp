// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a union does not say which of its members it holds: use std::variant, or specialise coproc::codec<T>
#include <coproc/codec/callable.hpp>

union word {
  float f;
  unsigned u;
};
word bits(float f);

int main() {
  if constexpr (coproc::detail::verify<decltype(&bits), float>()) return 0;
}
