// SPDX-License-Identifier: BSL-1.0
// A heap that has nothing left, for the thread and as long as the test says so.
#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>

#include "support/leak_audit.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

using namespace coproc;
using namespace coproc::testing;

namespace {

thread_local constinit bool heap_is_empty = false;

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (!heap_is_empty)
    if (void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)) return p;
  throw std::bad_alloc();
}

} // namespace

// Not inline: g++ 12 would take free() for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

class empty_heap {
public:
  empty_heap() { heap_is_empty = true; }
  ~empty_heap() { heap_is_empty = false; }
  empty_heap(const empty_heap&) = delete;
  empty_heap& operator=(const empty_heap&) = delete;
};

int doubled(int n) { return 2 * n; }

} // namespace

TEST_CASE("a pool that has run a task takes the next one without the heap: also the turn that it begins") {
  const leak_audit audit;
  net::io_context io(1);
  process_pool pool(io, {.max_workers = 1});
  for (int i = 0; i < 3; ++i) {
    std::exception_ptr error;
    int value = 0;
    const auto handler = [&](std::exception_ptr e, int n) { error = e, value = n; };
    if (i == 0) {
      async_run(pool, work(doubled, i), handler);
    } else {
      const empty_heap none;
      async_run(pool, work(doubled, i), handler);
    }
    io.restart();
    io.run();
    CHECK_FALSE(error);
    CHECK(value == 2 * i);
  }
}
