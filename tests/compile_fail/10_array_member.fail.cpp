// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this aggregate has too many members to be listed (100, and the elements of C arrays count): use std::array for C arrays, put members into structs, or specialise coproc::codec<T>
#include <coproc/codec/callable.hpp>

#include <string>

struct record {
  std::string name;
  int values[400];
};
record load();

int main() {
  if constexpr (coproc::detail::verify<decltype(&load)>()) return 0;
}
