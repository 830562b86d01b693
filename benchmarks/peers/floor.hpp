// SPDX-License-Identifier: BSL-1.0
// The floor: this process and a forked one bounce one cache line, both spinning, each pinned to a CPU of its own.
// Nothing that crosses between two cores can be faster. Between runs the other process sleeps in read().
#pragma once

#include "../arm.hpp"
#include "../process_tree.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <sched.h>
#include <stdexcept>
#include <sys/mman.h>
#include <vector>

namespace bench {

class cache_line_floor {
public:
  cache_line_floor() {
    ::sched_getaffinity(0, sizeof affinity_, &affinity_);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &affinity_)) cpus_.push_back(cpu);
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::pipe(wake_) != 0) throw std::runtime_error("the floor could not be set up");
    word_ = new (memory) std::atomic<std::uint64_t>(0);
    if (cpus_.size() < 2) throw peer_missing("it needs two CPUs");
    process_.emplace([this] {
      pin(cpus_[1]);
      for (long round_trips; ::read(wake_[0], &round_trips, sizeof round_trips) == sizeof round_trips;)
        for (long i = 0; i <= round_trips; ++i) answer();
    });
  }
  cache_line_floor(const cache_line_floor&) = delete;

  double run(long round_trips) {
    pin(cpus_[0]);
    if (::write(wake_[1], &round_trips, sizeof round_trips) != sizeof round_trips) throw std::runtime_error("write");
    ask(); // once more than asked for: the other process is awake after this one
    const auto start = std::chrono::steady_clock::now();
    for (long i = 0; i < round_trips; ++i) ask();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    ::sched_setaffinity(0, sizeof affinity_, &affinity_);
    return elapsed.count();
  }

private:
  static void pin(int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
  }

  // Odd is a question, even an answer. Each side reads only what the other one released, so acquire and release
  // suffice.

  void ask() {
    const std::uint64_t question = word_->load(std::memory_order_relaxed) + 1;
    word_->store(question, std::memory_order_release);
    while (word_->load(std::memory_order_acquire) != question + 1) {
    }
  }
  void answer() {
    std::uint64_t question;
    while ((question = word_->load(std::memory_order_acquire)) % 2 == 0) {
    }
    word_->store(question + 1, std::memory_order_release);
  }

  cpu_set_t affinity_{};
  std::vector<int> cpus_;
  std::atomic<std::uint64_t>* word_ = nullptr;
  int wake_[2] = {-1, -1};
  std::optional<child> process_;
};

} // namespace bench
