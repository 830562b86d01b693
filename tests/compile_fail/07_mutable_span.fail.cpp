// SPDX-License-Identifier: BSL-1.0
// expect: coproc: argument memory is read-only in the worker: take std::span<const T>, or std::vector<T> to change it
#include <coproc/codec/callable.hpp>

#include <span>
#include <vector>

void sort(std::span<int> values);

int main() {
  if constexpr (coproc::detail::verify<decltype(&sort), std::vector<int>&>()) return 0;
}
