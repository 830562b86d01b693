// SPDX-License-Identifier: BSL-1.0
// When a worker is stopped or killed: the deadlines of the task at its head (rule D, docs/protocol.md), who may be hit
// by a signal (rule K, docs/protocol.md), and how one step follows the other until SIGKILL. One worker at a time: seats
// and successors are the fleet's. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/effects.hpp>
#include <coproc/front/ledger.hpp>

#include <algorithm>
#include <csignal>

namespace coproc::detail::front {

class watchdog {
public:
  using state = worker_record::state;

  COPROC_LAZY watchdog(const dispatcher_limits& limits, effects& kernel, ledger& books);

  // ---- killing

  /// Rule K, docs/protocol.md. The worker gets no more work from here on, so a signal can only hit the target, or
  /// nobody.
  COPROC_LAZY void kill_running(worker_record& w, task_record& t, exit_cause cause, time_point now) noexcept;

  COPROC_LAZY void kill_now(worker_record& w, time_point now) noexcept;

  /// It wrote what no worker writes: nothing it says of its tasks counts any more.
  COPROC_LAZY void violation(worker_record& w, time_point now) noexcept;

  /// It has not begun what it should have (stopped, starved, deaf): it gets no new work until it moves, or is killed.
  COPROC_LAZY void stall(worker_record& w, time_point now) noexcept;

  /// Its socket is full although it has nothing else to do. It may only just be waking up, to many messages: tried again
  /// soon, and until kill_grace is over.
  COPROC_LAZY void deafen(worker_record& w, time_point now) noexcept;

  // ---- the head

  /// Takes a task back unless it was begun. The next one may thereby come to the head.
  COPROC_LAZY bool revoke(worker_record& w, task_record& t, time_point now) noexcept;

  /// A task has come to the head of the ring: rule D, docs/protocol.md.
  COPROC_LAZY void new_head(worker_record& w, task_record& t, time_point now) noexcept;

  COPROC_LAZY void look_at_head(worker_record& w, time_point now) noexcept;
  /// After revocations: deadlines are those of the head, which was `before`. What is revoked has nothing begun behind it, unless
  /// the worker lies.
  COPROC_LAZY void look_at_head_unless(const task_record* before, worker_record& w, time_point now) noexcept;

  /// What it has not begun, from position `from` on, moves.
  COPROC_LAZY void take_back(worker_record& w, std::uint64_t from = 0) noexcept;

  // ---- time

  /// Does what is due. True: it survived SIGKILL, nothing more can be done to it.
  COPROC_LAZY bool step(worker_record& w, time_point now) noexcept;

  COPROC_LAZY time_point next_deadline(const worker_record& w) const noexcept;

private:
  static constexpr std::chrono::milliseconds deaf_again_after{1};

  COPROC_LAZY void stalled_for_too_long(worker_record& w, time_point now) noexcept;

  COPROC_LAZY void soft_expired(worker_record& w, time_point now) noexcept;

  COPROC_LAZY void head_expired(worker_record& w, time_point now) noexcept;

  // Nothing of its ring was begun. One that was never forked has no pidfd: then it is the fork server that hangs.
  COPROC_LAZY void start_expired(worker_record& w, time_point now) noexcept;

  const dispatcher_limits limits_;
  effects& effects_;
  ledger& ledger_;
};

} // namespace coproc::detail::front

#include <coproc/front/watchdog.ipp>
