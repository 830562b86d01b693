// SPDX-License-Identifier: BSL-1.0
// coproc::moved: what it stands for, and how arguments are taken out of it.
#include <coproc/codec/moved.hpp>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using coproc::detail::argument_t;
using coproc::detail::take_argument;

TEST_CASE("moved stands for an rvalue of its object") {
  STATIC_REQUIRE(std::is_same_v<argument_t<coproc::moved_ref<std::string>>, std::string>);
  STATIC_REQUIRE(std::is_same_v<argument_t<coproc::moved_ref<std::string>&>, std::string>);
  STATIC_REQUIRE(std::is_same_v<argument_t<const coproc::moved_ref<std::string>&>, std::string>);
  STATIC_REQUIRE(std::is_same_v<argument_t<std::string&>, std::string&>);
  STATIC_REQUIRE(std::is_same_v<argument_t<const std::string&>, const std::string&>);
  STATIC_REQUIRE(std::is_same_v<argument_t<std::string>, std::string>);
  STATIC_REQUIRE(std::is_same_v<argument_t<const char(&)[4]>, const char(&)[4]>);
}

TEST_CASE("nothing moves until it is taken") {
  std::string text(100, 'a');
  auto ref = coproc::moved(text);
  CHECK(text.size() == 100);
  const std::string taken = ref;
  CHECK(taken.size() == 100);
  CHECK(text.empty());
}

TEST_CASE("arguments are forwarded as they were given") {
  std::string text(100, 'a');
  auto ref = coproc::moved(text);
  STATIC_REQUIRE(std::is_same_v<decltype(take_argument<std::string&>(text)), std::string&>);
  STATIC_REQUIRE(std::is_same_v<decltype(take_argument<std::string>(text)), std::string&&>);
  STATIC_REQUIRE(std::is_same_v<decltype(take_argument<coproc::moved_ref<std::string>>(ref)), std::string&&>);
  CHECK(&take_argument<std::string&>(text) == &text);
  const std::string taken = take_argument<coproc::moved_ref<std::string>>(ref);
  CHECK(taken.size() == 100);
  CHECK(text.empty());
}

TEST_CASE("moved_ref is no aggregate and has nothing to destroy, which g++ 12 needs") {
  STATIC_REQUIRE(!std::is_aggregate_v<coproc::moved_ref<std::string>>);
  STATIC_REQUIRE(std::is_trivially_destructible_v<coproc::moved_ref<std::string>>);
}
