// SPDX-License-Identifier: BSL-1.0
// The futex between processes: waits only while the word is as expected, and a wake-up crosses the process border.
// Forks.
#include <coproc/os/futex.hpp>

#include <catch2/catch.hpp>

#include <new>
#include <sys/mman.h>
#include <sys/wait.h>

using namespace coproc;

TEST_CASE("a word that differs is not waited on") {
  std::atomic<std::uint32_t> word{1};
  os::futex_wait(word, 0);
  CHECK(word == 1);
}

TEST_CASE("a sleeper in another process is woken") {
  void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const words = new (memory) std::atomic<std::uint32_t>[2]{};
  const pid_t child = ::fork();
  if (child == 0) {
    while (words[0] == 0) {
      words[1] = 1;
      os::futex_wait(words[0], 0);
    }
    ::_exit(42);
  }
  while (words[1] == 0) ::usleep(100);
  words[0] = 1;
  os::futex_wake(words[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 42));
  ::munmap(memory, 4096);
}
