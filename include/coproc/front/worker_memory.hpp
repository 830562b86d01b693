// SPDX-License-Identifier: BSL-1.0
// The shared memory of one incarnation of a worker as the front end maps it. Whoever holds a result that still lies
// there keeps it mapped, after the worker's death, too. Front end, any thread.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/result_account.hpp>
#include <coproc/os/memfd.hpp>
#include <coproc/shm/mailbox.hpp>

#include <atomic>
#include <cstdint>
#include <memory>

namespace coproc::detail::front {

struct worker_memory {
  os::mapping mailbox_map; ///< read-write
  os::mapping results_map; ///< read-only

  shm::mailbox& mailbox() const noexcept { return *reinterpret_cast<shm::mailbox*>(mailbox_map.data()); }

  /// A result of its file has been decoded, or dropped. Any thread.
  COPROC_LAZY void free_result(unsigned group) noexcept;

  /// A loan of its views has ended. Any thread; no other has this loan.
  COPROC_LAZY void give_back(unsigned loan) noexcept;

  /// The next flush wakes the worker if it sleeps: it may be waiting for room, or could give memory back to the system.
  COPROC_LAZY void note_freed() noexcept;

  result_account results;
  /// What the mailbox says. Relaxed: who has a loan has it by way of the worker. Atomic, because a broken one may lend
  /// it twice.
  shm::loan_flags returned{};

  std::atomic<bool> freed_since_flush{false};
  std::shared_ptr<std::atomic<bool>> freed_somewhere; ///< the pool's; set after freed_since_flush
};

} // namespace coproc::detail::front

#include <coproc/front/worker_memory.ipp>
