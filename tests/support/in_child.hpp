// SPDX-License-Identifier: BSL-1.0
// Runs part of a test in a forked child, where it may spoil its environment: close descriptors, set limits, be killed.
// Test process.
#pragma once

#include "support/leak_audit.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace coproc::testing {

/// A failed expectation in a child.
class problem : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// REQUIRE for children, where Catch cannot report.
inline void expect(bool condition, const char* what) {
  if (!condition) throw problem(what);
}

/// Closes all descriptors but 0, 1 and 2 in a child: what the test inherited would make limits of descriptors vary.
inline void drop_inherited_descriptors() {
  ::close_range(3, ~0u, 0);
  for (int fd; (fd = ::open("/dev/null", O_RDWR)) < 3;)
    if (fd < 0) throw problem("/dev/null cannot be opened");
  ::close(3);
}

/// Calls body() in a child and waits for its end; says what went wrong there, empty if nothing did.
template <class Body>
std::string in_child(Body body) {
  constexpr std::size_t size = 4096;
  auto* const text =
      static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      body();
    } catch (const std::exception& e) {
      std::snprintf(text, size, "in the child: %s", e.what());
    } catch (...) {
      std::snprintf(text, size, "in the child: not a std::exception");
    }
    ::_exit(0);
  }
  int status = -1;
  const bool ended = eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
  std::string result(text);
  ::munmap(text, size);
  if (!ended) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    return "the child hangs; " + result;
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return "the child ended with status " + std::to_string(status) + "; " + result;
  return result;
}

/// The same as an assertion.
template <class Body>
void check_in_child(Body body) {
  const std::string trouble = in_child(std::move(body));
  CHECK(trouble == "");
}

} // namespace coproc::testing
