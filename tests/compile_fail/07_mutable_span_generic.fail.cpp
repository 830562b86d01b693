// SPDX-License-Identifier: BSL-1.0
// expect: coproc: argument memory is read-only in the worker: take std::span<const T>, or std::vector<T> to change it
#include <coproc/codec/callable.hpp>

#include <span>

int main() {
  auto size = [](auto values) { return values.size(); };
  if constexpr (coproc::detail::verify<decltype(size), std::span<int>>()) return 0;
}
