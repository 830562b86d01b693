// SPDX-License-Identifier: BSL-1.0
// The parameters that are read off callables with one signature.
#include <coproc/codec/signature.hpp>

#include <catch2/catch.hpp>
#include <string>

namespace {

using coproc::detail::passed_t;
using coproc::detail::signature;
using coproc::detail::type_list;

struct object {};

struct two_operators {
  int operator()(int) const;
  int operator()(long) const;
};

template <class F, class Result, class... P>
constexpr bool takes = std::is_same_v<typename signature<F>::parameters, type_list<P...>> &&
                       std::is_same_v<typename signature<F>::result, Result>;

template <class F, class... P>
constexpr bool passes = std::is_same_v<typename signature<F>::passed, type_list<P...>>;

} // namespace

TEST_CASE("function pointers, noexcept or not") {
  STATIC_REQUIRE(takes<int (*)(int, const std::string&), int, int, const std::string&>);
  STATIC_REQUIRE(takes<void (*)() noexcept, void>);
  STATIC_REQUIRE(passes<void (*)(std::string&&), std::string&&>);
}

TEST_CASE("member functions, with every qualifier") {
  STATIC_REQUIRE(takes<int (object::*)(int), int, object, int>);
  STATIC_REQUIRE(takes<int (object::*)(int) const noexcept, int, object, int>);
  STATIC_REQUIRE(passes<int (object::*)(int)&, object&, int>);
  STATIC_REQUIRE(passes<int (object::*)() const&, const object&>);
  STATIC_REQUIRE(passes < int(object::*)() && noexcept, object >);
  STATIC_REQUIRE(passes<int (object::*)() const&&, object>);
}

TEST_CASE("classes with one call operator") {
  auto constant = [](int) { return 1.5; };
  auto changing = [n = 0](char) mutable noexcept { return ++n; };
  STATIC_REQUIRE(takes<decltype(constant), double, int>);
  STATIC_REQUIRE(takes<decltype(changing), int, char>);
}

TEST_CASE("what has several signatures has none") {
  auto generic = [](auto x) { return x; };
  STATIC_REQUIRE(!signature<decltype(generic)>::known);
  STATIC_REQUIRE(!signature<two_operators>::known);
  STATIC_REQUIRE(!signature<object>::known);
  STATIC_REQUIRE(!signature<int>::known);
  STATIC_REQUIRE(!signature<int object::*>::known);
}

TEST_CASE("lvalue parameters see lvalues, all others may move") {
  STATIC_REQUIRE(std::is_same_v<passed_t<const std::string&>, const std::string&>);
  STATIC_REQUIRE(std::is_same_v<passed_t<std::string>, std::string&&>);
  STATIC_REQUIRE(std::is_same_v<passed_t<const std::string>, std::string&&>);
  STATIC_REQUIRE(std::is_same_v<passed_t<std::string&&>, std::string&&>);
}
