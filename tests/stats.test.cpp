// SPDX-License-Identifier: BSL-1.0
// The histogram: percentiles against sorted samples, and its limits.
#include <coproc/stats.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

using coproc::histogram;
using std::chrono::nanoseconds;

TEST_CASE("percentiles are right within a sixteenth") {
  std::mt19937_64 random(11);
  std::vector<std::int64_t> samples;
  histogram h;
  for (int i = 0; i < 50'000; ++i) {
    const auto ns = static_cast<std::int64_t>(std::exp2(std::uniform_real_distribution<>(0, 40)(random)));
    samples.push_back(ns);
    h.add(nanoseconds(ns));
  }
  std::sort(samples.begin(), samples.end());
  for (const double percent : {0.1, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    CAPTURE(percent);
    const auto at = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(samples.size()))) - 1;
    const auto exact = static_cast<double>(samples[at]);
    const auto got = static_cast<double>(h.percentile(percent).count());
    CHECK(got >= exact);
    CHECK(got <= exact * 1.0625 + 1);
  }
  CHECK(h.count() == samples.size());
  CHECK(h.max() == nanoseconds(samples.back()));
}

TEST_CASE("an empty histogram, zero, negative and huge durations") {
  histogram h;
  CHECK(h.percentile(50) == nanoseconds(0));
  CHECK(h.mean() == nanoseconds(0));
  h.add(nanoseconds(0));
  h.add(nanoseconds(-5));
  CHECK(h.max() == nanoseconds(0));
  h.add(nanoseconds::max());
  CHECK(h.count() == 3);
  CHECK(h.percentile(50) == nanoseconds(0));
  CHECK(h.max() == nanoseconds::max());
  CHECK(h.percentile(100) >= std::chrono::hours(39));
}

TEST_CASE("a duration may be counted several times at once") {
  histogram h;
  h.add(nanoseconds(100), 9);
  h.add(nanoseconds(10'000));
  CHECK(h.count() == 10);
  CHECK(h.percentile(90) <= nanoseconds(107));
  CHECK(h.percentile(91) == nanoseconds(10'000));
  CHECK(h.mean() == nanoseconds(1090));
}
