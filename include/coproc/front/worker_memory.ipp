// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/worker_memory.hpp>
#include <coproc/shm/store.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void worker_memory::free_result(unsigned group) noexcept {
  results.done(group, [this](std::uint64_t n) {
    shm::store(shm::site::freed, mailbox().parent.freed, n, std::memory_order_release);
    note_freed();
  });
}

COPROC_LAZY_DEF void worker_memory::give_back(unsigned loan) noexcept {
  const std::uint8_t now = returned[loan].load(std::memory_order_relaxed) ^ 1;
  returned[loan].store(now, std::memory_order_relaxed);
  shm::store(shm::site::returned, mailbox().parent.returned[loan], now, std::memory_order_release);
  note_freed();
}

COPROC_LAZY_DEF void worker_memory::note_freed() noexcept {
  freed_since_flush.store(true, std::memory_order_release);
  if (freed_somewhere) freed_somewhere->store(true, std::memory_order_release);
}

} // namespace coproc::detail::front
