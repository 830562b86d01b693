// SPDX-License-Identifier: BSL-1.0
// The books of tasks without workers: who is let in, who waits, how each ends once, and that no room is lost.
#include <coproc/front/ledger.hpp>

#include "fake_engine.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace coproc;
using namespace coproc::testing;
using front::place;
using front::verdict;
using namespace std::chrono_literals;

namespace {

struct ledger_bench {
  explicit ledger_bench(const front::dispatcher_limits& limits = {.max_workers = 2, .max_queue = 2}) : books(limits) {}

  front::task_record& task(std::uint64_t bytes = 0) {
    front::task_record& t = engine.records.acquire();
    t.call = {0, 0, bytes};
    make_details(t).terms = {};
    t.special = true;
    t.may_wait = true;
    return t;
  }
  front::task_record& submit(front::task_record& t) {
    books.submit(t, now);
    return t;
  }
  front::task_record& submit() { return submit(task()); }
  void issue(front::task_record& t) {
    books.dequeue(t);
    t.where = place::issued;
  }
  std::size_t ended() {
    std::size_t n = 0;
    while (front::task_record* t = books.completed().pop_front()) ++n, engine.records.recycle(*t);
    return n;
  }

  fake_engine engine;
  front::ledger books;
  os::time_point now = os::time_point{} + 1h;
};

} // namespace

TEST_CASE("what has no room waits, or is refused, and is let in when something ends") {
  ledger_bench b;
  auto& first = b.submit();
  b.submit();
  auto& waits = b.submit();
  CHECK(waits.where == place::waiting);
  auto& hurried = b.task();
  hurried.may_wait = false;
  b.submit(hurried);
  CHECK(hurried.where == place::finished);
  CHECK(details(hurried).error == make_error_code(errc::queue_full));
  CHECK(b.books.outstanding() == 3);

  b.issue(first);
  CHECK(waits.where == place::waiting); // it is with a worker, and not over
  b.books.finish_issued(first, verdict::value);
  CHECK(waits.where == place::queued);
  CHECK(b.books.waiting() == 0);
  CHECK(b.books.accepted() == 2);
}

TEST_CASE("a task that takes more bytes than the queue may have is let in alone") {
  ledger_bench b({.max_workers = 1, .max_queue = 10, .max_queue_bytes = 100});
  auto& small = b.submit(b.task(60));
  auto& large = b.submit(b.task(1000));
  CHECK(large.where == place::waiting);
  CHECK(b.books.withdraw(small, verdict::aborted));
  CHECK(large.where == place::queued);
  CHECK(b.books.accepted_bytes() == 1000);
  auto& next = b.submit(b.task(1));
  CHECK(next.where == place::waiting);
  CHECK(b.books.withdraw(large, verdict::aborted));
  CHECK(next.where == place::queued);
  CHECK(b.books.accepted_bytes() == 1);
}

TEST_CASE("a task in the way of others that wait lets them in when it is withdrawn") {
  ledger_bench b({.max_workers = 1, .max_queue = 10, .max_queue_bytes = 100});
  b.submit(b.task(60));
  auto& large = b.submit(b.task(90));
  auto& fits = b.submit(b.task(10));
  CHECK(fits.where == place::waiting); // it does not overtake
  CHECK(b.books.withdraw(large, verdict::aborted));
  CHECK(fits.where == place::queued);
}

TEST_CASE("a task that comes back keeps its place") {
  ledger_bench b({.max_workers = 1, .max_queue = 10});
  auto& first = b.submit();
  auto& second = b.submit();
  b.issue(first);
  CHECK(b.books.front() == &second);
  b.books.requeue(first);
  CHECK(b.books.front() == &first);
  CHECK(b.books.queued() == 2);
}

TEST_CASE("a task with a home is for that worker alone, in its turn") {
  ledger_bench b({.max_workers = 2, .max_queue = 10});
  auto& at_home = b.task();
  details(at_home).terms.key = 1;
  b.submit(at_home);
  auto& any = b.submit();
  CHECK(b.books.any_homebound());
  CHECK(b.books.has_homebound(1));
  CHECK(b.books.front(0) == &any);
  CHECK(b.books.front(1) == &at_home);
  b.issue(at_home);
  CHECK(b.books.front(1) == &any);
  CHECK_FALSE(b.books.any_homebound());
}

TEST_CASE("a lost task runs again as often as it may") {
  ledger_bench b;
  auto& t = b.task();
  details(t).terms.max_retries = 2;
  b.submit(t);
  for (int run = 0; run != 2; ++run) {
    b.issue(t);
    b.books.lose(t, {});
    CHECK(t.where == place::queued);
  }
  b.issue(t);
  b.books.lose(t, {});
  CHECK(t.where == place::finished);
  CHECK(t.outcome == verdict::lost);
  CHECK(b.books.accepted() == 0);
}

TEST_CASE("a queue_timeout is watched until the task ends, with a worker, too") {
  ledger_bench b;
  auto& t = b.task();
  details(t).terms.queue_timeout = 5s;
  b.submit(t);
  CHECK(b.books.next_expiry() == b.now + 5s);
  CHECK(b.books.take_expired(b.now + 4s) == nullptr);
  b.issue(t);
  CHECK(b.books.take_expired(b.now + 5s) == &t);
  CHECK(b.books.next_expiry() == os::time_point::max());

  auto& u = b.task();
  details(u).terms.queue_timeout = 5s;
  b.submit(u);
  CHECK(b.books.withdraw(u, verdict::aborted));
  CHECK(b.books.next_expiry() == os::time_point::max());
}

TEST_CASE("what is with a worker, or over, cannot be withdrawn") {
  ledger_bench b;
  auto& t = b.submit();
  b.issue(t);
  CHECK_FALSE(b.books.withdraw(t, verdict::aborted));
  b.books.finish_issued(t, verdict::value);
  CHECK_FALSE(b.books.withdraw(t, verdict::aborted));
  CHECK(b.ended() == 1);
}

TEST_CASE("after close nothing comes in, and after abort_queued nothing goes out to a worker") {
  ledger_bench b;
  auto& running = b.submit();
  auto& queued = b.submit();
  auto& waits = b.submit();
  b.issue(running);
  b.books.close();
  auto& late = b.submit();
  CHECK(details(late).error == make_error_code(errc::pool_closed));
  CHECK(queued.where == place::queued);

  b.books.abort_queued();
  CHECK(queued.outcome == verdict::aborted);
  CHECK(waits.outcome == verdict::aborted);
  b.books.requeue(running);
  CHECK(running.outcome == verdict::aborted);
  CHECK(b.ended() == 4);
  CHECK(b.books.outstanding() == 0);
}

TEST_CASE("while no worker can be started everything ends with that cause, until it is tried again") {
  ledger_bench b;
  auto& running = b.submit();
  auto& queued = b.submit();
  b.issue(running);
  b.books.fail(make_error_code(errc::pool_closed), "why");
  CHECK(details(queued).error == make_error_code(errc::worker_start_failed));
  CHECK(details(queued).error_cause == make_error_code(errc::pool_closed));
  CHECK(running.where == place::issued);
  CHECK(b.submit().where == place::finished);
  b.books.recover();
  CHECK(b.submit().where == place::queued);
  CHECK(b.books.accepted() == 2);
}

TEST_CASE("each ending is counted as what it is") {
  ledger_bench b({.max_workers = 1, .max_queue = 10});
  for (const verdict v : {verdict::value, verdict::value, verdict::exception, verdict::aborted}) {
    auto& t = b.submit();
    b.issue(t);
    b.books.finish_issued(t, v);
  }
  b.submit();
  pool_stats s;
  b.books.add_to(s);
  CHECK(s.counters.submitted == 5);
  CHECK(s.counters.returned == 2);
  CHECK(s.counters.threw == 1);
  CHECK(s.counters.aborted == 1);
  CHECK(s.queued == 1);
  CHECK(s.active == 0);
}
