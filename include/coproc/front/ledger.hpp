// SPDX-License-Identifier: BSL-1.0
// The front end's books of tasks: which are accepted, wait for room, are queued or have ended, and the limits they
// obey. Exactly one ending per task is decided here. No worker, no clock, no system call. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/expiry_heap.hpp>
#include <coproc/front/limits.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/front/task_queue.hpp>
#include <coproc/os/error.hpp>
#include <coproc/stats.hpp>

#include <algorithm>
#include <vector>

namespace coproc::detail::front {

class ledger {
public:
  COPROC_LAZY explicit ledger(const dispatcher_limits& limits);

  /// Room for the keys of so many workers; allocates. Then resize() does not.
  void reserve(unsigned max_workers) {
    if (homes_.size() < max_workers) homes_.resize(max_workers);
  }
  /// Keys belong to other workers from here on, those of queued tasks included.
  COPROC_LAZY void resize(unsigned max_workers) noexcept;

  /// Would it be queued for another worker than the one that it was last queued for?
  COPROC_LAZY bool has_moved_home(const task_record& t) const noexcept;

  // ---- in

  /// Would submit() accept this one, of the usual kind, without further ado?
  COPROC_LAZY bool takes_quickly(const task_record& t) const noexcept;

  /// The same as submit(), for one that takes_quickly().
  COPROC_LAZY void submit_quickly(task_record& t, time_point now) noexcept;

  /// The same as that and dequeue(): a worker gets it at once.
  COPROC_LAZY void submit_issued(task_record& t, time_point now) noexcept;

  /// Accepts, queues or refuses; every path but acceptance and waiting ends the task.
  COPROC_LAZY void submit(task_record& t, time_point now) noexcept;

  /// The next task for the worker with this index, or for any worker; null if there is none.
  COPROC_LAZY task_record* front(unsigned index) const noexcept;
  COPROC_LAZY task_record* front() const noexcept;
  bool has_homebound(unsigned index) const noexcept { return !homes_[index].empty(); }
  bool any_homebound() const noexcept { return queued_ != queue_.size(); }
  std::uint64_t queued() const noexcept { return queued_; }
  std::uint64_t waiting() const noexcept { return waiting_.size(); }

  /// It goes to a worker.
  COPROC_LAZY void dequeue(task_record& t) noexcept;
  /// The same for front().
  COPROC_LAZY void dequeue_front(task_record&) noexcept;

  /// Back from a worker that had not begun it, in its old place.
  COPROC_LAZY void requeue(task_record& t) noexcept;

  /// Ends a task that no worker has; false: it is with one, or over.
  COPROC_LAZY bool withdraw(task_record& t, verdict why) noexcept;

  // ---- out

  COPROC_LAZY void finish(task_record& t, verdict v) noexcept;

  COPROC_LAZY void finish(task_record& t, net::error_code why, const char* text, net::error_code cause = {}) noexcept;

  /// Ends a task that a worker had: gives its room to those who wait.
  COPROC_LAZY void finish_issued(task_record& t, verdict v) noexcept;
  COPROC_LAZY void finish_issued(task_record& t, net::error_code why, const char* text) noexcept;

  /// Its worker died while it ran, or may have: it runs again, if it may, or is lost.
  COPROC_LAZY void lose(task_record& t, const worker_exit& how) noexcept;

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return completed_; }

  /// Accepted and not ended, or waiting for room: while there are any, the loop must be kept alive.
  std::uint64_t outstanding() const noexcept { return accepted_ + waiting_.size(); }
  std::uint64_t accepted() const noexcept { return accepted_; }
  bool any_special() const noexcept { return special_ != 0; }
  std::uint64_t accepted_bytes() const noexcept { return accepted_bytes_; }
  pool_counters& counters() noexcept { return counters_; }
  COPROC_LAZY void add_to(pool_stats& s) const noexcept;

  // ---- time

  time_point next_expiry() const noexcept { return expiries_.next(); }

  /// The next task whose queue_timeout is over, no longer watched.
  COPROC_LAZY task_record* take_expired(time_point now) noexcept;

  // ---- the end

  /// No more submissions; what was submitted goes on.
  void close() noexcept { closed_ = true; }

  /// After close(): whatever no worker has is aborted, now and later.
  COPROC_LAZY void abort_queued() noexcept;

  /// No worker can be started: what is not running ends with worker_start_failed, and so does what is submitted.
  COPROC_LAZY void fail(net::error_code cause, const char* text) noexcept;
  void recover() noexcept { failed_ = false; }
  bool failed() const noexcept { return failed_; }

private:
  COPROC_LAZY bool fits(const task_record& t) const noexcept;

  COPROC_LAZY void take_in(task_record& t, time_point now) noexcept;

  COPROC_LAZY void enter(task_record& t, time_point now) noexcept;

  COPROC_LAZY void accept(task_record& t) noexcept;

  COPROC_LAZY void put_back(task_record& t) noexcept;

  COPROC_LAZY task_record* take_next_homebound() noexcept;
  COPROC_LAZY std::int16_t home_of(const task_record& t) const noexcept;

  COPROC_LAZY void take_room(const task_record& t) noexcept;

  COPROC_LAZY void release_room(const task_record& t) noexcept;

  COPROC_LAZY void admit_waiting() noexcept;

  COPROC_LAZY void finish_unstartable(task_record& t) noexcept;

  COPROC_LAZY static void adopt_terms(task_record& t, time_point now) noexcept;

  COPROC_LAZY void begin_expiry(task_record& t, time_point now) noexcept;

  COPROC_LAZY void stop_expiry(task_record& t) noexcept;

  COPROC_LAZY task_queue& queue_of(const task_record& t) noexcept;

  template <class F>
  void each_queue(F f) {
    f(queue_);
    for (task_queue& q : homes_) f(q);
  }

  COPROC_LAZY void count(verdict v) noexcept;

  dispatcher_limits limits_;
  task_queue waiting_, queue_;
  std::vector<task_queue> homes_; // by worker index: tasks with a worker_key; those from max_workers on are empty
  task_list completed_;
  expiry_heap expiries_;
  pool_counters counters_;
  std::uint64_t last_id_ = 0, accepted_ = 0, accepted_bytes_ = 0, queued_ = 0, special_ = 0;
  bool closed_ = false, aborting_ = false, failed_ = false;
  net::error_code failure_cause_;
  const char* failure_text_ = nullptr;
};

} // namespace coproc::detail::front

#include <coproc/front/ledger.ipp>
