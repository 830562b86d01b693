// SPDX-License-Identifier: BSL-1.0
// The line of waiting operations: order, leaving from the middle, tickets that outlive their waiter.
#include <coproc/net/waiter_list.hpp>

#include <catch2/catch.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace net = coproc::net;
using coproc::detail::operation_ptr;
using coproc::detail::waiter_ticket;

namespace {

struct waiter : coproc::detail::operation<void(int)>, coproc::detail::waiter_links {
  explicit waiter(int called) : name(called) {}
  int name;
};

using line = coproc::detail::waiter_list<waiter>;

class made_waiters {
public:
  operation_ptr<waiter> make(int name) {
    return coproc::detail::make_operation<waiter>([alive = alive_](int) {}, {}, io_.get_executor(),
                                                  coproc::detail::work_tracking::elsewhere, name);
  }
  long alive() const { return alive_.use_count() - 1; }

private:
  net::io_context io_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

int name_of(const operation_ptr<waiter>& w) { return w ? w->name : -1; }

} // namespace

TEST_CASE("first come, first served") {
  made_waiters made;
  line l;
  CHECK(l.empty());
  CHECK(l.front() == nullptr);
  CHECK(l.pop_front() == nullptr);
  for (int i = 0; i < 3; ++i) l.push_back(made.make(i));
  CHECK_FALSE(l.empty());
  CHECK(l.front()->name == 0);
  for (int i = 0; i < 3; ++i) CHECK(name_of(l.pop_front()) == i);
  CHECK(l.empty());
}

TEST_CASE("a ticket's owner leaves from anywhere in the line") {
  for (int leaving = 0; leaving < 3; ++leaving) {
    made_waiters made;
    line l;
    std::vector<waiter_ticket> tickets;
    for (int i = 0; i < 3; ++i) {
      tickets.push_back(l.reserve());
      l.push_back(made.make(i), tickets.back());
    }
    const auto index = static_cast<std::size_t>(leaving);
    CHECK(name_of(l.remove(tickets[index])) == leaving);
    CHECK(l.remove(tickets[index]) == nullptr);
    l.push_back(made.make(3));
    for (int i = 0; i < 4; ++i)
      if (i != leaving) CHECK(name_of(l.pop_front()) == i);
    CHECK(l.empty());
  }
}

TEST_CASE("a ticket never names a later waiter") {
  made_waiters made;
  line l;
  const waiter_ticket first = l.reserve();
  CHECK(l.remove(first) == nullptr); // not joined yet
  l.push_back(made.make(1), first);
  CHECK(name_of(l.pop_front()) == 1);
  for (int i = 0; i < 10; ++i) {
    const waiter_ticket later = l.reserve();
    l.push_back(made.make(2), later);
    CHECK(l.remove(first) == nullptr);
    CHECK(name_of(l.remove(later)) == 2);
  }
  const waiter_ticket unused = l.reserve();
  l.release(unused);
  l.push_back(made.make(3), l.reserve());
  CHECK(l.remove(unused) == nullptr);
  CHECK(l.remove(waiter_ticket()) == nullptr);
}

TEST_CASE("drain takes everybody in order and leaves old tickets worthless") {
  made_waiters made;
  line l;
  const waiter_ticket ticket = l.reserve();
  l.push_back(made.make(0), ticket);
  l.push_back(made.make(1));
  line all = l.drain();
  CHECK(l.empty());
  l.push_back(made.make(2), l.reserve());
  CHECK(l.remove(ticket) == nullptr);
  CHECK(all.remove(ticket) == nullptr);
  CHECK(name_of(all.pop_front()) == 0);
  CHECK(name_of(all.pop_front()) == 1);
  CHECK(all.empty());
}

TEST_CASE("whoever waits when the line goes is destroyed uninvoked") {
  made_waiters made;
  {
    line l;
    l.push_back(made.make(0));
    l.push_back(made.make(1), l.reserve());
    CHECK(made.alive() == 2);
  }
  CHECK(made.alive() == 0);
}
