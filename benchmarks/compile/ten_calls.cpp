// SPDX-License-Identifier: BSL-1.0
// The same with ten calls, of ten signatures.
#include <coproc/run_in_executor.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct point {
  double x, y;
};

void touch();
int twice(int x);
double mean(std::span<const double> values);
std::string upper(std::string_view text);
std::vector<double> sorted(std::vector<double> values);
std::optional<int> find(std::vector<int> values, int value);
point middle(point a, point b);
std::vector<point> hull(std::vector<point> points);
std::map<std::string, int> count_words(std::string text);
std::uint64_t hash(std::vector<std::string> texts, std::uint64_t seed);

coproc::net::awaitable<void> calls(coproc::process_pool& pool, std::vector<double> values, std::string text,
                                   std::vector<std::string> texts) {
  co_await coproc::run_in_executor(pool, touch);
  const int n = co_await coproc::run_in_executor(pool, twice, 21);
  const double m = co_await coproc::run_in_executor(pool, mean, values);
  text = co_await coproc::run_in_executor(pool, upper, text);
  values = co_await coproc::run_in_executor(pool, sorted, values);
  const std::vector<int> numbers(3, n);
  const std::optional<int> at = co_await coproc::run_in_executor(pool, find, numbers, n);
  const point p{m, at.value_or(0) + 0.5};
  const point q = co_await coproc::run_in_executor(pool, middle, p, p);
  const std::vector<point> points(3, q);
  const auto around = co_await coproc::run_in_executor(pool, hull, points);
  const auto words = co_await coproc::run_in_executor(pool, count_words, text);
  texts.resize(around.size() + words.size());
  co_await coproc::run_in_executor(pool, hash, texts, 1);
}
