// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a view cannot be part of a result or of another object: use std::string or std::vector (as the type of a parameter of fn, std::string_view and std::span<const T> are fine)
#include <coproc/codec/callable.hpp>

#include <initializer_list>

int sum(std::initializer_list<int> values);

int main() {
  if constexpr (coproc::detail::verify<decltype(&sum), std::initializer_list<int>>()) return 0;
}
