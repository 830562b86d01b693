// SPDX-License-Identifier: BSL-1.0
// What the front end knows of a worker's mappings: ids are used again while orders are on their way or cannot be sent,
// and a worker that has caught up never finds another segment than the one that was meant. Workers are played: a queue
// of orders, and what is mapped.
#include <coproc/shm/sent_segments.hpp>

#include <catch2/catch.hpp>

#include <deque>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

using namespace coproc;
using namespace coproc::shm;

namespace {

std::shared_ptr<segment_pool> make_pool(std::uint32_t max_segments) {
  return std::make_shared<segment_pool>(1, max_segments); // each segment that comes back drives out the one before
}

argument_block used(segment_pool& pool, std::size_t bytes) {
  argument_block block = pool.allocate(bytes);
  block.set_used(bytes);
  return block;
}

void map(sent_segments& sent, const segment& s) {
  sent.make_room();
  sent.map(s);
}

/// The ids that unmap_dropped() would send, if `room` of them can be sent.
std::vector<std::uint32_t> unmap_dropped(sent_segments& sent, std::size_t room = 100) {
  std::vector<std::uint32_t> ids;
  sent.unmap_dropped([&](std::uint32_t id) {
    if (ids.size() == room) return false;
    ids.push_back(id);
    return true;
  });
  return ids;
}

void drop_all(sent_segments& sent, segment_pool& pool) {
  for (const std::uint64_t serial : pool.take_dropped()) sent.drop(serial);
}

} // namespace

TEST_CASE("a segment is mapped once it was sent, and unmapped when it was dropped") {
  const auto pool = make_pool(10);
  sent_segments sent;
  auto a = used(*pool, 2'000), b = used(*pool, 5'000);
  CHECK_FALSE(sent.maps(a.owner()));
  map(sent, a.owner());
  CHECK(sent.maps(a.owner()));
  CHECK_FALSE(sent.maps(b.owner()));
  map(sent, b.owner());
  CHECK(unmap_dropped(sent).empty());
  const std::uint32_t id = a.owner().id();
  a.reset();
  b.reset();
  drop_all(sent, *pool);
  CHECK(unmap_dropped(sent) == std::vector{id});
  CHECK(unmap_dropped(sent).empty());
}

TEST_CASE("a segment of which a worker was never told needs no order when it is dropped") {
  const auto pool = make_pool(10);
  sent_segments sent;
  auto a = used(*pool, 2'000), b = used(*pool, 5'000);
  map(sent, b.owner());
  a.reset();
  b.reset();
  drop_all(sent, *pool);
  CHECK(unmap_dropped(sent).empty());
  CHECK(sent.maps(used(*pool, 5'000).owner()));
}

TEST_CASE(
    "a new segment with the id of an old one is not taken for it, also where the old one is not known to be gone") {
  const bool told = GENERATE(false, true);
  const auto pool = make_pool(2);
  sent_segments sent;
  auto a = used(*pool, 2'000);
  map(sent, a.owner());
  const std::uint32_t id = a.owner().id();
  a.reset();
  used(*pool, 5'000).reset();
  if (told) drop_all(sent, *pool); // the order to unmap it cannot be sent yet
  const auto again = used(*pool, 10'000);
  REQUIRE(again.owner().id() == id);
  CHECK_FALSE(sent.maps(again.owner()));
  map(sent, again.owner());
  CHECK(sent.maps(again.owner()));
  drop_all(sent, *pool);
  CHECK(unmap_dropped(sent).empty()); // or it would unmap the new one
  CHECK(sent.maps(again.owner()));
}

TEST_CASE("orders to unmap that could not be sent are sent later") {
  const auto pool = make_pool(10);
  sent_segments sent;
  std::vector<argument_block> blocks;
  std::set<std::uint32_t> ids;
  for (const std::size_t bytes : {2'000u, 4'000u, 8'000u, 16'000u}) {
    blocks.push_back(used(*pool, bytes));
    map(sent, blocks.back().owner());
    ids.insert(blocks.back().owner().id());
  }
  const std::uint32_t kept = blocks.back().owner().id();
  blocks.clear();
  drop_all(sent, *pool);
  std::set<std::uint32_t> unmapped;
  for (const std::size_t room : {0u, 1u, 0u, 2u})
    for (const std::uint32_t id : unmap_dropped(sent, room)) CHECK(unmapped.insert(id).second);
  CHECK(unmap_dropped(sent).empty());
  ids.erase(kept); // the one used last
  CHECK(unmapped == ids);
}

namespace {

/// A worker as the front end may imagine it: it reads its orders when it likes, but those that were sent before a task
/// before that task.
class played_worker {
public:
  sent_segments segments;

  void send(std::uint32_t id, std::uint64_t serial) {
    orders_.emplace_back(id, serial);
    ++sent_;
  }
  /// The last order that a task published now can count on.
  std::uint64_t sent() const { return sent_; }

  void read(std::uint64_t up_to) {
    for (; read_ < up_to; ++read_) {
      const auto [id, serial] = orders_.front();
      orders_.pop_front();
      if (serial == unmap)
        mapped_.erase(id);
      else
        mapped_[id] = serial;
    }
  }
  /// 0: none.
  std::uint64_t look_up(std::uint32_t id) const {
    const auto it = mapped_.find(id);
    return it == mapped_.end() ? 0 : it->second;
  }
  const std::map<std::uint32_t, std::uint64_t>& mapped() const { return mapped_; }

  static constexpr std::uint64_t unmap = 0;

private:
  std::deque<std::pair<std::uint32_t, std::uint64_t>> orders_;
  std::uint64_t sent_ = 0, read_ = 0;
  std::map<std::uint32_t, std::uint64_t> mapped_;
};

struct played_task {
  argument_block block;
  std::uint64_t sent;
};

} // namespace

TEST_CASE("whatever happens in whatever order, a task finds the segment that it was published with") {
  std::mt19937 random(20240907);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  const auto pool = make_pool(5);
  std::vector<played_worker> workers(3);
  std::vector<std::deque<played_task>> rings(workers.size());
  std::set<std::uint64_t> dropped;
  std::uint64_t last_serial = 0;
  std::size_t ran = 0;
  bool socket_full = false;

  const auto look = [&] {
    for (const std::uint64_t serial : pool->take_dropped()) {
      CHECK(dropped.insert(serial).second);
      for (auto& w : workers) w.segments.drop(serial);
    }
    for (auto& w : workers)
      w.segments.unmap_dropped([&](std::uint32_t id) {
        if (socket_full && one_in(2)) return false;
        w.send(id, played_worker::unmap);
        return true;
      });
  };
  const auto submit = [&](played_worker& w, std::deque<played_task>& ring) {
    argument_block block;
    try {
      block = used(*pool, std::size_t{1024} << random() % 8);
    } catch (const pool_error&) { // all ids are in use
      return;
    }
    const segment& s = block.owner();
    last_serial = std::max(last_serial, s.serial());
    if (!w.segments.maps(s)) {
      if (socket_full && one_in(2)) return;
      w.segments.make_room();
      w.send(s.id(), s.serial());
      w.segments.map(s);
    }
    ring.push_back({std::move(block), w.sent()});
  };
  const auto run = [&](played_worker& w, std::deque<played_task>& ring) {
    if (ring.empty()) return;
    const played_task t = std::move(ring.front());
    ring.pop_front();
    w.read(t.sent);
    if (one_in(3)) w.read(w.sent()); // what else it may do meanwhile
    REQUIRE(w.look_up(t.block.owner().id()) == t.block.owner().serial());
    ++ran;
  };

  for (int i = 0; i != 50'000; ++i) {
    const std::size_t k = random() % workers.size();
    if (one_in(200)) socket_full = !socket_full;
    if (one_in(10)) look();
    if (one_in(50)) workers[k].read(workers[k].sent());
    if (rings[k].size() < random() % 4)
      submit(workers[k], rings[k]);
    else
      run(workers[k], rings[k]);
  }
  CHECK(ran > 10'000);
  CHECK(last_serial > 1'000); // with five ids

  for (std::size_t k = 0; k != workers.size(); ++k)
    while (!rings[k].empty()) run(workers[k], rings[k]);
  socket_full = false;
  look();
  for (auto& w : workers) {
    w.read(w.sent());
    for (const auto& [id, serial] : w.mapped()) CHECK(dropped.count(serial) == 0);
  }
}
