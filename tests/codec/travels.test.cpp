// SPDX-License-Identifier: BSL-1.0
// Types that can travel; the build errors of the others are in tests/compile_fail.
#include <coproc/codec/travels.hpp>

#include <catch2/catch.hpp>
#include <vector>

namespace {

using coproc::detail::travels;
using coproc::detail::travels_as_parameter;

struct point {
  double x, y;
};

struct document {
  std::string title;
  std::vector<document> parts;
  std::map<std::string, std::optional<document>> index;
  std::variant<int, std::string, std::vector<document>> value;
};

struct even {
  std::vector<struct odd> next;
};
struct odd {
  std::vector<even> next;
};

class by_codec {
  void* private_ = nullptr;

public:
  void* get() const { return private_; }
};

struct owner {
  std::vector<by_codec> v;
};

} // namespace

template <>
struct coproc::codec<by_codec> {
  static void encode(writer&, const by_codec&) {}
  static by_codec decode(reader&) { return {}; }
};

TEST_CASE("values of all forms travel") {
  STATIC_REQUIRE(travels<int>());
  STATIC_REQUIRE(travels<point>());
  STATIC_REQUIRE(travels<std::vector<std::tuple<int, std::string, std::array<std::set<int>, 2>>>>());
  STATIC_REQUIRE(travels<std::monostate>());
}

TEST_CASE("recursive types travel, mutually recursive ones too") {
  STATIC_REQUIRE(travels<document>());
  STATIC_REQUIRE(travels<even>());
  STATIC_REQUIRE(travels<odd>());
}

TEST_CASE("a custom codec is asked no questions") {
  STATIC_REQUIRE(travels<by_codec>());
  STATIC_REQUIRE(travels<owner>());
}

TEST_CASE("views travel as parameters") {
  STATIC_REQUIRE(travels_as_parameter<std::string_view>());
  STATIC_REQUIRE(travels_as_parameter<std::u16string_view>());
  STATIC_REQUIRE(travels_as_parameter<std::span<const double>>());
  STATIC_REQUIRE(travels_as_parameter<std::span<const std::string, 3>>());
  STATIC_REQUIRE(travels_as_parameter<document>());
}
