// SPDX-License-Identifier: BSL-1.0
// The slot's state machine: every word, every operation, before and after. One thread; races are for tests/stress.
#include <coproc/shm/slot.hpp>

#include <catch2/catch.hpp>

#include <memory>
#include <vector>

using namespace coproc::shm;

namespace {

constexpr std::uint64_t seq = 129; // ring position 1, third time around

struct named_word {
  std::uint64_t word;
  slot_state state; // what it says
  bool current;     // and whether it says it of this seq
};

// Each state, and what is no state, of this seq, of its predecessor and successor in the same slot, and of neighbours.
std::vector<named_word> all_words() {
  std::vector<named_word> words;
  for (const std::uint64_t s :
       {seq, seq - ring_slots, seq + ring_slots, seq - 1, seq + 1, std::uint64_t{0}, ~std::uint64_t{0} >> 3})
    for (std::uint64_t state = 0; state != 8; ++state)
      words.push_back({s << 3 | state, static_cast<slot_state>(state), s == seq});
  return words;
}

bool is(const named_word& w, slot_state s) { return w.current && w.state == s; }

std::unique_ptr<slot> slot_with(std::uint64_t word) {
  auto s = std::make_unique<slot>();
  s->state.store(word);
  return s;
}

} // namespace

TEST_CASE("a state word holds position and state, and tells a position from the same slot's earlier ones") {
  CHECK(pack(0, slot_state::empty) == 0); // zero-filled memory is a valid ring
  CHECK(pack(seq, slot_state::revoked) == (seq * 8 | 4));
  for (const std::uint64_t a : {std::uint64_t{0}, seq, (std::uint64_t{1} << 61) - 1})
    for (const slot_state s :
         {slot_state::empty, slot_state::ready, slot_state::running, slot_state::done, slot_state::revoked}) {
      CHECK(pack(a, s) >> 3 == a);
      CHECK((pack(a, s) & 7) == static_cast<std::uint64_t>(s));
    }
}

TEST_CASE("claim: only READY of the cursor's seq is claimed, only its REVOKED reported, everything else is nothing") {
  for (const auto& w : all_words()) {
    CAPTURE(w.word);
    const auto s = slot_with(w.word);
    const claim_result r = claim(*s, seq);
    if (is(w, slot_state::ready)) {
      CHECK(r == claim_result::claimed);
      CHECK(s->state.load() == pack(seq, slot_state::running));
    } else {
      CHECK(r == (is(w, slot_state::revoked) ? claim_result::revoked : claim_result::nothing));
      CHECK(s->state.load() == w.word);
    }
  }
}

TEST_CASE("has_work agrees with claim and changes nothing") {
  for (const auto& w : all_words()) {
    CAPTURE(w.word);
    const auto s = slot_with(w.word);
    CHECK(has_work(*s, seq) == (is(w, slot_state::ready) || is(w, slot_state::revoked)));
    CHECK(s->state.load() == w.word);
  }
}

TEST_CASE("revoke: only READY of that seq is taken back") {
  for (const auto& w : all_words()) {
    CAPTURE(w.word);
    const auto s = slot_with(w.word);
    CHECK(revoke(*s, seq) == is(w, slot_state::ready));
    CHECK(s->state.load() == (is(w, slot_state::ready) ? pack(seq, slot_state::revoked) : w.word));
  }
}

TEST_CASE("publish, finish, acknowledge and release write their word whatever was there") {
  for (const auto& w : all_words()) {
    const auto s = slot_with(w.word);
    publish(*s, seq, {1, 2, 3}, {});
    CHECK(load_state(*s) == pack(seq, slot_state::ready));
    s->state.store(w.word);
    finish(*s, seq, {1, 0}, 4);
    CHECK(load_state(*s) == pack(seq, slot_state::done));
    s->state.store(w.word);
    acknowledge(*s, seq);
    CHECK(load_state(*s) == pack(seq, slot_state::done));
    release(*s, seq);
    CHECK(load_state(*s) == pack(seq, slot_state::empty));
  }
}

TEST_CASE("publish fills header and inline bytes, finish the result's place, acknowledge touches neither") {
  slot s{};
  std::vector<std::byte> arguments(inline_bytes, std::byte{7});
  publish(s, seq, {11, 12, arguments.size()}, arguments);
  CHECK(s.entry.load() == 11);
  CHECK(s.location.load() == 12);
  CHECK(s.length.load() == inline_bytes);
  CHECK(std::equal(arguments.begin(), arguments.end(), s.bytes));
  const packed_location where{static_cast<std::uint64_t>(result_kind::value_in_file), 4096};
  finish(s, seq, where, 99);
  CHECK(packed_location::unpack(s.location.load()).tag == 3);
  CHECK(packed_location::unpack(s.location.load()).offset == 4096);
  CHECK(s.length.load() == 99);
  acknowledge(s, seq);
  CHECK(s.length.load() == 99);
}

TEST_CASE("a location keeps its largest tag and offset apart") {
  constexpr std::uint64_t max_offset = (std::uint64_t{1} << packed_location::offset_bits) - 1;
  for (const packed_location p : {packed_location{0, 0},
                                  {packed_location::max_tag, 0},
                                  {0, max_offset},
                                  {packed_location::max_tag, max_offset},
                                  {5, 64}}) {
    const auto back = packed_location::unpack(p.pack());
    CHECK(back.tag == p.tag);
    CHECK(back.offset == p.offset);
  }
}

TEST_CASE("two sides go around the ring many times without confusing one round with the next") {
  auto m = std::make_unique<mailbox>();
  std::uint64_t issued = 0, drained = 0, cursor = 0, executed = 0, revoked = 0;
  for (unsigned step = 0; drained != 5000; ++step) {
    switch (step * 2654435761u >> 28) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
      if (issued - drained < ring_slots) {
        REQUIRE(load_state(m->at(issued)) == (issued < ring_slots ? 0 : pack(issued - ring_slots, slot_state::empty)));
        publish(m->at(issued), issued, {issued, 0, 0}, {});
        ++issued;
      }
      break;
    case 6:
      if (issued > cursor) revoked += revoke(m->at(issued - 1), issued - 1);
      break;
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
      switch (claim(m->at(cursor), cursor)) {
      case claim_result::claimed:
        REQUIRE(m->at(cursor).entry.load() == cursor);
        finish(m->at(cursor), cursor, {}, 0);
        ++executed;
        ++cursor;
        break;
      case claim_result::revoked:
        acknowledge(m->at(cursor), cursor);
        ++cursor;
        break;
      case claim_result::nothing: REQUIRE(cursor == issued); break;
      }
      break;
    default:
      if (drained < cursor) {
        REQUIRE(load_state(m->at(drained)) == pack(drained, slot_state::done));
        release(m->at(drained), drained);
        ++drained;
      }
    }
  }
  CHECK(executed + revoked >= drained);
  CHECK(revoked > 100);
  CHECK(executed > 1000);
}
