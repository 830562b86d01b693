// SPDX-License-Identifier: BSL-1.0
// The memory of views against a model: arrays in use never overlap and are never reused, loans end in any order, what
// is free is found again, memory goes back to the system. One thread that plays both sides, then one for each.
#include <coproc/shm/view_arena.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <sys/stat.h>
#include <thread>
#include <vector>

using namespace coproc;
using namespace coproc::shm;

namespace {

class arena_bench {
public:
  static constexpr std::size_t ring_bytes = 8192; // what lies before it in the file

  explicit arena_bench(std::size_t size)
      : bytes(size), fd(os::make_memfd("coproc-test-results", ring_bytes + size)),
        map(fd.get(), ring_bytes + size, os::access::read_write),
        arena(map.data() + ring_bytes, size, ring_bytes, returned) {}

  std::size_t place_of(const std::byte* p) const { return static_cast<std::size_t>(p - map.data()) - ring_bytes; }

  /// Of a new array: its place; its object is there until drop().
  std::size_t make(std::size_t n) {
    const std::byte* const p = arena.allocate(n);
    REQUIRE(p != nullptr);
    return place_of(p);
  }
  void drop(std::size_t place) { arena.drop(map.data() + ring_bytes + place); }
  std::optional<std::uint64_t> lend(std::size_t place, std::size_t n) {
    return arena.lend(map.data() + ring_bytes + place, n);
  }

  /// A loan of one array, whose object is gone then.
  unsigned lend_and_drop(std::size_t place, std::size_t n) {
    REQUIRE(lend(place, n) == ring_bytes + place);
    drop(place);
    return arena.close_loan();
  }
  void give_back(unsigned loan) { returned[loan].fetch_xor(1); }

  std::size_t blocks() const {
    struct stat s{};
    ::fstat(fd.get(), &s);
    return static_cast<std::size_t>(s.st_blocks);
  }

  std::size_t bytes;
  loan_flags returned{};
  os::unique_fd fd;
  os::mapping map;
  view_arena arena;
};

} // namespace

TEST_CASE("arrays lie at the lowest free multiple of 64, or of what they ask for") {
  arena_bench b(65536);
  CHECK(b.make(1) == 0);
  CHECK(b.make(100) == 64);
  CHECK(b.make(64) == 192);
  CHECK(b.make(64) == 256);
  b.drop(64);
  CHECK(b.make(129) == 320); // the gap is 128
  CHECK(b.make(128) == 64);
  CHECK(b.place_of(b.arena.allocate(10, 4096)) == 4096);
  CHECK(b.arena.allocate(10, 8192) == nullptr); // the mapping is aligned to pages alone
}

TEST_CASE("what does not fit is refused, and what fits exactly is not") {
  arena_bench b(4096);
  CHECK(b.arena.allocate(4097) == nullptr);
  CHECK(b.arena.allocate(~std::size_t{0}) == nullptr);
  CHECK(b.make(4096) == 0);
  CHECK(b.arena.allocate(1) == nullptr);
  b.drop(0);
  CHECK(b.make(4033) == 0);
  CHECK(b.arena.allocate(1) == nullptr);
}

TEST_CASE("an arena without memory refuses everything") {
  const loan_flags returned{};
  std::byte none{};
  view_arena arena(&none, 0, 0, returned);
  CHECK(arena.allocate(1) == nullptr);
  CHECK_FALSE(arena.lend(&none, 1));
}

TEST_CASE("no more arrays are made than can be found fast") {
  arena_bench b(64 * view_arena::max_regions + 64);
  for (std::size_t i = 0; i != view_arena::max_regions; ++i) b.make(64);
  CHECK(b.arena.allocate(64) == nullptr);
  b.drop(640);
  CHECK(b.make(64) == 640);
}

TEST_CASE("an array is in use until its object is gone and its loan is given back, in either order") {
  arena_bench b(4096);
  b.make(4096);
  const unsigned first = b.lend_and_drop(0, 4096);
  CHECK(b.arena.arrays() == 1);
  b.give_back(first);
  CHECK(b.arena.arrays() == 0);

  b.make(4096);
  REQUIRE(b.lend(0, 4096));
  b.give_back(b.arena.close_loan());
  CHECK(b.arena.arrays() == 1);
  CHECK(b.arena.allocate(1) == nullptr);
  b.drop(0);
  CHECK(b.arena.arrays() == 0);
}

TEST_CASE("one array may be part of many loans, and of one loan many times") {
  arena_bench b(4096);
  b.make(1000);
  std::vector<unsigned> loans;
  for (int i = 0; i != 5; ++i) {
    REQUIRE(b.lend(0, 1000));
    REQUIRE(b.lend(0, 1000));
    CHECK(b.arena.open_bytes() == 2000);
    loans.push_back(b.arena.close_loan());
    CHECK(b.arena.open_bytes() == 0);
  }
  b.drop(0);
  for (const unsigned loan : loans) {
    CHECK(b.arena.arrays() == 1);
    b.give_back(loan);
  }
  CHECK(b.arena.arrays() == 0);
}

TEST_CASE("a loan may have many arrays, which are free together") {
  arena_bench b(65536);
  for (std::size_t i = 0; i != 10; ++i) {
    const std::size_t place = b.make(100);
    REQUIRE(b.lend(place, 100));
    b.drop(place);
  }
  const unsigned loan = b.arena.close_loan();
  CHECK(b.arena.arrays() == 10);
  b.give_back(loan);
  CHECK(b.arena.arrays() == 0);
}

TEST_CASE("a cancelled loan leaves arrays to their objects, and its number free") {
  arena_bench b(4096);
  b.make(100);
  REQUIRE(b.lend(0, 100));
  CHECK(b.arena.has_open_loan());
  b.arena.cancel_loan();
  CHECK_FALSE(b.arena.has_open_loan());
  CHECK(b.arena.arrays() == 1);
  b.drop(0);
  CHECK(b.arena.arrays() == 0);
  b.arena.cancel_loan(); // nothing to do
  b.make(100);
  CHECK(b.lend_and_drop(0, 100) == 0);
}

TEST_CASE("only bytes of an array are lent") {
  arena_bench b(4096);
  b.make(100);
  b.make(100);
  CHECK(b.lend(0, 100));
  CHECK(b.lend(128 + 50, 50));
  CHECK(b.lend(50, 10));
  CHECK_FALSE(b.lend(0, 101));
  CHECK_FALSE(b.lend(120, 1)); // between them
  CHECK_FALSE(b.lend(128 + 101, 0));
  CHECK_FALSE(b.lend(512, 1)); // behind them
  CHECK_FALSE(b.arena.lend(b.map.data(), 1));
  CHECK_FALSE(b.arena.lend(b.map.data() + b.map.size(), 1));
  const std::byte elsewhere{};
  CHECK_FALSE(b.arena.lend(&elsewhere, 1));
}

TEST_CASE("64 loans are out at most; the next is refused, and each that is given back can be had again") {
  arena_bench b(65536);
  b.make(100);
  std::vector<unsigned> loans;
  for (unsigned i = 0; i != max_loans; ++i) {
    REQUIRE(b.lend(0, 100));
    loans.push_back(b.arena.close_loan());
  }
  CHECK(std::set<unsigned>(loans.begin(), loans.end()).size() == 64);
  CHECK_FALSE(b.lend(0, 100));
  CHECK_FALSE(b.arena.has_open_loan());
  for (int round = 0; round != 5; ++round)
    for (const unsigned loan : {63u, 0u, 17u}) {
      b.give_back(loan);
      REQUIRE(b.lend(0, 100));
      CHECK(b.arena.close_loan() == loan);
      CHECK_FALSE(b.lend(0, 100));
    }
}

TEST_CASE(
    "whatever is made, lent, dropped and given back: no array in use changes, and everything is free in the end") {
  const unsigned seed = GENERATE(range(1u, 13u));
  CAPTURE(seed);
  std::mt19937 random(seed);
  arena_bench b(64 * (40 + random() % 100));
  struct array {
    std::size_t place, length;
    std::byte pattern;
    std::vector<unsigned> loans;
    bool object;
  };
  std::vector<array> arrays;
  std::vector<unsigned> loans;
  const auto intact = [&](const array& a) {
    for (std::size_t i = 0; i != a.length; ++i)
      if (b.map.data()[arena_bench::ring_bytes + a.place + i] != a.pattern) return false;
    return true;
  };
  const auto forget = [&] {
    std::erase_if(arrays, [&](const array& a) {
      if (a.object || !a.loans.empty()) return false;
      REQUIRE(intact(a));
      return true;
    });
  };
  unsigned refused = 0, made = 0;
  for (int round = 0; round != 5000; ++round) {
    switch (random() % 5) {
    case 0:
    case 1: {
      const std::size_t n = 1 + random() % (random() % 4 == 0 ? 2000 : 200);
      const std::byte* const p = b.arena.allocate(n);
      if (p == nullptr) {
        ++refused;
        break;
      }
      ++made;
      const array a{b.place_of(p), n, static_cast<std::byte>(1 + random() % 255), {}, true};
      REQUIRE(a.place + n <= b.bytes);
      for (const array& other : arrays) REQUIRE((a.place + n <= other.place || other.place + other.length <= a.place));
      std::memset(b.map.data() + arena_bench::ring_bytes + a.place, static_cast<int>(a.pattern), n);
      arrays.push_back(a);
      break;
    }
    case 2: { // a result with some of them
      std::vector<array*> lent;
      for (array& a : arrays)
        if (a.object && random() % 4 == 0 && b.lend(a.place, a.length)) lent.push_back(&a);
      if (lent.empty()) break;
      REQUIRE(loans.size() < max_loans);
      if (random() % 4 == 0) {
        b.arena.cancel_loan();
        break;
      }
      const unsigned loan = b.arena.close_loan();
      REQUIRE(std::find(loans.begin(), loans.end(), loan) == loans.end());
      loans.push_back(loan);
      for (array* a : lent) a->loans.push_back(loan);
      break;
    }
    case 3:
      for (array& a : arrays)
        if (a.object && random() % 3 == 0) b.drop(a.place), a.object = false;
      break;
    case 4:
      if (loans.empty() || round % 1000 < 500) break; // at times nothing is given back
      std::swap(loans[random() % loans.size()], loans.back());
      b.give_back(loans.back());
      for (array& a : arrays) std::erase(a.loans, loans.back());
      loans.pop_back();
      break;
    }
    forget();
    if (random() % 50 == 0) REQUIRE(b.arena.arrays() == arrays.size());
  }
  for (const array& a : arrays) REQUIRE(intact(a));
  for (array& a : arrays)
    if (a.object) b.drop(a.place);
  for (const unsigned loan : loans) b.give_back(loan);
  CHECK(b.arena.arrays() == 0);
  CHECK(b.make(b.bytes) == 0);
  CHECK(made > 500);
  CHECK(refused > 100);
}

TEST_CASE("trim gives back what is free beyond what may be kept, and only that") {
  constexpr std::size_t mib = std::size_t{1} << 20;
  arena_bench b(16 * mib);
  const auto touch = [&](std::size_t n) {
    const std::size_t place = b.make(n);
    std::memset(b.map.data() + arena_bench::ring_bytes + place, 1, n);
    return place;
  };
  const std::size_t first = touch(4 * mib), second = touch(2 * mib), third = touch(mib + 5000), fourth = touch(100);
  const std::size_t all = b.blocks();
  b.arena.trim(0);
  CHECK(b.blocks() == all); // all in use
  b.drop(second);
  b.arena.trim(16 * mib);
  CHECK(b.blocks() == all); // warm memory is worth keeping
  b.arena.trim(5 * mib);
  CHECK(b.blocks() == all - mib / 512);
  b.drop(first);
  b.arena.trim(0);
  CHECK(b.blocks() == all - 6 * mib / 512);
  const auto at = [&](std::size_t place) { return b.map.data()[arena_bench::ring_bytes + place]; };
  CHECK(at(first) == std::byte{0});
  CHECK(at(third) == std::byte{1});
  CHECK(at(third + mib + 4999) == std::byte{1});
  CHECK(at(fourth) == std::byte{1});
  b.drop(third);
  b.arena.trim(0);
  CHECK(at(fourth) == std::byte{1}); // its page is shared
  b.drop(fourth);
  b.arena.trim(0);
  CHECK(b.blocks() == 0);
  CHECK(touch(100) == 0);
}

TEST_CASE("what the front end gives back while the worker sleeps is found by the next trim") {
  constexpr std::size_t mib = std::size_t{1} << 20;
  arena_bench b(4 * mib);
  std::memset(b.map.data() + arena_bench::ring_bytes + b.make(4 * mib), 1, 4 * mib);
  const unsigned loan = b.lend_and_drop(0, 4 * mib);
  b.arena.trim(0);
  CHECK(b.blocks() >= 4 * mib / 512);
  b.give_back(loan);
  b.arena.trim(0);
  CHECK(b.blocks() == 0);
}

TEST_CASE("a reader on another thread sees what was written, until it gives it back") {
  arena_bench b(4096 * 8);
  constexpr int rounds = 20'000;
  struct message {
    const std::uint64_t* first = nullptr;
    unsigned loan = 0;
  };
  constexpr std::size_t slots = 8;
  message ring[slots];
  std::atomic<std::size_t> sent{0}, taken{0};
  std::atomic<int> wrong{0};
  std::thread front_end([&] {
    std::uint8_t mirror[max_loans]{};
    for (std::size_t i = 0; i != rounds; ++i) {
      while (sent.load(std::memory_order_acquire) == i) std::this_thread::yield();
      const message m = ring[i % slots];
      taken.store(i + 1, std::memory_order_release); // the message is free; the array is not
      for (std::size_t k = 0; k != 512; ++k) wrong += m.first[k] != i;
      b.returned[m.loan].store(mirror[m.loan] ^= 1, std::memory_order_release);
    }
  });
  for (std::size_t i = 0; i != rounds; ++i) {
    std::byte* p = nullptr;
    while ((p = b.arena.allocate(4096)) == nullptr) std::this_thread::yield();
    auto* const numbers = reinterpret_cast<std::uint64_t*>(p);
    for (std::size_t k = 0; k != 512; ++k) numbers[k] = i;
    if (!b.arena.lend(p, 4096)) wrong += 1'000'000;
    b.arena.drop(p);
    const unsigned loan = b.arena.close_loan();
    while (i - taken.load(std::memory_order_acquire) >= slots) std::this_thread::yield();
    ring[i % slots] = {numbers, loan};
    sent.store(i + 1, std::memory_order_release);
  }
  front_end.join();
  CHECK(wrong == 0);
  CHECK(b.arena.arrays() == 0);
}
