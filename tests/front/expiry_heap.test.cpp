// SPDX-License-Identifier: BSL-1.0
// The heap of queue time-outs against a sorted list, under random pushes and removals.
#include <coproc/front/expiry_heap.hpp>
#include <coproc/front/record_store.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <vector>

using namespace coproc::detail::front;
using coproc::detail::time_point;

TEST_CASE("the heap gives tasks in the order of their deadlines, whatever is taken out in between") {
  std::mt19937 random(7);
  record_store store(nullptr);
  std::vector<task_record*> inside, outside;
  for (int i = 0; i != 300; ++i) outside.push_back(&store.acquire());
  expiry_heap heap;
  for (int step = 0; step < 20'000; ++step) {
    const bool push = inside.empty() || (!outside.empty() && random() % 100 < 52);
    if (push) {
      std::swap(outside[random() % outside.size()], outside.back());
      task_record* const t = outside.back();
      outside.pop_back();
      make_details(*t).expiry.at = time_point(std::chrono::nanoseconds(random() % 1000));
      heap.push(*t);
      inside.push_back(t);
    } else {
      const bool first = random() % 2 == 0;
      task_record* const t = first ? heap.front() : inside[random() % inside.size()];
      heap.erase(*t);
      std::erase(inside, t);
      outside.push_back(t);
    }
    auto least = time_point::max();
    for (task_record* t : inside) least = std::min(least, make_details(*t).expiry.at);
    REQUIRE(heap.next() == least);
  }
  auto last = time_point::min();
  while (task_record* t = heap.front()) {
    CHECK(make_details(*t).expiry.at >= last);
    last = make_details(*t).expiry.at;
    heap.erase(*t);
  }
  CHECK(heap.next() == time_point::max());
}
