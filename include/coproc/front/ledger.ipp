// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/ledger.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF bool ledger::takes_quickly(const task_record& t) const noexcept {
  return !closed_ && !failed_ && !any_homebound() && waiting_.empty() && fits(t);
}

COPROC_LAZY_DEF void ledger::submit_quickly(task_record& t, time_point now) noexcept {
  take_in(t, now);
  t.where = place::queued;
  queue_.push_back(t);
  ++queued_;
}

COPROC_LAZY_DEF void ledger::submit_issued(task_record& t, time_point now) noexcept { take_in(t, now); }

COPROC_LAZY_DEF void ledger::submit(task_record& t, time_point now) noexcept {
  enter(t, now);
  if (closed_) return finish(t, make_error_code(errc::pool_closed), nullptr);
  if (failed_) return finish_unstartable(t);
  const bool overtakes = waiting_.empty() || t.priority > waiting_.front()->priority;
  const bool accepted = overtakes && fits(t);
  if (!accepted && !t.may_wait) return finish(t, make_error_code(errc::queue_full), nullptr);
  if (t.special) {
    begin_expiry(t, now);
    if (details(t).expiry.at <= now) return finish(t, verdict::queue_timeout);
  }
  if (accepted) return accept(t);
  t.where = place::waiting;
  waiting_.push_back(t);
}

COPROC_LAZY_DEF task_record* ledger::front(unsigned index) const noexcept {
  task_record* const own = homes_[index].front();
  task_record* const any = queue_.front();
  if (own == nullptr || any == nullptr) return own ? own : any;
  return precedes(*own, *any) ? own : any;
}

COPROC_LAZY_DEF task_record* ledger::front() const noexcept { return queue_.front(); }

COPROC_LAZY_DEF void ledger::dequeue(task_record& t) noexcept { queue_of(t).erase(t), --queued_; }

COPROC_LAZY_DEF void ledger::requeue(task_record& t) noexcept {
  t.worker = nullptr;
  if (failed_ || aborting_) { // nobody will take it any more
    release_room(t);
    return failed_ ? finish_unstartable(t) : finish(t, verdict::aborted);
  }
  ++counters_.moved;
  put_back(t);
}

COPROC_LAZY_DEF bool ledger::withdraw(task_record& t, verdict why) noexcept {
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

COPROC_LAZY_DEF void ledger::finish(task_record& t, verdict v) noexcept {
  if (t.special && details(t).expiry.at != time_point::max()) stop_expiry(t);
  t.outcome = v;
  t.where = place::finished;
  t.worker = nullptr;
  count(v);
  completed_.push_back(t);
}

COPROC_LAZY_DEF void ledger::finish(task_record& t, net::error_code why, const char* text,
                                    net::error_code cause) noexcept {
  auto& cold = make_details(t);
  t.encumbered = true;
  cold.error = why;
  cold.error_text = text;
  cold.error_cause = cause;
  finish(t, verdict::failed);
}

COPROC_LAZY_DEF void ledger::finish_issued(task_record& t, verdict v) noexcept {
  release_room(t);
  finish(t, v);
}

COPROC_LAZY_DEF void ledger::finish_issued(task_record& t, net::error_code why, const char* text) noexcept {
  release_room(t);
  finish(t, why, text);
}

COPROC_LAZY_DEF void ledger::lose(task_record& t, const worker_exit& how) noexcept {
  auto& cold = make_details(t);
  if (t.special && cold.retries < cold.terms.max_retries && !failed_ && !aborting_) {
    ++cold.retries;
    ++counters_.retried;
    t.worker = nullptr;
    cold.soft_expired = false;
    if (cold.expiry.at == time_point::max() && cold.terms.deadline != time_point::max()) { // which may be over
      cold.expiry.at = cold.terms.deadline;
      expiries_.push(t);
    }
    return put_back(t);
  }
  t.encumbered = true;
  cold.exit = how;
  finish_issued(t, verdict::lost);
}

COPROC_LAZY_DEF task_record* ledger::take_expired(time_point now) noexcept {
  task_record* const t = expiries_.front();
  if (t == nullptr || details(*t).expiry.at > now) return nullptr;
  stop_expiry(*t);
  return t;
}

COPROC_LAZY_DEF void ledger::abort_queued() noexcept {
  closed_ = aborting_ = true;
  while (task_record* t = waiting_.pop_front()) finish(*t, verdict::aborted);
  each_queue([&](task_queue& q) {
    while (task_record* t = q.pop_front()) --queued_, finish_issued(*t, verdict::aborted);
  });
}

COPROC_LAZY_DEF void ledger::fail(net::error_code cause, const char* text) noexcept {
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

COPROC_LAZY_DEF bool ledger::fits(const task_record& t) const noexcept {
  return accepted_ < limits_.max_queue &&
         (accepted_ == 0 ||
          t.call.length <= limits_.max_queue_bytes - std::min(accepted_bytes_, limits_.max_queue_bytes));
}

COPROC_LAZY_DEF void ledger::take_in(task_record& t, time_point now) noexcept {
  enter(t, now);
  take_room(t);
}

COPROC_LAZY_DEF void ledger::enter(task_record& t, time_point now) noexcept {
  t.id = ++last_id_;
  t.submitted_at = now;
  adopt_terms(t, now);
  ++counters_.submitted;
}

COPROC_LAZY_DEF void ledger::accept(task_record& t) noexcept {
  take_room(t);
  t.where = place::queued;
  t.home_worker = home_of(t);
  queue_of(t).push_back(t);
  ++queued_;
}

COPROC_LAZY_DEF void ledger::put_back(task_record& t) noexcept {
  t.where = place::queued;
  t.home_worker = home_of(t);
  queue_of(t).reinsert(t);
  ++queued_;
}

COPROC_LAZY_DEF void ledger::take_room(const task_record& t) noexcept {
  ++accepted_;
  special_ += t.special;
  accepted_bytes_ += t.call.length;
}

COPROC_LAZY_DEF void ledger::release_room(const task_record& t) noexcept {
  --accepted_;
  special_ -= t.special;
  accepted_bytes_ -= t.call.length;
  admit_waiting();
}

COPROC_LAZY_DEF void ledger::admit_waiting() noexcept {
  while (task_record* next = waiting_.front()) {
    if (!fits(*next)) break;
    waiting_.erase(*next);
    accept(*next);
  }
}

COPROC_LAZY_DEF void ledger::finish_unstartable(task_record& t) noexcept {
  finish(t, make_error_code(errc::worker_start_failed), failure_text_, failure_cause_);
}

COPROC_LAZY_DEF void ledger::adopt_terms(task_record& t, time_point now) noexcept {
  t.priority = 0;
  t.home_worker = -1;
  if (!t.special) return;
  auto& cold = details(t);
  t.priority = cold.terms.priority;
  cold.terms.deadline = std::min(cold.terms.deadline, after(now, cold.terms.deadline_from_submission));
  cold.retries = 0;
  cold.soft_expired = cold.deadline_passed = false;
}

COPROC_LAZY_DEF void ledger::begin_expiry(task_record& t, time_point now) noexcept {
  auto& cold = details(t);
  cold.expiry.at = std::min(after(now, cold.terms.queue_timeout), cold.terms.deadline);
  if (cold.expiry.at != time_point::max()) expiries_.push(t);
}

COPROC_LAZY_DEF void ledger::stop_expiry(task_record& t) noexcept {
  expiries_.erase(t);
  details(t).expiry.at = time_point::max();
}

COPROC_LAZY_DEF task_queue& ledger::queue_of(const task_record& t) noexcept {
  return t.home_worker < 0 ? queue_ : homes_[static_cast<unsigned>(t.home_worker)];
}

COPROC_LAZY_DEF void ledger::dequeue_front(task_record&) noexcept { queue_.pop_front(), --queued_; }

COPROC_LAZY_DEF void ledger::add_to(pool_stats& s) const noexcept {
  s.counters = counters_;
  s.waiting = waiting();
  s.queued = queued_;
  s.active = accepted_ - queued_;
  s.queued_bytes = accepted_bytes_;
}

COPROC_LAZY_DEF void ledger::count(verdict v) noexcept {
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

COPROC_LAZY_DEF std::int16_t ledger::home_of(const task_record& t) const noexcept {
  if (!t.special || !details(t).terms.key) return -1;
  return static_cast<std::int16_t>(*details(t).terms.key % limits_.max_workers);
}

COPROC_LAZY_DEF bool ledger::has_moved_home(const task_record& t) const noexcept {
  return t.home_worker >= 0 && t.home_worker != home_of(t);
}

COPROC_LAZY_DEF task_record* ledger::take_next_homebound() noexcept {
  task_queue* first = nullptr;
  for (task_queue& q : homes_)
    if (!q.empty() && (first == nullptr || precedes(*q.front(), *first->front()))) first = &q;
  return first == nullptr ? nullptr : first->pop_front();
}

COPROC_LAZY_DEF void ledger::resize(unsigned max_workers) noexcept {
  limits_.max_workers = max_workers;
  task_list homebound; // in the order in which they are to be begun
  while (task_record* const t = take_next_homebound()) homebound.push_back(*t);
  while (task_record* const t = homebound.pop_front()) {
    t->home_worker = home_of(*t);
    queue_of(*t).push_back(*t);
  }
}

COPROC_LAZY_DEF ledger::ledger(const dispatcher_limits& limits) : limits_(limits), homes_(limits.max_workers) {}

} // namespace coproc::detail::front
