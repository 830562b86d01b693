// SPDX-License-Identifier: BSL-1.0
// Memory for one handler at a time, and the heap for what does not fit there.
#include <coproc/front/handler_memory.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <vector>

using coproc::detail::front::handler_allocator;
using coproc::detail::front::handler_memory;

namespace {

bool is_within(const handler_memory& m, const void* p) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&m);
  const auto* const at = static_cast<const std::byte*>(p);
  return at >= begin && at < begin + sizeof m;
}

} // namespace

TEST_CASE("one handler at a time has its place, the next one lies on the heap") {
  handler_memory m;
  void* const first = m.allocate(100);
  CHECK(is_within(m, first));
  void* const second = m.allocate(100);
  CHECK_FALSE(is_within(m, second));
  m.deallocate(second);
  m.deallocate(first);
  void* const third = m.allocate(100);
  CHECK(third == first);
  m.deallocate(third);
}

TEST_CASE("what is too large lies on the heap, and leaves the place free") {
  handler_memory m;
  void* const large = m.allocate(10'000);
  CHECK_FALSE(is_within(m, large));
  void* const small = m.allocate(1);
  CHECK(is_within(m, small));
  m.deallocate(small);
  m.deallocate(large);
}

TEST_CASE("allocators of the same memory are equal, whatever they allocate") {
  handler_memory m, other;
  const handler_allocator<int> a(m);
  const handler_allocator<long> b(a);
  CHECK(a == b);
  CHECK_FALSE(a == handler_allocator<int>(other));
  std::vector<long, handler_allocator<long>> v(3, b);
  CHECK(is_within(m, v.data()));
}
