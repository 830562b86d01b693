// SPDX-License-Identifier: BSL-1.0
// Which aggregates are taken apart, and that their members are the right ones.
#include <coproc/codec/aggregate.hpp>

#include "payload.hpp"

#include <any>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

namespace {

using coproc::detail::member_count;
using coproc::detail::member_t;
using coproc::detail::reflectable;

struct empty {};

struct person {
  std::string name;
  int age = 7;
  std::vector<std::string> tags;
  bool operator==(const person&) const = default;
};

struct nested {
  person who;
  std::array<person, 2> others;
  std::optional<person> boss;
  bool operator==(const nested&) const = default;
};

struct tree {
  int value = 0;
  std::vector<tree> children;
  std::map<std::string, tree> named;
  bool operator==(const tree&) const = default;
};

struct everything {
  std::optional<int> o;
  std::variant<int, std::string> v;
  std::chrono::seconds s;
  std::filesystem::path p;
  std::pair<int, int> q;
  std::tuple<int> t;
  std::optional<std::optional<int>> oo;
  bool b;
};

struct large {
  std::array<char, 1'000'000> bytes;
  std::string name;
};

struct no_default {
  explicit no_default(int value) : n(value) {}
  int n;
  bool operator==(const no_default&) const = default;
};

struct holds_no_default {
  no_default first;
  std::string second;
  bool operator==(const holds_no_default&) const = default;
};

struct defaulted_no_default {
  std::string first;
  no_default second = no_default(3);
};

struct move_only {
  std::unique_ptr<int> p;
  std::string s;
};

struct derived : person {
  int x;
};
struct derived_from_empty : empty {
  std::string s;
};
struct array_first {
  int a[3];
  std::string s;
};
struct array_last {
  std::string s;
  int a[3];
};
struct array_and_no_default {
  int a[2];
  no_default n;
  std::string s;
};
struct arrays {
  std::string name;
  char one[1];
  bool flags[2];
  char grid[2][3];
  char text[16];
  std::string names[2];
  bool operator==(const arrays&) const = default;
};
struct flags {
  std::string name;
  bool flag[2];
};
struct endless_array {
  std::string s;
  char a[100'000];
};
struct refers {
  std::string s;
  int& r;
};
struct has_virtual {
  virtual ~has_virtual() = default;
  std::string s;
};
class not_an_aggregate {
  std::string s_;
};

// clang-format off
#define TEN(x) std::uint8_t x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7, x##8, x##9;
struct nine { std::uint8_t a, b, c, d, e, f, g, h, i; };
struct ten { TEN(a) };
struct eleven { TEN(a) std::string last; };
struct ninety_nine {
  TEN(a) TEN(b) TEN(c) TEN(d) TEN(e) TEN(f) TEN(g) TEN(h) TEN(i) std::uint8_t q, r, s, t, u, v, w, x;
  std::string last;
};
struct hundred { TEN(a) TEN(b) TEN(c) TEN(d) TEN(e) TEN(f) TEN(g) TEN(h) TEN(i) TEN(j) };
struct hundred_and_one { TEN(a) TEN(b) TEN(c) TEN(d) TEN(e) TEN(f) TEN(g) TEN(h) TEN(i) TEN(j) std::string last; };
#undef TEN
// clang-format on

/// Are N members visited, and where they are? All but perhaps the last are bytes.
template <std::size_t N, class T>
bool visits_in_order(const T& value) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&value);
  return coproc::detail::with_members(value, [&](const auto&... member) {
    const void* const places[] = {&member...};
    for (std::size_t i = 0; i + 1 < sizeof...(member); ++i)
      if (places[i] != begin + i) return false;
    return sizeof...(member) == N;
  });
}

} // namespace

template <>
struct coproc::codec<no_default> {
  static void encode(writer& w, const no_default& v) { w.put(v.n); }
  static no_default decode(reader& r) { return no_default(r.get<int>()); }
};

TEST_CASE("members are counted and typed") {
  STATIC_REQUIRE(reflectable<empty>);
  STATIC_REQUIRE(reflectable<person>);
  STATIC_REQUIRE(member_count<person> == 3);
  STATIC_REQUIRE(std::is_same_v<member_t<1, person>, int>);
  STATIC_REQUIRE(std::is_same_v<member_t<2, person>, std::vector<std::string>>);
  STATIC_REQUIRE(member_count<nested> == 3);
  STATIC_REQUIRE(std::is_same_v<member_t<1, nested>, std::array<person, 2>>);
  STATIC_REQUIRE(member_count<everything> == 8);
  STATIC_REQUIRE(std::is_same_v<member_t<1, everything>, std::variant<int, std::string>>);
  STATIC_REQUIRE(std::is_same_v<member_t<6, everything>, std::optional<std::optional<int>>>);
  STATIC_REQUIRE(member_count<move_only> == 2);
}

TEST_CASE("recursive, large, and not default-constructible aggregates are taken apart") {
  STATIC_REQUIRE(member_count<tree> == 3);
  STATIC_REQUIRE(std::is_same_v<member_t<1, tree>, std::vector<tree>>);
  STATIC_REQUIRE(member_count<large> == 2);
  STATIC_REQUIRE(member_count<holds_no_default> == 2);
  STATIC_REQUIRE(reflectable<defaulted_no_default>);
}

TEST_CASE("a C array is one member, wherever it stands") {
  STATIC_REQUIRE(reflectable<array_first>);
  STATIC_REQUIRE(member_count<array_first> == 2);
  STATIC_REQUIRE(std::is_same_v<member_t<0, array_first>, int[3]>);
  STATIC_REQUIRE(reflectable<array_last>);
  STATIC_REQUIRE(member_count<array_last> == 2);
  STATIC_REQUIRE(std::is_same_v<member_t<1, array_last>, int[3]>);
  STATIC_REQUIRE(reflectable<arrays>);
  STATIC_REQUIRE(member_count<arrays> == 6);
  STATIC_REQUIRE(std::is_same_v<member_t<3, arrays>, char[2][3]>);
  STATIC_REQUIRE(std::is_same_v<member_t<5, arrays>, std::string[2]>);
}

TEST_CASE("C arrays travel") {
  const arrays sent{"ann", {'x'}, {true, false}, {{'a', 'b', 'c'}, {'d', 'e', 'f'}}, "end", {"one", "two"}};
  CHECK(test::round_trip(sent) == sent);
  CHECK(coproc::detail::min_bytes<arrays>() == 1 + 1 + 2 + 6 + 16 + 2);
}

TEST_CASE("in a C array, too, a bool is true or false") {
  test::payload p;
  p.writer().put(flags{"x", {true, true}});
  p.writer().data()[p.writer().size() - 1] = std::byte{7};
  coproc::reader r(p.bytes());
  CHECK_THROWS_AS(r.get<flags>(), coproc::bad_payload);
}

TEST_CASE("what cannot be taken apart faithfully is left alone") {
  STATIC_REQUIRE(!reflectable<derived>);
  STATIC_REQUIRE(!reflectable<derived_from_empty>);
  STATIC_REQUIRE(!reflectable<array_and_no_default>);
  STATIC_REQUIRE(!reflectable<endless_array>);
  STATIC_REQUIRE(!reflectable<refers>);
  STATIC_REQUIRE(!reflectable<has_virtual>);
  STATIC_REQUIRE(!reflectable<not_an_aggregate>);
  STATIC_REQUIRE(!reflectable<int>);
}

TEST_CASE("members are visited in order, in place") {
  const person p{"ann", 3, {"x"}};
  coproc::detail::with_members(p, [&](const std::string& name, const int& age, const std::vector<std::string>& tags) {
    CHECK(&name == &p.name);
    CHECK(&age == &p.age);
    CHECK(&tags == &p.tags);
  });
  coproc::detail::with_members(empty(), [](auto&... none) { CHECK(sizeof...(none) == 0); });
}

TEST_CASE("up to a hundred members are visited, each once") {
  CHECK(visits_in_order<9>(nine()));
  CHECK(visits_in_order<10>(ten()));
  CHECK(visits_in_order<11>(eleven()));
  CHECK(visits_in_order<99>(ninety_nine()));
  CHECK(visits_in_order<100>(hundred()));
  STATIC_REQUIRE(std::is_same_v<member_t<10, eleven>, std::string>);
  STATIC_REQUIRE(std::is_same_v<member_t<98, ninety_nine>, std::string>);
  STATIC_REQUIRE(std::is_same_v<member_t<99, hundred>, std::uint8_t>);
  STATIC_REQUIRE(!reflectable<hundred_and_one>);
}

TEST_CASE("aggregates arrive as they were sent") {
  CHECK(test::survives(person{"ann", 3, {"x", ""}}));
  CHECK(test::survives(nested{{"a", 1, {}}, {{{"b", 2, {}}, {"c", 3, {"d"}}}}, person{"e", 4, {}}}));
  CHECK(test::survives(holds_no_default{no_default(5), "text"}));
  tree t{1, {{2, {}, {}}, {3, {{4, {}, {}}}, {}}}, {{"five", {5, {}, {}}}}};
  CHECK(test::survives(t));
}
