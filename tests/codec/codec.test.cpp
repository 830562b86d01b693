// SPDX-License-Identifier: BSL-1.0
// The rules that choose a form: custom codecs win, plain bytes travel as such, recursive types are bounded.
#include <coproc/codec/codec.hpp>

#include "payload.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

using coproc::detail::form;
using coproc::detail::form_of;
using coproc::detail::min_bytes;
using test::encoded_bytes;
using test::round_trip;
using test::survives;

// Plain bytes, but with a codec that sees it go by.
struct handle {
  int n;
  bool operator==(const handle&) const = default;
};

struct holds_handle {
  handle h;
  int x;
  bool operator==(const holds_handle&) const = default;
};

struct holds_handles {
  std::array<handle, 3> h;
  double d;
  bool operator==(const holds_handles&) const = default;
};

struct flags {
  int n;
  std::array<bool, 3> b;
  struct inner {
    bool last;
    bool operator==(const inner&) const = default;
  } i;
  bool operator==(const flags&) const = default;
};

struct empty {};
struct empty_with_constructor {
  empty_with_constructor() {}
};

// Owns its child by a pointer: no built-in rule fits.
class chain {
public:
  explicit chain(int n, std::unique_ptr<chain> next = nullptr) : n_(n), next_(std::move(next)) {}
  int length() const { return next_ ? 1 + next_->length() : 1; }

private:
  friend struct coproc::codec<chain>;
  int n_;
  std::unique_ptr<chain> next_;
};

struct tree {
  std::vector<tree> children;
};

tree line(unsigned depth) {
  tree t;
  for (unsigned i = 1; i != depth; ++i) {
    tree parent;
    parent.children.push_back(std::move(t));
    t = std::move(parent);
  }
  return t;
}

} // namespace

template <>
struct coproc::codec<handle> {
  static inline int encoded = 0;
  static void encode(writer& w, const handle& h) {
    ++encoded;
    w.put(std::int16_t(h.n));
  }
  static handle decode(reader& r) {
    const auto n = r.get<std::int16_t>();
    if (n < 0) throw bad_payload("a handle is negative");
    return {n};
  }
};

template <>
struct coproc::codec<chain> {
  static void encode(writer& w, const chain& c) {
    w.put(c.n_).put(c.next_ != nullptr);
    if (c.next_) w.put(*c.next_);
  }
  static chain decode(reader& r) {
    const int n = r.get<int>();
    return r.get<bool>() ? chain(n, std::make_unique<chain>(r.get<chain>())) : chain(n);
  }
};

TEST_CASE("each type gets the form that suits it") {
  STATIC_REQUIRE(form_of<handle> == form::custom);
  STATIC_REQUIRE(form_of<int> == form::bytes);
  STATIC_REQUIRE(form_of<flags> == form::bytes);
  STATIC_REQUIRE(form_of<std::array<int, 3>> == form::bytes);
  STATIC_REQUIRE(form_of<std::array<handle, 3>> == form::standard);
  STATIC_REQUIRE(form_of<holds_handle> == form::aggregate);
  STATIC_REQUIRE(form_of<holds_handles> == form::aggregate);
  STATIC_REQUIRE(form_of<std::bitset<3>> == form::standard);
  STATIC_REQUIRE(form_of<std::vector<int>> == form::standard);
  STATIC_REQUIRE(form_of<tree> == form::aggregate);
  STATIC_REQUIRE(form_of<empty> == form::nothing);
  STATIC_REQUIRE(form_of<empty_with_constructor> == form::nothing);
  STATIC_REQUIRE(form_of<std::unique_ptr<int>> == form::none);
}

TEST_CASE("the least size of an encoding is known where it can be") {
  STATIC_REQUIRE(min_bytes<int>() == 4);
  STATIC_REQUIRE(min_bytes<flags>() == sizeof(flags));
  STATIC_REQUIRE(min_bytes<handle>() == 0);
  STATIC_REQUIRE(min_bytes<std::string>() == 1);
  STATIC_REQUIRE(min_bytes<tree>() == 1);
  STATIC_REQUIRE(min_bytes<std::pair<std::optional<int>, double>>() == 9);
  STATIC_REQUIRE(min_bytes<std::array<std::string, 5>>() == 5);
}

TEST_CASE("empty types cost nothing") {
  CHECK(encoded_bytes(empty()) == 0);
  static_cast<void>(round_trip(empty()));
}

TEST_CASE("a custom codec wins over plain bytes, also inside aggregates, arrays and containers") {
  const auto seen_by = [](const auto& value, int calls) {
    coproc::codec<handle>::encoded = 0;
    CHECK(survives(value));
    CHECK(coproc::codec<handle>::encoded == calls);
  };
  seen_by(handle{3}, 1);
  seen_by(holds_handle{{4}, 5}, 1);
  seen_by(holds_handles{{{{1}, {2}, {3}}}, 1.5}, 3);
  seen_by(std::vector<handle>{{1}, {2}}, 2);
  seen_by(std::optional<handle>(handle{1}), 1);
  seen_by(std::map<int, handle>{{1, {2}}}, 1);
}

TEST_CASE("what a custom codec refuses is bad_payload for all that contains it") {
  test::payload p;
  p.writer().put(holds_handle{{-1}, 5});
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<holds_handle>(), coproc::bad_payload);
}

TEST_CASE("a plain struct travels as its bytes, and its bools are checked") {
  const flags f{1, {true, false, true}, {true}};
  CHECK(survives(f));
  CHECK(survives(std::vector<flags>{f, f}));
  CHECK(encoded_bytes(f) == sizeof f);

  test::payload p;
  p.writer().put(f);
  std::vector<std::byte> bytes(p.bytes().begin(), p.bytes().end());
  for (std::size_t i = 0; i != bytes.size(); ++i) {
    const std::byte before = std::exchange(bytes[i], std::byte{2});
    const bool is_bool = i >= offsetof(flags, b) && i < offsetof(flags, b) + 4;
    if (is_bool)
      CHECK_THROWS_AS(coproc::reader(bytes).get<flags>(), coproc::bad_payload);
    else
      CHECK_NOTHROW(coproc::reader(bytes).get<flags>());
    bytes[i] = before;
  }
}

TEST_CASE("recursive types travel, custom ones too") {
  const auto t = round_trip(line(100));
  unsigned depth = 1;
  for (const tree* n = &t; !n->children.empty(); n = &n->children[0]) ++depth;
  CHECK(depth == 100);

  test::payload p;
  p.writer().put(chain(1, std::make_unique<chain>(2, std::make_unique<chain>(3))));
  CHECK(coproc::reader(p.bytes()).get<chain>().length() == 3);
}

TEST_CASE("a payload that nests too deep is refused before the stack runs out") {
  const std::vector<std::byte> ones(1'000'000, std::byte{1}); // a tree with a child with a child ...
  CHECK_THROWS_AS(coproc::reader(ones).get<tree>(), coproc::bad_payload);

  test::payload p;
  for (int i = 0; i != 100'000; ++i) p.writer().put(i).put(true);
  CHECK_THROWS_AS(coproc::reader(p.bytes()).get<chain>(), coproc::bad_payload);

  CHECK_NOTHROW(round_trip(line(coproc::reader::max_depth)));
  CHECK_THROWS_AS(round_trip(line(coproc::reader::max_depth + 1)), coproc::bad_payload);
}
