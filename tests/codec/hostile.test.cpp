// SPDX-License-Identifier: BSL-1.0
// Bytes from a broken or hostile worker: whatever they are, decoding them returns or throws bad_payload, and allocates
// no more than a small multiple of them.
#include <coproc/codec/codec.hpp>

#include "payload.hpp"

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <complex>
#include <cstdlib>
#include <new>
#include <random>
#include <thread>

namespace {

std::size_t live_bytes = 0, peak_bytes = 0;
bool counting = false;

void* counted_allocate(std::size_t n) {
  void* p = std::malloc(n + 16);
  if (p == nullptr) throw std::bad_alloc();
  std::memcpy(p, &n, sizeof n);
  if (counting) peak_bytes = std::max(peak_bytes, live_bytes += n);
  return static_cast<char*>(p) + 16;
}

void counted_release(void* p) noexcept {
  if (p == nullptr) return;
  void* begin = static_cast<char*>(p) - 16;
  std::size_t n;
  std::memcpy(&n, begin, sizeof n);
  if (counting) live_bytes -= std::min(live_bytes, n);
  std::free(begin);
}

struct measure {
  measure() {
    live_bytes = peak_bytes = 0;
    counting = true;
  }
  ~measure() { counting = false; }
};

} // namespace

void* operator new(std::size_t n) { return counted_allocate(n); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted_allocate(n); }
void operator delete(void* p) noexcept { counted_release(p); }
void operator delete(void* p, std::size_t) noexcept { counted_release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { counted_release(p); }

namespace {

struct flags {
  int n = 0;
  bool a = false, b = false;
};

struct record {
  std::string name;
  std::vector<int> numbers;
  std::optional<std::variant<int, std::string, std::monostate>> maybe;
  std::map<std::string, std::vector<double>> map;
  flags f;
  std::bitset<9> bits;
  std::vector<bool> many_flags;
  std::chrono::nanoseconds time{};
};

struct tree {
  std::string name;
  std::vector<tree> children;
};

struct nothing {};

/// Decodes a T, and says whether it could. Anything but bad_payload fails the test.
template <class T>
bool decodes(std::span<const std::byte> bytes) {
  const measure m;
  try {
    coproc::reader r(bytes);
    [[maybe_unused]] const T value = r.get<T>();
    r.expect_end();
    return true;
  } catch (const coproc::bad_payload&) {
    return false;
  }
}

template <class T>
std::vector<std::byte> encoded(const T& value) {
  test::payload p;
  p.writer().put(value);
  return {p.bytes().begin(), p.bytes().end()};
}

record example() {
  return {"name",
          {1, 2, 3},
          std::string("maybe"),
          {{"a", {1.5}}, {"b", {}}},
          {7, true, false},
          std::bitset<9>("101"),
          {true, false, true},
          std::chrono::seconds(1)};
}

tree example_tree() { return {"root", {{"left", {}}, {"right", {{"leaf", {}}}}}}; }

// The nodes of lists and maps, and a string within, are larger than their encoding; so is an empty deque.
constexpr std::size_t slack = 16 * 1024;

template <class T>
void check_allocations(std::span<const std::byte> bytes) {
  decodes<T>(bytes);
  INFO("input " << bytes.size() << ", peak " << peak_bytes);
  CHECK(peak_bytes <= slack + 200 * bytes.size());
}

template <class T>
void attack(const T& value, bool every_prefix_fails = true) {
  const auto bytes = encoded(value);
  REQUIRE(decodes<T>(bytes));
  for (std::size_t n = 0; n != bytes.size(); ++n) {
    // A copy of exactly n bytes, so that AddressSanitizer sees a read past the end.
    const std::vector<std::byte> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    if (every_prefix_fails) CHECK(!decodes<T>(prefix));
    check_allocations<T>(prefix);
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  CHECK(!decodes<T>(longer));

  for (std::size_t i = 0; i != bytes.size(); ++i)
    for (int v = 0; v != 256; ++v) {
      std::vector<std::byte> corrupt = bytes;
      corrupt[i] = static_cast<std::byte>(v);
      decodes<T>(corrupt);
      if (peak_bytes > slack + 200 * bytes.size()) FAIL("byte " << i << " = " << v << " allocates " << peak_bytes);
    }
}

} // namespace

TEST_CASE("every prefix and every corrupted byte of a record") { attack(example()); }

TEST_CASE("every prefix and every corrupted byte of a tree") { attack(example_tree()); }

TEST_CASE("every prefix and every corrupted byte of containers") {
  attack(std::list<std::string>{"a", "bc"});
  attack(std::forward_list<int>{1, 2});
  attack(std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}});
  attack(std::multiset<std::string>{"a", "a"});
  attack(std::tuple<std::u32string, std::array<std::string, 2>, std::complex<double>>(U"abc", {"d", "e"}, {1, 2}));
  attack(std::vector<nothing>(5));
  attack(std::vector<flags>{{1, true, false}, {2, false, true}});
}

TEST_CASE("forged lengths are refused before anything is allocated") {
  for (const std::uint64_t n :
       {std::uint64_t(1000), std::uint64_t(1) << 31, std::uint64_t(1) << 32, std::uint64_t(1) << 60,
        std::uint64_t(1) << 61, std::uint64_t(1) << 63, ~std::uint64_t(0)}) {
    test::payload p;
    p.writer().put_length(n).put(std::array<char, 48>{});
    const auto refused = [&]<class... T>(coproc::detail::type_list<T...>) {
      (
          [&] {
            CHECK(!decodes<T>(p.bytes()));
            CHECK(peak_bytes < 1024); // the exception's text
          }(),
          ...);
    };
    refused(coproc::detail::type_list<std::string, std::u32string, std::vector<char>, std::vector<double>,
                                      std::vector<std::array<char, 3>>, std::vector<bool>, std::vector<std::string>,
                                      std::vector<nothing>, std::vector<std::optional<record>>, std::list<int>,
                                      std::forward_list<std::string>, std::set<int>, std::map<int, int>,
                                      std::unordered_set<int>, std::unordered_map<std::string, record>,
                                      std::vector<std::vector<std::vector<int>>>, std::filesystem::path>());
  }
}

TEST_CASE("nested forged lengths do not multiply") {
  // Each level claims as many elements as the rest of the payload could hold.
  for (const std::size_t size : {1000u, 10'000u, 100'000u}) {
    std::vector<std::byte> bytes;
    while (bytes.size() < size) {
      const std::uint64_t claim = (size - bytes.size()) / 4;
      bytes.push_back(std::byte{255});
      bytes.resize(bytes.size() + sizeof claim);
      std::memcpy(bytes.data() + bytes.size() - sizeof claim, &claim, sizeof claim);
    }
    check_allocations<std::vector<std::vector<std::vector<std::vector<std::string>>>>>(bytes);
    check_allocations<tree>(bytes);
    check_allocations<std::vector<std::unordered_map<std::uint8_t, std::vector<tree>>>>(bytes);
  }
}

TEST_CASE("random bytes") {
  std::mt19937 random(12345);
  for (int round = 0; round != 20'000; ++round) {
    std::vector<std::byte> bytes(random() % 200);
    // Mostly small numbers, which are taken for lengths.
    for (auto& b : bytes) b = static_cast<std::byte>(random() % 4 == 0 ? random() : random() % 8);
    decodes<record>(bytes);
    decodes<tree>(bytes);
    decodes<std::vector<std::variant<std::string, std::vector<int>, flags>>>(bytes);
    if (peak_bytes > slack + 200 * bytes.size()) FAIL("round " << round << " allocates " << peak_bytes);
  }
}

// ThreadSanitizer rightly calls this a race, which it is: the other side is hostile.
#if defined(__SANITIZE_THREAD__)
#define COPROC_TEST_RACES 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COPROC_TEST_RACES 0
#endif
#endif

#if !defined(COPROC_TEST_RACES)
TEST_CASE("bytes that change while they are read never lead outside of them") {
  const auto good = encoded(std::vector<std::string>{"abc", "def", std::string(300, 'x'), "ghi"});
  std::vector<std::byte> shared = good;
  std::atomic<bool> stop = false;
  std::thread scribbler([&] {
    std::mt19937 random(1);
    while (!stop.load(std::memory_order_relaxed)) {
      const std::size_t at = random() % shared.size();
      std::atomic_ref(shared[at]).store(static_cast<std::byte>(random()), std::memory_order_relaxed);
      std::atomic_ref(shared[at]).store(good[at], std::memory_order_relaxed);
    }
  });
  std::size_t whole = 0, refused = 0;
  for (int round = 0; round != 20'000; ++round) {
    try {
      coproc::reader r(shared);
      const auto value = r.get<std::vector<std::string>>();
      std::size_t characters = 0;
      for (const auto& s : value) characters += s.size();
      if (characters <= shared.size()) ++whole;
    } catch (const coproc::bad_payload&) {
      ++refused;
    }
  }
  stop = true;
  scribbler.join();
  CHECK(whole + refused == 20'000);
}
#endif

namespace {

struct roomy {
  std::array<char, 131072> bytes;
  std::vector<roomy> inner;
};

} // namespace

TEST_CASE("objects with large arrays that nest deep are rejected before the stack is full, or decoded") {
  constexpr std::size_t levels = 200; // fewer than reader::max_depth, and 25 MiB of stack
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i != levels; ++i) {
    bytes.resize(bytes.size() + sizeof(roomy::bytes));
    const std::uint64_t n = i + 1 == levels ? 0 : 1;
    const auto at = bytes.size();
    bytes.resize(at + sizeof n);
    std::memcpy(bytes.data() + at, &n, sizeof n);
  }
  bool survived = false; // a compiler that decodes in place needs little stack: then it is a value
  try {
    coproc::reader deep(bytes);
    survived = deep.get<roomy>().inner.size() == 1;
  } catch (const coproc::bad_payload&) {
    survived = true;
  }
  CHECK(survived);
  coproc::reader shallow(std::span<const std::byte>(bytes).last(2 * (sizeof(roomy::bytes) + 8)));
  CHECK(shallow.get<roomy>().inner.size() == 1);
}
