// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument does not convert to the parameter of fn
#include <coproc/codec/callable.hpp>

struct account {
  int balance;
  int get() const { return balance; }
};

int main() {
  if constexpr (coproc::detail::verify<decltype(&account::get), account*>()) return 0;
}
