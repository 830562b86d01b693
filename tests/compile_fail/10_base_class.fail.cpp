// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this aggregate has a base class, so its members cannot be listed: make the base its first member, or specialise coproc::codec<T>
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
