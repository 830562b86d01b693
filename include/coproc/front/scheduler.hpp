// SPDX-License-Identifier: BSL-1.0
// Which task goes to which worker, how many at a time, and when it is taken back: from the queue into rings, and out of
// rings whose worker does not go on. Decides, and acts through the ledger, the workers and the kernel. Front end, under
// the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/balance.hpp>
#include <coproc/front/effects.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/ledger.hpp>
#include <coproc/front/pace.hpp>
#include <coproc/front/wakeups.hpp>
#include <coproc/front/worker_choice.hpp>

#include <cerrno>
#include <utility>

namespace coproc::detail::front {

class scheduler {
public:
  scheduler(fleet& workers, ledger& books, wakeups& waking, const pace& speed, effects& kernel) noexcept
      : fleet_(workers), ledger_(books), waking_(waking), effects_(kernel), choice_(workers, books, waking, speed),
        balance_(workers, books, waking) {}

  /// Issues queued tasks to workers, moves work from busy workers to idle ones, and asks for more workers.
  COPROC_LAZY void pump(time_point now) noexcept;

  /// Takes a new task that ledger::takes_quickly(): for the worker that was chosen last, or for the queue while all are
  /// full. False: nothing was done, since more is to be looked at.
  COPROC_LAZY bool take_quickly(task_record& t, time_point now) noexcept;

  /// When the next task may be moved, if nothing else happens.
  time_point next_move() const noexcept { return balance_.next_move(); }

private:
  COPROC_LAZY void dispatch(time_point now) noexcept;

  // To the chosen worker, the task that is next and so many more as it was chosen for, as long as they want nothing
  // else than to be published.
  COPROC_LAZY bool hand_over_plain(worker& w, time_point now) noexcept;

  // Sees to it that chosen_ is the worker for the next task; false: none has room.
  COPROC_LAZY bool choose(time_point now) noexcept;

  // False: this worker cannot take this task now; it stays at the head of the queue.
  COPROC_LAZY bool issue(worker& w, task_record& t, time_point now) noexcept;

  COPROC_LAZY void hand_over(worker& w, task_record& t, time_point now) noexcept;

  // How long it may take, for this_worker::deadline(): what is left until its deadline, if it has one.
  COPROC_LAZY static void tell_limit(task_record& t, time_point now) noexcept;

  // Those that are sent when one is not are sent: the next attempt goes on from there.
  COPROC_LAZY int send_segments(worker& w, task_record& t) noexcept;

  fleet& fleet_;
  ledger& ledger_;
  wakeups& waking_;
  effects& effects_;
  worker_choice choice_;
  worker_choice::answer chosen_; // since the last pump()
  balance balance_;
};

} // namespace coproc::detail::front

#include <coproc/front/scheduler.ipp>
