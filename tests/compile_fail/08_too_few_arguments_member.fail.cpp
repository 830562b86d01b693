// SPDX-License-Identifier: BSL-1.0
// expect: coproc: wrong number of arguments for fn (default arguments do not survive a function pointer: wrap fn in a lambda)
#include <coproc/codec/callable.hpp>

struct account {
  int balance;
  int add(int n) const { return balance + n; }
};

int main() {
  if constexpr (coproc::detail::verify<decltype(&account::add), int>()) return 0;
}
