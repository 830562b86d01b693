// SPDX-License-Identifier: BSL-1.0
// An arm of a comparison: one peer in one setting, in a forked process of its own that is set up once and runs when it
// is told to. So a pool is always made before threads, peers cannot disturb each other's heap or scheduler, and an arm
// that is not running sleeps in read(). Includes nothing of coproc.
#pragma once

#include "process_tree.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

using clock = std::chrono::steady_clock;

inline double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// Thrown by an arm that this machine cannot run; what() says what is missing.
struct peer_missing : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct run_order {
  long tasks; ///< a multiple of arm::step
  long run;   ///< 0, 1, ...: the same for all arms, so that random schedules can be the same
};

/// What a run measured; the first number is the arm's figure, usually nanoseconds per task.
using run_values = std::vector<double>;
using run_function = std::function<run_values(const run_order&)>;

struct arm {
  std::string name;
  std::function<run_function()> set_up; ///< called in the arm's own process
  long step = 1;                        ///< the number of tasks of a run is a multiple of it
  bool fixed = false;                   ///< runs are of `step` tasks; else of as many as fill the time for a run
};

/// All runs of an arm, in the order in which they alternated with those of the others.
struct arm_result {
  std::string name;
  std::vector<run_values> runs;
  double cpu_seconds = 0, wall_seconds = 0, tasks = 0; ///< of all runs together
};

class arm_process {
public:
  explicit arm_process(const arm& a) : name_(a.name) {
    int to[2], from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    std::fflush(nullptr);
    process_.emplace([&] {
      ::close(to[1]);
      ::close(from[0]);
      obey(a, to[0], from[1]);
    });
    ::close(to[0]);
    ::close(from[1]);
    to_ = to[1];
    from_ = from[0];
    answer(); // set up, or throws peer_missing
  }
  arm_process(const arm_process&) = delete;
  ~arm_process() {
    // Told rather than shown the end of file: arms made later hold copies of these descriptors.
    const order stop{0, 0, 0};
    if (::write(to_, &stop, sizeof stop) == sizeof stop) process_->wait_at_most(5000);
    ::close(to_);
    ::close(from_);
  }

  /// How many tasks fill so many seconds. Warms up, too.
  long tasks_for(double seconds) { return static_cast<long>(ask({-1, 0, seconds}).at(0)); }

  void run(const run_order& o, arm_result& result) {
    run_values all = ask({o.tasks, o.run, 0});
    result.cpu_seconds += all.at(0);
    result.wall_seconds += all.at(1);
    result.tasks += static_cast<double>(o.tasks);
    result.runs.emplace_back(all.begin() + 2, all.end());
  }

private:
  struct order {
    long tasks; ///< 0: end; -1: say how many fill `seconds`
    long run;
    double seconds;
  };
  enum class kind : long { values, missing, failed };
  struct head {
    kind what;
    std::size_t bytes;
  };

  static bool transfer(auto call, int fd, auto* data, std::size_t bytes) {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = call(fd, data + done, bytes - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }
  static void say(int fd, kind what, const void* data, std::size_t bytes) {
    const head h{what, bytes};
    transfer(::write, fd, reinterpret_cast<const char*>(&h), sizeof h);
    transfer(::write, fd, static_cast<const char*>(data), bytes);
  }
  static void say(int fd, const run_values& values) {
    say(fd, kind::values, values.data(), values.size() * sizeof(double));
  }

  // The arm's process.
  static void obey(const arm& a, int orders, int answers) {
    try {
      const run_function run = a.set_up();
      say(answers, {});
      for (order o; transfer(::read, orders, reinterpret_cast<char*>(&o), sizeof o) && o.tasks != 0;) {
        if (o.tasks < 0) {
          say(answers, {static_cast<double>(calibrate(a, run, o.seconds))});
          continue;
        }
        const std::vector<pid_t> processes = process_tree();
        const double cpu_before = cpu_seconds(processes);
        const auto start = clock::now();
        run_values values = run({o.tasks, o.run});
        const double wall = seconds_since(start);
        double cpu_after = cpu_seconds(processes);
        for (const pid_t pid : process_tree())
          if (std::ranges::find(processes, pid) == processes.end()) cpu_after += cpu_seconds({pid});
        values.insert(values.begin(), {cpu_after - cpu_before, wall});
        say(answers, values);
      }
    } catch (const peer_missing& e) {
      const std::string text = e.what();
      say(answers, kind::missing, text.data(), text.size());
    } catch (const std::exception& e) {
      const std::string text = e.what();
      say(answers, kind::failed, text.data(), text.size());
    }
  }

  // The better of two, so that a hiccup does not make runs too short.
  static long calibrate(const arm& a, const run_function& run, double seconds) {
    long n = a.step;
    const auto timed = [&] {
      const auto start = clock::now();
      run({n, 0});
      return seconds_since(start);
    };
    timed(); // cold: what is made once, a first fork, a first compilation
    double took = timed();
    if (took < seconds) took = std::min(took, timed());
    for (; took < seconds / 4 && n < 1'000'000'000; took = std::min(timed(), timed())) n *= 4;
    return std::max(1L, std::lround(static_cast<double>(n / a.step) * seconds / took)) * a.step;
  }

  run_values ask(const order& o) {
    if (!transfer(::write, to_, reinterpret_cast<const char*>(&o), sizeof o))
      throw std::runtime_error(name_ + ": gone");
    return answer();
  }
  run_values answer() {
    pollfd answered{from_, POLLIN, 0};
    while (::poll(&answered, 1, answer_limit_ms) < 0 && errno == EINTR) {
    }
    if (answered.revents == 0) throw std::runtime_error(name_ + ": no answer for two minutes");
    head h;
    if (!transfer(::read, from_, reinterpret_cast<char*>(&h), sizeof h)) throw std::runtime_error(name_ + ": died");
    std::string bytes(h.bytes, '\0');
    if (!transfer(::read, from_, bytes.data(), bytes.size())) throw std::runtime_error(name_ + ": died");
    if (h.what == kind::missing) throw peer_missing(bytes);
    if (h.what == kind::failed) throw std::runtime_error(name_ + ": " + bytes);
    run_values values(h.bytes / sizeof(double));
    std::copy_n(reinterpret_cast<const char*>(bytes.data()), bytes.size(), reinterpret_cast<char*>(values.data()));
    return values;
  }

  static constexpr int answer_limit_ms = 120'000;

  std::string name_;
  int to_ = -1, from_ = -1;
  std::optional<child> process_;
};

} // namespace bench
