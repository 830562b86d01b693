// SPDX-License-Identifier: BSL-1.0
// Round trips of the containers and strings of the standard library.
#include <coproc/codec/containers.hpp>

#include "payload.hpp"

#include <catch2/catch.hpp>
#include <memory_resource>
#include <numeric>

namespace {

struct point {
  double x, y;
  bool operator==(const point&) const = default;
};

struct flagged {
  int n;
  bool flag;
  bool operator==(const flagged&) const = default;
};

struct alignas(64) wide {
  int n;
  bool operator==(const wide&) const = default;
};

class opaque { // plain bytes without a default constructor
public:
  constexpr explicit opaque(int n) : n_(n) {}
  bool operator==(const opaque&) const = default;

private:
  int n_;
};

struct empty {
  bool operator==(const empty&) const = default;
};

using test::encoded_bytes;
using test::round_trip;
using test::survives;

} // namespace

TEST_CASE("strings of every character type") {
  CHECK(survives(std::string()));
  CHECK(survives(std::string("text \0 with zero", 16)));
  CHECK(survives(std::string(254, 'a')));
  CHECK(survives(std::string(255, 'a')));
  CHECK(survives(std::string(100'000, 'a')));
  CHECK(survives(std::wstring(L"wide")));
  CHECK(survives(std::u8string(u8"eight")));
  CHECK(survives(std::u16string(u"sixteen")));
  CHECK(survives(std::u32string(U"thirty-two")));
  CHECK(survives(std::pmr::string("polymorphic")));
}

TEST_CASE("vectors of plain types cost their bytes, a length and padding") {
  CHECK(encoded_bytes(std::vector<char>(10)) == 11);
  CHECK(encoded_bytes(std::vector<double>()) == 8);
  CHECK(encoded_bytes(std::vector<double>(10)) == 8 + 80);
  CHECK(encoded_bytes(std::vector<int>(255)) == 12 + 1020);
  CHECK(encoded_bytes(std::vector<int>(256)) == 64 + 1024); // large ones begin at a cache line
  CHECK(encoded_bytes(std::vector<point>(3)) == 8 + 48);
}

TEST_CASE("vectors of plain types") {
  std::vector<int> ints(10'000);
  std::iota(ints.begin(), ints.end(), -5000);
  CHECK(survives(ints));
  CHECK(survives(std::vector<point>{{1, 2}, {3, 4}}));
  CHECK(survives(std::vector<flagged>{{1, true}, {2, false}}));
  CHECK(survives(std::vector<opaque>{opaque(1), opaque(2)}));
  CHECK(survives(std::vector<wide>{{1}, {2}, {3}}));
  CHECK(survives(std::vector<std::array<short, 3>>{{1, 2, 3}, {4, 5, 6}}));
}

TEST_CASE("a payload at any address decodes, as vectors are copied out") {
  for (std::size_t shift = 0; shift != 16; ++shift) {
    test::payload p;
    p.writer().put(std::vector<double>{1, 2, 3}).put(std::u32string(U"abc")).put(std::vector<opaque>{opaque(7)});
    std::vector<std::byte> elsewhere(p.bytes().size() + 64);
    std::byte* to = elsewhere.data() + shift;
    std::memcpy(to, p.bytes().data(), p.bytes().size());
    coproc::reader r({to, p.bytes().size()});
    CHECK(r.get<std::vector<double>>() == std::vector<double>{1, 2, 3});
    CHECK(r.get<std::u32string>() == U"abc");
    CHECK(r.get<std::vector<opaque>>() == std::vector<opaque>{opaque(7)});
    r.expect_end();
  }
}

TEST_CASE("vector<bool> takes a bit each") {
  for (const std::size_t n : {0u, 1u, 7u, 8u, 9u, 1000u}) {
    std::vector<bool> v(n);
    for (std::size_t i = 0; i < n; i += 3) v[i] = true;
    CHECK(survives(v));
  }
  CHECK(encoded_bytes(std::vector<bool>(80)) == 11);
}

TEST_CASE("vectors of everything else") {
  CHECK(survives(std::vector<std::string>{"a", "", std::string(1000, 'b')}));
  CHECK(survives(std::vector<std::vector<std::vector<int>>>{{{1}, {}}, {}, {{2, 3}}}));
  CHECK(survives(std::vector<std::vector<bool>>{{true}, {}, {false, true}}));
  CHECK(survives(std::vector<std::string>(100'000)));
}

TEST_CASE("elements without content are counted") {
  CHECK(round_trip(std::vector<empty>(1000)).size() == 1000);
  CHECK(encoded_bytes(std::vector<empty>(1000)) == 9 + 1000);
  CHECK(round_trip(std::list<empty>(3)).size() == 3);
}

TEST_CASE("deque, list and forward_list") {
  CHECK(survives(std::deque<int>{1, 2, 3}));
  CHECK(survives(std::deque<std::string>{"a", "b"}));
  CHECK(survives(std::list<double>{1, 2, 3}));
  CHECK(survives(std::list<std::string>()));
  CHECK(survives(std::forward_list<int>{1, 2, 3}));
  CHECK(survives(std::forward_list<std::string>{"a", "b"}));
  CHECK(survives(std::deque<bool>{true, false}));
}

TEST_CASE("sets and maps, ordered and not") {
  CHECK(survives(std::set<int>{3, 1, 2}));
  CHECK(survives(std::set<std::string, std::greater<>>{"a", "c", "b"}));
  CHECK(survives(std::multiset<int>{1, 1, 2}));
  CHECK(survives(std::unordered_set<std::string>{"a", "b", "c"}));
  CHECK(survives(std::unordered_multiset<int>{1, 1, 2, 3}));
  CHECK(survives(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}}));
  CHECK(survives(std::map<int, std::map<int, std::string>>{{1, {{2, "c"}}}, {3, {}}}));
  CHECK(survives(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}}));
  CHECK(survives(std::unordered_multimap<int, int>{{1, 2}, {1, 3}, {4, 5}}));
  CHECK(survives(std::map<empty, int, decltype([](const empty&, const empty&) { return false; })>{{{}, 3}}));
}

TEST_CASE("equal keys of a multimap keep their order") {
  const std::multimap<int, std::string> m{{1, "first"}, {1, "second"}, {1, "third"}, {2, "other"}};
  const auto copy = round_trip(m);
  CHECK(std::equal(copy.begin(), copy.end(), m.begin(), m.end()));
}
