// SPDX-License-Identifier: BSL-1.0
// Who sees to the pool and what comes next, without a pool: the token, what a turn does after each round, and who may
// call the next handler: one turn at a time, in order, each task once, also while turns take over from one another.
#include <coproc/front/turn.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

using coproc::detail::front::task_list;
using coproc::detail::front::task_record;
using coproc::detail::front::turn;
using step = turn::step;
using answer = turn::answer;
using guard_answer = turn::guard_answer;
using namespace std::chrono_literals;

namespace {

class records {
public:
  explicit records(std::size_t n) : all_(std::make_unique<task_record[]>(n)), n_(n) {}
  task_record& operator[](std::size_t i) { return all_[i]; }
  task_list list() {
    task_list l;
    for (std::size_t i = 0; i < n_; ++i) l.push_back(all_[i]);
    return l;
  }
  std::size_t index_of(const task_record* t) const { return static_cast<std::size_t>(t - all_.get()); }

private:
  std::unique_ptr<task_record[]> all_;
  std::size_t n_;
};

const auto noon = coproc::os::time_point{} + 12h;

// What a round found.
constexpr turn::findings outstanding{.busy = true}, nothing{};

// A turn that has looked around once since the pool was idle, and runs.
turn::number begin(turn& t) {
  t.posted();
  const auto me = t.begin();
  t.check_soon();
  CHECK(t.check_is_due(noon, 0));
  return me;
}

// Takes the tasks of `list` over from its holder.
bool is_taken_over(turn& t) {
  t.guard_set();
  return t.guard_fired(true) == guard_answer::take_over;
}

} // namespace

// ---- the token

TEST_CASE("a turn is posted by the change that finds the pool idle, and by no other") {
  turn t;
  CHECK(t.needs_post());
  CHECK(t.changed(true) == answer::nothing); // it could not be posted
  t.posted();
  CHECK_FALSE(t.needs_post());
  CHECK(t.changed(true) == answer::guard);
  CHECK(t.changed(false) == answer::guard);
}

TEST_CASE("the token becomes idle when nothing is outstanding, and not before somebody has looked for deaths") {
  turn t;
  t.posted();
  t.begin();
  CHECK_FALSE(t.check_is_due(noon, 1)); // not in the first round
  CHECK(t.after_round(nothing) == step::round);
  CHECK_FALSE(t.needs_post());
  CHECK(t.check_is_due(noon, 0));
  CHECK(t.after_round(nothing) == step::idle);
  CHECK(t.needs_post());
}

TEST_CASE("what was looked at before the pool was idle does not count for the next turn") {
  turn t;
  begin(t);
  CHECK(t.after_round(nothing) == step::idle);
  t.posted();
  t.begin();
  CHECK(t.after_round(nothing) == step::round);
}

TEST_CASE("errands come first, then what is to be delivered, then rest") {
  turn t;
  begin(t);
  CHECK(t.after_round({.moved = 1, .ended = 1, .errands = true, .busy = true}) == step::attend);
  CHECK(t.after_round({.ended = 1}) == step::deliver);
  CHECK(t.after_round({.moved = 1, .busy = true}) == step::deliver);
  CHECK(t.after_round({.left_some = true}) == step::deliver);
  CHECK(t.after_round(outstanding) == step::rest);
}

TEST_CASE("a change interrupts a pending wait if it cannot wait for it, and otherwise sets its timer") {
  turn t;
  begin(t);
  CHECK(t.after_round(outstanding) == step::rest);
  t.armed();
  CHECK_FALSE(t.needs_post());
  CHECK(t.changed(false) == answer::set_timer);
  CHECK(t.changed(true) == answer::interrupt);
  CHECK(t.changed(true) == answer::guard); // the wait is interrupted once
  t.woken(noon + 1h);
  t.begin();
  CHECK(t.check_is_due(noon + 1h, 0)); // it was woken for something
}

TEST_CASE("checks of descriptors and deadlines wait for results, for a while") {
  turn t;
  begin(t);
  CHECK_FALSE(t.check_is_due(noon + 49us, 0));
  CHECK_FALSE(t.check_is_due(noon + 51us, 3));
  CHECK_FALSE(t.check_is_due(noon + 99us, 3));
  CHECK(t.check_is_due(noon + 100us, 3));
  CHECK_FALSE(t.check_is_due(noon + 149us, 0));
  CHECK(t.check_is_due(noon + 150us, 0));
  t.check_soon();
  CHECK(t.check_is_due(noon + 151us, 3));
}

TEST_CASE("a turn that could not be posted is owed: to the next change, or to the guard's timer") {
  turn t;
  const auto me = begin(t);
  t.goes_on();
  t.could_not_post();
  t.guard_set();
  SECTION("a change posts it") {
    CHECK(t.needs_post());
    t.posted();
    CHECK_FALSE(t.needs_post());
    CHECK(t.guard_fired(true) == guard_answer::guard);
  }
  SECTION("the timer runs it, also when it is called off") {
    CHECK(t.guard_fired(false) == guard_answer::take_over);
    CHECK_FALSE(t.needs_post());
    CHECK(t.begin() > me);
    CHECK(t.guard_fired(true) == guard_answer::guard); // it is owed once
  }
}

TEST_CASE("after the end nobody guards, and a wait that ends all the same is no reason to go on") {
  turn t;
  begin(t);
  t.stopped();
  t.guard_set();
  CHECK(t.guard_fired(true) == guard_answer::nothing);
  CHECK(t.needs_guard());
}

// ---- how long a turn goes on

TEST_CASE("a turn goes on for a bounded time after its first round, and for a bounded number of tasks") {
  turn::run r(1);
  r.now = noon;
  CHECK(r.has_time_left());
  r.now = noon + 19us;
  CHECK(r.has_time_left());
  r.now = noon + 20us;
  CHECK_FALSE(r.has_time_left());
  r.delivered(255);
  CHECK(r.has_tasks_left());
  r.delivered(1);
  CHECK_FALSE(r.has_tasks_left());
  CHECK_FALSE(r.delivers_too_long(r.now + 100us));
  CHECK(r.delivers_too_long(r.now + 101us));
}

// ---- delivery

TEST_CASE("a turn gets every task once, in order, and hears which is the last") {
  records r(3);
  auto ended = r.list();
  turn t;
  const auto me = begin(t);
  CHECK(t.claim(me).task == nullptr);
  t.add(ended);
  CHECK(ended.empty());
  for (std::size_t i = 0; i < 3; ++i) {
    const auto c = t.claim(me);
    CHECK(c.task == &r[i]);
    CHECK(c.more == (i != 2));
  }
  CHECK(t.claim(me).task == nullptr);
}

TEST_CASE("a turn that sits in one handler for a whole period loses the rest, and gets nothing any more") {
  records r(3);
  auto ended = r.list();
  turn t;
  const auto stuck = begin(t);
  t.add(ended);
  CHECK(t.claim(stuck).task == &r[0]);
  CHECK_FALSE(is_taken_over(t)); // first look at this handler
  CHECK(is_taken_over(t));
  CHECK_FALSE(t.is_held_by(stuck));
  CHECK(t.claim(stuck).task == nullptr);
  CHECK_FALSE(is_taken_over(t)); // who took over has not begun yet, and is in no handler
  const auto next = t.begin();
  CHECK(t.is_held_by(next));
  CHECK(t.claim(next).task == &r[1]);
  CHECK(t.claim(stuck).task == nullptr);
  CHECK(t.claim(next).task == &r[2]);
}

TEST_CASE("a turn that moves on, or is in no handler, keeps what is left") {
  records r(8);
  auto ended = r.list();
  turn t;
  const auto me = begin(t);
  t.add(ended);
  const auto is_stuck_after = [&](auto event) {
    CHECK(t.claim(me).task != nullptr);
    CHECK_FALSE(is_taken_over(t));
    event();
    return is_taken_over(t);
  };
  CHECK_FALSE(is_stuck_after([&] { t.claim(me); })); // another handler than at the last look
  CHECK_FALSE(is_stuck_after([&] {
    t.guard_set();
    CHECK(t.guard_fired(false) == guard_answer::guard); // called off early: no whole period
    t.goes_on();
  }));
  CHECK_FALSE(is_stuck_after([&] { CHECK(t.after_round(outstanding) == step::rest); })); // it spins
  CHECK_FALSE(is_stuck_after([&] { CHECK(t.after_round({.errands = true}) == step::attend); }));
  // No harm, since it asks before it goes on.
  CHECK(is_stuck_after([&] { CHECK(t.after_round({.ended = 1}) == step::deliver); }));
}

TEST_CASE("what is left at the end comes before what ended last") {
  records early(2), late(1);
  turn t;
  const auto me = begin(t);
  auto first = early.list();
  t.add(first);
  CHECK(t.claim(me).task == &early[0]);
  auto ended = late.list();
  t.abandon(ended);
  CHECK(ended.pop_front() == &early[1]);
  CHECK(ended.pop_front() == &late[0]);
  CHECK(ended.empty());
  CHECK(t.claim(me).task == nullptr);
}

TEST_CASE("each task is claimed once, however often turns take over from one another") {
  constexpr std::size_t n = 20'000;
  records r(n);
  auto ended = r.list();
  turn t;
  begin(t);
  t.add(ended);
  std::mutex pool_mutex; // as in the pool
  std::vector<std::atomic<int>> claims(n);
  std::atomic<std::size_t> claimed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      while (claimed < n) {
        turn::number me = 0;
        {
          const std::lock_guard lock(pool_mutex);
          for (int look = 0; look < 2; ++look) is_taken_over(t);
          me = t.begin();
        }
        for (int k = 0; k < 50; ++k) {
          const auto c = t.claim(me);
          if (c.task == nullptr) break;
          ++claims[r.index_of(c.task)];
          ++claimed;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(claimed == n);
  std::size_t wrong = 0;
  for (const auto& c : claims) wrong += c != 1;
  CHECK(wrong == 0);
}
