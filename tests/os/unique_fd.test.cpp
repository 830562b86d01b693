// SPDX-License-Identifier: BSL-1.0
// Ownership of a descriptor. One process.
#include <coproc/os/unique_fd.hpp>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <utility>

using coproc::os::unique_fd;

namespace {

int some_descriptor() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

} // namespace

TEST_CASE("a descriptor is closed once, by its last owner") {
  const int fd = some_descriptor();
  {
    unique_fd a(fd);
    CHECK(a);
    CHECK(a.get() == fd);
    unique_fd b(std::move(a));
    CHECK_FALSE(a);
    CHECK(is_open(fd));
    unique_fd c;
    CHECK_FALSE(c);
    c = std::move(b);
    CHECK(c.get() == fd);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("assignment and reset close what was there, self-assignment does not") {
  unique_fd a(some_descriptor());
  const int first = a.get();
  auto& same = a;
  a = std::move(same);
  CHECK(is_open(first));
  unique_fd b(some_descriptor());
  const int second = b.get();
  a = std::move(b);
  CHECK_FALSE(is_open(first));
  CHECK(a.get() == second);
  a.reset();
  CHECK_FALSE(is_open(second));
  CHECK_FALSE(a);
}

TEST_CASE("release gives the descriptor away") {
  unique_fd a(some_descriptor());
  const int fd = a.release();
  CHECK_FALSE(a);
  CHECK(is_open(fd));
  ::close(fd);
}
