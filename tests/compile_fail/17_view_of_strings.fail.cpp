// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the elements of a result_view are read as they lie there: use types of plain bytes without bool (std::uint8_t will do), or return a std::vector
#include <coproc/codec/callable.hpp>
#include <coproc/result_view.hpp>

#include <string>

coproc::result_view<std::string> words();

int main() {
  if constexpr (coproc::detail::verify<decltype(&words)>()) return 0;
}
