// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

#include <memory>

int value(std::unique_ptr<int> p);

int main() {
  if constexpr (coproc::detail::verify<decltype(&value), std::unique_ptr<int>>()) return 0;
}
