// SPDX-License-Identifier: BSL-1.0
// Task records: recycled, never freed, told apart by tickets; and the lists that hold them. One thread, then several.
#include <coproc/front/record_store.hpp>

#include <coproc/front/worker.hpp>

#include "fake_engine.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <set>
#include <thread>

using namespace coproc;
using namespace coproc::detail::front;

TEST_CASE("a recycled record is used again, with another ticket") {
  record_store store(nullptr);
  task_record& t = store.acquire();
  const auto ticket = t.ticket.load();
  CHECK(ticket != 0);
  store.recycle(t);
  CHECK(t.ticket.load() == ticket); // still readable
  task_record& again = store.acquire();
  CHECK(&again == &t);
  CHECK(again.ticket.load() != ticket);
}

TEST_CASE("live records are distinct, stay where they are, and know their engine") {
  coproc::testing::fake_engine engine;
  record_store& store = engine.records;
  std::set<task_record*> records;
  for (int i = 0; i != 1000; ++i) {
    task_record& t = store.acquire();
    CHECK(t.home == &engine);
    records.insert(&t);
  }
  CHECK(records.size() == 1000);
}

TEST_CASE("recycling gives back what the record holds: argument memory, result, exit") {
  record_store store(nullptr);
  auto segments = std::make_shared<shm::segment_pool>();
  auto memory = std::make_shared<worker_memory>();
  const auto fd = os::make_memfd("coproc-test-mailbox", shm::mailbox_bytes);
  memory->mailbox_map = os::mapping(fd.get(), shm::mailbox_bytes, os::access::read_write);
  for (std::uint64_t i = 1; i != 4; ++i) {
    task_record& t = store.acquire();
    make_details(t).block = segments->allocate(1000);
    t.call.location = shm::packed_location{make_details(t).block.owner().id(), make_details(t).block.offset()}.pack();
    t.encumbered = t.result_in_file = true;
    const std::byte* const where = make_details(t).block.data();
    make_details(t).result_owner = memory;
    make_details(t).result_group = memory->results.drained();
    make_details(t).exit.emplace();
    make_details(t).error_text = "text";
    store.recycle(t);
    CHECK(memory->mailbox().parent.freed.load() == i);
    CHECK(memory->freed_since_flush);
    CHECK(memory.use_count() == 1);
    CHECK(!make_details(t).exit);
    CHECK(make_details(t).error_text == nullptr);
    CHECK(t.arguments_inline());
    CHECK(!t.encumbered);
    CHECK(!t.result_in_file);
    CHECK(segments->allocate(1000).data() == where);
  }
}

TEST_CASE("a call that could not be encoded leaves no argument memory in its record") {
  record_store store(nullptr);
  auto segments = std::make_shared<shm::segment_pool>();
  task_record& t = store.acquire();
  // the encoding failed after this, and before call.location spoke of it
  make_details(t).block = segments->allocate(1000);
  const std::byte* const where = make_details(t).block.data();
  t.encumbered = true;
  store.recycle(t);
  CHECK(segments->allocate(1000).data() == where);
}

TEST_CASE("recycling lets go of lent memory, which its other owners keep") {
  record_store store(nullptr);
  auto segments = std::make_shared<shm::segment_pool>();
  auto mine = std::make_shared<const array_block>(segments->allocate(1000), std::size_t{1000});
  const std::byte* const where = mine->data;
  for (int i = 0; i != 3; ++i) {
    task_record& t = store.acquire();
    CHECK(!t.needs_segments());
    t.call.location = task_record::inline_and_lent;
    for (int n = 0; n != 2; ++n) make_details(t).arrays.push_back(mine);
    CHECK(t.needs_segments());
    CHECK(t.arguments_inline());
    CHECK(mine.use_count() == 3);
    store.recycle(t);
    CHECK(mine.use_count() == 1);
  }
  CHECK(segments->allocate(1000).data() != where);
  task_record& t = store.acquire();
  t.call.location = task_record::inline_and_lent;
  make_details(t).arrays.push_back(std::move(mine));
  store.recycle(t);
  CHECK(segments->allocate(1000).data() == where);
}

TEST_CASE("the cold part is made when it is first asked for, and kept") {
  coproc::testing::fake_engine engine;
  record_store& store = engine.records;
  task_record& t = store.acquire();
  CHECK(!t.has_cold_part);
  CHECK(t.make_inline_room(task_record::near_bytes) == t.bytes);
  CHECK(!t.has_cold_part);
  std::byte* const far = t.make_inline_room(task_record::near_bytes + 1);
  REQUIRE(t.has_cold_part);
  CHECK(far == details(t).bytes);
  details(t).terms.max_retries = 3;
  t.special = true;
  details(t).exit.emplace();
  CHECK(&t.make_cold() == &t.cold());
  CHECK(details(t).exit);
  store.recycle(t); // not encumbered: the exit stays, for the store to free
  CHECK(t.has_cold_part);
  CHECK(details(t).terms.max_retries == 0);
  std::set<const void*> places;
  std::vector<task_record*> records;
  for (int i = 0; i != 300; ++i) records.push_back(&store.acquire());
  for (task_record* r : records) places.insert(&r->make_cold());
  CHECK(places.size() == 300);
}

TEST_CASE("a turn keeps one record for its next acquire") {
  record_store store(nullptr), other(nullptr);
  task_record& first = store.acquire();
  task_record& second = store.acquire();
  task_record& third = other.acquire();
  {
    const record_store::turn_cache cache(store);
    const auto ticket = first.ticket.load();
    store.recycle(first);
    store.recycle(second); // there is room for one
    other.recycle(third);
    CHECK(&store.acquire() == &first);
    CHECK(first.ticket.load() == ticket + 1);
    CHECK(&store.acquire() == &second);
    store.recycle(first);
    { // a turn within a turn, of another pool
      const record_store::turn_cache inner(other);
      CHECK(&store.acquire() != &first);
      other.recycle(other.acquire());
    }
    CHECK(&other.acquire() == &third); // given back with the inner one
    CHECK(&store.acquire() == &first);
    store.recycle(first);
  }
  CHECK(&store.acquire() == &first); // as this one was
}

TEST_CASE("a store that goes lets go of all that its records hold, of those that are not back, too") {
  auto segments = std::make_shared<shm::segment_pool>();
  {
    record_store store(nullptr);
    task_record* all[3];
    for (task_record*& t : all) {
      t = &store.acquire();
      make_details(*t).block = segments->allocate(1000);
    }
    store.recycle(*all[0]); // it does not say that it is encumbered: for the store to free
    CHECK(segments.use_count() == 4);
  }
  CHECK(segments.use_count() == 1);
}

TEST_CASE("several threads acquire and recycle at once") {
  record_store store(nullptr);
  std::vector<std::thread> threads;
  std::atomic<int> shared_records{0};
  std::atomic<std::uint64_t> names{0};
  for (int n = 0; n != 4; ++n)
    threads.emplace_back([&] {
      for (int i = 0; i != 5000; ++i) {
        task_record& t = store.acquire();
        const auto ticket = t.ticket.load();
        const auto mine = ++names;
        t.id = mine;
        if (i % 16 == 0) std::this_thread::yield(); // on a busy machine each costs a turn of all others
        if (t.id != mine || t.ticket.load() != ticket) ++shared_records;
        store.recycle(t);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(shared_records == 0);
}

TEST_CASE("a task list keeps order through every operation") {
  record_store store(nullptr);
  std::vector<task_record*> t;
  for (std::uint64_t i = 0; i != 6; ++i) {
    t.push_back(&store.acquire());
    t.back()->id = i;
  }
  const auto drained = [](task_list& list) {
    std::vector<std::uint64_t> ids;
    while (task_record* r = list.pop_front()) ids.push_back(r->id);
    CHECK(list.empty());
    CHECK(list.size() == 0);
    return ids;
  };
  using ids = std::vector<std::uint64_t>;
  task_list list;
  CHECK(list.pop_front() == nullptr);

  SECTION("erase at both ends and in the middle") {
    for (auto* r : t) list.push_back(*r);
    list.erase(*t[0]);
    list.erase(*t[3]);
    list.erase(*t[5]);
    CHECK(list.size() == 3);
    CHECK(drained(list) == ids{1, 2, 4});
  }
  SECTION("insert by id") {
    for (const std::size_t i : {3u, 1u, 5u, 0u, 4u, 2u}) list.insert_by_id(*t[i]);
    CHECK(drained(list) == ids{0, 1, 2, 3, 4, 5});
  }
  SECTION("splice") {
    task_list other;
    list.splice_back(other);
    CHECK(list.empty());
    other.push_back(*t[2]);
    other.push_back(*t[3]);
    list.splice_back(other); // into an empty one
    CHECK(other.empty());
    other.push_back(*t[0]);
    list.splice_back(other);
    list.push_back(*t[1]);
    CHECK(list.size() == 4);
    CHECK(drained(list) == ids{2, 3, 0, 1});
  }
}
