// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

#include <functional>

int value(std::reference_wrapper<int> r);

int main() {
  if constexpr (coproc::detail::verify<decltype(&value), std::reference_wrapper<int>>()) return 0;
}
