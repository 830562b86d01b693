// SPDX-License-Identifier: BSL-1.0
// Store, then load, against store, then load (Dekker), where one side runs often and the other hardly ever: the first
// keeps only the compiler from reordering, the second has the kernel run a full barrier on every CPU that runs a thread
// of this process. See membarrier(2) and tests/model/mutex.pml. Threads of one process only. Layer os/.
#pragma once

#include <coproc/os/fault.hpp>

#include <atomic>
#include <cerrno>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coproc::os {

inline bool membarrier(int command) noexcept {
  return invoke(call::membarrier, [&] { return ::syscall(SYS_membarrier, command, 0, 0); }) == 0;
}

/// Tells the kernel that heavy_fence() will be called. Costs milliseconds where there are other threads already, so do
/// it early.
inline void announce_heavy_fences() noexcept {
  [[maybe_unused]] static const bool announced = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

/// The side that runs often: between its store and its load.
inline void light_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

/// The other side. False if the kernel has no such call or refuses it: then the two may miss each other.
inline bool heavy_fence() noexcept {
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return true;
  return errno == EPERM && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
         membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

} // namespace coproc::os
