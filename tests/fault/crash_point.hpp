// SPDX-License-Identifier: BSL-1.0
// A crash point is a store to shared memory or a system call of a worker or of the fork server, before or after. The
// hooks of the library bring each process past its points; shared memory says who is to be killed or stopped at which,
// so that a worker that is made later does not meet the same end. Needs COPROC_FAULT_POINTS.
#pragma once

#include "side_by_side.hpp"

#include <coproc/os/fault.hpp>
#include <coproc/shm/store.hpp>

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <semaphore.h>
#include <string>
#include <unistd.h>

namespace coproc::testing {

inline constexpr unsigned calls = static_cast<unsigned>(os::call::count_),
                          sites = static_cast<unsigned>(shm::site::count_), points_per_role = 2 * (calls + sites);

enum class role : unsigned { worker = 0, server = 1, front_end = 2 };

/// One place at which a process can die: role, call or store, before or after.
struct point {
  role who;
  unsigned index; // 2 * (call, or calls + site) + (after ? 1 : 0)

  auto operator<=>(const point&) const = default;
  bool is(shm::site s, bool after) const {
    return who == role::worker && index == 2 * (calls + static_cast<unsigned>(s)) + (after ? 1 : 0);
  }
  bool is_store() const { return index / 2 >= calls; }
  std::string text() const {
    const unsigned what = index / 2;
    return fmt::format("{}, {} {} {}", who == role::worker ? "worker" : "fork server", index % 2 ? "after" : "before",
                       what < calls ? "call" : "store", what < calls ? what : what - calls);
  }
};

/// How many runs may be on their way to their point at a time: those that wait for a deadline take no CPU from them, so
/// that time limits say the same on any machine, however many front ends there are.
class admission {
public:
  explicit admission(unsigned runs) { ::sem_init(&left_, 1, runs); }

  /// At most a minute: who has crashed does not leave.
  void enter() {
    timespec limit{};
    ::clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    while (::sem_timedwait(&left_, &limit) != 0 && errno == EINTR) {
    }
  }
  void leave() { ::sem_post(&left_); }

private:
  sem_t left_;
};

struct point_control {
  std::atomic<admission*> admitted{nullptr}; // to be left by whoever ends at its point, or else when the run ends
  std::atomic<pid_t> front_end{0}, server{0}, victim{0};
  std::atomic<int> countdown{0}; // to the end at the point below; 0: nobody ends
  std::atomic<int> signal{SIGKILL};
  std::atomic<unsigned> victim_role{0}, victim_index{0};
  std::atomic<int> hits{0};
  std::atomic<bool> counting{false}, gate{false};
  std::atomic<int> blocked{0};
  std::atomic<unsigned> published{0};
  std::atomic<unsigned> passed[2][points_per_role]{};
};

inline point_control*& current_control() {
  static point_control* c = make_shared_with_children<point_control>();
  return c;
}
inline point_control& shared() { return *current_control(); }

inline role own_role() {
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

inline void leave_admission() {
  if (admission* const a = shared().admitted.exchange(nullptr)) a->leave();
}

inline void pass(unsigned index) {
  point_control& c = shared();
  const role who = own_role();
  if (who == role::front_end) {
    if (index == 2 * (calls + static_cast<unsigned>(shm::site::slot_ready))) ++c.published;
    return;
  }
  if (c.counting) ++c.passed[static_cast<unsigned>(who)][index];
  if (c.countdown <= 0 || static_cast<unsigned>(who) != c.victim_role || index != c.victim_index) return;
  if (c.countdown.fetch_sub(1) != 1) return;
  c.victim = ::getpid();
  ++c.hits;
  leave_admission();
  ::kill(::getpid(), c.signal);
}

/// This process is the front end from now on, and all that it forks pass their points.
inline void install_hooks() {
  current_control() = make_shared_with_children<point_control>();
  shared().front_end = ::getpid();
  os::faults.before_call = [](os::call c) { return pass(2 * static_cast<unsigned>(c)), 0; };
  os::faults.after_call = [](os::call c) { pass(2 * static_cast<unsigned>(c) + 1); };
  os::faults.before_store = [](unsigned s) { pass(2 * (calls + s)); };
  os::faults.after_store = [](unsigned s) { pass(2 * (calls + s) + 1); };
}

} // namespace coproc::testing
