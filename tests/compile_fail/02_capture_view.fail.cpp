// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this callable captures a reference, a pointer, this or a view, which mean nothing in another process: capture values, or pass the object as an argument
#include <coproc/codec/callable.hpp>

#include <string_view>

int main() {
  std::string_view text = "abc";
  auto fn = [text] { return text.size(); };
  if constexpr (coproc::detail::verify<decltype(fn)>()) return 0;
}
