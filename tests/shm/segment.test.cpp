// SPDX-License-Identifier: BSL-1.0
// Argument segments: blocks are distinct, reused warm, given back when too much is idle, ids are used again, and nobody
// but the front end's own mapping can write them. Front end only.
#include <coproc/shm/segment.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace coproc;
using namespace coproc::shm;

namespace {

template <class... A>
std::shared_ptr<segment_pool> make_pool(A... a) {
  return std::make_shared<segment_pool>(a...);
}

/// A block whose first bytes count as written, all that were asked for where `used_bytes` is not given.
argument_block used(segment_pool& pool, std::size_t bytes, std::size_t used_bytes = 0) {
  argument_block block = pool.allocate(bytes);
  block.set_used(used_bytes != 0 ? used_bytes : bytes);
  return block;
}

/// How many segments this process maps; a segment is a file of its own, perhaps in several pieces.
std::size_t mapped_segments() {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> files;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    std::string range, mode, offset, device, inode, name;
    fields >> range >> mode >> offset >> device >> inode >> name;
    if (name == "/memfd:coproc-arguments") files.insert(inode);
  }
  return files.size();
}

/// No descriptor can be opened during its lifetime.
class descriptors_used_up {
public:
  descriptors_used_up() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{0, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~descriptors_used_up() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
  rlimit before_{};
};

/// Lowers RLIMIT_FSIZE for its lifetime.
class file_size_limited {
public:
  explicit file_size_limited(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~file_size_limited() { ::setrlimit(RLIMIT_FSIZE, &before_); }

private:
  rlimit before_{};
};

} // namespace

TEST_CASE("a block holds what was asked for, is zero at first, and its offset leads to it") {
  const auto pool = make_pool();
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{1024}, std::size_t{1025},
                              std::size_t{100'000}, std::size_t{200} << 20}) {
    const auto block = pool->allocate(n);
    REQUIRE(block);
    CHECK(block.capacity() >= n);
    CHECK(block.offset() + block.capacity() <= block.owner().bytes());
    CHECK(block.data()[0] == std::byte{0});
    CHECK(block.data()[block.capacity() - 1] == std::byte{0});
    CHECK(block.owner().id() != 0); // 0 means inline
    CHECK(reinterpret_cast<std::uintptr_t>(block.data()) % 1024 == 0);
  }
}

TEST_CASE("the last block given back is the first to be used again") {
  const auto pool = make_pool();
  auto a = pool->allocate(5000), b = pool->allocate(5000), c = pool->allocate(5000);
  const std::byte *const pa = a.data(), *const pb = b.data();
  a.reset();
  b.reset();
  CHECK(pool->allocate(5000).data() == pb);
  const auto again = pool->allocate(6000);
  const auto next = pool->allocate(7000);
  CHECK(again.data() == pb);
  CHECK(next.data() == pa);
}

TEST_CASE("a moved-from block gives nothing back") {
  const auto pool = make_pool();
  auto a = pool->allocate(5000);
  const std::byte* const where = a.data();
  argument_block b = std::move(a);
  CHECK_FALSE(a);
  a.reset();
  const auto other = pool->allocate(5000);
  CHECK(other.data() != where);
  b = pool->allocate(5000); // gives its first block back
  CHECK(pool->allocate(5000).data() == where);
}

TEST_CASE("live blocks never overlap, whatever comes and goes") {
  std::mt19937 random(3);
  const auto pool = make_pool(std::size_t{1} << 20); // with drops
  struct live_block {
    argument_block block;
    std::size_t length;
    std::byte pattern;
  };
  std::vector<live_block> live;
  for (int i = 0; i != 3000; ++i) {
    if (live.size() > random() % 40) {
      const std::size_t which = random() % live.size();
      const auto& l = live[which];
      REQUIRE(l.block.data()[0] == l.pattern);
      REQUIRE(l.block.data()[l.length - 1] == l.pattern);
      REQUIRE(l.block.data()[l.length / 2] == l.pattern);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
    } else {
      live_block l{pool->allocate(0), 1 + random() % (random() % 10 == 0 ? 300'000 : 3'000),
                   static_cast<std::byte>(1 + random() % 255)};
      l.block = pool->allocate(l.length);
      std::memset(l.block.data(), static_cast<int>(l.pattern), l.length);
      l.block.set_used(l.length);
      live.push_back(std::move(l));
    }
  }
}

TEST_CASE("the segment used last stays warm whatever its size") {
  const auto pool = make_pool();
  constexpr std::size_t bytes = std::size_t{300} << 20; // more than stays warm
  auto first = pool->allocate(bytes);
  const std::byte* const where = first.data();
  first.set_used(bytes);
  first.reset();
  CHECK(mapped_segments() == 1);
  CHECK(pool->take_dropped().empty());
  for (int i = 0; i != 3; ++i) {
    auto again = pool->allocate(bytes);
    CHECK(again.data() == where);
    again.set_used(bytes);
  }
  CHECK(pool->take_dropped().empty());
}

TEST_CASE("small segments that come back do not drive out a large one") {
  const auto pool = make_pool();
  constexpr std::size_t bytes = std::size_t{300} << 20;
  auto large = used(*pool, bytes);
  const std::byte* const where = large.data();
  large.reset();
  for (const std::size_t small : {1'000u, 2'000u, 10'000'000u}) used(*pool, small).reset();
  CHECK(pool->take_dropped().empty());
  CHECK(pool->allocate(bytes).data() == where);
}

TEST_CASE("what was used longest ago is dropped when more than the warm bytes lie besides the largest") {
  constexpr std::size_t mib = std::size_t{1} << 20;
  const auto pool = make_pool(3 * mib);
  std::vector<argument_block> blocks;
  for (int i = 0; i != 5; ++i) blocks.push_back(used(*pool, 64 * mib, 2 * mib)); // one block a segment
  REQUIRE(mapped_segments() == 5);
  std::vector<std::uint64_t> serials;
  for (const auto& b : blocks) serials.push_back(b.owner().serial());
  blocks[3].reset();
  blocks[1].reset();
  CHECK(pool->take_dropped().empty()); // 2 MiB, besides as many
  blocks[0].reset();
  CHECK(pool->take_dropped() == std::vector{serials[3]});
  CHECK(pool->take_dropped().empty()); // each is named once
  blocks[4].set_used(10 * mib);
  blocks[4].reset();
  CHECK(pool->take_dropped() == std::vector{serials[1]}); // 4 MiB besides 10
  blocks[2].reset();
  CHECK(pool->take_dropped() == std::vector{serials[0]});
  CHECK(mapped_segments() == 2);
}

TEST_CASE("several segments are dropped at once, and all of them are named") {
  const auto pool = make_pool(1'000'000);
  std::vector<std::uint64_t> small;
  std::vector<argument_block> blocks;
  for (const std::size_t bytes : {2'000u, 4'000u, 8'000u, 16'000u}) blocks.push_back(used(*pool, bytes));
  for (auto& b : blocks) {
    small.push_back(b.owner().serial());
    b.reset();
  }
  auto large = used(*pool, std::size_t{64} << 20), larger = used(*pool, std::size_t{128} << 20);
  large.reset();
  CHECK(pool->take_dropped().empty());
  small.push_back(pool->allocate(std::size_t{64} << 20).owner().serial());
  larger.reset();
  CHECK(pool->take_dropped() == small);
  CHECK(mapped_segments() == 1);
}

TEST_CASE("ids of dropped segments are used again, for many more segments than there are ids") {
  const auto pool = make_pool(1, 2);
  std::uint64_t last_serial = 0;
  for (int i = 0; i != 1000; ++i) {
    auto block = used(*pool, i % 2 == 0 ? 2'000 : 5'000); // drives the other size out when it comes back
    CHECK(block.owner().id() >= 1);
    CHECK(block.owner().id() <= 2);
    CHECK(block.owner().serial() > last_serial);
    last_serial = block.owner().serial();
    CHECK(block.data()[0] == std::byte{0}); // other memory than before
    std::memset(block.data(), 1, block.capacity());
  }
  CHECK(last_serial == 1000);
  CHECK(pool->take_dropped().size() == 999);
}

TEST_CASE("no two segments have the same id, and when all ids are in use that is an error which passes") {
  const auto pool = make_pool(1, 3);
  auto a = used(*pool, 2'000), b = used(*pool, 4'000), c = used(*pool, 8'000);
  CHECK(std::set{a.owner().id(), b.owner().id(), c.owner().id()} == std::set<std::uint32_t>{1, 2, 3});
  try {
    static_cast<void>(pool->allocate(16'000));
    FAIL("no exception");
  } catch (const pool_error& e) {
    CHECK(e.code() == os::system_code(EOVERFLOW));
  }
  CHECK(pool->allocate(3'000)); // of a segment that is there
  const std::uint32_t free = b.owner().id();
  b.reset();
  c.reset(); // drives b's out
  CHECK(used(*pool, 16'000).owner().id() == free);
}

TEST_CASE("a segment that the system refuses takes no id with it") {
  const auto pool = make_pool(1, 1);
  for (int i = 0; i != 3; ++i) {
    net::error_code why;
    try {
      const descriptors_used_up none;
      static_cast<void>(pool->allocate(2'000));
    } catch (const pool_error& e) {
      why = e.code();
    }
    CHECK(why == os::system_code(EMFILE));
  }
  CHECK(pool->allocate(2'000).owner().id() == 1);
}

TEST_CASE("a pool that is gone is kept alive by its blocks") {
  auto pool = make_pool();
  auto block = pool->allocate(2000);
  pool.reset();
  std::memset(block.data(), 1, block.capacity());
}

TEST_CASE("who is sent a segment cannot write it by any means, nor change its size") {
  const auto pool = make_pool();
  auto block = pool->allocate(5000);
  std::memset(block.data(), 'a', 5000); // the front end's mapping stays writable
  const int fd = block.owner().fd();
  const std::size_t bytes = block.owner().bytes();

  void* const readable = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  REQUIRE(readable != MAP_FAILED);
  CHECK(static_cast<const char*>(readable)[block.offset() + 4999] == 'a');
  CHECK(::mprotect(readable, bytes, PROT_READ | PROT_WRITE) != 0);
  ::munmap(readable, bytes);
  CHECK(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  CHECK(::pwrite(fd, "b", 1, 0) < 0);
  CHECK(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0);
  CHECK(::fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096) != 0);
  CHECK(::ftruncate(fd, 0) != 0);
  CHECK(::ftruncate(fd, static_cast<off_t>(2 * bytes)) != 0);
  CHECK(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0);

  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  os::unique_fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (again) { // opening is allowed: the seals belong to the memory, not to the descriptor
    CHECK(::pwrite(again.get(), "b", 1, 0) < 0);
    CHECK(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0) == MAP_FAILED);
  }
  CHECK(::truncate(path.c_str(), 0) != 0);
  CHECK(block.data()[0] == std::byte{'a'});
}

TEST_CASE("RLIMIT_FSIZE is an exception, not a signal, and leaves the pool usable") {
  const auto pool = make_pool();
  {
    const file_size_limited limit(3 << 20);
    try {
      static_cast<void>(pool->allocate(4 << 20));
      FAIL("no exception");
    } catch (const pool_error& e) {
      CHECK(e.code() == os::system_code(EFBIG));
    }
    CHECK(mapped_segments() == 0);
    const auto nearly = pool->allocate((2 << 20) + 1); // 4 MiB when rounded up
    std::memset(nearly.data(), 1, nearly.capacity());
    const auto small = pool->allocate(2000);
    std::memset(small.data(), 1, small.capacity());
    CHECK(pool->allocate(3 << 20).capacity() == 3 << 20);
  }
  CHECK(pool->allocate(4 << 20).capacity() >= 4 << 20);
}

TEST_CASE("sizes that no memory has are an error") {
  const auto pool = make_pool();
  CHECK_THROWS_AS(pool->allocate(~std::size_t{0}), pool_error);
  CHECK_THROWS_AS(pool->allocate((std::size_t{1} << 63) + 1), pool_error);
  CHECK(mapped_segments() == 0);
  CHECK(pool->allocate(10));
}

TEST_CASE("threads allocate and give back at once") {
  const bool with_drops = GENERATE(false, true);
  const auto pool = with_drops ? make_pool(1, 8) : make_pool(); // more ids than there are sizes of blocks
  std::atomic<int> broken{0};
  std::vector<std::thread> threads;
  for (unsigned n = 0; n != 4; ++n)
    threads.emplace_back([&, n] {
      std::mt19937 random(n);
      for (int i = 0; i != 400; ++i) {
        const std::size_t length = 1 + random() % 50'000;
        auto block = pool->allocate(length);
        std::memset(block.data(), static_cast<int>(n + 1), length);
        block.set_used(length);
        std::this_thread::yield();
        for (std::size_t k = 0; k < length; k += 997)
          if (block.data()[k] != static_cast<std::byte>(n + 1)) ++broken;
      }
    });
  std::size_t dropped = 0;
  for (int i = 0; i != 400; ++i) dropped += pool->take_dropped().size();
  for (auto& t : threads) t.join();
  dropped += pool->take_dropped().size();
  CHECK((dropped != 0) == with_drops);
  CHECK(broken == 0);
}
