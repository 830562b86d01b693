// SPDX-License-Identifier: BSL-1.0
// Who may call the next handler: one turn at a time, in order, each task once, also while turns take over from one another.
#include <coproc/front/delivery.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

using coproc::detail::front::delivery;
using coproc::detail::front::task_list;
using coproc::detail::front::task_record;

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

} // namespace

TEST_CASE("a turn gets every task once, in order, and hears which is the last") {
  records r(3);
  auto ended = r.list();
  delivery d;
  CHECK(d.claim(1).task == nullptr);
  d.add(ended);
  CHECK(ended.empty());
  for (std::size_t i = 0; i < 3; ++i) {
    const auto c = d.claim(1);
    CHECK(c.task == &r[i]);
    CHECK(c.more == (i != 2));
  }
  CHECK(d.claim(1).task == nullptr);
}

TEST_CASE("a turn that sits in one handler for a whole period loses the rest, and gets nothing any more") {
  records r(3);
  auto ended = r.list();
  delivery d;
  d.add(ended);
  CHECK(d.claim(7).task == &r[0]);
  CHECK_FALSE(d.take_over_if_stuck(7, 8, true)); // first look at this handler
  CHECK(d.take_over_if_stuck(7, 8, true));
  CHECK(d.claim(7).task == nullptr);
  CHECK(d.claim(9).task == &r[1]); // the turn that begins then goes one further
  CHECK(d.claim(7).task == nullptr);
  CHECK(d.claim(9).task == &r[2]);
}

TEST_CASE("a turn that moves on, or is in no handler, keeps what is left") {
  records r(4);
  auto ended = r.list();
  delivery d;
  d.add(ended);
  CHECK(d.claim(1).task == &r[0]);
  CHECK_FALSE(d.take_over_if_stuck(1, 2, true));
  CHECK(d.claim(1).task == &r[1]);
  CHECK_FALSE(d.take_over_if_stuck(1, 2, true));  // another handler than at the last look
  CHECK_FALSE(d.take_over_if_stuck(1, 2, false)); // called off early: no whole period
  d.between_handlers();
  CHECK_FALSE(d.take_over_if_stuck(1, 2, true));
  CHECK_FALSE(d.take_over_if_stuck(5, 6, true)); // another turn than the one that was last in a handler
  CHECK(d.claim(1).task == &r[2]);
}

TEST_CASE("what is left at the end comes before what ended last") {
  records early(2), late(1);
  delivery d;
  auto first = early.list();
  d.add(first);
  CHECK(d.claim(1).task == &early[0]);
  auto ended = late.list();
  d.abandon(ended);
  CHECK(ended.pop_front() == &early[1]);
  CHECK(ended.pop_front() == &late[0]);
  CHECK(ended.empty());
  CHECK(d.claim(1).task == nullptr);
}

TEST_CASE("each task is claimed once, however often turns take over from one another") {
  constexpr std::size_t n = 20'000;
  records r(n);
  auto ended = r.list();
  delivery d;
  d.add(ended);
  std::mutex pool_mutex; // as in the pool: take-overs are serialised
  std::uint64_t holder = 1;
  std::vector<std::atomic<int>> claims(n);
  std::atomic<std::size_t> claimed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      while (claimed < n) {
        std::uint64_t me;
        {
          const std::lock_guard lock(pool_mutex);
          for (int look = 0; look < 2; ++look)
            if (d.take_over_if_stuck(holder, holder + 1, true)) ++holder;
          me = ++holder;
        }
        for (int k = 0; k < 50; ++k) {
          const auto c = d.claim(me);
          if (c.task == nullptr) break;
          ++claims[r.index_of(c.task)];
          ++claimed;
        }
      }
    });
  for (auto& t : threads) t.join();
  CHECK(claimed == n);
  std::size_t wrong = 0;
  for (const auto& c : claims) wrong += c != 1;
  CHECK(wrong == 0);
}
