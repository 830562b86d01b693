// SPDX-License-Identifier: BSL-1.0
// Medians, quantiles and the spread by which the benchmark judges. Pure arithmetic; includes nothing of coproc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The value that a fraction q of `sorted` does not exceed.
inline double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return std::nan("");
  const double rank = std::ceil(q * static_cast<double>(sorted.size()));
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(std::max(rank, 1.0)) - 1)];
}

inline double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += std::log(v);
  return std::exp(sum / static_cast<double>(values.size()));
}

struct interval {
  double least, most;
};

/// The runs without the least and the greatest one, which on a shared machine are often somebody else's doing. With 7
/// runs, all of the middle 5 lie on the wrong side of the true median in 1 case of 16, with 5 runs (3) in 3 of 16.
inline interval spread(std::vector<double> values) {
  if (values.empty()) return {std::nan(""), std::nan("")};
  std::ranges::sort(values);
  const std::size_t dropped = values.size() >= 5 ? 1 : 0;
  return {values[dropped], values[values.size() - 1 - dropped]};
}

} // namespace bench
