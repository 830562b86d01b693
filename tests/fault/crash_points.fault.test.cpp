// SPDX-License-Identifier: BSL-1.0
// Crash-point enumeration: a worker, or the fork server, is killed at every store to shared memory and every system
// call that it passes, with an empty, a one-entry, a full and a wrapped ring, through the real pool. After each
// death: every task completes exactly once, at most the running one is lost, the pool goes on, nothing is left
// behind.
//
// The hooks of the library are inherited by fork; what they do is decided by shared memory, so that a respawned
// worker does not die at the same point again. The denominator is the set of points that undisturbed runs pass.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "support/leak_audit.hpp"
#include "support/sanitized.hpp"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <set>
#include <sys/mman.h>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned calls = static_cast<unsigned>(os::call::count_), sites = static_cast<unsigned>(shm::site::count_);
constexpr unsigned ring_slots = unsigned{shm::ring_slots};
constexpr unsigned points_per_role = 2 * (calls + sites);

enum class role : unsigned { worker = 0, server = 1, front_end = 2 };

constexpr unsigned punch_hole = static_cast<unsigned>(os::call::punch_hole);

/// One place at which a process can die: role, call or store, before or after.
struct point {
  role who;
  unsigned index; // 2 * (call, or calls + site) + (after ? 1 : 0)

  auto operator<=>(const point&) const = default;
  bool is(shm::site s, bool after) const {
    return who == role::worker && index == 2 * (calls + static_cast<unsigned>(s)) + (after ? 1 : 0);
  }
  std::string text() const {
    const unsigned what = index / 2;
    return fmt::format("{}, {} {} {}", who == role::worker ? "worker" : "fork server", index % 2 ? "after" : "before",
                       what < calls ? "call" : "store", what < calls ? what : what - calls);
  }
};

struct control {
  std::atomic<pid_t> front_end{0}, server{0};
  std::atomic<int> countdown{0}; // to death at `victim`; 0: nobody dies
  std::atomic<unsigned> victim_role{0}, victim_index{0};
  std::atomic<int> deaths{0};
  std::atomic<bool> counting{false}, gate{false};
  std::atomic<int> blocked{0};
  std::atomic<unsigned> published{0};
  std::atomic<unsigned> passed[2][points_per_role]{};
};

control& shared() {
  static control* const c =
      new (::mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) control;
  return *c;
}

role own_role() {
  static pid_t known_pid = 0;
  static role known = role::front_end;
  if (const pid_t pid = ::getpid(); pid != known_pid) {
    known_pid = pid;
    const pid_t front_end = shared().front_end;
    known = pid == front_end ? role::front_end : ::getppid() == front_end ? role::server : role::worker;
    pid_t none = 0; // the first: an orphaned worker looks like a server too
    if (known == role::server) shared().server.compare_exchange_strong(none, pid);
  }
  return known;
}

void pass(unsigned index) {
  control& c = shared();
  const role who = own_role();
  if (who == role::front_end) {
    if (index == 2 * (calls + static_cast<unsigned>(shm::site::slot_ready))) ++c.published;
    return;
  }
  if (c.counting) ++c.passed[static_cast<unsigned>(who)][index];
  if (c.countdown <= 0 || static_cast<unsigned>(who) != c.victim_role || index != c.victim_index) return;
  if (c.countdown.fetch_sub(1) != 1) return;
  ++c.deaths;
  ::kill(::getpid(), SIGKILL);
}

void install_hooks() {
  shared().front_end = ::getpid();
  os::faults.before_call = [](os::call c) { return pass(2 * static_cast<unsigned>(c)), 0; };
  os::faults.after_call = [](os::call c) { pass(2 * static_cast<unsigned>(c) + 1); };
  os::faults.before_store = [](unsigned s) { pass(2 * (calls + s)); };
  os::faults.after_store = [](unsigned s) { pass(2 * (calls + s) + 1); };
}

// ---- tasks ----

int small(int i) { return 3 * i; }
std::vector<int> large(const std::vector<int>& v) { return v; }
int block(int i) {
  ++shared().blocked;
  while (!shared().gate) ::usleep(20);
  return 3 * i;
}
int crash(int) {
  ::raise(SIGKILL);
  return 0;
}
std::vector<std::byte> huge(std::size_t bytes) { return std::vector<std::byte>(bytes, std::byte{1}); }

// ---- what is left behind ----

/// A leak_audit in a hurry, for a thousand runs: as a subreaper this process gets all orphans, so its children are all
/// there are. Orphaned workers are reaped here; the fork server is for the pool to reap.
class quick_audit {
public:
  quick_audit() : before_(take()) { shared().server = 0; }
  quick_audit(const quick_audit&) = delete;

  ~quick_audit() {
    int orphans = 0;
    bool alive = false, server = false;
    const bool ended = eventually([&] {
      pid_t pid;
      while ((pid = ::waitpid(-1, nullptr, WNOHANG | __WALL)) > 0) {
        ++orphans;
        server |= pid == shared().server;
      }
      alive = pid == 0;
      return !alive;
    });
    CHECK(ended);
    CHECK_FALSE(server);
    if (!orphans_expected) CHECK(orphans == 0);
    CHECK(take() == before_);
  }

  bool orphans_expected = false;

private:
  static std::pair<std::size_t, std::size_t> take() {
    std::size_t mappings = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) mappings += line.find("memfd:coproc") != line.npos;
    return {numbers_in("/proc/self/fd").size(), mappings};
  }

  std::pair<std::size_t, std::size_t> before_;
};

// ---- one run ----

enum class content { empty, one, full, wrapped, huge_result };
enum class moment {
  construction, ///< from the beginning
  batch,        ///< once the ring holds what it should
  respawn,      ///< the same, and a task of the batch kills its worker
  destruction,
};

struct plan {
  content ring;
  unsigned workers;
  moment when;
  point victim{role::worker, 0};
  int nth = 0; // 0: nobody dies
};

class run {
public:
  explicit run(const plan& p) : plan_(p) {}

  /// Everything that must hold holds, or Catch has been told.
  void execute() {
    control& c = shared();
    c.countdown = c.deaths = c.blocked = 0;
    c.published = 0;
    c.gate = false;
    c.victim_role = static_cast<unsigned>(plan_.victim.who);
    c.victim_index = plan_.victim.index;
    quick_audit audit;
    net::io_context io(1);
    io_ = &io;
    if (plan_.when == moment::construction) arm();
    std::optional<process_pool> pool;
    try {
      pool.emplace(io, pool_options{.max_workers = plan_.workers});
    } catch (const pool_error& e) {
      INFO(e.what());
      CHECK(server_died());
      audit.orphans_expected = server_died();
      disarm();
      return;
    }
    pool_ = &*pool;
    scenario();
    if (plan_.when == moment::destruction) arm();
    const auto begin = std::chrono::steady_clock::now();
    pool.reset();
    CHECK(std::chrono::steady_clock::now() - begin < 6s);
    disarm();
    if (fills_rings()) ++(shared().published / plan_.workers >= ring_slots - 1 ? filled : not_filled);
    io.restart();
    io.run_for(5s);
    CHECK(completions_ == tasks_);
    audit.orphans_expected = server_died();
  }

  bool killed() const { return shared().deaths > 0; }
  static inline unsigned filled = 0, not_filled = 0; // runs that filled each ring behind a running task

private:
  bool server_died() const { return killed() && plan_.victim.who == role::server; }

  void arm() {
    shared().counting = true;
    shared().countdown = plan_.nth;
  }
  void disarm() { shared().countdown = 0, shared().counting = false; }

  bool fills_rings() const { return plan_.ring == content::full || plan_.ring == content::wrapped; }

  void scenario() {
    if (plan_.when == moment::construction) call_some_small();
    if (plan_.when == moment::batch || plan_.when == moment::respawn) batch();
    drive();
    // The worker gives its memory back when it has nothing else to do.
    if (plan_.ring == content::huge_result && plan_.when == moment::batch)
      CHECK(
          eventually([this] { return plan_.nth != 0 ? killed() : shared().passed[0][2 * punch_hole + 1] != 0; }, 10s));
    disarm();
    check_losses();
    // The pool goes on, or says why not.
    completed_since_ = 0;
    call_some_small();
    drive();
    if (!server_died()) CHECK(completed_since_ == 3);
  }

  void batch() {
    if (plan_.ring != content::empty && plan_.ring != content::huge_result) block_workers();
    arm();
    if (plan_.when == moment::respawn) {
      crashes_ = 1;
      call(crash, 0, -1);
    }
    const unsigned behind = plan_.workers * (fills_rings() ? ring_slots - 1 : 1);
    for (unsigned i = shared().published / plan_.workers; i < behind; ++i) call_mixed(i);
    shared().gate = true;
  }

  // Leaves each worker with a task that runs until the gate opens, and with a ring that takes as much as it shall.
  void block_workers() {
    for (int attempt = 0;; ++attempt) {
      if (fills_rings()) learn_short_tasks();
      shared().blocked = 0;
      shared().gate = false;
      for (unsigned i = 0; i != plan_.workers; ++i) call(block, 7, 21);
      io_->restart();
      if (!eventually([&] { return io_->poll(), shared().blocked == static_cast<int>(plan_.workers); }, 10s))
        FAIL_CHECK("the blocking tasks do not run");
      shared().published = 0;
      if (!fills_rings()) return;
      // Half of it is sent ahead: does it go into the rings, or wait in the queue?
      const unsigned ahead = plan_.workers * (ring_slots / 2);
      for (unsigned i = 0; i != ahead; ++i) call_small(static_cast<int>(i));
      if (shared().published >= ahead || attempt == (plan_.workers == 1 ? 9 : 1)) return;
      shared().gate = true;
      drive();
    }
  }

  // The pool fills a ring with one wake-up's worth of work: all of it, once it knows that tasks are short.
  void learn_short_tasks() {
    for (unsigned i = 0; i != 4; ++i) {
      const bool wrap = i == 0 && plan_.ring == content::wrapped; // by 40 slots
      for (unsigned j = 0; j != plan_.workers * (wrap ? 104 : 64); ++j) call_small(1);
      drive();
    }
  }

  void check_losses() {
    CHECK(completions_ == tasks_);
    CHECK(wrong_ == 0);
    if (server_died()) return;
    CHECK(failed_ == 0);
    const int deaths = shared().deaths;
    CHECK(lost_ <= deaths + crashes_);
    CHECK(lost_ >= crashes_);
    if (plan_.workers != 1 || deaths == 0 || crashes_ != 0) return;
    using shm::site;
    const point p = plan_.victim;
    if (p.is(site::slot_running, true) || p.is(site::slot_result, false) || p.is(site::slot_result, true) ||
        p.is(site::slot_done, false))
      CHECK(lost_ == 1);
    if (p.is(site::slot_running, false) || p.is(site::slot_done, true) || p.is(site::sleeping, true) ||
        p.is(site::awake, true))
      CHECK(lost_ == 0);
  }

  void drive() {
    io_->restart();
    io_->run_for(20s);
    INFO("tasks that never completed: " << tasks_ - completions_);
    REQUIRE(completions_ == tasks_);
  }

  void call_some_small() {
    for (int i = 0; i != 3; ++i) call_small(i);
  }
  void call_small(int i) { call(small, i, 3 * i); }

  void call_mixed(unsigned i) {
    if (plan_.ring == content::huge_result) {
      ++tasks_;
      async_run(*pool_, work(huge, std::size_t{65} << 20),
                [this](std::exception_ptr e, const std::vector<std::byte>& v) {
                  complete(std::move(e), v.size() == std::size_t{65} << 20);
                });
    } else if (i % 3 == 0) {
      ++tasks_;
      std::vector<int> numbers(100, static_cast<int>(i));
      async_run(*pool_, work(large, numbers), [this, numbers](std::exception_ptr e, const std::vector<int>& v) {
        complete(std::move(e), v == numbers);
      });
    } else {
      call_small(static_cast<int>(i));
    }
  }

  void call(int (*fn)(int), int argument, int expected) {
    ++tasks_;
    async_run(*pool_, work(fn, argument),
              [this, expected](std::exception_ptr e, int value) { complete(std::move(e), value == expected); });
  }

  void complete(std::exception_ptr e, bool right) {
    ++completions_;
    if (!e) {
      ++completed_since_;
      if (!right) ++wrong_;
      return;
    }
    try {
      std::rethrow_exception(e);
    } catch (const worker_lost& lost) {
      ++lost_;
      if (server_died()) return;
      if (lost.signal() != SIGKILL || lost.cause() != exit_cause::self) ++wrong_;
    } catch (const pool_error& error) {
      ++failed_;
      if (error.code() != make_error_code(errc::worker_start_failed)) ++wrong_;
    } catch (...) {
      ++wrong_;
    }
  }

  plan plan_;
  net::io_context* io_ = nullptr;
  process_pool* pool_ = nullptr;
  int tasks_ = 0, completions_ = 0, lost_ = 0, failed_ = 0, wrong_ = 0, crashes_ = 0, completed_since_ = 0;
};

std::set<point> points_passed(plan p) {
  control& c = shared();
  for (auto& of_role : c.passed)
    for (auto& n : of_role) n = 0;
  p.nth = 0;
  for (int i = 0; i != 2; ++i) run(p).execute();
  std::set<point> found;
  for (unsigned who = 0; who != 2; ++who)
    for (unsigned index = 0; index != points_per_role; ++index)
      if (c.passed[who][index] != 0) found.insert({static_cast<role>(who), index});
  return found;
}

const char* name(content c) {
  constexpr const char* names[] = {"empty", "one", "full", "wrapped", "huge result"};
  return names[static_cast<int>(c)];
}
const char* name(moment m) {
  constexpr const char* names[] = {"construction", "batch", "respawn", "destruction"};
  return names[static_cast<int>(m)];
}

} // namespace

TEST_CASE("a process that dies at any store or system call costs one task at most") {
  const leak_audit audit;
  install_hooks();
  std::set<point> passed, killed_at;
  unsigned runs = 0;
  const auto kill_at = [&](plan p, point victim, int nth) {
    p.victim = victim;
    p.nth = nth;
    INFO(victim.text() << ", " << name(p.when) << ", ring " << name(p.ring) << ", " << p.workers << " workers, hit "
                       << nth);
    run r(p);
    r.execute();
    ++runs;
    if (r.killed()) killed_at.insert(victim);
  };

  // With sanitizers not every ring content is tried, and one worker only; every point is.
  std::vector<plan> plans;
  for (const unsigned workers : {1u, 3u}) {
    if (workers > 1 && sanitized) break;
    plans.push_back({content::empty, workers, moment::construction});
    plans.push_back({content::empty, workers, moment::destruction});
    for (const content ring : {content::empty, content::one, content::full, content::wrapped}) {
      plans.push_back({ring, workers, moment::batch});
      const bool all_respawns = workers == 1 && !sanitized;
      if (all_respawns || ring == content::one || ring == content::full)
        plans.push_back({ring, workers, moment::respawn});
    }
  }
  plans.push_back({content::huge_result, 1, moment::batch});

  std::vector<std::pair<plan, point>> pairs;
  for (const plan& p : plans) {
    for (const point victim : points_passed(p)) {
      if (p.ring == content::huge_result && victim.index / 2 != punch_hole) continue;
      passed.insert(victim);
      pairs.emplace_back(p, victim);
      kill_at(p, victim, 1);
      if (p.when == moment::batch && p.ring == content::full && victim.who == role::worker) kill_at(p, victim, 5);
    }
  }
  // Whether a worker sleeps, spins or rings is a matter of time: another chance for those.
  for (int i = 0; i != 20; ++i)
    for (const auto& [p, victim] : pairs)
      if (!killed_at.contains(victim)) kill_at(p, victim, 1);

  for (const point missing : passed)
    if (!killed_at.contains(missing)) FAIL_CHECK("never killed at: " << missing.text());
  std::size_t of_stores = 0, of_server = 0;
  for (const point p : killed_at) {
    of_stores += p.index / 2 >= calls;
    of_server += p.who == role::server;
  }
  CHECK(run::filled > 0);
  WARN("crash points covered: " << killed_at.size() << " of " << passed.size() << " (" << of_stores << " at stores, "
                                << killed_at.size() - of_stores << " at system calls; " << of_server
                                << " of the fork server), " << runs << " runs; rings full in " << run::filled << " of "
                                << run::filled + run::not_filled);
  os::faults = {};
}
