// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this type has no codec: make it an aggregate of types that have one, or specialise coproc::codec<T> (locks, threads, files and other handles cannot travel)
#include <coproc/codec/callable.hpp>

union word {
  float f;
  unsigned u;
};
word bits(float f);

int main() {
  if constexpr (coproc::detail::verify<decltype(&bits), float>()) return 0;
}
