// SPDX-License-Identifier: BSL-1.0
// One forked process for each task, as one would write it on an io_context: the result comes back through shared
// memory, the end of the process through a pidfd in the reactor. As isolated as coproc. Linux only.
#pragma once

#include "../front_end.hpp"
#include "../work.hpp"

#include <cerrno>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace bench {

class fork_per_task_peer {
public:
  static constexpr std::size_t most_at_once = 4096;

  fork_per_task_peer(net::io_context& io, int /*as many processes as tasks*/) : io_(io) {
    void* memory =
        ::mmap(nullptr, most_at_once * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    results_ = static_cast<int*>(memory);
    for (std::size_t i = 0; i < most_at_once; ++i) free_.push_back(i);
  }
  fork_per_task_peer(const fork_per_task_peer&) = delete;
  ~fork_per_task_peer() { ::munmap(results_, most_at_once * sizeof(int)); }

  net::awaitable<int> operator()(int value, int loops) {
    const std::size_t place = free_.back();
    free_.pop_back();
    const pid_t pid = ::fork();
    if (pid == 0) {
      results_[place] = increment(value, loops);
      ::_exit(0);
    }
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    net::posix::stream_descriptor ended(io_, static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    co_await ended.async_wait(net::posix::stream_descriptor::wait_read, net::use_awaitable);
    ::waitpid(pid, nullptr, 0);
    free_.push_back(place);
    co_return results_[place];
  }

private:
  net::io_context& io_;
  int* results_;
  std::vector<std::size_t> free_;
};

} // namespace bench
