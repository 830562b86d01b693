// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a view cannot be part of a result or of another object: use std::string or std::vector (as the type of a parameter of fn, std::string_view and std::span<const T> are fine)
#include <coproc/codec/callable.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

std::string join(std::span<const std::string_view> parts);

int main() {
  if constexpr (coproc::detail::verify<decltype(&join), std::vector<std::string_view>&>()) return 0;
}
