// SPDX-License-Identifier: BSL-1.0
// The hooks around stores and system calls: called in order, by name, around the effect; a failed call has no effect.
#include <coproc/shm/store.hpp>

#include <coproc/os/epoll.hpp>
#include <coproc/shm/slot.hpp>

#include <catch2/catch.hpp>

#include <string>

using namespace coproc;

namespace {

std::string trace;
shm::slot* watched = nullptr;

} // namespace

TEST_CASE("a store's hooks run before and after it, under the name of its site") {
  shm::slot s{};
  watched = &s;
  trace.clear();
  os::faults.before_store = [](unsigned site) {
    trace += "before " + std::to_string(site) + ":" + std::to_string(watched->state.load()) + " ";
  };
  os::faults.after_store = [](unsigned site) {
    trace += "after " + std::to_string(site) + ":" + std::to_string(watched->state.load()) + " ";
  };
  const std::byte arguments[2]{};
  shm::publish(s, 0, {}, arguments);
  CHECK(trace == "before 0:0 after 0:0 before 1:0 after 1:0 before 2:0 after 2:1 ");
  trace.clear();
  CHECK(shm::revoke(s, 0));
  CHECK(trace == "before 3:1 after 3:4 ");
  trace.clear();
  CHECK_FALSE(shm::revoke(s, 0));
  CHECK(trace == "before 3:4 after 3:4 ");
  os::faults = {};
  trace.clear();
  shm::release(s, 0);
  CHECK(trace.empty());
}

TEST_CASE("a hook can fail a system call with any errno, and the call is not made") {
  const auto bell = os::make_eventfd();
  os::faults.before_call = [](os::call c) {
    return c == os::call::eventfd_write ? EIO : c == os::call::eventfd ? EMFILE : 0;
  };
  os::ring(bell.get());
  std::uint64_t count = 0;
  CHECK(::read(bell.get(), &count, sizeof count) < 0);
  try {
    os::make_eventfd();
    FAIL("no exception");
  } catch (const pool_error& e) {
    CHECK(e.code() == os::system_code(EMFILE));
  }
  os::faults = {};
  os::ring(bell.get());
  CHECK(::read(bell.get(), &count, sizeof count) == sizeof count);
}

TEST_CASE("a hook after a call leaves its errno alone") {
  os::faults.after_call = [](os::call) { errno = EIO; };
  errno = 0;
  CHECK(os::invoke(os::call::read, [] { return ::read(-1, nullptr, 0); }) < 0);
  CHECK(errno == EBADF);
  os::faults = {};
}
