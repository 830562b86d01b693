// SPDX-License-Identifier: BSL-1.0
// Texts of errors, put together from parts. Nothing here formats more than numbers: the headers of coproc need no
// formatting library, whose header-only form costs a compiler as much as Asio.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace coproc::os {

inline void append(std::string& to, std::string_view part) { to += part; }
inline void append(std::string& to, const char* part) { to += part; }
inline void append(std::string& to, std::integral auto number) { to += std::to_string(number); }
/// The shortest of six digits. As the next, with a point in every locale of the program.
inline void append(std::string& to, double number) {
  char digits[32];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number, std::chars_format::general, 6).ptr);
}

/// So many thousandths, as a number with three digits behind the point.
inline std::string decimal(std::int64_t thousandths) {
  const auto magnitude =
      thousandths < 0 ? 0 - static_cast<std::uint64_t>(thousandths) : static_cast<std::uint64_t>(thousandths);
  const std::string behind = std::to_string(1000 + magnitude % 1000); // with a 1 in front
  return (thousandths < 0 ? "-" : "") + std::to_string(magnitude / 1000) + "." + behind.substr(1);
}

template <class... Part>
std::string text(const Part&... part) {
  std::string all;
  (append(all, part), ...);
  return all;
}

} // namespace coproc::os
