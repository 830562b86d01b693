// SPDX-License-Identifier: BSL-1.0
// Order where a worker is faster than the front end that takes its tasks back one by one: none overtakes another.
#include <coproc/front/dispatcher.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>

using namespace coproc;
using namespace coproc::testing;

namespace {

std::function<void()> after_revoking; // once, after that many attempts to take a task back
int attempts = 0;

void install_hook(int when) {
  attempts = when;
  os::faults.after_store = [](unsigned site) {
    if (site == static_cast<unsigned>(shm::site::slot_revoked) && --attempts == 0) after_revoking();
  };
}

std::vector<std::uint64_t> run_rest(pool_bench& b, hand_worker& w) {
  std::vector<std::uint64_t> order;
  do
    while (const auto name = w.run_one()) order.push_back(*name);
  while (b.turn() != 0);
  return order;
}

} // namespace

TEST_CASE("a worker that begins to move while its expired head is taken back keeps the order") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  auto& w = b.worker(b.live_worker(0));
  auto& head = b.task(1);
  make_details(head).terms.timeout = 10ms;
  b.submit(head);
  b.submit(2);
  b.submit(3);
  install_hook(1);
  std::vector<std::uint64_t> order;
  after_revoking = [&] {
    if (w.begin()) order.push_back(w.entry());
  };
  b.advance(11ms);
  os::faults = {};
  REQUIRE(order.size() == 1);
  b.exited(b.incarnations);
  REQUIRE(b.start_requested() == 1);
  b.turn();
  for (const auto name : run_rest(b, b.worker(b.incarnations))) order.push_back(name);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a worker that finishes its task while those behind it are taken back keeps the order") {
  pool_bench b({.max_workers = 1, .kill_grace = 1s});
  auto& w = b.worker(b.live_worker(0));
  auto& target = b.submit(1);
  b.submit(2);
  b.submit(3);
  REQUIRE(w.begin());
  install_hook(2); // the first is at the target itself
  std::vector<std::uint64_t> order;
  after_revoking = [&] {
    w.finish();
    if (w.begin()) order.push_back(w.entry());
  };
  b.cancel(target);
  os::faults = {};
  REQUIRE(b.effects.signals.empty());
  for (const auto name : run_rest(b, w))
    if (order.empty() || order.back() != name) order.push_back(name);
  CHECK(order == std::vector<std::uint64_t>{2, 3});
}
