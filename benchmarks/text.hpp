// SPDX-License-Identifier: BSL-1.0
// Numbers as people read them: three significant digits and a unit. Pure text; includes nothing of coproc.
#pragma once

#include <cmath>
#include <fmt/format.h>
#include <initializer_list>
#include <string>

namespace bench {

enum class unit { nanoseconds, ratio, count, bytes, seconds };

inline std::string three_digits(double value) {
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

inline std::string scaled(double value, double step, std::initializer_list<const char*> units) {
  auto name = units.begin();
  while (std::abs(value) >= 0.9995 * step && name + 1 != units.end()) {
    value /= step;
    ++name;
  }
  return three_digits(value) + *name;
}

/// 183 ns, 9.72 us, 12.1 ms; 2.31 x; 3.00; 252 KiB.
inline std::string text(double value, unit u) {
  if (std::isnan(value)) return "-";
  switch (u) {
  case unit::nanoseconds: return scaled(value, 1000, {" ns", " us", " ms", " s"});
  case unit::seconds: return scaled(value * 1e9, 1000, {" ns", " us", " ms", " s"});
  case unit::bytes: return scaled(value, 1024, {" B", " KiB", " MiB", " GiB"});
  case unit::ratio: return three_digits(value) + " x";
  case unit::count: break;
  }
  return three_digits(value);
}

/// 2.80 M, 359 k, 139.
inline std::string rate_text(double per_second) { return scaled(per_second, 1000, {"", " k", " M", " G"}); }

/// `text` as a JSON string.
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= ' ') out += c;
  }
  return out + '"';
}

/// JSON has no NaN.
inline std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : "null"; }

} // namespace bench
