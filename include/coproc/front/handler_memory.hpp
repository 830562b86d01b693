// SPDX-License-Identifier: BSL-1.0
// Memory for one handler at a time, so that it can always be posted: what the last one took is given back before that
// one is called. Front end, any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <new>

namespace coproc::detail::front {

class handler_memory {
public:
  handler_memory() = default;
  handler_memory(const handler_memory&) = delete;
  handler_memory& operator=(const handler_memory&) = delete;

  /// From the heap where it is taken, or too small. Throws std::bad_alloc only then.
  void* allocate(std::size_t bytes) {
    if (bytes <= sizeof(place_) && !taken_.exchange(true, std::memory_order_acquire)) return place_;
    return ::operator new(bytes);
  }

  void deallocate(void* p) noexcept {
    if (p == place_)
      taken_.store(false, std::memory_order_release); // pairs with the exchange in allocate()
    else
      ::operator delete(p);
  }

private:
  alignas(std::max_align_t) std::byte place_[128]; // Asio's own part takes less than half
  std::atomic<bool> taken_{false};
};

/// What a handler names as its allocator_type. \pre the memory lives until the handler is called or destroyed
template <class T>
class handler_allocator {
public:
  using value_type = T;

  explicit handler_allocator(handler_memory& memory) noexcept : memory_(&memory) {}
  template <class U>
  handler_allocator(const handler_allocator<U>& other) noexcept : memory_(other.memory_) {}

  T* allocate(std::size_t n) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    return static_cast<T*>(memory_->allocate(n * sizeof(T)));
  }
  void deallocate(T* p, std::size_t) noexcept { memory_->deallocate(p); }

  template <class U>
  bool operator==(const handler_allocator<U>& other) const noexcept {
    return memory_ == other.memory_;
  }

private:
  template <class>
  friend class handler_allocator;

  handler_memory* memory_;
};

} // namespace coproc::detail::front
