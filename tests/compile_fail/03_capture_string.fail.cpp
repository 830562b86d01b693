// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the captures of this callable cannot travel: capture trivially copyable values only and pass everything else as an argument
#include <coproc/codec/callable.hpp>

#include <string>

int main() {
  std::string text = "abc";
  auto fn = [text] { return text.size(); };
  if constexpr (coproc::detail::verify<decltype(fn)>()) return 0;
}
