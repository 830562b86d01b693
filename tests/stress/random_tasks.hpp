// SPDX-License-Identifier: BSL-1.0
// Tasks of random length, size and outcome, and the board of shared memory on which they say what they do. The plan of
// a task is made by the front end from its seed; run_task() follows it in a worker. For random_kills.cpp.
#pragma once

#include "support/run.hpp"

#include <coproc/this_worker.hpp>

#include <array>
#include <csignal>
#include <cstring>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace coproc::testing {

enum class task_kind : std::uint32_t {
  value,     ///< computes for a while, returns bytes
  sleeper,   ///< blocks for a while, returns bytes
  exception, ///< computes for a while, throws
  exits,     ///< _exit(code)
  crashes,   ///< raises a deadly signal
  hangs,     ///< for ever; SIGTERM ends it
  deaf,      ///< for ever; SIGTERM is blocked
  polite,    ///< until it is asked to stop, or for a while
  count_
};

inline const char* name_of(task_kind k) {
  static constexpr const char* names[] = {"value",   "sleeper", "exception", "exits",
                                          "crashes", "hangs",   "deaf",      "polite"};
  return names[static_cast<std::size_t>(k)];
}

struct task_plan {
  std::uint64_t id = 0;
  std::uint32_t slot = 0;
  task_kind kind = task_kind::value;
  std::uint32_t length = 0; ///< loop turns, or microseconds of sleep
  std::int32_t code = 0;    ///< exit status or signal
  std::uint32_t argument_bytes = 0, result_bytes = 0;
};

/// What a worker says of the operation in one slot of the front end's table.
struct task_note {
  std::atomic<std::uint64_t> id{0};
  std::atomic<std::uint32_t> begun{0};
  std::atomic<std::int64_t> begun_ns{0}, ended_ns{0};
  std::atomic<pid_t> pid{0};
  // For whoever looks at a hang; written by the front end.
  std::atomic<std::int64_t> submitted_ns{0}, deadline_ns{0};
  std::atomic<task_kind> kind{};
  std::atomic<bool> open{false};
  std::atomic<std::uint32_t> cancels{0};
};

struct task_board {
  static constexpr std::size_t slots = 256, workers = 8;

  std::array<task_note, slots> notes;
  std::array<std::atomic<pid_t>, workers> worker_pid{};
  std::array<std::atomic<std::uint32_t>, workers> running{}; ///< 1 + slot, 0: none
  std::atomic<pid_t> front_end{0}, server{0};
  std::atomic<std::uint64_t> kills{0}, strays{0}, beat{0}, incarnations{0};
  std::atomic<unsigned> worker_count{1}, pause_us{100}; ///< of the present pool; between kills, on average
  std::atomic<std::int64_t> starved_ns{0};              ///< by how much the killer overslept, forgotten after a while
  std::atomic<bool> stop{false};
};

inline shared_memory<task_board>& the_board() {
  static shared_memory<task_board> board;
  return board;
}

inline std::int64_t clock_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

/// Bytes that everybody knows: arguments and results are cut out of them, at a place that depends on the task.
class known_bytes {
public:
  static constexpr std::size_t max_bytes = std::size_t{1} << 20;

  static std::span<const std::byte> argument_of(const task_plan& p) { return cut(p.id, p.argument_bytes); }
  static std::span<const std::byte> result_of(const task_plan& p) { return cut(~p.id, p.result_bytes); }

  /// To be called before the pool is made.
  static const std::vector<std::byte>& all() {
    static const std::vector<std::byte> bytes = [] {
      std::vector<std::byte> b(max_bytes + spread);
      std::mt19937_64 random(1);
      for (std::size_t i = 0; i + 8 <= b.size(); i += 8) {
        const std::uint64_t x = random();
        std::memcpy(b.data() + i, &x, sizeof x);
      }
      return b;
    }();
    return bytes;
  }

private:
  static constexpr std::size_t spread = 1 << 16;
  static std::span<const std::byte> cut(std::uint64_t id, std::size_t bytes) {
    return std::span(all()).subspan(static_cast<std::size_t>(id * 0x9e3779b97f4a7c15u >> 48), bytes);
  }
};

inline bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// The initializer of workers: tells who they are.
inline void sign_on() {
  task_board& b = *the_board();
  b.server = ::getppid();
  b.worker_pid[*this_worker::id() % task_board::workers] = ::getpid();
  ++b.incarnations;
}

/// In a worker.
inline std::vector<std::byte> run_task(const task_plan& p, std::span<const std::byte> argument) {
  task_board& b = *the_board();
  task_note& note = b.notes[p.slot % task_board::slots];
  auto& running = b.running[*this_worker::id() % task_board::workers];
  if (note.id != p.id) ++b.strays; // it runs though it has completed
  note.begun_ns = clock_ns();
  note.pid = ::getpid();
  ++note.begun;
  running = p.slot + 1;
  if (!same_bytes(argument, known_bytes::argument_of(p)))
    throw std::logic_error("the arguments have changed on the way");

  switch (p.kind) {
  case task_kind::value:
  case task_kind::count_: burn(static_cast<int>(p.length)); break;
  case task_kind::sleeper: ::usleep(p.length); break;
  case task_kind::exception:
    burn(static_cast<int>(p.length));
    running = 0;
    note.ended_ns = clock_ns();
    throw std::runtime_error(std::to_string(p.id));
  case task_kind::exits: burn(static_cast<int>(p.length)); ::_exit(p.code);
  case task_kind::crashes:
    burn(static_cast<int>(p.length));
    ::raise(p.code);
    break;
  case task_kind::deaf: {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    for (;;) ::usleep(1000);
  }
  case task_kind::hangs:
    for (;;) ::usleep(1000);
  case task_kind::polite:
    for (std::uint32_t i = 0; i < p.length; i += 50) {
      this_worker::throw_if_stopped();
      ::usleep(50);
    }
    break;
  }
  const auto result = known_bytes::result_of(p);
  running = 0;
  note.ended_ns = clock_ns();
  return {result.begin(), result.end()};
}

} // namespace coproc::testing
