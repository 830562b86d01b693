// SPDX-License-Identifier: BSL-1.0
// Round trips of the other types of the standard library, and of numbers.
#include <coproc/codec/std_types.hpp>

#include "payload.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <complex>
#include <limits>
#include <map>
#include <memory>
#include <vector>

namespace {

using test::encoded_bytes;
using test::round_trip;
using test::survives;

enum class colour : unsigned char { red, green = 200 };
enum old_style { zero, one };
__extension__ using wide = __int128;
__extension__ using unsigned_wide = unsigned __int128;

template <class T>
void check_limits() {
  CHECK(survives(std::numeric_limits<T>::min()));
  CHECK(survives(std::numeric_limits<T>::max()));
  CHECK(survives(T{}));
  CHECK(encoded_bytes(T{}) == sizeof(T));
}

class no_default {
public:
  explicit no_default(int n) : n_(n) {}
  int get() const { return n_; }
  bool operator==(const no_default&) const = default;

private:
  int n_;
};

struct explosive {
  explicit explosive(int n) { throw n; }
  std::string s;
};

// A representation of a duration that is not plain bytes.
struct text_number {
  std::string digits;
};

} // namespace

template <>
struct coproc::codec<no_default> {
  static void encode(writer& w, const no_default& v) { w.put(v.get()); }
  static no_default decode(reader& r) { return no_default(r.get<int>()); }
};

template <>
struct coproc::codec<explosive> {
  static void encode(writer& w, const explosive& e) { w.put(e.s); }
  static explosive decode(reader&) { throw bad_payload(); }
};

TEST_CASE("numbers, characters and enumerations") {
  check_limits<signed char>();
  check_limits<unsigned char>();
  check_limits<short>();
  check_limits<unsigned short>();
  check_limits<int>();
  check_limits<unsigned>();
  check_limits<long>();
  check_limits<unsigned long long>();
  check_limits<float>();
  check_limits<double>();
  check_limits<char>();
  check_limits<wchar_t>();
  check_limits<char8_t>();
  check_limits<char16_t>();
  check_limits<char32_t>();
  CHECK(survives(true));
  CHECK(survives(false));
  CHECK(survives(1.5L));
  CHECK(survives(std::byte{7}));
  CHECK(survives(colour::green));
  CHECK(survives(one));
  CHECK(std::signbit(round_trip(-0.0)));
  CHECK(std::isnan(round_trip(std::numeric_limits<double>::quiet_NaN())));
}

TEST_CASE("integers of 128 bits") {
  const unsigned_wide all = ~unsigned_wide(0);
  CHECK(round_trip(all) == all);
  const wide negative = -(wide(1) << 100);
  CHECK(round_trip(negative) == negative);
  CHECK(encoded_bytes(all) == 16);
  CHECK(round_trip(std::vector<wide>{negative, 1}) == std::vector<wide>{negative, 1});
}

TEST_CASE("arrays of plain types cost their bytes, all others the sum of their elements") {
  CHECK(survives(std::array<int, 4>{1, 2, 3, 4}));
  CHECK(encoded_bytes(std::array<int, 4>{}) == 16);
  CHECK(survives(std::array<std::string, 3>{"a", "", "c"}));
  CHECK(survives(std::array<bool, 3>{true, false, true}));
  CHECK(survives(std::array<std::array<std::string, 2>, 2>{{{"a", "b"}, {"c", "d"}}}));
  CHECK(survives(std::array<no_default, 2>{no_default(1), no_default(2)}));
  CHECK(survives(std::array<const std::string, 2>{"a", "b"}));
  CHECK(survives(std::array<std::string, 0>{}));
  CHECK(survives(std::array<int, 0>{}));
}

TEST_CASE("pairs and tuples") {
  CHECK(survives(std::pair<int, std::string>(1, "a")));
  CHECK(survives(std::tuple<>()));
  CHECK(survives(std::tuple<int>(1)));
  CHECK(survives(std::tuple<std::tuple<int>>(std::tuple<int>(1))));
  CHECK(survives(std::tuple<std::string, int, std::vector<char>>("a", 2, {'b'})));
  CHECK(survives(std::pair<const int, no_default>(1, no_default(2))));
  CHECK(encoded_bytes(std::tuple<char, int>()) == 5);
  CHECK(encoded_bytes(std::tuple<>()) == 0);
}

TEST_CASE("optionals") {
  CHECK(survives(std::optional<int>()));
  CHECK(survives(std::optional<int>(0)));
  CHECK(survives(std::optional<std::optional<std::string>>(std::optional<std::string>())));
  CHECK(survives(std::optional<no_default>(no_default(3))));
  CHECK(survives(std::optional<const int>(3)));
  CHECK(encoded_bytes(std::optional<int>()) == 1);
  CHECK(encoded_bytes(std::optional<int>(1)) == 5);
}

TEST_CASE("variants") {
  using v = std::variant<std::monostate, int, std::string, int, no_default>;
  CHECK(survives(v()));
  CHECK(survives(v(std::in_place_index<1>, 4)));
  CHECK(survives(v("text")));
  CHECK(round_trip(v(std::in_place_index<3>, 4)).index() == 3);
  CHECK(survives(v(no_default(1))));
  CHECK(encoded_bytes(v()) == 1);
  CHECK(encoded_bytes(std::monostate()) == 0);
}

TEST_CASE("a variant without a value cannot be sent") {
  std::variant<std::string, explosive> v("text");
  CHECK_THROWS_AS(v.emplace<1>(1), int);
  REQUIRE(v.valueless_by_exception());
  test::payload p;
  CHECK_THROWS_AS(p.writer().put(v), std::bad_variant_access);
}

TEST_CASE("paths, durations, time points, complex numbers and bitsets") {
  CHECK(survives(std::filesystem::path("/a/b c")));
  CHECK(survives(std::filesystem::path()));
  CHECK(survives(std::chrono::nanoseconds::min()));
  CHECK(survives(std::chrono::duration<double, std::ratio<3600>>(1.5)));
  CHECK(survives(std::chrono::system_clock::now()));
  CHECK(survives(std::chrono::steady_clock::time_point::max()));
  CHECK(round_trip(std::chrono::duration<text_number>(text_number{"42"})).count().digits == "42");
  CHECK(survives(std::complex<double>(1, -2)));
  CHECK(survives(std::vector<std::complex<float>>{{1, 2}, {3, 4}}));
  CHECK(survives(std::bitset<1>("1")));
  CHECK(survives(std::bitset<64>(~0ull)));
  CHECK(survives(std::bitset<70>("1010101")));
  CHECK(survives(std::bitset<0>()));
}

TEST_CASE("a bitset with bits beyond its end is refused") {
  test::payload p;
  p.writer().put(std::uint64_t{1} << 9);
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<std::bitset<9>>(), coproc::bad_payload);
  CHECK(coproc::reader(p.bytes()).get<std::bitset<10>>().test(9));
}

TEST_CASE("tags that do not exist are refused") {
  test::payload p;
  p.writer().put(std::uint8_t{2}).put(std::array<char, 64>{});
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<std::optional<int>>(), coproc::bad_payload);
  using two = std::variant<int, double>;
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<two>(), coproc::bad_payload);
  using array = std::array<bool, 2>;
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<array>(), coproc::bad_payload);
}
