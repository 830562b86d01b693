// SPDX-License-Identifier: BSL-1.0
// Workers that use all that they can reach against the front end: one scribbles over its mailbox and result file while
// the front end reads, one rings its doorbell without end, one sets state words back and forth. Nobody but its own
// tasks may suffer. COPROC_STRESS_SECONDS=n scribbles that long (2).
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <coproc/shm/slot.hpp>
#include <coproc/worker/context.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace net = coproc::net;
namespace shm = coproc::shm;
using namespace coproc::testing;
using namespace std::chrono_literals;
using coproc::errc;

namespace {

struct board {
  tally started, go;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> scribbles{0}, rings{0};
};
shared_memory<board> shared;

int identity(int n) { return n; }

// ---- what a worker can reach

using coproc::detail::worker::this_worker_context;
shm::mailbox& own_mailbox() { return const_cast<shm::mailbox&>(*this_worker_context.mailbox); }
std::uint64_t own_seq() { return this_worker_context.running.load() - 1; }

std::span<std::byte> own_result_file() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:coproc-results") == line.npos) continue;
    char* rest = nullptr;
    const auto begin = std::strtoull(line.c_str(), &rest, 16), end = std::strtoull(rest + 1, nullptr, 16);
    return {reinterpret_cast<std::byte*>(begin), end - begin};
  }
  return {};
}

int own_doorbell() {
  for (const int fd : numbers_in("/proc/self/fd")) {
    char target[64]{};
    if (::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1) > 0 &&
        std::strstr(target, "eventfd") != nullptr)
      return fd;
  }
  return -1;
}

void ring_own_bell() {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(own_doorbell(), &one, sizeof one));
}

// ---- the scribbler

// On a thread beside the worker's own, as long as the worker lives.
void scribble(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  shm::mailbox& m = own_mailbox();
  auto* const words = reinterpret_cast<std::atomic<std::uint64_t>*>(&m);
  const auto file = own_result_file().first(std::size_t{64} << 10);
  while (!shared->stop) {
    const std::uint64_t seq = own_seq();
    shm::slot& s = m.at(seq + random() % 3);
    switch (random() % 6) {
    case 0: s.state.store(shm::pack(seq + random() % 3, static_cast<shm::slot_state>(random() % 6))); break;
    case 1: s.location.store(random() >> (random() % 64)); break;
    case 2: s.length.store(random() >> (random() % 64)); break;
    case 3: s.bytes[random() % shm::inline_bytes] = static_cast<std::byte>(random()); break;
    case 4: words[random() % (sizeof m / 8)].store(random()); break;
    case 5:
      for (std::size_t i = random() % file.size(), n = 64; n != 0; --n)
        file[(i + n) % file.size()] = static_cast<std::byte>(random());
      break;
    }
    ++shared->scribbles;
    // Most of the time it writes often and little; garbage all over the place is found at once.
    burn(static_cast<int>(random() % (random() % 4 == 0 ? 200'000 : 4'000)));
  }
}

std::string become_hostile(std::uint64_t seed) {
  static bool once = false;
  if (!std::exchange(once, true)) std::thread(scribble, seed).detach();
  return std::string(static_cast<std::size_t>(seed % 3000), 'x');
}

std::vector<std::string> words_of(int n) {
  return std::vector<std::string>(static_cast<std::size_t>(n % 200), std::to_string(n));
}

long stress_seconds() {
  const char* const text = std::getenv("COPROC_STRESS_SECONDS");
  return text == nullptr ? 2 : std::atol(text);
}

} // namespace

TEST_CASE(
    "a worker that scribbles over all it can write, while the front end reads, costs its own tasks and nothing else") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool honest(io, {.max_workers = 1});
  coproc::process_pool hostile(io, {.max_workers = 2, .max_payload = 1 << 20, .kill_grace = 10ms});
  std::uint64_t submitted = 0, completed = 0, values = 0, lost = 0, violations = 0, timed_out = 0, garbled = 0;
  std::uint64_t honest_right = 0, honest_submitted = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(stress_seconds());

  const auto note = [&](const std::exception_ptr& e) {
    ++completed;
    if (!e) return void(++values);
    try {
      std::rethrow_exception(e);
    } catch (const coproc::worker_lost& l) {
      ++lost;
      violations += l.cause() == coproc::exit_cause::violation;
    } catch (const coproc::task_timeout&) {
      ++timed_out;
    } catch (...) {
      ++garbled; // it decodes to something, or to bad_payload
    }
  };
  const coproc::task_options limited{.timeout = 20ms};
  while (std::chrono::steady_clock::now() < end) {
    while (submitted - completed < 40) {
      const int n = static_cast<int>(++submitted);
      if (n % 4 == 0)
        coproc::async_run(hostile.with(limited), coproc::work(become_hostile, static_cast<std::uint64_t>(n)),
                          [&](std::exception_ptr e, const std::string&) { note(e); });
      else
        coproc::async_run(hostile.with(limited), coproc::work(words_of, n),
                          [&](std::exception_ptr e, const std::vector<std::string>&) { note(e); });
    }
    const int n = static_cast<int>(++honest_submitted);
    coproc::async_run(honest, coproc::work(identity, n),
                      [&, n](std::exception_ptr e, int v) { honest_right += !e && v == n; });
    io.restart();
    io.run_for(1ms);
  }
  const bool ended = run_until(io, [&] { return completed == submitted && honest_right == honest_submitted; }, 20s);
  shared->stop = true;
  CHECK(ended);
  CHECK(completed == submitted);
  CHECK(honest_right == honest_submitted);
  CHECK(violations > 0);
  CHECK(shared->scribbles > 1000);
  WARN(shared->scribbles << " scribbles; " << completed << " tasks: " << values << " values, " << garbled
                         << " garbled, " << timed_out << " timed out, " << lost << " lost, " << violations
                         << " of them by violation; " << honest_right << " of the other pool");
}

// ---- the doorbell

namespace {

std::atomic<int> looks{0}; // of the front end at its epoll

void ring_without_end() {
  const int bell = own_doorbell();
  ::fcntl(bell, F_SETFL, ::fcntl(bell, F_GETFL) & ~O_NONBLOCK); // shared with the front end
  shared->started.add();
  const std::uint64_t one = 1;
  while (!shared->stop) shared->rings += ::write(bell, &one, sizeof one) > 0;
}

} // namespace

TEST_CASE("a flood of the doorbell leaves every other handler its turn") {
  const leak_audit audit;
  shared.reset();
  const pid_t front_end = ::getpid();
  static pid_t counted;
  counted = front_end;
  coproc::os::faults.before_call = [](coproc::os::call c) {
    if (c == coproc::os::call::epoll_wait && ::getpid() == counted) ++looks;
    return 0;
  };
  {
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 3});
    ending<void> first, second;
    start(first, pool, ring_without_end);
    start(second, pool, ring_without_end);
    // Short tasks all the while, as many as the third worker takes.
    std::uint64_t delivered = 0;
    bool going = true;
    const auto next = [&](auto& self) -> void {
      coproc::async_run(pool, coproc::work(identity, 1), [&](std::exception_ptr, int) {
        ++delivered;
        if (going) self(self);
      });
    };
    REQUIRE(run_until(io, [] { return shared->started.get() == 2; }));
    for (int i = 0; i < 600; ++i) next(next);

    // A handler that posts itself: how much of the pool's work comes between two of its runs?
    constexpr std::uint64_t all_runs = sanitized ? 2'000 : 20'000; // a turn takes milliseconds under sanitizers
    std::uint64_t runs = 0, most_delivered = 0, before = 0;
    int most_looks = 0;
    const auto other = [&](auto& self) -> void {
      most_delivered = std::max(most_delivered, delivered - before);
      most_looks = std::max(most_looks, looks.exchange(0));
      before = delivered;
      if (++runs < all_runs)
        net::post(io, [&] { self(self); });
      else
        going = false;
    };
    looks = 0;
    other(other);
    REQUIRE(run_until(io, [&] { return runs == all_runs; }));
    shared->stop = true;
    REQUIRE(run_all(io));
    CHECK(first.succeeded());
    CHECK(second.succeeded());
    CHECK(most_delivered > 0);
    // A turn completes 256 tasks, and what its last round brought. Two may follow each other: an event that the reactor
    // had queued while the pool polled ends the wait that the first of them began.
    CHECK(most_delivered <= 2 * 512);
    CHECK(most_looks <= 4);
    CHECK(shared->rings > 1000);
    WARN(shared->rings << " rings; at most " << most_delivered << " completions and " << most_looks
                       << " looks at the epoll between two runs");
  }
  coproc::os::faults = {};
}

// ---- the flipper

namespace {

enum class trick {
  running_to_ready,
  seq_back,
  seq_forward,
  done_of_the_past,
  done_of_the_future,
  empty,
  revoked,
  nonsense,
  count_
};

void flip(trick how) {
  const std::uint64_t seq = own_seq();
  shm::slot& s = own_mailbox().at(seq);
  shared->started.add();
  shared->go.await(1); // the front end has seen RUNNING
  using shm::slot_state;
  static constexpr auto word = [](std::uint64_t of, trick t) {
    switch (t) {
    case trick::running_to_ready: return shm::pack(of, slot_state::ready);
    case trick::seq_back: return shm::pack(of - 1, slot_state::running);
    case trick::seq_forward: return shm::pack(of + 1, slot_state::running);
    case trick::done_of_the_past: return shm::pack(of - shm::ring_slots, slot_state::done);
    case trick::done_of_the_future: return shm::pack(of + shm::ring_slots, slot_state::done);
    case trick::empty: return shm::pack(of, slot_state::empty);
    case trick::revoked: return shm::pack(of, slot_state::revoked);
    default: return ~std::uint64_t{0};
    }
  };
  s.state = word(seq, how);
  ring_own_bell();
  for (;;) ::pause();
}

} // namespace

TEST_CASE("a worker that sets its state word back, forward or to nonsense is killed, and the pool goes on") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  for (int i = 0; i != static_cast<int>(trick::count_); ++i) {
    INFO("trick " << i);
    shared.reset();
    ending<int> withdrawn, behind, after;
    std::vector<ending<int>> warm(40); // so that the position is not 0, and that a ring takes several tasks
    for (auto& e : warm) start(e, pool, identity, 1);
    REQUIRE(run_all(io));
    ending<void> tricky;
    net::cancellation_signal signal;
    start(tricky, pool, flip, static_cast<trick>(i));
    start(behind, pool, identity, 2);
    start(signal.slot(), withdrawn, pool, identity, 3);
    REQUIRE(run_until(io, [] { return shared->started.get() == 1; }));
    signal.emit(net::cancellation_type::total); // makes the front end take a turn
    REQUIRE(run_until(io, [&] { return withdrawn.calls == 1; }));
    REQUIRE(run_until(io, [calls = 0]() mutable { return ++calls > 5; }));
    shared->go.add();
    REQUIRE(run_all(io, 20s));
    CHECK(withdrawn.aborted());
    REQUIRE(tricky.failed_with(errc::worker_lost));
    CHECK(tricky.as<coproc::worker_lost>()->cause() == coproc::exit_cause::violation);
    // In the ring it may have run, for all that can be known; it was not there if tasks seemed long, on a busy machine.
    CHECK((behind.failed_with(errc::worker_lost) || behind.succeeded()));
    start(after, pool, identity, 4);
    REQUIRE(run_all(io));
    CHECK(after.succeeded());
  }
}

TEST_CASE("DONE that is said twice counts once") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<void> liar;
  start(
      liar, pool, +[] {
        // After this task's end its slot is set to DONE again, and again whenever it is something else.
        std::thread([&m = own_mailbox(), seq = own_seq()] {
          shared->started.add();
          shared->go.await(1);
          const auto done = shm::pack(seq, shm::slot_state::done);
          for (int i = 0; i != 3; ++i) {
            m.at(seq).state = done;
            ring_own_bell();
          }
          shared->started.add();
          shared->go.await(2);
          shared->started.add();
          for (;;) {
            m.at(seq).state = done;
            burn(100);
          }
        }).detach();
      });
  REQUIRE(run_all(io));
  CHECK(liar.succeeded());
  REQUIRE(shared->started.await(1));
  shared->go.add();
  REQUIRE(shared->started.await(2));
  std::vector<ending<int>> unharmed(300); // the ring goes around, over the stale word
  for (std::size_t i = 0; i != unharmed.size(); ++i) start(unharmed[i], pool, identity, static_cast<int>(i));
  REQUIRE(run_all(io));
  for (std::size_t i = 0; i != unharmed.size(); ++i)
    CHECK((unharmed[i].succeeded() && unharmed[i].value == static_cast<int>(i)));
  CHECK(liar.calls == 1);

  // For ever: where the ring comes to that slot its word is a violation.
  shared->go.add();
  REQUIRE(shared->started.await(3));
  int right = 0, lost = 0;
  for (int round = 0; round != 1000 && lost == 0; ++round) {
    std::vector<ending<int>> many(300);
    for (auto& e : many) start(e, pool.with({.timeout = 100ms}), identity, 1);
    REQUIRE(run_all(io));
    for (const auto& e : many) {
      REQUIRE(e.calls == 1);
      REQUIRE((e.succeeded() || e.failed_with(errc::worker_lost)));
      (e.succeeded() ? right : lost) += 1;
    }
  }
  CHECK(lost > 0);
  CHECK(right > 0);
}
