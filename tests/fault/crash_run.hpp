// SPDX-License-Identifier: BSL-1.0
// One run of a pool in which one process is killed, or stopped, at one crash point: what the ring holds, when it
// happens, and everything that must hold afterwards. A stopped worker is killed by the pool's own deadlines, and so is
// a stopped fork server once the pool has heard of it.
#pragma once

#include "crash_point.hpp"
#include "support/leak_audit.hpp"
#include "support/sanitized.hpp"

#include <coproc/process_pool.hpp>
#include <coproc/result_view.hpp>
#include <coproc/run_in_executor.hpp>

#include <numeric>
#include <sys/time.h>

namespace coproc::testing {

using namespace std::chrono_literals;

// ---- tasks

inline int small(int i) { return 3 * i; }
inline std::vector<int> large(const std::vector<int>& v) { return v; }
inline int block(int i) {
  ++shared().blocked;
  while (!shared().gate) ::usleep(20);
  return 3 * i;
}
inline int crash(int) {
  ::raise(SIGKILL);
  return 0;
}
inline result_view<int> viewed(int first) {
  result_array<int> a(2000); // enough to be lent
  std::iota(a.begin(), a.end(), first);
  return a;
}
/// More than a worker keeps: it gives the memory back when the result was read.
inline constexpr std::size_t huge_bytes = shm::result_space::warm_bytes + 1;
inline std::vector<std::byte> huge(std::size_t bytes) { return std::vector<std::byte>(bytes, std::byte{1}); }

// ---- what is left behind

/// A leak_audit in a hurry, for a thousand runs: as a subreaper this process gets all orphans, so its children are all
/// there are, stopped ones included. Orphaned workers are reaped here; the fork server is for the pool to reap.
class quick_audit {
public:
  quick_audit() : before_(take()) { shared().server = 0; }
  quick_audit(const quick_audit&) = delete;

  ~quick_audit() {
    int orphans = 0;
    bool server = false;
    const bool ended = eventually([&] {
      pid_t pid;
      while ((pid = ::waitpid(-1, nullptr, WNOHANG | __WALL)) > 0) {
        ++orphans;
        server |= pid == shared().server;
      }
      return pid != 0;
    });
    expect(ended, "a process is left");
    expect(!server, "the fork server was not reaped");
    expect(orphans_expected || orphans == 0, "orphans are left");
    expect(take() == before_, "descriptors or mappings are left");
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

/// The fork server is not bounded until it says that it is ready, since preload may take any time. Who stops there is
/// killed by this, a deadline of the application's.
class construction_watchdog {
public:
  construction_watchdog() {
    std::signal(SIGALRM, [](int) {
      if (shared().hits > 0) ::kill(shared().victim, SIGKILL); // a child that nobody has reaped
    });
    set(50'000);
  }
  ~construction_watchdog() {
    set(0);
    std::signal(SIGALRM, SIG_DFL);
  }
  construction_watchdog(const construction_watchdog&) = delete;

private:
  static void set(suseconds_t period) {
    const itimerval every{{0, period}, {0, period}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
  }
};

// ---- one run

enum class fate { killed, stopped };
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
  fate how = fate::killed;
  point victim{role::worker, 0};
  int nth = 0; // 0: nobody ends

  std::string text() const {
    constexpr const char* rings[] = {"empty", "one", "full", "wrapped", "huge result"};
    constexpr const char* moments[] = {"construction", "batch", "respawn", "destruction"};
    return fmt::format("{} {}, {}, ring {}, {} workers, hit {}", how == fate::killed ? "killed" : "stopped",
                       victim.text(), moments[static_cast<int>(when)], rings[static_cast<int>(ring)], workers, nth);
  }
};

class crash_run {
public:
  explicit crash_run(const plan& p) : plan_(p) {}

  /// Everything that must hold holds, or is among the problems().
  void execute() {
    point_control& c = shared();
    c.countdown = c.hits = c.blocked = 0;
    c.victim = 0;
    c.published = 0;
    c.gate = false;
    c.signal = stops() ? SIGSTOP : SIGKILL;
    c.victim_role = static_cast<unsigned>(plan_.victim.who);
    c.victim_index = plan_.victim.index;
    quick_audit audit;
    net::io_context io(1);
    io_ = &io;
    if (plan_.when == moment::construction) arm();
    std::optional<process_pool> pool;
    try {
      std::optional<construction_watchdog> dog;
      if (stops() && plan_.victim.who == role::server && plan_.when == moment::construction) dog.emplace();
      if (stops())
        pool.emplace(io, pool_options{.max_workers = plan_.workers, .kill_grace = 50ms, .start_timeout = start_limit});
      else
        pool.emplace(io, pool_options{.max_workers = plan_.workers});
    } catch (const pool_error& e) {
      expect(server_hit(), std::string("no pool: ") + e.what());
      audit.orphans_expected = server_hit();
      disarm();
      return;
    }
    pool_ = &*pool;
    try {
      scenario();
    } catch (const stuck&) {
    }
    if (plan_.when == moment::destruction) arm();
    const auto begin = std::chrono::steady_clock::now();
    pool.reset();
    expect(std::chrono::steady_clock::now() - begin < hang_limit, "destruction takes too long");
    disarm();
    if (fills_rings()) filled = c.published / plan_.workers >= ring_slots - 1;
    io.restart();
    io.run_for(hang_limit);
    expect_completed();
    audit.orphans_expected = server_hit();
  }

  bool hit() const { return shared().hits > 0; }
  std::optional<bool> filled; ///< was each ring filled behind a running task, if it was to be?

private:
  static constexpr unsigned ring_slots = unsigned{shm::ring_slots};
  // Where a process is stopped, of a task and of a start: what an innocent one never takes, though runs share the CPUs.
  static constexpr std::chrono::milliseconds time_limit{sanitized ? 1000 : 400}, start_limit{sanitized ? 3000 : 1000};
  struct stuck {};

  bool stops() const { return plan_.how == fate::stopped; }
  bool server_hit() const { return hit() && plan_.victim.who == role::server; }

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
    if (plan_.ring == content::huge_result && plan_.when == moment::batch) {
      constexpr auto punched = 2 * static_cast<unsigned>(os::call::punch_hole) + 1;
      const auto done = [&] { return plan_.nth != 0 ? hit() : shared().passed[0][punched] != 0; };
      expect(eventually(done), "memory is not given back");
    }
    disarm();
    check_losses();
    // The pool goes on, or says why not.
    values_since_ = 0;
    call_some_small();
    drive();
    if (!server_hit()) expect(values_since_ == 3, "the pool does not go on");
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
      expect(eventually([&] { return io_->poll(), shared().blocked == static_cast<int>(plan_.workers); }),
             "the blocking tasks do not run");
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
    expect_completed();
    expect(wrong_ == 0, "wrong values or errors");
    if (server_hit()) return;
    expect(failed_ == 0, "tasks failed");
    const int hits = shared().hits, ended = lost_ + timed_out_;
    expect(ended <= hits + crashes_, fmt::format("{} ends cost {} tasks", hits + crashes_, ended));
    expect(ended >= crashes_, "a crash is not reported");
    expect(stops() || timed_out_ == 0, "a task timed out");
    if (plan_.workers != 1 || hits == 0 || crashes_ != 0) return;
    using shm::site;
    const point p = plan_.victim;
    if (p.is(site::slot_running, true) || p.is(site::slot_result, false) || p.is(site::slot_result, true) ||
        p.is(site::slot_done, false))
      expect((stops() ? timed_out_ : lost_) == 1, "the running task was not lost");
    if (p.is(site::slot_running, false) || p.is(site::slot_done, true) || p.is(site::sleeping, true) ||
        p.is(site::awake, true))
      expect(ended == 0, "a task was lost that did not run");
  }

  void drive() {
    io_->restart();
    io_->run_for(hang_limit);
    expect_completed();
    if (completions_ != tasks_) throw stuck{};
  }

  void expect_completed() {
    expect(completions_ == tasks_, fmt::format("{} tasks, {} completions", tasks_, completions_));
  }

  void call_some_small() {
    for (int i = 0; i != 3; ++i) call_small(i);
  }
  void call_small(int i) { call(small, i, 3 * i); }

  void call_mixed(unsigned i) {
    if (plan_.ring == content::huge_result) {
      ++tasks_;
      async_run(*pool_, work(huge, huge_bytes), [this](std::exception_ptr e, const std::vector<std::byte>& v) {
        complete(std::move(e), v.size() == huge_bytes);
      });
    } else if (i % 3 == 1) {
      ++tasks_;
      const int first = static_cast<int>(i);
      async_run(limited(), work(viewed, first), [this, first](std::exception_ptr e, const result_view<int>& v) {
        complete(std::move(e), v.size() == 2000 && v[0] == first && v[1999] == first + 1999);
      });
    } else if (i % 3 == 0) {
      ++tasks_;
      std::vector<int> numbers(100, static_cast<int>(i));
      async_run(limited(), work(large, numbers), [this, numbers](std::exception_ptr e, const std::vector<int>& v) {
        complete(std::move(e), v == numbers);
      });
    } else {
      call_small(static_cast<int>(i));
    }
  }

  void call(int (*fn)(int), int argument, int expected) {
    ++tasks_;
    async_run(limited(), work(fn, argument),
              [this, expected](std::exception_ptr e, int value) { complete(std::move(e), value == expected); });
  }

  pool_ref limited() const {
    if (!stops()) return *pool_;
    return pool_->with({.timeout = time_limit});
  }

  void complete(std::exception_ptr e, bool right) {
    ++completions_;
    if (!e) {
      ++values_since_;
      if (!right) ++wrong_;
      return;
    }
    try {
      std::rethrow_exception(e);
    } catch (const worker_lost& lost) {
      ++lost_;
      if (server_hit()) return;
      if (lost.signal() != SIGKILL || lost.cause() != exit_cause::self) ++wrong_;
    } catch (const task_timeout&) {
      ++timed_out_;
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
  int tasks_ = 0, completions_ = 0, lost_ = 0, timed_out_ = 0, failed_ = 0, wrong_ = 0, crashes_ = 0, values_since_ = 0;
};

} // namespace coproc::testing
