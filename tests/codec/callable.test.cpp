// SPDX-License-Identifier: BSL-1.0
// Callables and arguments that are accepted; the refused ones are in tests/compile_fail.
#include <coproc/codec/callable.hpp>

#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace callable_test { // has a name because nothing in it is defined

using coproc::detail::call_traits;
using coproc::detail::gcc12_hazard;
using coproc::detail::result_t;
using coproc::detail::type_list;
using coproc::detail::verify;

int twice(int n);
int twice_noexcept(int n) noexcept;
std::string greet(const std::string& name);
std::size_t consume(std::vector<int>&& v);
double mean(std::span<const double> values);
double mean3(std::span<const double, 3> values);
std::size_t length(std::string_view text);
std::size_t join(std::span<const std::string> parts);
void nothing();
const std::string& longer(const std::string& a, const std::string& b);

struct tree {
  int value;
  std::vector<tree> children;
  std::map<std::string, std::optional<tree>> named;
};
tree grow(const tree& t, int by);

struct account {
  long balance = 0;
  long get() const;
  long get_noexcept() const noexcept;
  account add(long n);
  long on_lvalue() &;
  long on_const_lvalue() const&;
  long on_rvalue() &&;
};
struct savings : account {};

struct scale {
  double by;
  double operator()(double x) const;
};

struct overloaded {
  int operator()(int n) const;
  std::string operator()(const std::string& s) const;
};

struct no_default {
  explicit constexpr no_default(int value) : n(value) {}
  int n;
};
no_default make(int n);

struct with_string {
  std::string s;
};

} // namespace callable_test

using namespace callable_test;

TEST_CASE("functions fix the wire types, and arguments convert to them") {
  STATIC_REQUIRE(verify<decltype(&twice), int>());
  STATIC_REQUIRE(verify<decltype(&twice), const long&>());
  STATIC_REQUIRE(verify<decltype(&twice_noexcept), char>());
  STATIC_REQUIRE(verify<decltype(&greet), const char(&)[4]>());
  STATIC_REQUIRE(verify<decltype(&greet), std::string&>());
  STATIC_REQUIRE(verify<decltype(&consume), std::vector<int>&>());
  STATIC_REQUIRE(verify<decltype(&consume), coproc::moved_ref<std::vector<int>>>());
  STATIC_REQUIRE(verify<decltype(&nothing)>());
  STATIC_REQUIRE(verify<decltype(&grow), tree&, int>());
  STATIC_REQUIRE(verify<decltype(&make), int>());
  STATIC_REQUIRE(std::is_same_v<call_traits<decltype(&greet), const char(&)[4]>::wires, type_list<std::string>>);
  STATIC_REQUIRE(std::is_same_v<call_traits<decltype(&twice), long>::wires, type_list<int>>);
}

TEST_CASE("views are parameters, whatever contiguous thing is passed for them") {
  STATIC_REQUIRE(verify<decltype(&mean), std::vector<double>&>());
  STATIC_REQUIRE(verify<decltype(&mean), std::vector<double>>());
  STATIC_REQUIRE(verify<decltype(&mean), std::array<double, 4>&>());
  STATIC_REQUIRE(verify<decltype(&mean), std::span<const double>>());
  STATIC_REQUIRE(verify<decltype(&mean), coproc::moved_ref<std::vector<double>>>());
  STATIC_REQUIRE(verify<decltype(&mean3), std::array<double, 3>&>());
  STATIC_REQUIRE(verify<decltype(&length), const char(&)[4]>());
  STATIC_REQUIRE(verify<decltype(&length), std::string>());
  STATIC_REQUIRE(verify<decltype(&join), std::vector<std::string>&>());
}

TEST_CASE("lambdas, with captures that are values") {
  int n = 1;
  auto plain = [](int x) { return x; };
  auto captures = [n, d = 2.5](int x) mutable { return n += x, d; };
  auto generic = [](auto a, const auto& b) { return a + b; };
  auto views = [](auto text) { return text.size(); };
  STATIC_REQUIRE(verify<decltype(plain), short>());
  STATIC_REQUIRE(verify<decltype(captures), int>());
  STATIC_REQUIRE(verify<decltype(generic), int, double&>());
  STATIC_REQUIRE(verify<decltype(views), std::string_view>());
  STATIC_REQUIRE(std::is_same_v<result_t<decltype(generic), int, double&>, double>);
  STATIC_REQUIRE(std::is_same_v<call_traits<decltype(generic), const int&, double&>::wires, type_list<int, double>>);
}

TEST_CASE("function objects") {
  STATIC_REQUIRE(verify<scale, int>());
  STATIC_REQUIRE(verify<overloaded, int&>());
  STATIC_REQUIRE(verify<overloaded, std::string&>());
  STATIC_REQUIRE(std::is_same_v<result_t<overloaded, std::string&>, std::string>);
}

TEST_CASE("member functions take their object as the first argument") {
  STATIC_REQUIRE(verify<decltype(&account::get), account&>());
  STATIC_REQUIRE(verify<decltype(&account::get_noexcept), account>());
  STATIC_REQUIRE(verify<decltype(&account::add), const account&, int>());
  STATIC_REQUIRE(verify<decltype(&account::on_lvalue), account>());
  STATIC_REQUIRE(verify<decltype(&account::on_const_lvalue), account&>());
  STATIC_REQUIRE(verify<decltype(&account::on_rvalue), account&>());
  STATIC_REQUIRE(verify<decltype(&account::get), savings&>());
  STATIC_REQUIRE(std::is_same_v<result_t<decltype(&account::add), account&, int>, account>);
}

TEST_CASE("results come by value") {
  STATIC_REQUIRE(std::is_same_v<result_t<decltype(&longer), std::string&, std::string&>, std::string>);
  STATIC_REQUIRE(std::is_void_v<result_t<decltype(&nothing)>>);
  STATIC_REQUIRE(std::is_same_v<result_t<decltype(&make), int>, no_default>);
}

TEST_CASE("the hazard of g++ 12 is aggregates with a destructor, as temporaries") {
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
  STATIC_REQUIRE(gcc12_hazard<with_string>);
  STATIC_REQUIRE(gcc12_hazard<std::array<std::string, 2>>);
#else
  STATIC_REQUIRE(!gcc12_hazard<with_string>);
#endif
  STATIC_REQUIRE(!gcc12_hazard<with_string&>);
  STATIC_REQUIRE(!gcc12_hazard<const with_string&>);
  STATIC_REQUIRE(!gcc12_hazard<coproc::moved_ref<with_string>>);
  STATIC_REQUIRE(!gcc12_hazard<std::array<int, 2>>);
  STATIC_REQUIRE(!gcc12_hazard<std::string>);
  STATIC_REQUIRE(coproc::detail::verify_temporaries<int, with_string&, std::string>());
}

TEST_CASE("callbacks take results that are default-constructible") {
  STATIC_REQUIRE(coproc::detail::verify_callback_result<void>());
  STATIC_REQUIRE(coproc::detail::verify_callback_result<std::string>());
  STATIC_REQUIRE(coproc::detail::verify_callback_result<std::optional<no_default>>());
}
