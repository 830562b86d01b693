// SPDX-License-Identifier: BSL-1.0
// The writer on its own: packing, padding, growing, limits.
#include <coproc/codec/writer.hpp>

#include "payload.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

std::vector<int> bytes_of(const test::payload& p) {
  std::vector<int> out;
  for (const std::byte b : p.bytes()) out.push_back(std::to_integer<int>(b));
  return out;
}

bool too_large(auto&& act) {
  try {
    act();
    return false;
  } catch (const coproc::pool_error& e) {
    return e.code() == make_error_code(coproc::errc::payload_too_large);
  }
}

} // namespace

TEST_CASE("values are packed without padding") {
  test::payload p;
  p.writer().put(std::uint8_t{1}).put(std::uint32_t{0x04030201}).put(std::uint16_t{5});
  CHECK(bytes_of(p) == std::vector<int>{1, 1, 2, 3, 4, 5, 0});
  CHECK(p.writer().size() == 7);
}

TEST_CASE("ranges are aligned relative to the first byte of the payload, with zeros") {
  std::array<std::byte, 64> memory;
  memory.fill(std::byte{0xff});
  coproc::writer w(memory.data() + 1, 40, nullptr, nullptr); // the memory itself is not aligned
  const std::uint32_t value = 0x04030201;
  w.put(std::uint8_t{9}).put_bytes(&value, sizeof value, 8);
  REQUIRE(w.size() == 12);
  const int expected[] = {9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4};
  for (std::size_t i = 0; i != 12; ++i) CHECK(std::to_integer<int>(w.data()[i]) == expected[i]);
  CHECK(memory[0] == std::byte{0xff});
  CHECK(memory[13] == std::byte{0xff});
}

TEST_CASE("an aligned place takes no padding, an empty range none but its own") {
  test::payload p;
  p.writer().put(std::uint64_t{1}).put_bytes("ab", 2, 8).put_bytes(nullptr, 0, 1);
  CHECK(p.bytes().size() == 10);
}

TEST_CASE("lengths take one byte below 255 and nine from there on") {
  for (const auto& [n, bytes] :
       {std::pair<std::uint64_t, std::size_t>{0, 1}, {254, 1}, {255, 9}, {256, 9}, {~0ull, 9}}) {
    test::payload p;
    p.writer().put_length(n);
    CHECK(p.bytes().size() == bytes);
    coproc::reader r(p.bytes());
    CHECK(r.get_unchecked_length() == n);
  }
}

TEST_CASE("growing keeps what was written and happens only when the memory is full") {
  test::payload p(8);
  p.writer().put(std::uint64_t{1});
  CHECK(p.grown() == 0);
  for (std::uint64_t i = 2; i <= 1000; ++i) p.writer().put(i);
  CHECK(p.grown() > 0);
  coproc::reader r(p.bytes());
  for (std::uint64_t i = 1; i <= 1000; ++i) CHECK(r.get<std::uint64_t>() == i);
  r.expect_end();
}

TEST_CASE("a writer without memory grows at its first byte") {
  test::payload p(0);
  p.writer().put(std::uint8_t{3});
  CHECK(p.grown() == 1);
  CHECK(bytes_of(p) == std::vector<int>{3});
}

TEST_CASE("what the owner throws for a payload that is too large reaches the caller, and the writer stays usable") {
  test::payload p(8, 16);
  p.writer().put(std::uint64_t{1});
  CHECK(too_large([&] { p.writer().put(std::array<char, 9>{}); }));
  CHECK(p.writer().size() == 8);
  p.writer().put(std::uint64_t{2});
  CHECK(p.writer().size() == 16);
  CHECK(too_large([&] { p.writer().put(std::uint8_t{3}); }));
}

TEST_CASE("an owner that grows too little is found out") {
  std::array<std::byte, 8> memory;
  auto no_room = [](void*, coproc::writer&, std::size_t) {};
  coproc::writer w(memory.data(), memory.size(), no_room, nullptr);
  CHECK(too_large([&] { w.put(std::array<char, 9>{}); }));
}

TEST_CASE("sizes near the end of the address space do not wrap around") {
  int calls = 0;
  auto count_calls = [](void* n, coproc::writer&, std::size_t) { ++*static_cast<int*>(n); };
  std::array<std::byte, 64> memory;
  coproc::writer w(memory.data(), memory.size(), count_calls, &calls);
  w.put(std::uint8_t{1});
  volatile std::size_t opaque = std::numeric_limits<std::size_t>::max(); // or g++ warns of it at compile time
  const std::size_t largest = opaque;
  CHECK(too_large([&] { w.put_bytes(memory.data(), largest, 8); }));
  CHECK(too_large([&] { w.put_bytes(memory.data(), largest - 7, 8); }));
  CHECK(too_large([&] { w.claim(largest); }));
  CHECK(calls == 0);
  CHECK(w.size() == 1);
}

TEST_CASE("rewind forgets the bytes and keeps the memory") {
  test::payload p(16);
  p.writer().put(std::uint64_t{1});
  const std::byte* data = p.writer().data();
  p.writer().rewind();
  CHECK(p.writer().size() == 0);
  p.writer().put(std::uint8_t{7});
  CHECK(p.writer().data() == data);
  CHECK(bytes_of(p) == std::vector<int>{7});
}
