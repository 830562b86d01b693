// SPDX-License-Identifier: BSL-1.0
// expect: coproc: fn takes an argument by non-const reference; it would change a copy in the worker: take it by value and return the changed object
#include <coproc/codec/callable.hpp>

#include <vector>

void sort(std::vector<int>& values);

int main() {
  if constexpr (coproc::detail::verify<decltype(&sort), std::vector<int>&>()) return 0;
}
