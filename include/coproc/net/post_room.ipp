// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/post_room.hpp>

#include <new>
#include <utility>

namespace coproc::detail {

// Blocks beside the place come from Asio's per-thread cache and go back to it. A strand that goes on to its next
// handlers allocates in a destructor: it finds there what the turn before has given back, as it does with Asio's own
// allocator.
struct alignas(std::max_align_t) post_block {
  std::size_t bytes; // what follows
};

COPROC_LAZY_DEF void* post_room::make(std::size_t bytes) {
  void* const p = net::recycling_allocator<std::byte>().allocate(sizeof(post_block) + bytes);
  return ::new (p) post_block{bytes} + 1;
}

COPROC_DEF void post_room::free(void* block) noexcept {
  post_block* const b = static_cast<post_block*>(block) - 1;
  net::recycling_allocator<std::byte>().deallocate(reinterpret_cast<std::byte*>(b), sizeof(post_block) + b->bytes);
}

COPROC_DEF void post_room::add_spare() {
  if (spare_ == nullptr) spare_ = make(spare_bytes);
}

COPROC_DEF void* post_room::allocate(std::size_t bytes) {
  if (bytes <= place_bytes && !std::exchange(place_is_taken_, true)) return place_;
  if (bytes <= spare_bytes && spare_ != nullptr) return std::exchange(spare_, nullptr);
  return make(bytes);
}

} // namespace coproc::detail
