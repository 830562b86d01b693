// SPDX-License-Identifier: BSL-1.0
// The reader on its own: bounds, lengths, the allowance for memory, nesting.
#include <coproc/codec/reader.hpp>

#include "payload.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <optional>

namespace {

template <std::size_t N>
std::span<const std::byte> as_bytes(const std::array<unsigned char, N>& a) {
  return std::as_bytes(std::span(a));
}

} // namespace

TEST_CASE("values come out in the order in which they went in") {
  test::payload p;
  p.writer().put(1).put(2.5).put('c').put(true);
  coproc::reader r(p.bytes());
  CHECK(r.get<int>() == 1);
  CHECK(r.get<double>() == 2.5);
  CHECK(r.remaining() == 2);
  CHECK(r.get<char>() == 'c');
  CHECK(r.get<bool>());
  CHECK_NOTHROW(r.expect_end());
}

TEST_CASE("reading past the end throws bad_payload and takes nothing") {
  const std::array<unsigned char, 3> three{1, 2, 3};
  coproc::reader r(as_bytes(three));
  CHECK_THROWS_AS(r.get<std::uint32_t>(), coproc::bad_payload);
  CHECK(r.remaining() == 3);
  CHECK(r.get<std::uint16_t>() == 0x0201);
  CHECK_THROWS_AS(r.expect_end(), coproc::bad_payload);
}

TEST_CASE("an empty payload holds nothing") {
  coproc::reader r({});
  CHECK(r.remaining() == 0);
  CHECK_NOTHROW(r.expect_end());
  CHECK_THROWS_AS(r.get<char>(), coproc::bad_payload);
  CHECK_THROWS_AS(r.take(0, 1) == nullptr ? r.take(1) : nullptr, coproc::bad_payload);
}

TEST_CASE("padding counts against what remains") {
  const std::array<unsigned char, 10> ten{};
  coproc::reader r(as_bytes(ten));
  r.take(1);
  CHECK_THROWS_AS(r.take(3, 8), coproc::bad_payload);
  CHECK(r.take(2, 8) == as_bytes(ten).data() + 8);

  coproc::reader s(as_bytes(ten));
  s.take(9);
  CHECK_THROWS_AS(s.take(0, 16), coproc::bad_payload);
}

TEST_CASE("a length is checked against the bytes that its elements take at least") {
  test::payload p;
  p.writer().put_length(3).put(std::array<char, 24>{});
  CHECK(coproc::reader(p.bytes()).get_length(8) == 3);
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get_length(9), coproc::bad_payload);
  CHECK(coproc::reader(p.bytes()).get_length(1) == 3);
}

TEST_CASE("no length of 64 bits passes by wrapping around") {
  for (const std::uint64_t n :
       {std::uint64_t(1) << 60, std::uint64_t(1) << 61, std::uint64_t(1) << 63, ~std::uint64_t(0)}) {
    test::payload p;
    p.writer().put_length(n).put(std::array<char, 64>{});
    for (const std::size_t element : {1u, 2u, 8u, 16u, 64u})
      CHECK_THROWS_AS(coproc::reader(p.bytes()).get_length(element), coproc::bad_payload);
  }
}

TEST_CASE("a bool is 0 or 1") {
  for (int i = 0; i != 256; ++i) {
    const std::array<unsigned char, 1> one{static_cast<unsigned char>(i)};
    coproc::reader r(as_bytes(one));
    if (i < 2)
      CHECK(r.get<bool>() == (i == 1));
    else
      CHECK_THROWS_AS(r.get<bool>(), coproc::bad_payload);
  }
}

TEST_CASE("the allowance for memory of a payload is a small multiple of its bytes, and is used up") {
  const std::array<unsigned char, 100> hundred{};
  coproc::reader r(as_bytes(hundred));
  std::size_t granted = 0;
  for (int i = 0; i != 1000; ++i) granted += 32 * r.allowance(100, 32);
  CHECK(granted > 800);
  CHECK(granted <= 4096 + 8 * 100);
  CHECK(r.allowance(5, 1000) == 0);
}

TEST_CASE("nesting is bounded, and given back") {
  coproc::reader r({});
  auto nest = [&](auto& self, unsigned depth) -> void {
    const coproc::reader::nesting level(r);
    if (depth > 1) self(self, depth - 1);
  };
  CHECK_NOTHROW(nest(nest, coproc::reader::max_depth));
  CHECK_THROWS_AS(nest(nest, coproc::reader::max_depth + 1), coproc::bad_payload);
  CHECK_NOTHROW(nest(nest, coproc::reader::max_depth));
}

TEST_CASE("bad_payload says what was wrong") {
  const std::array<unsigned char, 1> two{2};
  try {
    coproc::reader(as_bytes(two)).get<bool>();
    FAIL("no exception");
  } catch (const coproc::pool_error& e) {
    CHECK(e.code() == make_error_code(coproc::errc::bad_payload));
    CHECK(std::string(e.what()).find("bool") != std::string::npos);
  }
}
