// SPDX-License-Identifier: BSL-1.0
// The result file against a model: live results are never touched, what is written survives moves, waiting happens
// only where nothing else helps, an empty file begins again at 0. One thread that plays both sides.
#include <coproc/shm/result_file.hpp>

#include <catch2/catch.hpp>

#include <deque>
#include <random>
#include <sys/stat.h>
#include <vector>

using namespace coproc;
using namespace coproc::shm;

namespace {

class file_bench {
public:
  explicit file_bench(std::size_t size)
      : bytes(size), fd(os::make_memfd("coproc-test-results", size)), map(fd.get(), size, os::access::read_write),
        space(map.data(), size, freed) {}

  std::size_t blocks() const {
    struct stat s{};
    ::fstat(fd.get(), &s);
    return static_cast<std::size_t>(s.st_blocks);
  }

  /// Opens, fills and closes a result of n bytes; `wait` as for grow().
  template <class Wait>
  std::size_t put(std::size_t n, std::byte with, Wait wait) {
    space.open();
    REQUIRE(space.grow(0, n, wait));
    std::memset(space.begin(), static_cast<int>(with), n);
    const std::size_t at = space.offset();
    space.close(n);
    return at;
  }
  std::size_t put(std::size_t n, std::byte with = std::byte{1}) {
    return put(n, with, [](std::uint64_t) { FAIL("must not wait"); });
  }
  void free_oldest() { freed.fetch_add(1); }

  std::size_t bytes;
  word freed{0};
  os::unique_fd fd;
  os::mapping map;
  result_space space;
};

} // namespace

TEST_CASE("results lie one after the other at multiples of 64, and begin again at 0 once all are freed") {
  file_bench b(4096);
  CHECK(b.put(1) == 0);
  CHECK(b.put(64) == 64);
  CHECK(b.put(65) == 128);
  CHECK(b.put(10) == 256);
  for (int i = 0; i != 4; ++i) b.free_oldest();
  CHECK(b.put(10) == 0);
}

TEST_CASE("an opened result may use everything up to the oldest live one") {
  file_bench b(4096);
  b.space.open();
  CHECK(b.space.capacity() == 4096);
  b.put(1024);
  b.put(1024);
  b.space.open();
  CHECK(b.space.offset() == 2048);
  CHECK(b.space.capacity() == 2048);
  b.free_oldest();
  b.put(2048); // to the very end
  b.space.open();
  CHECK(b.space.capacity() == 0);
  CHECK(b.space.grow(0, 1024, [](std::uint64_t) { FAIL("must not wait"); }));
  CHECK(b.space.offset() == 0);
  CHECK(b.space.capacity() == 1024);
}

TEST_CASE("what can never fit is refused without waiting") {
  file_bench b(4096);
  b.put(100);
  b.space.open();
  CHECK_FALSE(b.space.grow(0, 4097, [](std::uint64_t) { FAIL("must not wait"); }));
}

TEST_CASE("the whole file may be one result") {
  file_bench b(4096);
  CHECK(b.put(4096) == 0);
  b.free_oldest();
  CHECK(b.put(4096) == 0);
}

TEST_CASE("waiting hands over the count of freed results that it was decided on") {
  file_bench b(4096);
  b.put(3000);
  b.put(1000);
  std::vector<std::uint64_t> seen;
  b.put(2000, std::byte{2}, [&](std::uint64_t freed) {
    seen.push_back(freed);
    b.free_oldest();
  });
  CHECK(seen == std::vector<std::uint64_t>{0});
}

TEST_CASE("whatever is opened, grown, closed and freed: no live byte changes, no written byte is lost, nobody waits in "
          "vain") {
  const unsigned seed = GENERATE(range(1u, 13u));
  CAPTURE(seed);
  std::mt19937 random(seed);
  const std::size_t bytes = 64 * (8 + random() % 64) + (seed % 3 == 0 ? 17 : 0);
  file_bench b(bytes);
  struct live_result {
    std::size_t begin, length;
    std::byte pattern;
  };
  std::deque<live_result> live; // oldest first
  const auto intact = [&](const live_result& r) {
    for (std::size_t i = 0; i != r.length; ++i)
      if (b.map.data()[r.begin + i] != r.pattern) return false;
    return true;
  };
  const auto free_oldest = [&] {
    REQUIRE(!live.empty());
    REQUIRE(intact(live.front()));
    live.pop_front();
    b.free_oldest();
  };
  const auto aligned = [](std::size_t n) { return (n + 63) / 64 * 64; };

  unsigned waits = 0, moves = 0;
  for (int round = 0; round != 4000; ++round) {
    while (!live.empty() && random() % 3 == 0) free_oldest();
    b.space.open();
    if (live.empty()) REQUIRE(b.space.offset() == 0);
    const auto pattern = static_cast<std::byte>(1 + random() % 255);
    std::size_t written = 0;
    const std::size_t target = 1 + random() % (random() % 4 == 0 ? bytes : bytes / 5);
    while (written != target) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % (1 + target), target - written);
      if (b.space.capacity() < written + piece) {
        const std::size_t before = b.space.offset(), wanted = written + piece;
        REQUIRE(b.space.grow(written, wanted, [&](std::uint64_t) {
          ++waits;
          REQUIRE(!live.empty()); // else it fits, and waiting would never end
          const std::size_t tail = live.front().begin,
                            head = std::min(bytes, aligned(live.back().begin + live.back().length));
          if (live.back().begin < tail) // wrapped
            REQUIRE(tail - head < wanted);
          else
            REQUIRE((bytes - head < wanted && tail < wanted));
          free_oldest();
        }));
        moves += before != b.space.offset();
        REQUIRE(b.space.capacity() >= wanted);
      }
      const std::size_t begin = b.space.offset(), end = begin + b.space.capacity();
      REQUIRE(end <= bytes);
      REQUIRE(begin % 64 == 0);
      for (const auto& r : live) REQUIRE((end <= r.begin || begin >= r.begin + r.length));
      REQUIRE(intact({begin, written, pattern}));
      std::memset(b.space.begin() + written, static_cast<int>(pattern), piece);
      written += piece;
      if (!live.empty() && random() % 8 == 0) free_oldest(); // while it is being written
    }
    live.push_back({b.space.offset(), written, pattern});
    b.space.close(written);
  }
  for (const auto& r : live) REQUIRE(intact(r));
  CHECK(waits > 100);
  CHECK(moves > 100);
}

TEST_CASE("trim gives memory back when much was touched and nothing is live, and only then") {
  file_bench b(std::size_t{100} << 20);
  b.put(std::size_t{1} << 20);
  b.free_oldest();
  const auto little = b.blocks();
  b.space.trim();
  CHECK(b.blocks() == little); // warm memory is worth keeping

  b.put(shm::result_space::warm_bytes + 1);
  const auto much = b.blocks();
  REQUIRE(much > little);
  b.space.trim();
  CHECK(b.blocks() == much); // still live
  b.free_oldest();
  b.space.trim();
  CHECK(b.blocks() == 0);
  CHECK(b.map.data()[12345] == std::byte{0});
  CHECK(b.put(100) == 0);
  b.free_oldest();
  const auto again = b.blocks();
  b.space.trim();
  CHECK(b.blocks() == again);
}
