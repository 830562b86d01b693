// SPDX-License-Identifier: BSL-1.0
// Signals and short transfers, everywhere at once: each call that a signal can interrupt is interrupted every second
// time, in the front end, in the fork server and in the workers, and each read gives one byte at a time. Nobody may
// notice. (The n-th interruption alone is in constructor_failures and respawn_failures.)
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "fail_nth.hpp"
#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <filesystem>
#include <numeric>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

// Memory that is shared with all processes, since each of them interrupts.
std::atomic<int> (&interruptions())[calls] {
  static auto* const counts =
      new (::mmap(nullptr, sizeof(std::atomic<int>[calls]), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
          std::atomic<int>[calls] {};
  return *reinterpret_cast<std::atomic<int>(*)[calls]>(counts);
}

bool can_be_interrupted(call c) {
  const auto errors = plausible_errors(c);
  return std::find(errors.begin(), errors.end(), EINTR) != errors.end();
}

// Of each kind of call, in each process, the first, the third and so on.
int interrupt_every_second(call c) {
  static bool interrupted[calls]; // of this process and, at first, of its parent: it begins anywhere
  if (!can_be_interrupted(c)) return 0;
  bool& last = interrupted[static_cast<unsigned>(c)];
  last = !last;
  if (!last) return 0;
  ++interruptions()[static_cast<unsigned>(c)];
  return EINTR;
}

std::size_t one_byte(call, std::size_t) { return 1; }

struct hooks {
  hooks() {
    os::faults.before_call = interrupt_every_second;
    os::faults.most_bytes = one_byte;
  }
  ~hooks() { os::faults = {}; }
  hooks(const hooks&) = delete;
};

int next(int n) { return n + 1; }
pid_t front_end = 0;
/// Ends when the front end is asleep.
int nap(int n) {
  eventually([] { return is_asleep(front_end); });
  return n;
}
std::vector<int> echo(const std::vector<int>& v) { return v; }
int crash(int) {
  ::raise(SIGKILL);
  return 0;
}
int oom_score(int) {
  std::ifstream file("/proc/self/oom_score_adj");
  int score = -1;
  file >> score;
  return score;
}
int hoard(int bytes) {
  static std::vector<char> kept;
  kept.assign(static_cast<std::size_t>(bytes), 'x');
  return ::getpid();
}

template <class... A, class R>
R result_of(net::io_context& io, const process_pool& pool, R (*fn)(A...),
            std::type_identity_t<std::decay_t<A>>... args) {
  R result{};
  bool done = false;
  async_run(pool, work(fn, args...), [&](std::exception_ptr e, R r) {
    CHECK_FALSE(e);
    done = true;
    result = std::move(r);
  });
  io.restart();
  io.run_for(hang_limit);
  CHECK(done);
  return result;
}

} // namespace

TEST_CASE("files are read to their end, however few bytes come at a time and however often a signal comes between") {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("coproc-test-{}", ::getpid());
  std::string text(10'000, ' ');
  std::iota(text.begin(), text.end(), char{0});
  std::ofstream(path) << text;
  const auto cpus = os::usable_cpus();
  const auto memory = os::usable_memory_bytes();
  {
    const hooks installed;
    CHECK(os::read_small_file(path) == text);
    CHECK(os::usable_cpus() == cpus);
    CHECK(os::usable_memory_bytes() == memory);
  }
  std::filesystem::remove(path);
  CHECK(interruptions()[static_cast<unsigned>(call::read)] > 10'000);
}

TEST_CASE("a read that fails after some bytes gives nothing, not half a number") {
  static int reads;
  reads = 0;
  os::faults.most_bytes = one_byte;
  os::faults.before_call = [](call c) { return c == call::read && ++reads == 3 ? EIO : 0; };
  CHECK(os::read_small_file("/proc/self/statm").empty());
  CHECK(reads == 3);
  os::faults = {};
}

TEST_CASE("a full doorbell rings although a signal interrupts each step") {
  const os::unique_fd bell = os::make_eventfd();
  const std::uint64_t full = ~std::uint64_t{0} - 1;
  REQUIRE(::write(bell.get(), &full, sizeof full) == sizeof full);
  const hooks installed;
  CHECK(os::ring(bell.get()));
  std::uint64_t counter = 0;
  CHECK(::read(bell.get(), &counter, sizeof counter) == sizeof counter);
  CHECK(counter == 1);
}

TEST_CASE("a pool works as ever although signals interrupt every second call") {
  std::ifstream own("/proc/self/oom_score_adj");
  int score = 0;
  own >> score;
  for (auto& count : interruptions()) count = 0;
  front_end = ::getpid();
  {
    const leak_audit audit;
    const hooks installed;
    net::io_context io(1);
    process_pool pool(io, {.max_workers = 2, .max_memory_per_child = 64 << 20});
    const std::vector<int> large(30'000, 7);
    for (int round = 0; round != 20; ++round) {
      CHECK(result_of(io, pool, next, round) == round + 1);
      CHECK(result_of(io, pool, nap, round) == round); // both sides fall asleep
      CHECK(result_of(io, pool, echo, large) == large);
    }
    // The worker's number was written whole, and its memory is measured right.
    CHECK(result_of(io, pool, oom_score, 0) == std::min(score + 500, 1000));
    const auto exits_before = pool.stats().counters.exits_by(exit_cause::memory_limit);
    CHECK(result_of(io, pool, hoard, 256 << 20) > 0);
    CHECK(eventually([&] {
      result_of(io, pool, nap, 1);
      return pool.stats().counters.exits_by(exit_cause::memory_limit) > exits_before;
    }));
    CHECK(result_of(io, pool, next, 1) == 2);
    // A death costs its task.
    int lost = 0;
    async_run(pool, work(crash, 0), [&](std::exception_ptr e, int) {
      try {
        std::rethrow_exception(e);
      } catch (const worker_lost& w) {
        lost += w.signal() == SIGKILL;
      }
    });
    io.restart();
    io.run_for(hang_limit);
    CHECK(lost == 1);
    CHECK(result_of(io, pool, next, 2) == 3);
  }
  // Memory is given back, by a worker that goes to sleep after its result was read; that one has no limit to grow over.
  {
    const leak_audit audit;
    const hooks installed;
    net::io_context io(1);
    const process_pool pool(io, {.max_workers = 1});
    constexpr std::size_t large = shm::result_space::warm_bytes / sizeof(int) + 1;
    CHECK(result_of(io, pool, echo, std::vector<int>(large, 1)).size() == large);
    CHECK(eventually([&] {
      result_of(io, pool, nap, 1);
      return interruptions()[static_cast<unsigned>(call::punch_hole)] > 0;
    }));
  }
  unsigned kinds = 0, all = 0;
  int interrupted = 0;
  for (unsigned c = 0; c != calls; ++c) {
    all += can_be_interrupted(static_cast<call>(c));
    kinds += interruptions()[c] != 0;
    interrupted += interruptions()[c];
    if (can_be_interrupted(static_cast<call>(c)) && interruptions()[c] == 0)
      UNSCOPED_INFO("not interrupted: call " << c);
  }
  CHECK(kinds + 3 >= all);
  WARN(interrupted << " interruptions of " << kinds << " kinds of calls, of " << all);
}
