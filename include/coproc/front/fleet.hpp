// SPDX-License-Identifier: BSL-1.0
// The workers of a pool from birth to burial: what their words, their deaths and the fork server's news mean for their
// seats and for the tasks in their rings, and who is replaced by whom. Each worker is a state machine of its own
// (worker.hpp), whose actions are carried out here. No system call, no clock. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/ledger.hpp>
#include <coproc/front/pace.hpp>
#include <coproc/front/restarts.hpp>
#include <coproc/front/roster.hpp>
#include <coproc/front/run_meter.hpp>
#include <coproc/front/scramble.hpp>
#include <coproc/front/worker.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>
#include <span>
#include <utility>

namespace coproc::detail::front {

class fleet {
public:
  using worker_ptr = std::unique_ptr<worker>;
  using state = worker::state;

  /// `speed` learns from what workers report.
  COPROC_LAZY fleet(const dispatcher_limits& limits, effects& kernel, ledger& books, pace& speed);

  fleet(const fleet&) = delete;
  fleet& operator=(const fleet&) = delete;

  const dispatcher_limits& limits() const noexcept { return limits_; }
  /// Seats, those included that are given up as soon as their workers have left.
  unsigned size() const noexcept { return seats_.size(); }
  worker* at(unsigned index) const noexcept { return seats_[index].worker.get(); }

  template <class F>
  void each_worker(F f) const {
    seats_.each_worker(f);
  }
  template <class F>
  void each_process(F f) const {
    seats_.each_process(f);
  }

  // ---- births

  /// Nobody sits there, or is about to, and somebody may.
  bool vacant(unsigned index) const noexcept { return has_seat(index) && seats_[index].vacant(); }
  /// Is there to be a worker of this number?
  bool has_seat(unsigned index) const noexcept { return index < limits_.max_workers; }
  /// Does one that is made now end by itself when it was idle for long?
  bool may_leave(unsigned index) const noexcept { return limits_.leave_when_idle && index >= limits_.min_workers; }

  /// Are there seats that are filled on demand?
  COPROC_LAZY bool may_grow() const noexcept;

  COPROC_LAZY void request(unsigned index) noexcept;

  /// What was requested is not made, since there is no such seat any more.
  COPROC_LAZY void forgo(unsigned index) noexcept;

  /// An incarnation whose START was sent.
  COPROC_LAZY void add_worker(worker_ptr w, time_point now) noexcept;

  /// No incarnation could be made for this index, or its START could not be sent.
  COPROC_LAZY void start_failed(unsigned index, net::error_code why, time_point now) noexcept;

  /// The fork server answered START_FAILED.
  COPROC_LAZY void start_refused(std::uint64_t incarnation, net::error_code why, time_point now) noexcept;

  COPROC_LAZY void started(std::uint64_t incarnation, pid_t pid, os::unique_fd pidfd, time_point now) noexcept;

  // ---- deaths

  /// EXITED: the cause of a death, and news of it should the pidfd not have spoken yet.
  COPROC_LAZY void exited(std::uint64_t incarnation, const worker_exit& how, time_point now) noexcept;

  /// The pidfd fired.
  COPROC_LAZY void died(std::uint64_t incarnation, time_point now) noexcept;

  /// Neither the front end nor the fork server may signal it: `error` says why.
  COPROC_LAZY void signal_refused(std::uint64_t incarnation, int error) noexcept;

  /// The fork server is gone and its workers with it: nobody will say how they ended, and none can be replaced.
  COPROC_LAZY void server_lost(time_point now) noexcept;

  /// The fork server is gone and its workers with it; another one has taken its place and forks new ones.
  COPROC_LAZY void server_replaced(time_point now) noexcept;

  // ---- draining

  /// What a worker answered to an event is done. It may have left its seat then.
  COPROC_LAZY void carry_out(worker& w, worker::action a) noexcept;

  /// Consumes finished heads, at most `budget` tasks. Returns how many ring entries moved.
  COPROC_LAZY std::size_t drain(worker& w, std::size_t& budget, time_point now) noexcept;

  // ---- replacing

  /// A task was given to it, perhaps its last.
  COPROC_LAZY void issued(worker& w, time_point now) noexcept;

  /// All workers of today are replaced, one after the other, each when its successor is ready.
  COPROC_LAZY void recycle_all(time_point now) noexcept;
  bool recycling() const noexcept { return rolling_ != 0; }

  COPROC_LAZY void try_to_recover(time_point now) noexcept;

  // ---- another size

  /// Room for so many workers; allocates. Then resize() does not.
  void reserve(unsigned max_workers) { seats_.reserve(max_workers); }

  /// Workers up to `min` are started at once, up to `max` on demand. Those beyond finish what they run and leave; what
  /// they have not begun goes back into the queue, and so does what belongs elsewhere now: ledger::resize() comes
  /// first.
  COPROC_LAZY void resize(unsigned min, unsigned max, time_point now) noexcept;

  /// Are workers on their way since then?
  bool resizing() const noexcept { return resizing_; }

  // ---- time

  COPROC_LAZY void tick(time_point now) noexcept;

  COPROC_LAZY time_point next_deadline() const noexcept;

  // ---- the end

  /// Every worker is to end: those that run a task are sent `signal`, the others are dismissed.
  COPROC_LAZY void end_all(int signal, time_point now) noexcept;

  /// Raises the stop token of every running task.
  COPROC_LAZY void stop_all() noexcept;

  COPROC_LAZY bool in_transition() const noexcept;

  /// Nobody is left but the unkillable.
  COPROC_LAZY bool gone() const noexcept;

  /// Whatever still runs is aborted, without waiting for its worker, and none is started any more.
  COPROC_LAZY void abandon() noexcept;

  // ---- what is counted

  COPROC_LAZY void add_to(pool_stats& s, time_point now) const;

  trace_buffer& traced() noexcept { return meter_.traced; }

private:
  using seat = roster::seat;

  static constexpr std::chrono::milliseconds measure_every{10};

  static constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15u; // of splitmix64

  // Its pidfd was dropped on the way, for want of a free descriptor: nobody could kill it, so it gets no work.
  COPROC_LAZY void refuse_unkillable(worker& w, time_point now) noexcept;

  COPROC_LAZY static worker_state state_of(const worker& w) noexcept;

  // -- results

  // No more than fit into a ring, since nothing is issued meanwhile.
  struct ended_tasks {
    std::array<task_record*, shm::ring_slots> task;
    std::size_t count = 0;
  };

  COPROC_LAZY void settle_results(worker& w, const ended_tasks& ended, time_point now) noexcept;

  COPROC_LAZY void measure(worker& w, time_point now) noexcept;

  // -- deaths

  // Workers die with their fork server, and nobody will say how.
  COPROC_LAZY void lose_workers(time_point now) noexcept;

  // Drains the ring once more with the same validation, moves what was not begun, sees to a replacement.
  COPROC_LAZY void died(worker& w, time_point now) noexcept;

  COPROC_LAZY void bury(worker& w, time_point now) noexcept;

  COPROC_LAZY void see_to_successor(const worker& w, time_point now) noexcept;

  // Ends the tasks that a dead worker was running once its end is explained. True: the corpse is gone.
  COPROC_LAZY bool classify(std::size_t i) noexcept;

  COPROC_LAZY void end_remaining(worker& w) noexcept;

  // Its task ends on time, its seat gets a replacement.
  COPROC_LAZY void give_up(worker& w) noexcept;

  // -- replacing

  // A worker that is to be replaced gets a successor that stands by. When that is ready, it gets no more tasks, and
  // leaves with the last of those that it has.
  COPROC_LAZY void replace_if_due(seat& s, time_point now) noexcept;

  // Those without tasks leave, if they are more than there are to be.
  COPROC_LAZY void clear_surplus(seat& s, time_point now) noexcept;

  // It may leave now when it is idle, though its process was told to stay. (One that is to stay, though its process
  // leaves, is replaced then: see_to_successor().)
  COPROC_LAZY void let_go(worker& w, time_point now) noexcept;

  COPROC_LAZY void roll(time_point now) noexcept;

  // One worker after the other is due, until none is left of those that were there when it began.
  COPROC_LAZY void make_next_due() noexcept;

  dispatcher_limits limits_;
  effects& effects_;
  ledger& ledger_;
  pace& pace_;
  run_meter meter_;
  roster seats_;
  restarts restarts_;
  std::uint64_t rolling_ = 0; // incarnations up to this one are being recycled; 0: none
  bool ending_ = false;
  bool resizing_ = false;
};

} // namespace coproc::detail::front

#include <coproc/front/fleet.ipp>
