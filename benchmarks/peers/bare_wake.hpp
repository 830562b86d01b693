// SPDX-License-Identifier: BSL-1.0
// The floor of the idle-gap rows: one word in shared memory, one FUTEX_WAKE, and a spin until whoever slept there has
// answered. No task, no queue, no way back through a loop; a process or a thread sleeps. What these two differ by, a
// pool of processes cannot save against a pool of threads.
#pragma once

#include "../front_end.hpp"
#include "../process_tree.hpp"

#include <atomic>
#include <cstdint>
#include <linux/futex.h>
#include <new>
#include <optional>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace bench {

enum class sleeper { process, thread };

template <sleeper Kind>
class bare_wake_peer {
public:
  bare_wake_peer(net::io_context&, int) {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    words_ = new (memory) words;
    if constexpr (Kind == sleeper::process)
      process_.emplace([this] { sleep_and_answer(); });
    else
      thread_ = std::thread([this] { sleep_and_answer(); });
  }
  bare_wake_peer(const bare_wake_peer&) = delete;
  ~bare_wake_peer() {
    words_->asked.store(over);
    futex(FUTEX_WAKE, 1);
    if (thread_.joinable()) thread_.join();
  }

  net::awaitable<int> operator()(int value, int) {
    words_->asked.store(++questions_);
    futex(FUTEX_WAKE, 1);
    while (words_->answered.load(std::memory_order_acquire) != questions_) __builtin_ia32_pause();
    co_return value + 1;
  }

private:
  struct words {
    alignas(128) std::atomic<std::uint32_t> asked{0};
    alignas(128) std::atomic<std::uint32_t> answered{0};
  };
  static constexpr std::uint32_t over = ~std::uint32_t{0};
  static constexpr int scope = Kind == sleeper::thread ? FUTEX_PRIVATE_FLAG : 0;

  void futex(int operation, std::uint32_t value) {
    ::syscall(SYS_futex, &words_->asked, operation | scope, value, nullptr, nullptr, 0);
  }

  void sleep_and_answer() {
    for (std::uint32_t answered = 0;;) {
      std::uint32_t asked;
      while ((asked = words_->asked.load(std::memory_order_acquire)) == answered) futex(FUTEX_WAIT, answered);
      if (asked == over) return;
      words_->answered.store(answered = asked, std::memory_order_release);
    }
  }

  words* words_;
  std::uint32_t questions_ = 0;
  std::optional<child> process_;
  std::thread thread_;
};

} // namespace bench
