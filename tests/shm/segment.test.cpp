// SPDX-License-Identifier: BSL-1.0
// Argument segments: blocks are distinct, reused warm, given back when too much is idle, and nobody but the front
// end's own mapping can write them. Front end only.
#include <coproc/shm/segment.hpp>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace coproc;
using namespace coproc::shm;

namespace {

std::shared_ptr<segment_pool> make_pool(std::size_t warm_bytes = std::size_t{256} << 20) {
  return std::make_shared<segment_pool>(warm_bytes);
}

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

TEST_CASE("idle segments above the warm budget are dropped, named once, and their blocks outlive nothing") {
  const auto pool = make_pool(std::size_t{3} << 20);
  std::vector<argument_block> blocks;
  for (int i = 0; i != 3; ++i) {
    blocks.push_back(pool->allocate(std::size_t{64} << 20)); // one block a segment
    blocks.back().set_used(std::size_t{2} << 20);
  }
  REQUIRE(pool->segment_count() == 3);
  const auto second = blocks[1].owner().id(), third = blocks[2].owner().id();
  blocks[0].reset();
  CHECK(pool->take_dropped().empty()); // 2 MiB idle
  blocks[1].reset();
  CHECK(pool->take_dropped() == std::vector<std::uint32_t>{second});
  CHECK(pool->take_dropped().empty());
  CHECK(pool->segment_count() == 2);
  blocks[2].reset();
  CHECK(pool->take_dropped() == std::vector<std::uint32_t>{third});
  const auto fresh = pool->allocate(std::size_t{100} << 20);
  CHECK(fresh.owner().id() > third); // ids are never used again
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
    CHECK(pool->segment_count() == 0);
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
  CHECK(pool->segment_count() == 0);
  CHECK(pool->allocate(10));
}

TEST_CASE("threads allocate and give back at once") {
  const auto pool = make_pool(std::size_t{4} << 20);
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
  for (auto& t : threads) t.join();
  CHECK(broken == 0);
}
