// SPDX-License-Identifier: BSL-1.0
// The front end's books of tasks: which are accepted, wait for room, are queued or have ended, and the limits they obey.
// Exactly one ending per task is decided here. No worker, no clock, no system call. Front end, under the pool's mutex.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/pool/expiry_heap.hpp>
#include <coproc/pool/limits.hpp>
#include <coproc/pool/statistics.hpp>
#include <coproc/pool/task_queue.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <vector>

namespace coproc::pool {

/// A template so that a file that makes no pool does not compile it.
template <class Task>
class basic_ledger {
public:
  explicit basic_ledger(const dispatcher_limits& limits) : limits_(limits), homes_(limits.max_workers) {}

  // ---- in

  /// Would submit() accept this one, of the usual kind, without further ado?
  bool takes_quickly(const Task& t) const noexcept {
    return !closed_ && !failed_ && !any_homebound() && waiting_.empty() && fits(t);
  }

  /// The same as submit(), for one that takes_quickly().
  void submit_quickly(Task& t, time_point now) noexcept {
    take_in(t, now);
    t.where = place::queued;
    queue_.push_back(t);
    ++queued_;
  }

  /// The same as that and dequeue(): a worker gets it at once.
  void submit_issued(Task& t, time_point now) noexcept { take_in(t, now); }

  /// Accepts, queues or refuses; every path but acceptance and waiting ends the task.
  void submit(Task& t, time_point now) noexcept {
    enter(t, now);
    if (closed_) return finish(t, make_error_code(errc::pool_closed), nullptr);
    if (failed_) return finish_unstartable(t);
    const bool overtakes = waiting_.empty() || t.priority > waiting_.front()->priority;
    const bool accepted = overtakes && fits(t);
    if (!accepted && !t.may_wait) return finish(t, make_error_code(errc::queue_full), nullptr);
    if (t.special) begin_expiry(t, now);
    if (accepted) return accept(t);
    t.where = place::waiting;
    waiting_.push_back(t);
  }

  /// The next task for the worker with this index, or for any worker; null if there is none.
  task_record* front(unsigned index) const noexcept {
    task_record* const own = homes_[index].front();
    task_record* const any = queue_.front();
    if (own == nullptr || any == nullptr) return own ? own : any;
    return precedes(*own, *any) ? own : any;
  }
  task_record* front() const noexcept { return queue_.front(); }
  bool has_homebound(unsigned index) const noexcept { return !homes_[index].empty(); }
  bool any_homebound() const noexcept { return queued_ != queue_.size(); }
  bool nothing_queued() const noexcept { return queued() == 0; }
  std::uint64_t queued() const noexcept { return queued_; }
  std::uint64_t waiting() const noexcept { return waiting_.size(); }

  /// It goes to a worker.
  void dequeue(Task& t) noexcept { queue_of(t).erase(t), --queued_; }
  /// The same for front().
  void dequeue_front(Task&) noexcept { queue_.pop_front(), --queued_; }

  /// Back from a worker that had not begun it, in its old place.
  void requeue(Task& t) noexcept {
    t.worker = nullptr;
    if (failed_ || aborting_) { // nobody will take it any more
      release_room(t);
      return failed_ ? finish_unstartable(t) : finish(t, verdict::aborted);
    }
    ++counters_.moved;
    put_back(t);
  }

  /// Ends a task that no worker has; false: it is with one, or over.
  bool withdraw(Task& t, verdict why) noexcept {
    if (t.where == place::waiting) {
      waiting_.erase(t);
      admit_waiting(); // it may have been the one too large to enter
    } else if (t.where == place::queued) {
      dequeue(t);
      release_room(t);
    } else {
      return false;
    }
    finish(t, why);
    return true;
  }

  // ---- out

  void finish(Task& t, verdict v) noexcept {
    if (t.special && t.cold().expiry.at != time_point::max()) stop_expiry(t);
    t.outcome = v;
    t.where = place::finished;
    t.worker = nullptr;
    count(v);
    completed_.push_back(t);
  }

  void finish(Task& t, net::error_code why, const char* text, net::error_code cause = {}) noexcept {
    auto& cold = t.make_cold();
    t.encumbered = true;
    cold.error = why;
    cold.error_text = text;
    cold.error_cause = cause;
    finish(t, verdict::failed);
  }

  /// Ends a task that a worker had: gives its room to those who wait.
  void finish_issued(Task& t, verdict v) noexcept {
    release_room(t);
    finish(t, v);
  }
  void finish_issued(Task& t, net::error_code why, const char* text) noexcept {
    release_room(t);
    finish(t, why, text);
  }

  /// Its worker died while it ran, or may have: it runs again, if it may, or is lost.
  void lose(Task& t, const worker_exit& how) noexcept {
    auto& cold = t.make_cold();
    if (t.special && cold.retries < cold.terms.max_retries && !failed_ && !aborting_) {
      ++cold.retries;
      ++counters_.retried;
      t.worker = nullptr;
      cold.soft_expired = false;
      return put_back(t);
    }
    t.encumbered = true;
    cold.exit = how;
    cold.started = true;
    finish_issued(t, verdict::lost);
  }

  /// Ended tasks, to be completed outside the mutex, in order.
  task_list& completed() noexcept { return completed_; }

  /// Accepted and not ended, or waiting for room: while there are any, the loop must be kept alive.
  std::uint64_t outstanding() const noexcept { return accepted_ + waiting_.size(); }
  std::uint64_t accepted() const noexcept { return accepted_; }
  bool any_special() const noexcept { return special_ != 0; }
  std::uint64_t accepted_bytes() const noexcept { return accepted_bytes_; }
  pool_counters& counters() noexcept { return counters_; }
  const pool_counters& counters() const noexcept { return counters_; }

  // ---- time

  time_point next_expiry() const noexcept { return expiries_.next(); }

  /// The next task whose queue_timeout is over, no longer watched.
  task_record* take_expired(time_point now) noexcept {
    task_record* const t = expiries_.front();
    if (t == nullptr || t->cold().expiry.at > now) return nullptr;
    stop_expiry(*t);
    return t;
  }

  // ---- the end

  /// No more submissions; what was submitted goes on.
  void close() noexcept { closed_ = true; }
  bool closed() const noexcept { return closed_; }

  /// After close(): whatever no worker has is aborted, now and later.
  void abort_queued() noexcept {
    closed_ = aborting_ = true;
    while (task_record* t = waiting_.pop_front()) finish(*t, verdict::aborted);
    each_queue([&](task_queue& q) {
      while (task_record* t = q.pop_front()) --queued_, finish_issued(*t, verdict::aborted);
    });
  }
  bool aborting() const noexcept { return aborting_; }

  /// No worker can be started: what is not running ends with worker_start_failed, and so does what is submitted.
  void fail(net::error_code cause, const char* text) noexcept {
    failed_ = true;
    failure_cause_ = cause;
    failure_text_ = text;
    while (task_record* t = waiting_.pop_front()) finish_unstartable(*t);
    each_queue([&](task_queue& q) {
      while (task_record* t = q.pop_front()) {
        --queued_;
        release_room(*t);
        finish_unstartable(*t);
      }
    });
  }
  void recover() noexcept { failed_ = false; }
  bool failed() const noexcept { return failed_; }

private:
  bool fits(const Task& t) const noexcept {
    return accepted_ < limits_.max_queue &&
           (accepted_ == 0 ||
            t.call.length <= limits_.max_queue_bytes - std::min(accepted_bytes_, limits_.max_queue_bytes));
  }

  void take_in(Task& t, time_point now) noexcept {
    enter(t, now);
    take_room(t);
  }

  void enter(Task& t, time_point now) noexcept {
    t.id = ++last_id_;
    t.submitted_at = now;
    adopt_terms(t);
    ++counters_.submitted;
  }

  void accept(Task& t) noexcept {
    take_room(t);
    t.where = place::queued;
    queue_of(t).push_back(t);
    ++queued_;
  }

  void put_back(Task& t) noexcept {
    t.where = place::queued;
    queue_of(t).reinsert(t);
    ++queued_;
  }

  void take_room(const Task& t) noexcept {
    ++accepted_;
    special_ += t.special;
    accepted_bytes_ += t.call.length;
  }

  void release_room(const Task& t) noexcept {
    --accepted_;
    special_ -= t.special;
    accepted_bytes_ -= t.call.length;
    admit_waiting();
  }

  void admit_waiting() noexcept {
    while (task_record* next = waiting_.front()) {
      if (!fits(*next)) break;
      waiting_.erase(*next);
      accept(*next);
    }
  }

  void finish_unstartable(Task& t) noexcept {
    finish(t, make_error_code(errc::worker_start_failed), failure_text_, failure_cause_);
  }

  static void adopt_terms(Task& t) noexcept {
    t.priority = 0;
    t.home = -1;
    if (!t.special) return;
    auto& cold = t.cold();
    t.priority = cold.terms.priority;
    t.home = cold.terms.home;
    cold.retries = 0;
    cold.soft_expired = false;
  }

  void begin_expiry(Task& t, time_point now) noexcept {
    auto& cold = t.cold();
    cold.expiry.at = after(now, cold.terms.queue_timeout);
    if (cold.expiry.at != time_point::max()) expiries_.push(t);
  }

  void stop_expiry(Task& t) noexcept {
    expiries_.erase(t);
    t.cold().expiry.at = time_point::max();
  }

  task_queue& queue_of(const Task& t) noexcept {
    return t.home < 0 ? queue_ : homes_[static_cast<unsigned>(t.home)];
  }

  template <class F>
  void each_queue(F f) {
    f(queue_);
    for (task_queue& q : homes_) f(q);
  }

  void count(verdict v) noexcept {
    switch (v) {
    case verdict::value: ++counters_.returned; break;
    case verdict::exception: ++counters_.threw; break;
    case verdict::lost: ++counters_.lost; break;
    case verdict::task_timeout: ++counters_.timed_out; break;
    case verdict::queue_timeout: ++counters_.queue_timed_out; break;
    case verdict::aborted: ++counters_.aborted; break;
    case verdict::failed: ++counters_.refused; break;
    }
  }

  dispatcher_limits limits_;
  task_queue waiting_, queue_;
  std::vector<task_queue> homes_; // by worker index: tasks with a worker_key
  task_list completed_;
  expiry_heap expiries_;
  pool_counters counters_;
  std::uint64_t last_id_ = 0, accepted_ = 0, accepted_bytes_ = 0, queued_ = 0, special_ = 0;
  bool closed_ = false, aborting_ = false, failed_ = false;
  net::error_code failure_cause_;
  const char* failure_text_ = nullptr;
};

using ledger = basic_ledger<task_record>;

} // namespace coproc::pool
