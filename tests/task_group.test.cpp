// SPDX-License-Identifier: BSL-1.0
// with_task_group: children are joined, the first failure, leaving early, cancellation in every state, several threads,
// bad use, destruction.
#include <coproc/task_group.hpp>

#include <coproc/task.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <asio/experimental/awaitable_operators.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace public_task_group {

namespace net = coproc::net;
using coproc::exception_group;
using coproc::task_group;
using coproc::with_task_group;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

constexpr cancellation_type all_types[] = {cancellation_type::terminal, cancellation_type::partial,
                                           cancellation_type::total};

struct ending {
  int calls = 0;
  std::exception_ptr error;

  auto handler() {
    return [this](std::exception_ptr e) {
      ++calls;
      error = std::move(e);
    };
  }
  bool aborted() const { return calls == 1 && error && coproc::code_of(error) == net::error::operation_aborted; }
  std::vector<std::string> failures() const {
    std::vector<std::string> texts;
    if (!error) return texts;
    try {
      std::rethrow_exception(error);
    } catch (const exception_group& group) {
      for (const auto& e : group.exceptions()) {
        try {
          std::rethrow_exception(e);
        } catch (const std::exception& x) {
          texts.emplace_back(x.what());
        }
      }
    } catch (...) {
      texts.emplace_back("no exception_group");
    }
    return texts;
  }
};

void run(net::io_context& io) {
  io.restart();
  io.run();
}

template <class F>
ending spawn_and_run(net::io_context& io, F body) {
  ending e;
  net::co_spawn(io, std::move(body), e.handler());
  run(io);
  CHECK(e.calls == 1);
  return e;
}

net::awaitable<void> add(int& to, int n) {
  co_await let_others_run();
  to += n;
}

net::awaitable<void> fail(std::string text) {
  co_await let_others_run();
  throw std::runtime_error(text);
}

/// Waits for ever; when it is cancelled it takes time to end, and counts itself then.
net::awaitable<void> end_slowly(int& ended) {
  try {
    co_await wait_for_ever();
  } catch (const net::system_error&) {
  }
  co_await net::this_coro::reset_cancellation_state();
  co_await let_others_run();
  ++ended;
  throw net::system_error(net::error::operation_aborted);
}

/// The same, but what it throws is no abort.
net::awaitable<void> fail_when_cancelled(std::string text) {
  try {
    co_await wait_for_ever();
  } catch (const net::system_error&) {
  }
  throw std::runtime_error(text);
}

} // namespace

TEST_CASE("the scope ends when all children have, also those of children; its result is the body's") {
  net::io_context io;
  int sum = 0;
  const auto grandparent = [](task_group& g, int& to) -> net::awaitable<void> {
    co_await let_others_run();
    g.spawn(add(to, 10));
    g.spawn(add(to, 100));
  };
  const auto body = [&]() -> net::awaitable<void> {
    const auto result = co_await with_task_group([&](task_group& g) -> net::awaitable<std::unique_ptr<int>> {
      g.spawn(add(sum, 1));
      g.spawn(grandparent(g, sum));
      co_return std::make_unique<int>(7);
    });
    CHECK(*result == 7);
    CHECK(sum == 111);
    co_await with_task_group([](task_group&) -> net::awaitable<void> { co_return; });
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
}

TEST_CASE("the first failure cancels the others and the body, and the scope ends when they have ended") {
  net::io_context io;
  int ended = 0;
  bool body_ended = false;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      g.spawn(end_slowly(ended));
      g.spawn(fail("first"));
      g.spawn(end_slowly(ended));
      try {
        co_await wait_for_ever();
      } catch (const net::system_error&) {
        body_ended = true;
        throw;
      }
    });
  };
  const auto e = spawn_and_run(io, body);
  CHECK(e.failures() == std::vector<std::string>{"first"});
  CHECK(ended == 2);
  CHECK(body_ended);
}

TEST_CASE("a body that fails cancels the children") {
  net::io_context io;
  int ended = 0;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<int> {
      g.spawn(end_slowly(ended));
      throw std::runtime_error("body");
      co_return 1;
    });
  };
  CHECK(spawn_and_run(io, body).failures() == std::vector<std::string>{"body"});
  CHECK(ended == 1);
}

TEST_CASE("several failures arrive in the order of time, with their texts") {
  net::io_context io;
  std::string text;
  const auto body = [&]() -> net::awaitable<void> {
    try {
      co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
        g.spawn(fail_when_cancelled("b"));
        g.spawn(fail_when_cancelled("c"));
        g.spawn(fail("a"));
        g.spawn(fail_when_cancelled("d"));
        co_return;
      });
    } catch (const exception_group& group) {
      text = group.what();
      throw;
    }
  };
  CHECK(spawn_and_run(io, body).failures() == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(text == "coproc: 4 failures in a task group: a; b; c; ...");
  CHECK(std::string(exception_group({std::make_exception_ptr(1)}).what()) ==
        "coproc: 1 failure in a task group: (not a std::exception)");
}

TEST_CASE("an operation_aborted that nobody asked for is a failure") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      g.spawn([]() -> net::awaitable<void> {
        co_await let_others_run();
        throw net::system_error(net::error::operation_aborted);
      }());
      co_await wait_for_ever();
    });
  };
  CHECK(spawn_and_run(io, body).failures().size() == 1);
}

TEST_CASE("cancel ends the scope early and without an error, whoever calls it") {
  using namespace net::experimental::awaitable_operators;
  net::io_context io;
  int ended = 0;
  bool after = false;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> { // the body
      g.spawn(end_slowly(ended));
      g.spawn([]() -> net::awaitable<void> { co_await (wait_for_ever() || wait_for_ever()); }());
      co_await let_others_run();
      g.cancel();
      g.cancel();
      co_await wait_for_ever();
    });
    CHECK(ended == 1);
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> { // a child
      g.spawn(end_slowly(ended));
      g.spawn([](task_group& group) -> net::awaitable<void> {
        co_await let_others_run();
        group.cancel();
      }(g));
      co_await wait_for_ever();
    });
    CHECK(ended == 2);
    const int value = co_await with_task_group([&](task_group& g) -> net::awaitable<int> { // a body that has a value
      g.spawn(end_slowly(ended));
      co_await let_others_run();
      g.cancel();
      co_return 5;
    });
    CHECK(value == 5);
    CHECK(ended == 3);
    after = true;
    co_await with_task_group([&](task_group& g) -> net::awaitable<int> { // a body that has none
      g.cancel();
      co_await wait_for_ever();
      co_return 5;
    });
    FAIL("no value, no error");
  };
  CHECK(spawn_and_run(io, body).aborted());
  CHECK(after);
}

TEST_CASE("what fails after cancel is a failure") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    co_await with_task_group([](task_group& g) -> net::awaitable<void> {
      g.spawn(fail_when_cancelled("late"));
      g.cancel();
      co_return;
    });
  };
  CHECK(spawn_and_run(io, body).failures() == std::vector<std::string>{"late"});
}

TEST_CASE("cancelling whoever awaits cancels body and children, and waits for them: in every state, with every type") {
  for (const auto type : all_types) {
    for (const bool body_waits : {true, false}) {
      for (const int children : {0, 1, 3}) {
        if (!body_waits && children == 0) continue;
        net::io_context io;
        net::cancellation_signal signal;
        int ended = 0;
        ending e;
        const auto body = [&]() -> net::awaitable<void> {
          co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
          co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
            for (int i = 0; i < children; ++i) g.spawn(end_slowly(ended));
            if (body_waits) co_await end_slowly(ended);
          });
        };
        net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), e.handler()));
        io.poll();
        CHECK(e.calls == 0);
        signal.emit(type);
        run(io);
        CHECK(e.aborted());
        CHECK(ended == children + (body_waits ? 1 : 0));
      }
    }
  }
}

TEST_CASE("a cancellation that meets a failure, and one that nobody heeds") {
  net::io_context io;
  {
    net::cancellation_signal signal;
    ending e;
    const auto body = []() -> net::awaitable<void> {
      co_await with_task_group([](task_group& g) -> net::awaitable<void> {
        g.spawn(fail_when_cancelled("failed"));
        co_await wait_for_ever();
      });
    };
    net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), e.handler()));
    io.poll();
    signal.emit(cancellation_type::terminal);
    run(io);
    CHECK(e.failures() == std::vector<std::string>{"failed"});
  }
  {
    net::cancellation_signal signal;
    ending e;
    int value = 0;
    const auto body = [&]() -> net::awaitable<void> {
      value = co_await with_task_group([](task_group&) -> net::awaitable<int> {
        try {
          co_await wait_for_ever();
        } catch (const net::system_error&) {
        }
        co_return 3;
      });
    };
    net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), e.handler()));
    io.restart();
    io.poll();
    signal.emit(cancellation_type::terminal);
    run(io);
    CHECK_FALSE(e.error);
    CHECK(value == 3);
  }
}

TEST_CASE("a group that is used after its scope says so") {
  net::io_context io;
  std::optional<task_group> kept;
  int sum = 0;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      kept = g;
      co_return;
    });
    kept->cancel();
    CHECK_THROWS_AS(kept->spawn(add(sum, 1)), std::logic_error);
    CHECK_THROWS_WITH(kept->spawn(add(sum, 1)), "coproc: task_group: spawn after the end of with_task_group");
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
  CHECK(sum == 0);
}

TEST_CASE("a child that spawns into a group that is ending ends as if it were cancelled; the new one never begins") {
  net::io_context io;
  const auto witness = std::make_shared<int>();
  bool refused = false;
  const auto late = [](std::shared_ptr<int> w) -> net::awaitable<void> {
    *w = 1;
    co_return;
  };
  const auto spawner = [&](task_group& g) -> net::awaitable<void> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
    }
    try {
      g.spawn(late(witness));
    } catch (const net::system_error& e) {
      refused = e.code() == net::error::operation_aborted;
      throw;
    }
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      g.spawn(spawner(g));
      co_await let_others_run();
      g.cancel();
    });
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
  CHECK(refused);
  CHECK(*witness == 0);
  CHECK(witness.use_count() == 1);
}

TEST_CASE("a group may have many children, one after the other and at the same time") {
  net::io_context io;
  int sum = 0;
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      for (int i = 0; i < 1000; ++i) {
        g.spawn(add(sum, 1));
        if (i % 7 == 0) co_await let_others_run();
      }
    });
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
  CHECK(sum == 1000);
}

TEST_CASE("body and children run one at a time on several threads, and others may spawn") {
  net::io_context io;
  auto work = net::make_work_guard(io);
  int sum = 0; // no lock
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  ending e;
  const auto body = [&]() -> net::awaitable<void> {
    for (int round = 0; round < 50; ++round) {
      co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
        for (int i = 0; i < 20; ++i) {
          g.spawn(add(sum, 1));
          auto elsewhere = net::co_spawn(
              io,
              [g, &sum]() mutable -> net::awaitable<void> { // on no strand
                co_await net::post(net::use_awaitable);
                g.spawn(add(sum, 1));
                co_return;
              },
              net::use_awaitable);
          co_await std::move(elsewhere);
        }
      });
    }
    work.reset();
  };
  net::co_spawn(io, body, e.handler());
  for (auto& t : threads) t.join();
  CHECK(e.calls == 1);
  CHECK_FALSE(e.error);
  CHECK(sum == 50 * 40);
}

TEST_CASE("no cancellation is lost between threads that spawn, fail, cancel and end") {
  net::io_context io;
  std::atomic<int> scopes = 0, wrong = 0;
  const auto disturb = [](task_group g, bool cancels) -> net::awaitable<void> { // on any thread, at any time
    co_await net::post(net::use_awaitable);
    try {
      if (cancels)
        g.cancel();
      else
        g.spawn(fail("no"));
      for (int i = 0; i < 5; ++i) g.spawn(wait_for_ever());
    } catch (const std::exception&) { // it is ending, or over
    }
  };
  const auto scope = [&](int n) -> net::awaitable<void> {
    for (int round = 0; round < 200; ++round) {
      try {
        co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
          net::co_spawn(io, disturb(g, (n + round) % 2 == 0), net::detached);
          for (int i = 0; i < 5; ++i) g.spawn(wait_for_ever());
          co_await wait_for_ever();
        });
        wrong += (n + round) % 2 != 0;
      } catch (const exception_group&) {
        wrong += (n + round) % 2 == 0;
      } catch (const net::system_error&) { // spawned by the body when it had been cancelled: let out by nobody
        ++wrong;
      }
    }
    ++scopes;
  };
  for (int i = 0; i < 4; ++i) net::co_spawn(io, scope(i), net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(scopes == 4);
  CHECK(wrong == 0);
}

TEST_CASE("a child with a result is a task, which the body or others await, in the scope and after it") {
  net::io_context io;
  const auto number = [](int n) -> net::awaitable<std::unique_ptr<int>> {
    co_await let_others_run();
    co_return std::make_unique<int>(n);
  };
  const auto body = [&]() -> net::awaitable<void> {
    std::optional<coproc::task<std::unique_ptr<int>>> later;
    const int sum = co_await with_task_group([&](task_group& g) -> net::awaitable<int> {
      auto one = g.spawn(number(1));
      auto two = g.spawn(number(2));
      later.emplace(g.spawn(number(4)));
      const auto first = co_await std::move(one);
      const auto second = co_await std::move(two);
      co_return *first + *second;
    });
    CHECK(sum == 3);
    CHECK(later->done());
    const auto last = co_await std::move(*later);
    CHECK(*last == 4);
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
}

TEST_CASE("a child with a result that fails ends the scope, and is one failure also where its task was awaited") {
  net::io_context io;
  const auto fails = []() -> net::awaitable<int> {
    co_await let_others_run();
    throw std::runtime_error("no result");
    co_return 1;
  };
  for (const bool awaited : {false, true}) {
    int ended = 0;
    const auto body = [&]() -> net::awaitable<void> {
      co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
        g.spawn(end_slowly(ended));
        auto task = g.spawn(fails());
        if (awaited)
          co_await std::move(task);
        else
          co_await wait_for_ever();
      });
    };
    CHECK(spawn_and_run(io, body).failures() == std::vector<std::string>{"no result"});
    CHECK(ended == 1);
  }
}

TEST_CASE("a child that is cancelled by its task, or dropped with it, has not failed; the others go on") {
  net::io_context io;
  int sum = 0, cancelled = 0;
  const auto for_ever = [&]() -> net::awaitable<int> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
      ++cancelled;
      throw;
    }
    co_return 1;
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      g.spawn(add(sum, 1));
      {
        const auto dropped = g.spawn(for_ever());
      }
      auto task = g.spawn(for_ever());
      task.cancel();
      try {
        co_await std::move(task);
        FAIL("a result");
      } catch (const net::system_error& e) {
        CHECK(e.code() == net::error::operation_aborted);
      }
      CHECK(cancelled == 2);
    });
    CHECK(sum == 1);
  };
  CHECK_FALSE(spawn_and_run(io, body).error);
}

namespace {

net::awaitable<void> keep(std::shared_ptr<int>) { co_await wait_for_ever(); }

} // namespace

TEST_CASE("a context that is destroyed takes 20,000 children and who awaits them, without recursion") {
  std::optional<net::io_context> io(std::in_place);
  const auto witness = std::make_shared<int>();
  const auto parent = [&](std::shared_ptr<int> w) -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      for (int i = 0; i < 20'000; ++i) g.spawn(keep(w));
      co_await wait_for_ever();
    });
  };
  net::co_spawn(*io, parent(witness), net::detached);
  io->poll();
  CHECK(witness.use_count() == 20'002);
  io.reset();
  CHECK(witness.use_count() == 1);
}

TEST_CASE("a child whose awaited object goes with a context of its own has ended") {
  net::io_context io;
  std::optional<net::io_context> other(std::in_place);
  ending e;
  const auto waits_there = [&]() -> net::awaitable<void> {
    co_await net::post(other->get_executor(), net::use_awaitable); // which nobody runs
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await with_task_group([&](task_group& g) -> net::awaitable<void> {
      g.spawn(waits_there());
      co_await wait_for_ever();
    });
  };
  net::co_spawn(io, body, e.handler());
  io.poll();
  other.reset();
  run(io);
  CHECK(e.failures().size() == 1);
}

} // namespace public_task_group
