// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this type has no codec: make it an aggregate of types that have one, or specialise coproc::codec<T> (locks, threads, files and other handles cannot travel)
#include <coproc/codec/callable.hpp>

#include <string>

struct entity {
  int id;
};
struct person : entity {
  std::string name;
};
person load();

int main() {
  if constexpr (coproc::detail::verify<decltype(&load)>()) return 0;
}
