// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a member of this aggregate is a reference or const, and cannot be decoded: make it a plain value, or specialise coproc::codec<T>
#include <coproc/codec/callable.hpp>

#include <string>

struct record {
  std::string name;
  int& value;
};
int load(const record& r);

int main() {
  if constexpr (coproc::detail::verify<decltype(&load), record>()) return 0;
}
