// SPDX-License-Identifier: BSL-1.0
// Where arguments lie, by their size, and what is refused: written as a call writes them.
#include <coproc/front/arguments.hpp>

#include "fake_engine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

using namespace coproc;
using namespace coproc::testing;

namespace {

struct argument_bench {
  explicit argument_bench(std::uint64_t max_payload = 1 << 20, std::uint64_t max_queue_bytes = 1 << 20)
      : memory(segments, max_payload, max_queue_bytes) {}

  // Encodes that many bytes, some at a time, into the record.
  void write(std::size_t bytes) {
    writer w(t.bytes, sizeof t.bytes, &grow, this);
    const std::string some(16, 'x');
    for (std::size_t i = 0; i < bytes; i += some.size()) w.put_bytes(some.data(), std::min(some.size(), bytes - i));
    if (w.data() != t.bytes)
      memory.seal(t, w);
    else
      t.call.length = w.size();
  }
  static void grow(void* self, writer& w, std::size_t more_bytes) {
    auto& b = *static_cast<argument_bench*>(self);
    b.memory.grow(b.t, w, more_bytes);
  }

  std::shared_ptr<shm::segment_pool> segments = std::make_shared<shm::segment_pool>();
  front::arguments memory;
  fake_engine engine;
  front::task_record& t = engine.records.acquire();
};

// The text of what the function throws.
template <class E, class F>
std::string text_of(F f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing is thrown";
}

} // namespace

TEST_CASE("arguments that fit into a slot lie in the record, the others in a block of a segment") {
  argument_bench b;
  SECTION("near") {
    b.write(front::task_record::near_bytes);
    CHECK(b.t.arguments_inline());
    CHECK_FALSE(b.t.has_cold_part);
  }
  SECTION("far") {
    b.write(shm::inline_bytes);
    CHECK(b.t.arguments_inline());
    CHECK(b.t.inline_bytes(shm::inline_bytes)[shm::inline_bytes - 1] == std::byte{'x'});
  }
  SECTION("in a block") {
    b.write(shm::inline_bytes + 1);
    REQUIRE_FALSE(b.t.arguments_inline());
    CHECK(b.t.needs_segments());
    CHECK(b.t.encumbered);
    const auto& block = details(b.t).block;
    CHECK(b.t.call.location == shm::packed_location{block.owner().id(), block.offset()}.pack());
    CHECK(block.data()[shm::inline_bytes] == std::byte{'x'});
  }
  CHECK(b.t.call.length >= front::task_record::near_bytes);
}

TEST_CASE("arguments that have grown and were rewound lie near again") {
  argument_bench b;
  writer w(b.t.bytes, sizeof b.t.bytes, &argument_bench::grow, &b);
  const std::string some(100, 'y');
  w.put_bytes(some.data(), some.size());
  REQUIRE(w.data() != b.t.bytes);
  w.rewind();
  w.put_bytes(some.data(), 10);
  b.memory.seal(b.t, w);
  CHECK(b.t.call.length == 10);
  CHECK(std::memcmp(b.t.bytes, some.data(), 10) == 0);
}

TEST_CASE("what is too large is refused before there is memory for it, by the limit that it exceeds") {
  argument_bench payload(1000, 5000), queue(5000, 1000);
  CHECK_NOTHROW(payload.write(1000));
  using error = pool_error;
  CHECK(text_of<error>([&] { argument_bench(1000, 5000).write(1001); }).find("pool_options::max_payload") !=
        std::string::npos);
  CHECK(text_of<error>([&] { queue.write(1001); }).find("1000 bytes of pool_options::max_queue_bytes") !=
        std::string::npos);
  CHECK(text_of<error>([&] { payload.memory.lend(126, 8); }).find("126 elements") != std::string::npos);
  CHECK_NOTHROW(payload.memory.lend(125, 8));
}

TEST_CASE("a task refers to an argument_array of its own pool, and of no other") {
  argument_bench b, other;
  const auto mine = b.memory.lend(10, 4), theirs = other.memory.lend(10, 4);
  b.memory.keep(b.t, mine);
  CHECK(details(b.t).arrays.size() == 1);
  CHECK(b.t.needs_segments());
  CHECK(b.t.arguments_inline());
  CHECK(text_of<std::invalid_argument>([&] { b.memory.keep(b.t, theirs); }).find("another pool") != std::string::npos);
}
