// SPDX-License-Identifier: BSL-1.0
// Which types are provably plain bytes.
#include <coproc/codec/plain_bytes.hpp>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace {

using coproc::detail::plain_bytes;

struct point {
  double x, y;
};

struct padded {
  char c;
  int i;
  long double l[2];
};

struct with_base : point {
  std::array<short, 3> z;
};

class encapsulated {
public:
  constexpr explicit encapsulated(int n) : n_(n) {}

  constexpr int get() const { return n_; }

private:
  int n_;
};

class hides_a_pointer {
public:
  constexpr hides_a_pointer() = default;
  constexpr const void* get() const { return p_; }

private:
  const void* p_ = nullptr;
};

struct refers {
  int& r;
};

struct const_member {
  const int n;
};

struct pointer_array {
  int n;
  const void* p[3];
};

struct view_array {
  int n;
  std::array<std::string_view, 2> v;
};

struct number_array {
  char c[1000];
  int n[3];
};

union either {
  int i;
  float f;
};

enum class colour : short { red };
__extension__ using wide = __int128;
__extension__ using unsigned_wide = unsigned __int128;

} // namespace

TEST_CASE("numbers, enumerations and structs of them are plain bytes") {
  STATIC_REQUIRE(plain_bytes<int>);
  STATIC_REQUIRE(plain_bytes<bool>);
  STATIC_REQUIRE(plain_bytes<char32_t>);
  STATIC_REQUIRE(plain_bytes<double>);
  STATIC_REQUIRE(plain_bytes<long double>);
  STATIC_REQUIRE(plain_bytes<wide>);
  STATIC_REQUIRE(plain_bytes<unsigned_wide>);
  STATIC_REQUIRE(plain_bytes<std::byte>);
  STATIC_REQUIRE(plain_bytes<colour>);
  STATIC_REQUIRE(plain_bytes<point>);
  STATIC_REQUIRE(plain_bytes<padded>);
  STATIC_REQUIRE(plain_bytes<with_base>);
  STATIC_REQUIRE(plain_bytes<encapsulated>);
  STATIC_REQUIRE(plain_bytes<const_member>);
  STATIC_REQUIRE(plain_bytes<std::array<point, 1000>>);
  STATIC_REQUIRE(plain_bytes<std::chrono::nanoseconds>);
  STATIC_REQUIRE(plain_bytes<std::chrono::system_clock::time_point>);
}

TEST_CASE("pointers are found wherever they hide") {
  STATIC_REQUIRE(!plain_bytes<int*>);
  STATIC_REQUIRE(!plain_bytes<int (*)()>);
  STATIC_REQUIRE(!plain_bytes<int point::*>);
  STATIC_REQUIRE(!plain_bytes<hides_a_pointer>);
  STATIC_REQUIRE(!plain_bytes<refers>);
  STATIC_REQUIRE(!plain_bytes<std::string_view>);
  STATIC_REQUIRE(!plain_bytes<std::span<const int>>);
  STATIC_REQUIRE(!plain_bytes<std::reference_wrapper<int>>);
  STATIC_REQUIRE(!plain_bytes<std::array<hides_a_pointer, 2>>);
  STATIC_REQUIRE(!plain_bytes<std::array<std::array<int*, 2>, 2>>);
  STATIC_REQUIRE(!plain_bytes<pointer_array>);
  STATIC_REQUIRE(!plain_bytes<view_array>);
  STATIC_REQUIRE(plain_bytes<number_array>);
}

TEST_CASE("captures count like members") {
  int n = 1;
  auto none = [] {};
  auto value = [n] { return n; };
  auto reference = [&n] { return n; };
  auto pointer = [p = &n] { return *p; };
  STATIC_REQUIRE(plain_bytes<decltype(none)>);
  STATIC_REQUIRE(plain_bytes<decltype(value)>);
  STATIC_REQUIRE(!plain_bytes<decltype(reference)>);
  STATIC_REQUIRE(!plain_bytes<decltype(pointer)>);
  const int* pointers[2] = {&n, &n};
  auto array = [pointers] { return *pointers[0]; };
  std::array<pointer_array, 2> structs{};
  auto array_of_structs = [structs] { return structs[0].n; };
  auto mixed = [n, c = 'c', e = encapsulated(1), a = std::array<float, 3>{}] { return n + c + e.get() + int(a[0]); };
  STATIC_REQUIRE(!plain_bytes<decltype(array)>);
  STATIC_REQUIRE(!plain_bytes<decltype(array_of_structs)>);
  STATIC_REQUIRE(plain_bytes<decltype(mixed)>);
}

TEST_CASE("unions, locks and what owns memory are not plain bytes") {
  STATIC_REQUIRE(!plain_bytes<either>);
  STATIC_REQUIRE(!plain_bytes<std::optional<int>>);
  STATIC_REQUIRE(!plain_bytes<std::mutex>);
  STATIC_REQUIRE(!plain_bytes<std::atomic<int>>);
  STATIC_REQUIRE(!plain_bytes<std::string>);
  STATIC_REQUIRE(!plain_bytes<int[3]>);
  STATIC_REQUIRE(!plain_bytes<void>);
}
