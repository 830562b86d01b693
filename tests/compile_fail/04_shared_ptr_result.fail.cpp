// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

#include <memory>

std::shared_ptr<int> make();

int main() {
  if constexpr (coproc::detail::verify<decltype(&make)>()) return 0;
}
