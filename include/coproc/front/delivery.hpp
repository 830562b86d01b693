// SPDX-License-Identifier: BSL-1.0
// Ended tasks on their way to their handlers, and who may call the next one. Front end, any thread.
//
// The holder of the pool's token calls handlers in place, one after the other. Should one of them block or run the loop
// itself (io_context::poll(), future::get() where another thread runs the loop, too), the token would be stuck with it:
// nothing would be drained, nobody killed. So a timer of the pool looks here now and then. When one handler has taken
// its whole period, whoever runs the timer's handler takes the token over, with what was not delivered yet. Rule W4,
// docs/protocol.md; docs/design/004.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/os/lock.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

namespace coproc::detail::front {

class delivery {
public:
  struct claimed {
    task_record* task = nullptr; ///< null: none is left, or the token is somebody else's by now
    bool more = false;
  };

  /// By the holder, under the pool's mutex, where nobody takes over.
  void add(task_list& ended) noexcept { list_.splice_back(ended); }

  /// The next task for turn `me` to complete. `me` counts as in a handler from here on, until between_handlers() or a later
  /// turn: being taken over does no harm there, either.
  COPROC_LAZY claimed claim(std::uint64_t me) noexcept;

  /// The holder does what nobody may take over from.
  void between_handlers() noexcept { in_handler_of_.store(0, std::memory_order_relaxed); }

  /// Has turn `from` been in one handler since the last call? Then it loses what is left to turn `to`. Under the pool's mutex.
  COPROC_LAZY bool take_over_if_stuck(std::uint64_t from, std::uint64_t to, bool whole_period) noexcept;

  /// What is left goes before `ended`. Under the pool's mutex.
  COPROC_LAZY void abandon(task_list& ended) noexcept;

private:
  os::spin_lock mutex_; // may be locked while the pool's mutex is held; guards all below, but see add()
  task_list list_;
  std::uint64_t holder_ = 0, claims_ = 0, claims_at_last_look_ = 0;
  std::atomic<std::uint64_t> in_handler_of_{0}; // the turn that is, or last was, calling a handler; 0: none
};

} // namespace coproc::detail::front

#include <coproc/front/delivery.ipp>
