// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an argument does not convert to the parameter of fn
#include <coproc/codec/callable.hpp>

#include <string>

unsigned long length(const std::string& text);

int main() {
  if constexpr (coproc::detail::verify<decltype(&length), int>()) return 0;
}
