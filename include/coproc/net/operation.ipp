// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/operation.hpp>

namespace coproc::detail {

COPROC_DEF void* operation_memory::allocate(std::size_t bytes, std::size_t alignment) {
  if (alignment > alignof(std::max_align_t)) return ::operator new(bytes, std::align_val_t(alignment));
  return net::recycling_allocator<std::byte>().allocate(bytes);
}

COPROC_DEF void operation_memory::free(void* block, std::size_t bytes, std::size_t alignment) noexcept {
  if (alignment > alignof(std::max_align_t)) return ::operator delete(block, std::align_val_t(alignment));
  net::recycling_allocator<std::byte>().deallocate(static_cast<std::byte*>(block), bytes);
}

} // namespace coproc::detail
