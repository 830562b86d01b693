// SPDX-License-Identifier: BSL-1.0
// Doorbells that are never read, the private epoll, the timer. One process.
#include <coproc/os/epoll.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

using namespace coproc;
using namespace std::chrono_literals;

namespace {

std::vector<std::uint64_t> keys_of(os::epoll& e, int timeout_ms = 0) {
  std::array<epoll_event, 16> buffer;
  std::vector<std::uint64_t> keys;
  for (const auto& event : e.wait(buffer, timeout_ms)) {
    const std::uint64_t key = event.data.u64; // epoll_event is packed: no reference to its members
    keys.push_back(key);
  }
  return keys;
}
using keys = std::vector<std::uint64_t>;

} // namespace

TEST_CASE("an edge-triggered eventfd that nobody reads reports each ring") {
  os::epoll e;
  const auto bell = os::make_eventfd();
  e.add(bell.get(), EPOLLIN | EPOLLET, 7);
  CHECK(keys_of(e).empty());
  for (int i = 0; i != 1000; ++i) {
    os::ring(bell.get());
    REQUIRE(keys_of(e) == keys{7});
    REQUIRE(keys_of(e).empty());
  }
}

TEST_CASE("several rings before a look are one event, and a ring during a wait ends it") {
  os::epoll e;
  const auto bell = os::make_eventfd();
  e.add(bell.get(), EPOLLIN | EPOLLET, 7);
  os::ring(bell.get());
  os::ring(bell.get());
  CHECK(keys_of(e, 10'000) == keys{7});
  CHECK(keys_of(e).empty());
}

TEST_CASE("a saturated counter raises an edge no more, but has raised one, and never blocks the ringer") {
  os::epoll e;
  const auto bell = os::make_eventfd();
  e.add(bell.get(), EPOLLIN | EPOLLET, 7);
  const std::uint64_t full = ~std::uint64_t{0} - 1;
  REQUIRE(::write(bell.get(), &full, sizeof full) == sizeof full);
  CHECK(keys_of(e) == keys{7});
  os::ring(bell.get()); // O_NONBLOCK: EAGAIN
  SUCCEED();
}

TEST_CASE("each bell has its own key, and a removed one is silent though a copy of it lives on") {
  os::epoll e;
  const auto a = os::make_eventfd(), b = os::make_eventfd();
  const os::unique_fd copy(::dup(a.get()));
  e.add(a.get(), EPOLLIN | EPOLLET, 1);
  e.add(b.get(), EPOLLIN | EPOLLET, 2);
  os::ring(b.get());
  CHECK(keys_of(e) == keys{2});
  e.remove(a.get());
  os::ring(copy.get());
  CHECK(keys_of(e).empty());
  e.add(a.get(), EPOLLIN, 3);
  CHECK(keys_of(e) == keys{3});
  CHECK(keys_of(e) == keys{3}); // level-triggered
  e.remove(a.get());
  e.add(a.get(), EPOLLIN | EPOLLONESHOT, 4);
  CHECK(keys_of(e) == keys{4});
  CHECK(keys_of(e).empty());
}

TEST_CASE("descriptors are close-on-exec, and a wrong one is an error") {
  os::epoll e;
  for (const int fd : {e.fd(), os::make_eventfd().release(), os::make_timerfd().release()}) {
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    if (fd != e.fd()) ::close(fd);
  }
  CHECK_THROWS_AS(e.add(-1, EPOLLIN, 0), pool_error);
}

TEST_CASE("the timer fires at its time, at once when that is past, and not when disarmed") {
  os::epoll e;
  const auto timer = os::make_timerfd();
  e.add(timer.get(), EPOLLIN | EPOLLET, 9);
  const auto now = std::chrono::steady_clock::now();

  os::set_timer(timer.get(), now + 5ms);
  CHECK(keys_of(e, 10'000) == keys{9});
  CHECK(std::chrono::steady_clock::now() >= now + 5ms);

  os::set_timer(timer.get(), now - 1h); // never read in between
  CHECK(keys_of(e, 10'000) == keys{9});
  os::set_timer(timer.get(), std::chrono::steady_clock::time_point{});
  CHECK(keys_of(e, 10'000) == keys{9});
  os::set_timer(timer.get(), std::chrono::steady_clock::time_point::min());
  CHECK(keys_of(e, 10'000) == keys{9});

  os::set_timer(timer.get(), std::chrono::steady_clock::now() + 1h);
  CHECK(keys_of(e).empty());
  os::set_timer(timer.get(), std::chrono::steady_clock::now() + 1ms);
  os::set_timer(timer.get(), std::chrono::steady_clock::time_point::max());
  CHECK(keys_of(e, 20).empty());
}
