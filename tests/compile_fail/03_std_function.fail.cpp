// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the captures of this callable cannot travel: capture trivially copyable values only and pass everything else as an argument
#include <coproc/codec/callable.hpp>

#include <functional>

int main() {
  if constexpr (coproc::detail::verify<std::function<int(int)>, int>()) return 0;
}
