// SPDX-License-Identifier: BSL-1.0
// Hints change nothing but time; and which lines are the outer ones.
#include <coproc/os/cache.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <set>
#include <vector>

using namespace coproc;

TEST_CASE("hints leave memory as it is, on every processor") {
  alignas(os::cache_line) std::byte line[3 * os::cache_line] = {};
  std::fill(std::begin(line), std::end(line), std::byte{7});
  for (std::byte* p = line; p != std::end(line); ++p) {
    os::prefetch_for_writing(p);
    os::demote(p);
  }
  CHECK(std::count(std::begin(line), std::end(line), std::byte{7}) == std::ssize(line));
}

TEST_CASE("the outer lines of a payload are its first two and its last two, and never lie outside") {
  alignas(os::cache_line) static std::byte memory[8192];
  const auto line_of = [](const std::byte* p) { return (p - memory) / static_cast<std::ptrdiff_t>(os::cache_line); };
  for (const std::size_t bytes : {0u, 1u, 63u, 64u, 65u, 128u, 129u, 300u, 4096u, 8192u}) {
    std::set<std::ptrdiff_t> lines;
    os::each_outer_line(memory, bytes, [&](const std::byte* p) {
      CHECK(p >= memory);
      CHECK(p < memory + bytes);
      lines.insert(line_of(p));
    });
    std::set<std::ptrdiff_t> expected;
    if (bytes != 0) {
      const auto last = line_of(memory + bytes - 1);
      expected = {0, std::min<std::ptrdiff_t>(1, last), std::max<std::ptrdiff_t>(0, last - 1), last};
    }
    INFO(bytes << " bytes");
    CHECK(lines == expected);
  }
}
