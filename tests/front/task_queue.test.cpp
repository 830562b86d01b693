// SPDX-License-Identifier: BSL-1.0
// The order of queued tasks: priority, then age, also for those that come back.
#include <coproc/front/task_queue.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <vector>

using namespace coproc::detail::front;

TEST_CASE("tasks come out by priority, then in the order of submission, also after they were put back") {
  std::mt19937 random(3);
  std::vector<task_record> records(500);
  task_queue queue;
  std::vector<const task_record*> expected;
  std::uint64_t id = 0;
  for (auto& t : records) {
    t.id = ++id;
    t.priority = static_cast<std::int8_t>(static_cast<int>(random() % 21) - 10);
    queue.push_back(t);
    expected.push_back(&t);
  }
  for (int i = 0; i < 200; ++i) { // some go to a worker and come back
    task_record& t = records[random() % records.size()];
    queue.erase(t);
    queue.reinsert(t);
  }
  std::sort(expected.begin(), expected.end(), [](const auto* a, const auto* b) { return precedes(*a, *b); });
  CHECK(queue.size() == records.size());
  std::vector<const task_record*> order;
  while (const task_record* t = queue.pop_front()) order.push_back(t);
  CHECK(order == expected);
  CHECK(queue.empty());
  CHECK(queue.size() == 0);
  CHECK(queue.front() == nullptr);
}

TEST_CASE("the lowest and the highest priority have a place") {
  task_record low, high;
  low.id = 1;
  low.priority = lowest_priority;
  high.id = 2;
  high.priority = highest_priority;
  task_queue queue;
  queue.push_back(low);
  CHECK(queue.front() == &low);
  queue.push_back(high);
  CHECK(queue.front() == &high);
}
