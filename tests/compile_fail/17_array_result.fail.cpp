// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a result_array stays where it is filled: let fn return coproc::result_view<T>, to which it converts
#include <coproc/codec/callable.hpp>
#include <coproc/result_view.hpp>

#include <cstddef>

coproc::result_array<double> solve(std::size_t n);

int main() {
  if constexpr (coproc::detail::verify<decltype(&solve), std::size_t>()) return 0;
}
