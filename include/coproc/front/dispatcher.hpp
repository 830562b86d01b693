// SPDX-License-Identifier: BSL-1.0
// What a pool does about each event, put together of its parts: the ledger of tasks, the fleet of workers, wake-ups,
// and the scheduler between them. Events in (submissions, cancellations, worker births and deaths, time), effects out
// through a small interface; no system call, no clock, no lock of its own. It runs in the front end under the pool's
// mutex; the same code runs in unit tests and simulations against fakes.
//
// What concerns one part alone goes to that part. Here is what concerns several, and the end of a pool.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/scheduler.hpp>
#include <coproc/front/wakeups.hpp>
#include <coproc/os/error.hpp>

#include <algorithm>
#include <csignal>
#include <memory>
#include <utility>

namespace coproc::detail::front {

enum class cancel_strength : std::uint8_t { total, partial, terminal };

class dispatcher {
public:
  COPROC_LAZY dispatcher(const dispatcher_limits& limits, effects& kernel);

  dispatcher(const dispatcher&) = delete;
  dispatcher& operator=(const dispatcher&) = delete;

  // ---- the parts

  /// Births, deaths and replacement; who is there.
  fleet& workers() noexcept { return fleet_; }
  const fleet& workers() const noexcept { return fleet_; }

  /// Who sleeps, who is woken, whose bell wakes the front end.
  wakeups& waking() noexcept { return waking_; }

  /// Which tasks there are. Changed only through the functions here.
  const ledger& books() const noexcept { return ledger_; }

  // ---- tasks

  /// Accepts, queues or refuses; every path but acceptance and waiting puts the record into completed(). The caller
  /// then calls pump().
  COPROC_LAZY void submit(task_record& t, time_point now) noexcept;

  /// The same for a task of the usual kind, of which there may be millions a second, between two calls of pump(): it
  /// goes to the worker that was chosen last, or into the queue while all are full, and nothing else is looked at.
  /// False: nothing was done, submit() and pump() must see to it.
  COPROC_LAZY bool submit_quickly(task_record& t, time_point now) noexcept;

  /// Issues queued tasks to workers, moves work from busy workers to idle ones, and asks for more workers.
  COPROC_LAZY void pump(time_point now) noexcept;

  /// By the table in docs/cancellation.md; harmless at any time. The ticket guards against records that were
  /// recycled meanwhile; a record that is prepared and not yet submitted is `idle` or, from its last life, `finished`.
  COPROC_LAZY void cancel(task_record& t, std::uint64_t ticket, cancel_strength strength, time_point now) noexcept;

  /// Consumes finished heads, at most `budget` tasks. Returns how many ring entries moved.
  COPROC_LAZY std::size_t drain(std::size_t budget, time_point now) noexcept;

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return ledger_.completed(); }

  /// Operations that are not completed, and what else must come to its end: while there is any, the loop must be kept
  /// alive.
  COPROC_LAZY std::uint64_t outstanding() const noexcept;

  // ---- workers

  /// An incarnation whose START was sent.
  COPROC_LAZY void add_worker(std::unique_ptr<worker> w, time_point now) noexcept;

  /// process_pool::resize. Throws std::bad_alloc: then nothing has happened. The caller then calls pump().
  COPROC_LAZY void resize(unsigned min_workers, unsigned max_workers, time_point now);

  // ---- time

  /// Time passed: deadlines, escalations, restarts. Returns when it wants to be called again.
  COPROC_LAZY time_point tick(time_point now) noexcept;

  COPROC_LAZY time_point next_deadline() const noexcept;

  // ---- the end

  /// No more submissions; what was submitted goes on.
  void close() noexcept { ledger_.close(); }

  /// close(), then at `deadline` what is left is ended: queued tasks are aborted and running ones asked to stop, one
  /// kill_grace later SIGTERM, one more later SIGKILL. over() tells the end. A later call can only hasten it.
  COPROC_LAZY void shut_down(time_point deadline, time_point now) noexcept;

  /// After that: what has not begun is aborted now.
  COPROC_LAZY void drop_queued(time_point now) noexcept;

  /// Ends everything now, with SIGTERM and after kill_grace SIGKILL, or with SIGKILL at once.
  COPROC_LAZY void terminate(int signal, time_point now) noexcept;

  /// The shutdown is complete: no task and no worker is left.
  bool over() const noexcept { return stage_ == stage::over; }
  bool ending() const noexcept { return stage_ == stage::terminating || stage_ == stage::over; }

  /// For a destructor: whatever is left is aborted, without waiting for its worker, and none is started any more.
  COPROC_LAZY void abandon() noexcept;

  // ---- what is counted

  /// Everything but the workers' memory.
  COPROC_LAZY pool_stats stats(time_point now) const;

private:
  enum class stage : std::uint8_t { open, draining, stopping, terminating, over };

  COPROC_LAZY void expire(time_point now) noexcept;

  COPROC_LAZY void revoke_all(time_point now) noexcept;

  COPROC_LAZY void advance_shutdown(time_point now) noexcept;

  pace pace_;
  ledger ledger_;
  fleet fleet_;
  wakeups waking_;
  scheduler scheduler_;
  stage stage_ = stage::open;
  time_point stage_deadline_ = time_point::max();
};

} // namespace coproc::detail::front

#include <coproc/front/dispatcher.ipp>
