// SPDX-License-Identifier: BSL-1.0
// The dispatcher against recorded effects: admission, order, cancellation, rules K and D (docs/protocol.md), deaths,
// violations, restarts. Workers are played by hand over real mailboxes; one thread, no fork, a clock that moves when
// told.
#include <coproc/front/dispatcher.hpp>

#include <coproc/front/record_handler.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;
using front::cancel_strength;
using front::verdict;
using names = std::vector<std::uint64_t>;
using signals = std::vector<recorded_effects::signalled>;
using record_state = front::worker::state;

// ---- admission ----

TEST_CASE("accepted tasks never exceed max_queue, and the rest enter in order") {
  pool_bench b({.max_workers = 1, .max_queue = 3});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 7; ++i) {
    b.submit(i);
    REQUIRE(b.d.books().accepted() == std::min<std::uint64_t>(i + 1, 3));
    REQUIRE(b.d.outstanding() == i + 1);
  }
  names order;
  for (std::uint64_t left = 7; left != 0; --left) {
    order.push_back(b.worker(w).run_one().value());
    b.turn();
    REQUIRE(b.d.outstanding() == left - 1);
    REQUIRE(b.d.books().accepted() == std::min<std::uint64_t>(left - 1, 3));
  }
  CHECK(order == names{0, 1, 2, 3, 4, 5, 6});
  CHECK(b.completed_as(verdict::value) == order);
}

TEST_CASE("accepted bytes never exceed max_queue_bytes, and small tasks do not overtake a large one that waits") {
  pool_bench b({.max_workers = 1, .max_queue = 100, .max_queue_bytes = 100});
  const auto w = b.live_worker(0);
  b.submit(1, 60);
  b.submit(2, 41);
  b.submit(3, 1);
  CHECK(b.d.books().accepted() == 1);
  CHECK(b.d.books().accepted_bytes() == 60);
  CHECK(b.d.outstanding() == 3);
  b.worker(w).run_one();
  b.turn();
  CHECK(b.d.books().accepted() == 2);
  CHECK(b.d.books().accepted_bytes() == 42);
  CHECK(b.run_all(w) == names{2, 3});
  CHECK(b.d.books().accepted_bytes() == 0);
}

TEST_CASE("a task that may not wait is refused when the queue is full, also when others wait") {
  pool_bench b({.max_workers = 1, .max_queue = 1});
  auto& refused = b.task(9);
  refused.may_wait = false;
  b.submit(1);
  b.submit(refused);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].name == 9);
  CHECK(ended[0].error == make_error_code(errc::queue_full));
  CHECK(b.d.outstanding() == 1);
}

TEST_CASE("cancelling the task that blocks the way into the queue lets the next one in") {
  pool_bench b({.max_workers = 1, .max_queue = 100, .max_queue_bytes = 100});
  const auto w = b.live_worker(0);
  b.submit(1, 60);
  b.worker(w).begin();
  auto& large = b.submit(2, 100);
  b.submit(3, 10);
  CHECK(b.d.books().accepted() == 1);
  b.cancel(large);
  CHECK(b.completed_as(verdict::aborted) == names{2});
  CHECK(b.d.books().accepted() == 2);
}

TEST_CASE("one worker runs tasks in the order of their submission, however often its ring goes around") {
  pool_bench b;
  const auto w = b.live_worker(0);
  names submitted, ran;
  for (std::uint64_t i = 0; i != 500; ++i) {
    b.submit(i);
    submitted.push_back(i);
    if (i % 7 == 0)
      for (const auto name : b.run_all(w)) ran.push_back(name);
  }
  for (const auto name : b.run_all(w)) ran.push_back(name);
  CHECK(ran == submitted);
  CHECK(b.completed_as(verdict::value) == submitted);
}

TEST_CASE("results are taken over with their kind, their length and their bytes") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  REQUIRE(b.worker(w).begin());
  std::memcpy(b.worker(w).head().bytes, "seven", 5);
  b.worker(w).finish(shm::result_kind::exception_inline, 5);
  b.turn();
  CHECK(t.outcome == verdict::exception);
  CHECK(std::string(reinterpret_cast<const char*>(result_bytes(t).data()), t.result_length) == "seven");
  CHECK(!make_details(t).result_owner);
  auto& u = b.submit(2);
  REQUIRE(b.worker(w).begin());
  b.worker(w).finish(shm::result_kind::value_in_file, 2048, 2048);
  b.turn();
  CHECK(u.outcome == verdict::value);
  CHECK(result_bytes(u).data() == b.record(w).memory->results_map.data() + 2048);
  CHECK(make_details(u).result_owner == b.record(w).memory);
  CHECK(b.worker(w).mailbox().parent.freed.load() == 0);
  CHECK(b.completed().size() == 2);
  CHECK(b.worker(w).mailbox().parent.freed.load() == 1);
}

// ---- cancellation: the contract's table ----

TEST_CASE("a task that waits, is queued or not begun is withdrawn by any cancellation") {
  const auto strength = GENERATE(cancel_strength::total, cancel_strength::partial, cancel_strength::terminal);
  SECTION("waiting for room") {
    pool_bench b({.max_workers = 1, .max_queue = 1});
    b.submit(1);
    b.cancel(b.submit(2), strength);
    CHECK(b.completed_as(verdict::aborted) == names{2});
    CHECK(b.d.outstanding() == 1);
  }
  SECTION("queued") {
    pool_bench b;
    b.cancel(b.submit(1), strength);
    CHECK(b.completed_as(verdict::aborted) == names{1});
    CHECK(b.d.outstanding() == 0);
  }
  SECTION("in the ring, not begun") {
    pool_bench b;
    const auto w = b.live_worker(0);
    b.submit(1);
    b.cancel(b.submit(2), strength);
    b.submit(3);
    CHECK(b.completed_as(verdict::aborted) == names{2});
    CHECK(b.d.outstanding() == 2);
    CHECK(b.run_all(w) == names{1, 3});
    CHECK(b.record(w).load() == 0);
    CHECK(b.effects.signals.empty());
  }
}

TEST_CASE("a running task ignores total, gets its stop token by partial, and is killed by terminal cancellation") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.worker(w).run_one();
  b.turn(); // so that its position is not 0
  auto& t = b.submit(2);
  REQUIRE(b.worker(w).begin());

  b.cancel(t, cancel_strength::total);
  CHECK(b.worker(w).mailbox().parent.stop.load() == 0);
  b.cancel(t, cancel_strength::partial);
  CHECK(b.worker(w).mailbox().parent.stop.load() == t.seq + 1);
  CHECK(b.effects.signals.empty());
  b.cancel(t, cancel_strength::terminal);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
  CHECK(b.completed_as(verdict::value) == names{1});
  b.exited(w, SIGTERM);
  CHECK(b.completed_as(verdict::aborted) == names{2});
}

TEST_CASE("on_cancel::request_stop makes terminal cancellation raise the stop token") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.when_cancelled = on_cancel::request_stop;
  b.submit(t);
  b.worker(w).begin();
  b.cancel(t);
  CHECK(b.effects.signals.empty());
  CHECK(b.worker(w).mailbox().parent.stop.load() == 1);
  b.worker(w).finish();
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{1});
}

TEST_CASE("a finished task ignores cancellation, before and after it was drained, and after its record was reused") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  const auto ticket = t.ticket.load();
  b.worker(w).run_one();
  b.cancel(t);
  b.turn();
  b.cancel(t);
  CHECK(b.completed_as(verdict::value) == names{1});
  b.d.cancel(t, ticket, cancel_strength::terminal, b.now);
  auto& again = b.submit(2);
  REQUIRE(&again == &t);
  b.d.cancel(t, ticket, cancel_strength::terminal, b.now);
  CHECK(b.completed().empty());
  CHECK(b.run_all(w) == names{2});
  CHECK(b.effects.signals.empty());
}

// ---- rule K, docs/protocol.md ----

TEST_CASE("rule K: before the signal, what lies behind the target moves to other workers and keeps its place") {
  pool_bench b({.max_workers = 2});
  const auto first = b.live_worker(0);
  auto& target = b.submit(1);
  b.submit(2);
  b.submit(3);
  REQUIRE(b.worker(first).begin());
  const auto second = b.live_worker(1);
  b.effects.on_signal = [&](front::worker& w, int) { CHECK(w.unfinished() == 1); };
  b.cancel(target);
  b.submit(4);
  CHECK(b.effects.signals == signals{{first, SIGTERM}});
  CHECK(b.run_all(second) == names{2, 3, 4});
  CHECK_FALSE(b.worker(first).mailbox().at(1).state.load() == shm::pack(1, shm::slot_state::ready));
  CHECK(b.completed_as(verdict::value) == names{2, 3, 4});
  b.exited(first, SIGTERM);
  CHECK(b.completed_as(verdict::aborted) == names{1});
}

TEST_CASE("rule K: a target that has finished meanwhile spares its worker, and what was taken back is put back") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& target = b.submit(1);
  b.submit(2);
  b.submit(3);
  REQUIRE(b.worker(w).run_one());
  b.cancel(target);
  CHECK(b.effects.signals.empty());
  CHECK(b.record(w).status() == record_state::live);
  CHECK(b.run_all(w) == names{2, 3});
  CHECK(b.completed_as(verdict::value) == names{1, 2, 3});
}

TEST_CASE("rule K: a task behind the target that the worker has begun is not hit") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& target = b.submit(1);
  b.submit(2);
  REQUIRE(b.worker(w).run_one());
  REQUIRE(b.worker(w).begin()); // DONE RUNNING
  b.cancel(target);
  CHECK(b.effects.signals.empty());
  b.worker(w).finish();
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{1, 2});
}

TEST_CASE("a worker that got SIGTERM takes no more work, and SIGKILL follows after kill_grace") {
  pool_bench b({.max_workers = 1, .kill_grace = 100ms});
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  b.worker(w).begin();
  b.cancel(t);
  b.submit(2);
  CHECK(b.d.next_deadline() == b.now + 100ms);
  b.advance(99ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
  b.advance(1ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}, {w, SIGKILL}});
  CHECK(b.worker(w).mailbox().at(1).state.load() == 0);
  b.exited(w);
  CHECK(b.completed_as(verdict::aborted) == names{1});
  REQUIRE(b.start_requested() == 1);
  b.turn();
  CHECK(b.run_all(b.incarnations) == names{2});
}

TEST_CASE("a result that was published before the signal took effect counts") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  b.worker(w).begin();
  b.effects.on_signal = [&](front::worker&, int) { b.worker(w).finish(); };
  b.cancel(t);
  CHECK(b.effects.signals.size() == 1);
  b.exited(w, SIGTERM);
  CHECK(b.completed_as(verdict::value) == names{1});
}

TEST_CASE("a task of the usual kind needs nothing but the hot part of its record, whatever becomes of it but a death") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.submit(b.plain_task(1));
  auto& u = b.submit(b.plain_task(2));
  REQUIRE(b.worker(w).begin());
  b.worker(w).finish(shm::result_kind::value_inline, front::task_record::near_bytes);
  b.cancel(u);
  b.turn();
  CHECK(t.outcome == verdict::value);
  CHECK(u.outcome == verdict::aborted);
  CHECK(!t.has_cold_part);
  CHECK(!u.has_cold_part);
  CHECK(b.completed().size() == 2);
  SECTION("larger results lie there") {
    const std::size_t length = GENERATE(front::task_record::near_bytes + 1, shm::inline_bytes);
    auto& v = b.submit(b.plain_task(3));
    REQUIRE(b.worker(w).begin());
    const std::vector<std::byte> bytes(length, std::byte{7});
    std::memcpy(b.worker(w).head().bytes, bytes.data(), length);
    b.worker(w).finish(shm::result_kind::value_inline, length);
    b.turn();
    CHECK(v.has_cold_part);
    const auto result = result_bytes(v);
    CHECK(std::vector<std::byte>(result.begin(), result.end()) == bytes);
  }
  SECTION("and what is known of the worker's death") {
    auto& v = b.submit(b.plain_task(3));
    REQUIRE(b.worker(w).begin());
    b.exited(w, SIGSEGV);
    CHECK(v.outcome == verdict::lost);
    CHECK(v.has_cold_part);
  }
}

TEST_CASE("the time-outs of a task that is taken back are not those of the one behind it, "
          "though the worker says it runs that") {
  front::dispatcher_limits limits;
  limits.max_workers = 1;
  limits.kill_grace = 5s;
  pool_bench b(limits);
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 1s;
  make_details(t).terms.soft_timeout = 500ms;
  b.submit(t);
  auto& plain = b.submit(b.plain_task(2));
  auto& word = b.worker(w).mailbox().at(1).state;
  word.store(shm::pack(1, shm::slot_state::running)); // and never begins the first
  b.advance(500ms);
  b.advance(500ms);
  CHECK(t.where == front::place::queued);
  CHECK(plain.where == front::place::issued);
  if (GENERATE(false, true)) word.store(shm::pack(1, shm::slot_state::ready));
  b.advance(500ms);
  CHECK(!plain.has_cold_part);
  CHECK(b.d.next_deadline() > b.now);
  CHECK(b.effects.signals.empty());
}

// ---- rule D, docs/protocol.md ----

TEST_CASE("rule D: a running task is killed at its time-out, which starts when it comes to the head") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  auto& t = b.task(2);
  make_details(t).terms.timeout = 50ms;
  b.submit(t);
  b.submit(3);
  b.worker(w).begin();
  b.advance(1s);
  CHECK(b.effects.signals.empty());
  b.worker(w).finish();
  b.worker(w).begin();
  b.advance(1s); // only now is it seen at the head
  CHECK(b.effects.signals.empty());
  b.advance(49ms);
  CHECK(b.effects.signals.empty());
  b.advance(1ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
  b.exited(w, SIGTERM);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 2);
  CHECK(ended[0].outcome == verdict::value);
  CHECK(ended[1].name == 2);
  CHECK(ended[1].outcome == verdict::task_timeout);
}

TEST_CASE("rule D: what the initializer took is given back to the task that was at the head meanwhile, once") {
  pool_bench b;
  const auto w = b.add_worker(0);
  b.d.workers().started(w, 1001, {}, b.now);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 50ms;
  make_details(t).terms.soft_timeout = 45ms;
  b.submit(t);
  b.advance(40ms);
  const bool says_so = GENERATE(true, false); // one that runs tasks without has no excuse
  if (says_so) b.worker(w).initialized();
  REQUIRE(b.worker(w).begin());
  b.advance(5ms); // its soft_timeout since it came to the head
  CHECK(details(t).soft_expired == !says_so);
  b.advance(5ms);
  CHECK(b.effects.signals.empty() == says_so);
  if (!says_so) return;
  b.advance(40ms); // 45 since it was seen to run
  CHECK(details(t).soft_expired);
  CHECK(b.effects.signals.empty());
  b.advance(5ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
}

TEST_CASE("rule D: a task that waits for its worker's initializer has its time-out from its end, and no more") {
  pool_bench b;
  const auto w = b.add_worker(0);
  b.d.workers().started(w, 1001, {}, b.now);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 200ms;
  b.submit(t);
  b.advance(100ms);
  b.worker(w).initialized(); // it rings
  REQUIRE(b.worker(w).begin());
  b.turn();
  b.advance(199ms);
  CHECK(b.effects.signals.empty());
  b.advance(1ms);
  CHECK(b.effects.signals == signals{{w, SIGTERM}});
}

TEST_CASE("rule D: the killed task gets task_timeout, the one behind it another worker") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 50ms;
  b.submit(t);
  b.submit(2);
  b.worker(w).begin();
  b.advance(50ms);
  b.exited(w, SIGTERM);
  CHECK(b.completed_as(verdict::task_timeout) == names{1});
  b.start_requested();
  b.turn();
  CHECK(b.run_all(b.incarnations) == names{2});
}

TEST_CASE("rule D: a head that was not even begun moves on, and its stalled worker rests until it moves") {
  pool_bench b({.max_workers = 2, .kill_grace = 1s});
  const auto stalled = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 50ms;
  b.submit(t);
  b.submit(2);
  b.advance(50ms);
  CHECK(b.effects.signals.empty());
  CHECK(b.d.books().accepted() == 2);
  b.submit(3);
  const auto other = b.live_worker(1);
  b.turn();
  CHECK(b.run_all(other) == names{1, 2, 3});

  SECTION("it moves: it works again") {
    CHECK_FALSE(b.worker(stalled).begin()); // acknowledges
    b.turn();
    b.advance(10s);
    CHECK(b.effects.signals.empty());
    b.worker(other).mailbox();
    b.submit(4);
    b.submit(5);
    CHECK(b.record(stalled).unfinished() + b.record(other).unfinished() == 2);
    CHECK(b.record(stalled).unfinished() == 1);
  }
  SECTION("it does not: it is replaced, and nobody is lost") {
    b.advance(1s);
    CHECK(b.effects.signals == signals{{stalled, SIGKILL}});
    b.exited(stalled);
    CHECK(b.effects.starts == std::vector<unsigned>{0});
    CHECK(b.completed_as(verdict::value) == names{1, 2, 3});
  }
}

TEST_CASE("rule D: a task that has finished at its deadline keeps its result and its worker") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  make_details(t).terms.timeout = 50ms;
  b.submit(t);
  b.worker(w).run_one();
  b.now += 60ms;
  b.d.tick(b.now);
  CHECK(b.effects.signals.empty());
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{1});
}

// ---- deaths ----

TEST_CASE("a death costs exactly the running task, whatever the ring holds") {
  const bool wrapped = GENERATE(false, true);
  const int done = GENERATE(0, 1, 5);
  const bool running = GENERATE(false, true);
  const int ready = GENERATE(0, 1, 9);
  const int revoke_every = GENERATE(0, 2);
  CAPTURE(wrapped, done, running, ready, revoke_every);
  pool_bench b;
  const auto w = b.live_worker(0);
  b.teach(w, 100, wrapped ? 380 : 320); // 380 = 60 mod 64

  names values, lost, moved, aborted;
  std::uint64_t name = 0;
  for (int i = 0; i != done; ++i) b.submit(values.emplace_back(++name));
  if (running) b.submit(lost.emplace_back(++name));
  std::vector<front::task_record*> withdrawn;
  for (int i = 0; i != ready; ++i) {
    ++name;
    const bool revoke = revoke_every != 0 && i % revoke_every == 1;
    (revoke ? aborted : moved).push_back(name);
    auto& t = b.submit(name);
    if (revoke) withdrawn.push_back(&t);
  }
  REQUIRE(b.record(w).unfinished() == name);
  for (int i = 0; i != done; ++i) REQUIRE(b.worker(w).run_one());
  if (running) REQUIRE(b.worker(w).begin());
  for (auto* t : withdrawn) b.cancel(*t);
  CHECK(b.completed_as(verdict::aborted) == aborted);

  b.pidfd_fires(w);
  CHECK(b.completed_as(verdict::value) == values); // at once: nobody waits for the exit status of its worker
  CHECK(b.effects.retired.size() == (lost.empty() ? 0 : 0));
  b.exited(w, SIGSEGV);
  const auto ended = b.completed();
  REQUIRE(ended.size() == lost.size());
  if (running) {
    CHECK(ended[0].outcome == verdict::lost);
    CHECK(ended[0].name == lost[0]);
    REQUIRE(ended[0].exit);
    CHECK(ended[0].exit->signal == SIGSEGV);
    CHECK(ended[0].exit->cause == exit_cause::self);
  }
  CHECK(b.effects.retired.size() == 1);
  REQUIRE(b.start_requested() == 1);
  b.submit(++name);
  moved.push_back(name);
  CHECK(b.run_all(b.incarnations) == moved); // in their old order, before the newcomer
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("a task that moves keeps its place before those that were queued behind it") {
  pool_bench b;
  const auto w = b.live_worker(0);
  names all;
  for (std::uint64_t i = 0; i != 20; ++i) b.submit(all.emplace_back(i));
  REQUIRE(b.record(w).load() < 20); // the rest is queued
  SECTION("because its worker died") {
    b.exited(w);
    b.start_requested();
    b.turn();
    CHECK(b.run_all(b.incarnations) == all);
  }
  SECTION("because its worker is killed for another task") {
    b.worker(w).begin();
    b.cancel(*b.record(w).head());
    b.exited(w, SIGTERM);
    b.start_requested();
    b.turn();
    all.erase(all.begin());
    CHECK(b.run_all(b.incarnations) == all);
  }
}

TEST_CASE("the exit status may come before the pidfd fires, after it, or never") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.worker(w).begin();
  SECTION("before") {
    b.exited(w, SIGABRT);
    const auto ended = b.completed();
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].exit->signal == SIGABRT);
    b.pidfd_fires(w); // of an incarnation that is forgotten
  }
  SECTION("after") {
    b.pidfd_fires(w);
    CHECK(b.completed().empty());
    CHECK(b.d.outstanding() == 1);
    b.exited(w, SIGABRT);
    CHECK(b.completed().at(0).exit->signal == SIGABRT);
  }
  SECTION("never") {
    b.pidfd_fires(w);
    CHECK(b.d.next_deadline() == b.now + 1s);
    b.advance(999ms);
    CHECK(b.completed().empty());
    b.advance(1ms);
    const auto ended = b.completed();
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].outcome == verdict::lost);
    CHECK_FALSE(ended[0].exit->status_known);
    CHECK(ended[0].exit->pid == static_cast<pid_t>(1000 + w));
  }
  CHECK(b.effects.retired.size() == 1);
  CHECK(b.effects.starts.size() == 1);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("a dead worker is replaced at once, before its exit status is known") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.worker(w).begin();
  b.submit(2);
  b.pidfd_fires(w);
  REQUIRE(b.start_requested() == 1);
  b.turn();
  CHECK(b.run_all(b.incarnations) == names{2});
  CHECK(b.completed_as(verdict::value) == names{2});
}

// ---- violations ----

TEST_CASE("a worker that writes an impossible word is killed, and all it was issued is lost") {
  using shm::pack;
  using shm::slot_state;
  struct garbage {
    std::size_t slot; // position in the ring
    std::uint64_t word;
  };
  // Two tasks are issued at positions 0 and 1; the first is running (as the front end has seen) or not.
  const bool seen_running = GENERATE(false, true);
  std::vector<garbage> illegal;
  for (const std::uint64_t seq : {0ull, 1ull, 64ull, 1ull << 60}) {
    for (const auto s :
         {slot_state::empty, slot_state::ready, slot_state::running, slot_state::done, slot_state::revoked}) {
      const bool legal =
          seq == 0 && (s == slot_state::done || s == slot_state::running || (s == slot_state::ready && !seen_running));
      if (!legal) illegal.push_back({0, pack(seq, s)});
    }
    for (const std::uint64_t s : {5u, 6u, 7u}) illegal.push_back({0, seq << 3 | s});
  }
  illegal.push_back({0, ~0ull});
  for (const garbage g : illegal) {
    CAPTURE(seen_running, g.slot, g.word);
    pool_bench b;
    const auto w = b.live_worker(0);
    b.submit(1);
    b.submit(2);
    if (seen_running) {
      REQUIRE(b.worker(w).begin());
      b.turn();
    }
    b.worker(w).mailbox().at(g.slot).state.store(g.word);
    b.turn();
    REQUIRE(b.effects.signals == signals{{w, SIGKILL}});
    CHECK(b.completed().empty());
    b.submit(3);
    CHECK(b.record(w).load() == 2); // no new work for it
    b.exited(w);
    const auto ended = b.completed();
    REQUIRE(ended.size() == 2);
    for (const auto& e : ended) {
      CHECK(e.outcome == verdict::lost);
      CHECK(e.exit->cause == exit_cause::violation);
    }
    b.start_requested();
    b.turn();
    REQUIRE(b.run_all(b.incarnations) == names{3});
  }
}

TEST_CASE("a forged kind, length or place of a result is a violation") {
  struct forged {
    std::uint64_t kind, length, offset;
  };
  const auto f = GENERATE(values<forged>({{0, 0, 0},
                                          {7, 0, 0},
                                          {1 + 8 * 1, 0, 0},
                                          {3 + 8 * 63, 0, 0},
                                          {7 + 8 * 1, 0, 0},
                                          {5 + 8 * 64, 0, 0},
                                          {5, shm::inline_bytes + 1, 0},
                                          {6, 2049, 0},
                                          {6 + 8 * 63, 1, 4096},
                                          {(1 << 20) - 1, 0, 0},
                                          {1, shm::inline_bytes + 1, 0},
                                          {2, ~0ull, 0},
                                          {3, 2049, 0},
                                          {3, ~0ull, 0},
                                          {3, 1, 4096},
                                          {4, 2048, 2049},
                                          {3, 2, (1ull << 44) - 1},
                                          {4, 1ull << 63, 1}}));
  CAPTURE(f.kind, f.length, f.offset);
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  REQUIRE(b.worker(w).begin());
  b.worker(w).finish(static_cast<shm::result_kind>(f.kind), f.length, f.offset);
  b.turn();
  CHECK(b.effects.signals == signals{{w, SIGKILL}});
  CHECK(b.completed().empty());
  b.exited(w);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].exit->cause == exit_cause::violation);
  CHECK(b.worker(w).mailbox().parent.freed.load() == 0);
  CHECK(returned_flags(b.worker(w).mailbox()) == 0);
}

TEST_CASE("a result with views keeps its worker's memory and its loan, until its record is recycled") {
  pool_bench b;
  const auto w = b.live_worker(0);
  const auto finish = [&](shm::result_kind kind, std::uint64_t loan, std::uint64_t offset) {
    REQUIRE(b.worker(w).begin());
    b.worker(w).finish(static_cast<shm::result_kind>(shm::result_tag{kind, loan}.pack()), 5, offset);
    b.turn();
  };
  auto& t = b.submit(1);
  auto& u = b.submit(2);
  auto& v = b.submit(3);
  finish(shm::result_kind::views_inline, 63, 0);
  finish(shm::result_kind::views_in_file, 0, 2048);
  finish(shm::result_kind::value_inline, 0, 0);
  for (const auto* each : {&t, &u, &v}) CHECK(each->outcome == verdict::value);
  CHECK(!t.result_in_file);
  CHECK(make_details(t).loan == 63);
  CHECK(make_details(t).result_owner == b.record(w).memory);
  CHECK(result_bytes(u).data() == b.record(w).memory->results_map.data() + 2048);
  CHECK(make_details(u).loan == 0);
  CHECK(make_details(u).result_owner == b.record(w).memory);
  CHECK(make_details(v).loan == front::task_details::no_loan);
  CHECK(!make_details(v).result_owner);
  CHECK(returned_flags(b.worker(w).mailbox()) == 0);
  CHECK(b.completed().size() == 3);
  CHECK(returned_flags(b.worker(w).mailbox()) == (std::uint64_t{1} << 63 | 1));
  CHECK(b.worker(w).mailbox().parent.freed.load() == 1);
  auto& again = b.submit(4);
  finish(shm::result_kind::views_inline, 63, 0);
  CHECK(make_details(again).loan == 63);
  CHECK(b.completed().size() == 1);
  CHECK(returned_flags(b.worker(w).mailbox()) == 1);
}

TEST_CASE("the largest legal results are accepted") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.submit(2);
  b.worker(w).begin();
  b.worker(w).finish(shm::result_kind::value_inline, shm::inline_bytes);
  b.worker(w).begin();
  b.worker(w).finish(shm::result_kind::exception_in_file, 2048, 4096 - 2048);
  b.turn();
  CHECK(b.completed().size() == 2);
  CHECK(b.effects.signals.empty());
}

TEST_CASE("a dead worker's ring is validated like a live one's") {
  using shm::pack;
  using shm::slot_state;
  struct garbage {
    std::size_t slot;
    std::uint64_t word;
  };
  const auto g = GENERATE(values<garbage>({{0, pack(0, slot_state::empty)},
                                           {0, pack(0, slot_state::revoked)},
                                           {1, pack(1, slot_state::running)},
                                           {1, pack(1, slot_state::done)},
                                           {1, pack(0, slot_state::ready)},
                                           {2, pack(2, slot_state::revoked)},
                                           {1, pack(65, slot_state::ready)},
                                           {2, 7}}));
  pool_bench b;
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 3; ++i) b.submit(i);
  b.worker(w).mailbox().at(g.slot).state.store(g.word);
  b.exited(w);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 3);
  for (const auto& e : ended) CHECK(e.exit->cause == exit_cause::violation);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("results that were drained before a violation count") {
  pool_bench b;
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 3; ++i) b.submit(i);
  b.worker(w).run_one();
  b.worker(w).mailbox().at(1).state.store(6);
  b.turn();
  CHECK(b.completed_as(verdict::value) == names{0});
  b.exited(w);
  CHECK(b.completed_as(verdict::lost) == names{1, 2});
}

TEST_CASE("a revoked slot may only be acknowledged") {
  const auto word = GENERATE(shm::pack(0, shm::slot_state::ready), shm::pack(0, shm::slot_state::running),
                             shm::pack(0, shm::slot_state::empty), shm::pack(64, shm::slot_state::done));
  pool_bench b;
  const auto w = b.live_worker(0);
  b.cancel(b.submit(1));
  b.submit(2);
  b.worker(w).mailbox().at(0).state.store(word);
  b.turn();
  CHECK(b.effects.signals == signals{{w, SIGKILL}});
  b.exited(w);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 2);
  CHECK(ended[0].outcome == verdict::aborted);
  CHECK(ended[1].outcome == verdict::lost);
}

TEST_CASE("cancelling a task whose word is garbage kills the worker") {
  pool_bench b;
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  b.worker(w).mailbox().at(0).state.store(~0ull);
  b.cancel(t);
  CHECK(b.effects.signals == signals{{w, SIGKILL}});
  b.exited(w);
  CHECK(b.completed_as(verdict::lost) == names{1});
}

// ---- the fork server's end ----

TEST_CASE("when the fork server is lost, running tasks are lost with that cause and nothing else goes on") {
  pool_bench b({.max_workers = 4, .max_queue = 8});
  const auto idle = b.live_worker(0);
  const auto busy = b.live_worker(1);
  const auto finished = b.live_worker(2);
  b.add_worker(3);                      // starting
  b.record(idle).on_socket_full(b.now); // so that all work goes to the two others
  b.submit(1);
  b.submit(2);
  REQUIRE(b.record(busy).load() + b.record(finished).load() == 2);
  REQUIRE(b.worker(busy).begin());
  const auto in_busy = b.worker(busy).entry();
  REQUIRE(b.worker(finished).run_one());
  for (std::uint64_t i = 10; i != 20; ++i) b.submit(i);

  b.d.workers().server_lost(b.now);
  b.d.pump(b.now);
  auto ended = b.completed();
  for (const auto& e : ended) {
    CHECK(e.outcome == verdict::failed);
    CHECK(e.error == make_error_code(errc::worker_start_failed));
  }
  std::size_t count = ended.size();
  b.pidfd_fires(busy);
  b.pidfd_fires(finished);
  b.pidfd_fires(idle);
  for (const auto& e : b.completed()) {
    ++count;
    if (e.name == in_busy) {
      CHECK(e.outcome == verdict::lost);
      CHECK(e.exit->cause == exit_cause::fork_server);
    } else if (e.name <= 2) {
      CHECK(e.outcome == verdict::value);
    } else {
      CHECK(e.error == make_error_code(errc::worker_start_failed));
    }
  }
  CHECK(count == 12);
  CHECK(b.d.outstanding() == 0);
  CHECK(b.effects.starts.empty());
  b.submit(99);
  CHECK(b.completed().at(0).error == make_error_code(errc::worker_start_failed));
}

TEST_CASE("when the fork server is lost, starts that were asked for are forgotten") {
  pool_bench b;
  b.exited(b.live_worker(0));
  REQUIRE(b.effects.starts.size() == 1);
  b.d.workers().server_lost(b.now);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("when the fork server is lost, the rest is bounded though no death is ever reported") {
  pool_bench b({.max_workers = 2, .kill_grace = 1s});
  const auto live = b.live_worker(0);
  const auto dead = b.live_worker(1);
  b.submit(1);
  b.submit(2);
  b.worker(live).begin();
  b.worker(dead).begin();
  b.pidfd_fires(dead); // its exit status will not come either
  b.d.workers().server_lost(b.now);
  CHECK(b.completed().size() == 1);
  for (int i = 0; i != 5; ++i) b.advance(1s);
  CHECK(b.completed().size() == 1);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("when a fork server takes another's place, what ran is lost, what did not goes on in new workers") {
  pool_bench b({.max_workers = 3, .max_queue = 20});
  const auto busy = b.live_worker(0);
  const auto idle = b.live_worker(1);
  b.add_worker(2); // starting: nobody will say what has become of it
  for (std::uint64_t i = 1; i != 8; ++i) b.submit(i);
  REQUIRE(b.worker(busy).begin());
  const auto ran = b.worker(busy).entry();

  b.d.workers().server_replaced(b.now);
  b.d.pump(b.now);
  CHECK(b.completed().empty());
  CHECK(b.effects.starts == std::vector<unsigned>{2});
  b.pidfd_fires(busy);
  b.pidfd_fires(idle);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].name == ran);
  CHECK(ended[0].outcome == verdict::lost);
  CHECK(ended[0].exit->cause == exit_cause::fork_server);
  CHECK_FALSE(ended[0].exit->status_known);
  CHECK(b.effects.starts.size() == 3); // at once

  const auto next = b.live_worker(0);
  b.d.pump(b.now);
  while (b.worker(next).run_one()) b.turn();
  std::size_t values = 0;
  for (const auto& e : b.completed()) values += e.outcome == verdict::value;
  CHECK(values == 6);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("a fork server that takes another's place while the pool ends starts no workers") {
  pool_bench b({.max_workers = 2});
  const auto live = b.live_worker(0);
  b.add_worker(1);
  b.d.shut_down(b.now, b.now);
  b.d.workers().server_replaced(b.now);
  b.pidfd_fires(live);
  b.advance(5s);
  CHECK(b.effects.starts.empty());
  CHECK(b.d.over());
}

TEST_CASE("a worker that nobody may kill is given up, and its end says so") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& t = b.task(1);
  details(t).terms.timeout = 1s;
  b.submit(t);
  REQUIRE(b.worker(w).begin());
  b.advance(2s);
  REQUIRE(b.effects.signals == signals{{w, SIGTERM}});
  b.d.workers().signal_refused(w, EPERM);
  for (int i = 0; i != 3; ++i) b.advance(1s);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].outcome == verdict::task_timeout);
  CHECK(ended[0].exit->still_running);
  CHECK(ended[0].exit->kill_error == EPERM);
  CHECK(b.effects.starts.size() == 1); // its seat is filled
}

// ---- restarts ----

TEST_CASE("failed starts are backed off, and fail the pool when the budget is spent") {
  pool_bench b({.max_workers = 1, .max_queue = 2, .max_start_failures = 4});
  for (std::uint64_t i = 0; i != 3; ++i) b.submit(i);
  duration previous{};
  for (unsigned failures = 1; failures <= 4; ++failures) {
    const bool refused = failures % 2 == 0;
    if (refused) {
      const auto w = b.add_worker(0);
      b.d.workers().start_refused(w, os::system_code(EAGAIN), b.now);
    } else {
      b.d.workers().start_failed(0, os::system_code(EMFILE), b.now);
    }
    CHECK(b.completed().empty());
    const duration delay = b.d.next_deadline() - b.now;
    CHECK(delay > previous);
    previous = delay;
    b.advance(delay - 1ns);
    CHECK(b.effects.starts.empty());
    b.advance(1ns);
    CHECK(std::exchange(b.effects.starts, {}) == std::vector<unsigned>{0});
  }
  b.d.workers().start_failed(0, os::system_code(EMFILE), b.now);
  const auto ended = b.completed();
  REQUIRE(ended.size() == 3);
  for (const auto& e : ended) CHECK(e.error == make_error_code(errc::worker_start_failed));
  CHECK(b.d.books().failed());
  CHECK(b.d.outstanding() == 0);
  b.submit(9);
  CHECK(b.completed().at(0).error == make_error_code(errc::worker_start_failed));
}

TEST_CASE("a pool with a live worker does not fail for want of another") {
  pool_bench b({.max_workers = 2, .max_start_failures = 2});
  const auto w = b.live_worker(0);
  for (int i = 0; i != 20; ++i) {
    b.d.workers().start_failed(1, os::system_code(EAGAIN), b.now);
    b.advance(1s);
  }
  CHECK_FALSE(b.d.books().failed());
  b.submit(1);
  CHECK(b.run_all(w) == names{1});
}

TEST_CASE("a worker that dies before it is initialised counts as a failed start, a killed one does not") {
  pool_bench b({.max_workers = 1, .max_start_failures = 1});
  SECTION("uninitialised") {
    for (int i = 0; i != 2; ++i) {
      const auto w = b.add_worker(0);
      b.d.workers().started(w, 1, {}, b.now);
      b.exited(w);
      if (i == 0) CHECK(b.effects.starts.empty());
      b.advance(1s);
    }
    CHECK(b.d.books().failed());
  }
  SECTION("killed") {
    for (int i = 0; i != 10; ++i) {
      const auto w = b.live_worker(0);
      b.exited(w);
      b.advance(1s); // the first few are replaced at once: see lifecycle.test.cpp
      CHECK(std::exchange(b.effects.starts, {}).size() == 1);
    }
    CHECK_FALSE(b.d.books().failed());
  }
}

TEST_CASE(
    "a process that survives SIGKILL is given up: its task ends, its slot is filled, its late death is harmless") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  const auto w = b.live_worker(0);
  auto& t = b.submit(1);
  b.worker(w).begin();
  b.cancel(t);
  b.advance(1s);
  b.advance(999ms);
  CHECK(b.completed().empty());
  b.advance(1ms);
  CHECK(b.completed_as(verdict::aborted) == names{1});
  REQUIRE(b.start_requested() == 1);
  const auto fresh = b.incarnations;
  std::size_t processes = 0;
  b.d.workers().each_process([&](front::worker&) { ++processes; });
  CHECK(processes == 2);
  b.submit(2);
  CHECK(b.run_all(fresh) == names{2});
  b.pidfd_fires(w);
  b.exited(w);
  CHECK(b.effects.retired.size() == 1);
  CHECK(b.effects.starts.empty());
  CHECK(b.completed_as(verdict::value) == names{2});
}

// ---- the end ----

TEST_CASE("close refuses what comes, and lets go on what was submitted, calls that wait for room included") {
  pool_bench b({.max_workers = 1, .max_queue = 20});
  const auto w = b.live_worker(0);
  names all;
  for (std::uint64_t i = 0; i != 30; ++i) b.submit(all.emplace_back(i));
  b.d.close();
  b.submit(99);
  CHECK(b.completed().at(0).error == make_error_code(errc::pool_closed));
  CHECK(b.run_all(w) == all);
  CHECK(b.completed_as(verdict::value) == all);
  CHECK(b.d.outstanding() == 0);
}

TEST_CASE("abandon aborts everything, wherever it is, and starts nothing any more") {
  pool_bench b({.max_workers = 1, .max_queue = 20});
  const auto w = b.live_worker(0);
  for (std::uint64_t i = 0; i != 30; ++i) b.submit(i);
  REQUIRE(b.worker(w).run_one());
  REQUIRE(b.worker(w).begin()); // DONE RUNNING READY*, queued, waiting
  b.d.abandon();
  CHECK(b.completed_as(verdict::aborted).size() == 30);
  b.worker(w).finish();
  b.turn();
  b.exited(w);
  CHECK(b.completed().empty());
  CHECK(b.d.outstanding() == 0);
  CHECK(b.effects.starts.empty());
}

TEST_CASE("a death after the end began is not followed by a start") {
  pool_bench b;
  const auto w = b.live_worker(0);
  b.submit(1);
  b.worker(w).begin();
  b.d.terminate(SIGTERM, b.now);
  b.exited(w);
  CHECK(b.completed_as(verdict::aborted) == names{1});
  CHECK(b.effects.starts.empty());
}
