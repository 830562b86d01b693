// SPDX-License-Identifier: BSL-1.0
// Sealed anonymous memory: its size cannot change, its pages come back as zeros, limits are exceptions. One process.
#include <coproc/os/memfd.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace coproc;

namespace {

std::size_t blocks_of(int fd) {
  struct stat s{};
  ::fstat(fd, &s);
  return static_cast<std::size_t>(s.st_blocks);
}

} // namespace

TEST_CASE("memory is sparse, zero, and has the size that was asked for") {
  const auto fd = os::make_memfd("coproc-test", std::size_t{1} << 32);
  struct stat s{};
  REQUIRE(::fstat(fd.get(), &s) == 0);
  CHECK(s.st_size == 1ll << 32);
  CHECK(s.st_blocks == 0);
  CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  const os::mapping map(fd.get(), std::size_t{1} << 32, os::access::read_write);
  CHECK(map.size() == std::size_t{1} << 32);
  CHECK(map.data()[(std::size_t{1} << 32) - 1] == std::byte{0});
}

TEST_CASE("two mappings of one memory show the same bytes, also after the descriptor is closed") {
  auto fd = os::make_memfd("coproc-test", 8192);
  const os::mapping writable(fd.get(), 8192, os::access::read_write), readable(fd.get(), 8192, os::access::read_only);
  fd.reset();
  CHECK(writable.data() != readable.data());
  std::memcpy(writable.data() + 5000, "hello", 5);
  CHECK(std::memcmp(readable.data() + 5000, "hello", 5) == 0);
}

TEST_CASE("a mapping is moved, not copied, and an empty one is false") {
  const auto fd = os::make_memfd("coproc-test", 4096);
  os::mapping a(fd.get(), 4096, os::access::read_write);
  std::byte* const where = a.data();
  os::mapping b = std::move(a);
  CHECK(b.data() == where);
  CHECK(b);
  CHECK_FALSE(os::mapping());
}

TEST_CASE("seal_size: nobody shrinks or grows it, everybody may still write") {
  const auto fd = os::make_memfd("coproc-test", 8192);
  os::seal_size(fd);
  CHECK(::ftruncate(fd.get(), 4096) != 0);
  CHECK(::ftruncate(fd.get(), 16384) != 0);
  CHECK(::pwrite(fd.get(), "x", 1, 8192) < 0); // past the end would grow it
  CHECK(::pwrite(fd.get(), "x", 1, 0) == 1);
  CHECK(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE) != 0);
  CHECK(::fcntl(fd.get(), F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
  CHECK_THROWS_AS(os::seal_size(fd), pool_error);
}

TEST_CASE("seal_for_readers: only mappings that were writable before stay so") {
  const auto fd = os::make_memfd("coproc-test", 8192);
  const os::mapping before(fd.get(), 8192, os::access::read_write);
  os::seal_for_readers(fd);
  before.data()[0] = std::byte{'x'};
  CHECK(::pwrite(fd.get(), "y", 1, 0) < 0);
  CHECK_THROWS_AS(os::mapping(fd.get(), 8192, os::access::read_write), pool_error);
  const os::mapping after(fd.get(), 8192, os::access::read_only);
  CHECK(after.data()[0] == std::byte{'x'});
  CHECK(::mprotect(after.data(), 8192, PROT_READ | PROT_WRITE) != 0);
  CHECK(::ftruncate(fd.get(), 0) != 0);
}

TEST_CASE("punched holes give the memory back and read as zeros") {
  const auto fd = os::make_memfd("coproc-test", 1 << 20);
  os::seal_size(fd);
  const os::mapping map(fd.get(), 1 << 20, os::access::read_write);
  std::memset(map.data(), 1, 1 << 20);
  REQUIRE(blocks_of(fd.get()) > 0);
  os::punch_hole(map.data(), 1 << 20);
  CHECK(blocks_of(fd.get()) == 0);
  CHECK(map.data()[4096] == std::byte{0});
}

TEST_CASE("what cannot be made or mapped is a pool_error with the system's code") {
  const auto code = [](auto f) {
    try {
      f();
    } catch (const pool_error& e) {
      CHECK(std::string(e.what()).find("coproc") == 0);
      return e.code();
    }
    return net::error_code();
  };
  CHECK(code([] { os::mapping(-1, 4096, os::access::read_write); }) == os::system_code(EBADF));
  const auto fd = os::make_memfd("coproc-test", 4096);
  CHECK(code([&] { os::mapping(fd.get(), std::size_t{1} << 60, os::access::read_only); }));
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit low{4096, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &low);
  CHECK(os::file_size_limit() == 4096);
  CHECK(code([] { os::make_memfd("coproc-test", 4097); }) == os::system_code(EFBIG));
  CHECK(os::make_memfd("coproc-test", 4096));
  ::setrlimit(RLIMIT_FSIZE, &before);
}

TEST_CASE("shared memory is made mapped and of its size, and not even the first page is there before it is used") {
  const os::shared_memory m = os::make_shared_memory("coproc-test", 1 << 20, os::access::read_write);
  CHECK(m.map.size() == 1 << 20);
  CHECK(blocks_of(m.fd.get()) == 0);
  m.map.data()[(1 << 20) - 1] = std::byte{1};
  CHECK(blocks_of(m.fd.get()) > 0);
}
