// SPDX-License-Identifier: BSL-1.0
// Private memory in huge pages, where the kernel gives them. Any process. Layer os/.
#pragma once

#include <coproc/os/fault.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>

namespace coproc::os {

/// From this size on glibc's malloc maps each block afresh (the most that its M_MMAP_THRESHOLD grows to), so that
/// writing it is above all page faults, and nothing that is advised outlives the block.
inline constexpr std::size_t always_fresh_bytes = std::size_t{32} << 20;

/// Fresh memory that is about to be written from end to end: one page fault for each 2 MiB of it instead of 512. Best
/// effort: transparent huge pages may be off, and errno stays what it was.
inline void expect_writes(void* memory, std::size_t bytes) noexcept {
  constexpr std::uintptr_t huge_page = std::uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + huge_page - 1) / huge_page * huge_page;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / huge_page * huge_page;
  if (begin >= end) return;
  const int saved = errno;
  invoke(call::advise, [&] { return ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE); });
  errno = saved;
}

} // namespace coproc::os
