// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/worker.hpp>

namespace coproc::detail::front {

// ---- births

COPROC_LAZY_DEF void worker::on_start(const lifetime& life, time_point now) noexcept {
  life_ = life;
  born_at_ = now;
  start_deadline_ = after(now, life_.start_timeout);
}

COPROC_LAZY_DEF void worker::on_started(pid_t pid, os::unique_fd pidfd) noexcept {
  pid_ = exit_.pid = pid;
  handles_.pidfd = std::move(pidfd);
}

COPROC_LAZY_DEF bool worker::go_live() noexcept {
  if (status_ != state::starting) return false;
  status_ = state::live;
  return true;
}

// ---- its tasks

COPROC_LAZY_DEF void worker::give(task_record& t, time_point now) noexcept {
  deaf_since_ = never;
  if (unfinished() == 0) {
    active_at_ = now;
    head_.woke_it = looks_asleep();
    time_head(t, now);
  }
  help_from_ = active_at_ + steal_after;
  t.worker = this;
  publish(t);
}

COPROC_LAZY_DEF auto worker::drain_one() noexcept -> drained {
  const drained d = ring::drain_one();
  if (d.task != nullptr) d.task->worker = nullptr;
  return d;
}

COPROC_LAZY_DEF void worker::on_progress(time_point now, time_point help_from) noexcept {
  suspended_ = false;
  if (status_ == state::live) move_by_ = never;
  active_at_ = now;
  help_from_ = help_from;
  head_.woke_it = false;
  time_head(now);
}

COPROC_LAZY_DEF auto worker::on_violation(time_point now) noexcept -> action {
  action a;
  violate(a, now);
  return a;
}

COPROC_LAZY_DEF bool worker::take_back(task_record& t, time_point now) noexcept {
  const bool was_head = head() == &t;
  if (!revoke(t)) return false;
  if (was_head) time_head(now);
  // It acknowledges in no time, or does not run at all.
  if (unfinished() == 0 && initialized() && status_ == state::live && move_by_ == never)
    move_by_ = after(now, life_.kill_grace);
  return true;
}

COPROC_LAZY_DEF bool worker::ask_to_stop(const task_record& t) noexcept {
  if (state_of(t) != task_state::running) return false;
  raise_stop(t);
  return true;
}

COPROC_LAZY_DEF void worker::on_socket_full(time_point now) noexcept {
  if (deaf_since_ == never) deaf_since_ = now;
  suspend(after(now, std::min<duration>(deaf_again_after, life_.kill_grace)));
}

COPROC_LAZY_DEF auto worker::on_socket_closed(time_point now) noexcept -> action {
  action a;
  suspend(after(now, life_.kill_grace));
  if (load() == 0) kill_now(a, now);
  return a;
}

// ---- its end

COPROC_LAZY_DEF auto worker::kill_for(task_record& t, exit_cause cause, time_point now) noexcept -> action {
  action a;
  kill_running(a, t, cause, now);
  return a;
}

COPROC_LAZY_DEF auto worker::on_victim_finished(time_point now) noexcept -> action {
  action a;
  victim_ = nullptr;
  if (status_ == state::ending) kill_now(a, now); // nothing is left to hurt; a replacement need not wait
  return a;
}

COPROC_LAZY_DEF auto worker::dismiss(exit_cause cause, time_point now) noexcept -> action {
  enter(state::leaving, after(now, life_.kill_grace));
  exit_.cause = cause;
  action a;
  a.dismiss = true;
  return a;
}

COPROC_LAZY_DEF auto worker::end(int signal, time_point now) noexcept -> action {
  action a;
  if (status_ == state::starting) { // go_live() sees to it, if the fork server still answers
    start_deadline_ = std::min(start_deadline_, after(now, life_.kill_grace));
    return a;
  }
  if (signal == SIGKILL) {
    if (status_ == state::leaving) return kill_now(a, now), a;
    if (status_ != state::live && status_ != state::ending) return a;
    if (exit_.cause == exit_cause::self) exit_.cause = exit_cause::shutdown;
    if (victim_ == nullptr) victim_ = head();
    return kill_now(a, now), a;
  }
  if (status_ != state::live) return a;
  if (load() == 0) return dismiss(exit_cause::shutdown, now);
  if (task_record* t = head()) kill_running(a, *t, exit_cause::shutdown, now);
  if (status_ == state::live) { // between tasks: revoked ones are being acknowledged
    enter(state::ending, after(now, life_.kill_grace));
    exit_.cause = exit_cause::shutdown;
    a.dismiss = true;
  }
  return a;
}

COPROC_LAZY_DEF auto worker::on_server_lost(time_point now) noexcept -> action {
  action a;
  if (exit_.cause == exit_cause::self) exit_.cause = exit_cause::fork_server;
  if (status_ != state::live && status_ != state::ending) return a;
  // The kernel kills it already (PDEATHSIG); this also bounds the wait should its death go unnoticed.
  give_back(a);
  kill_now(a, now);
  return a;
}

COPROC_LAZY_DEF bool worker::wants_measuring(time_point now, duration period) noexcept {
  if (due_ || now - measured_at_ < period) return false;
  measured_at_ = now;
  return true;
}

// ---- death

COPROC_LAZY_DEF bool worker::on_death(time_point now) noexcept {
  const bool is_news = status_ != state::dead;
  if (is_news) {
    exit_.phase = !initialized() ? exit_phase::starting : head() ? exit_phase::running : exit_phase::idle;
    enter(state::dead, after(now, life_.exit_status_wait));
  }
  sum_up(now);
  return is_news;
}

COPROC_LAZY_DEF void worker::sum_up(time_point now) noexcept {
  exit_.index = index;
  exit_.tasks_done = tasks_done();
  exit_.age = now - born_at_;
}

COPROC_LAZY_DEF void worker::on_exit(const worker_exit& how) noexcept {
  const worker_exit known = std::exchange(exit_, how);
  exit_.cause = known.cause;
  exit_.phase = known.phase;
  explained_ = true;
}

// ---- time

COPROC_LAZY_DEF auto worker::on_deadline(time_point now) noexcept -> action {
  action a;
  if (!head_.since_initialized && initialized()) time_head(now); // what the initializer took does not count
  if (now >= head_.soft_deadline) soft_expired(now);
  if (now >= head_.deadline) head_expired(a, now);
  if (now >= start_deadline_) start_expired(a, now);
  if (now >= move_by_)
    did_not_move(a, now);
  else if (now >= state_deadline_)
    state_expired(a, now);
  return a;
}

COPROC_LAZY_DEF time_point worker::next_deadline() const noexcept {
  const time_point next = std::min({state_deadline_, move_by_, head_.deadline, head_.soft_deadline});
  // Also of one that says it is initialized, but of which the fork server has said nothing.
  return status_ == state::starting || !initialized() ? std::min(next, start_deadline_) : next;
}

COPROC_LAZY_DEF void worker::state_expired(action& a, time_point now) noexcept {
  state_deadline_ = never;
  switch (status_) {
  case state::leaving:
  case state::ending: return kill_now(a, now);
  case state::killed: // uninterruptible sleep
    enter(state::quarantined, never);
    sum_up(now);
    exit_.still_running = true;
    a.give_up = true;
    return;
  case state::dead: return stay_unexplained();
  default: return;
  }
}

COPROC_LAZY_DEF void worker::did_not_move(action& a, time_point now) noexcept {
  move_by_ = never;
  const task_record* const before = head();
  give_back(a);
  time_head_unless(before, now);
  if (task_record* const t = head()) {
    switch (state_of(*t)) {
    case task_state::running: // it has begun after all, and has its whole time
      if (head_.deadline == never) time_head(*t, now);
      return;
    case task_state::done: return static_cast<void>(move_by_ = after(now, life_.kill_grace));
    default: return violate(a, now); // neither ours to take back, nor its own
    }
  }
  if (load() == 0 && !suspended_) return; // it moves
  const bool deaf = load() == 0 && deaf_since_ != never;
  if (deaf && now < after(deaf_since_, life_.kill_grace)) return static_cast<void>(suspended_ = false);
  exit_.cause = exit_cause::stalled;
  kill_now(a, now);
}

COPROC_LAZY_DEF void worker::soft_expired(time_point now) noexcept {
  head_.soft_deadline = never;
  task_record* const t = head();
  if (t == nullptr || !t->special || status_ != state::live) return;
  if (state_of(*t) != task_state::running) { // not begun: its time has not, either
    head_.soft_deadline = after(now, details(*t).terms.soft_timeout);
    return;
  }
  details(*t).soft_expired = true;
  raise_stop(*t);
}

COPROC_LAZY_DEF void worker::head_expired(action& a, time_point now) noexcept {
  head_.deadline = never;
  task_record* const t = head();
  if (t == nullptr || status_ != state::live) return;
  head_.deadline = after(now, life_.kill_grace); // looked at again, should a word say what is not true
  switch (state_of(*t)) {
  case task_state::illegal: return violate(a, now);
  case task_state::done: return;
  case task_state::running: return time_out(a, *t, now);
  case task_state::ready: break;
  }
  if (!initialized()) return time_head(*t, now); // it has not begun: start_timeout bounds an initializer
  give_back(a, t->seq + 1);
  if (!revoke(*t)) return time_out(a, *t, now); // begun this very moment
  a.moved.push_back(*t);
  time_head(now);
  suspend(after(now, life_.kill_grace));
}

COPROC_LAZY_DEF void worker::time_out(action& a, task_record& running, time_point now) noexcept {
  if (running.special) details(running).deadline_passed = now >= details(running).terms.deadline;
  kill_running(a, running, exit_cause::timed_out, now);
}

COPROC_LAZY_DEF void worker::start_expired(action& a, time_point now) noexcept {
  start_deadline_ = never;
  if (status_ != state::starting && (status_ != state::live || initialized())) return;
  exit_.cause = exit_cause::start_timeout;
  if (status_ == state::starting) return static_cast<void>(a.server_hangs = true);
  give_back(a);
  kill_now(a, now);
}

// ---- steps

COPROC_LAZY_DEF void worker::enter(state s, time_point until) noexcept {
  status_ = s;
  state_deadline_ = until;
  move_by_ = start_deadline_ = head_.deadline = head_.soft_deadline = never;
}

COPROC_LAZY_DEF void worker::kill_now(action& a, time_point now) noexcept {
  enter(state::killed, after(now, life_.kill_grace));
  a.kill = true;
}

COPROC_LAZY_DEF void worker::kill_running(action& a, task_record& t, exit_cause cause, time_point now) noexcept {
  if (status_ != state::live) {
    if (victim_ == nullptr && status_ != state::dead) victim_ = &t, exit_.cause = cause;
    return;
  }
  give_back(a, t.seq + 1);
  switch (state_of(t)) {
  case task_state::running: break;
  case task_state::done: return;   // meanwhile: the worker goes on
  default: return violate(a, now); // it was not to be taken back, so READY is a lie, too
  }
  const duration own_grace = t.special ? details(t).terms.kill_grace : duration::zero();
  enter(state::ending, after(now, own_grace != duration::zero() ? own_grace : life_.kill_grace));
  exit_.cause = cause;
  victim_ = &t;
  a.terminate = true;
}

COPROC_LAZY_DEF void worker::violate(action& a, time_point now) noexcept {
  if (exit_.cause == exit_cause::violation) return;
  exit_.cause = exit_cause::violation;
  if (status_ != state::dead && status_ != state::killed) kill_now(a, now);
}

COPROC_LAZY_DEF void worker::suspend(time_point until) noexcept {
  suspended_ = true;
  move_by_ = until;
}

COPROC_LAZY_DEF bool worker::revoke(task_record& t) noexcept {
  if (!ring::revoke(t)) return false;
  t.worker = nullptr;
  return true;
}

COPROC_LAZY_DEF void worker::give_back(action& a, std::uint64_t from) noexcept {
  each_issued_backwards(
      [&](task_record& t) {
        if (revoke(t)) a.moved.push_back(t);
      },
      from);
}

COPROC_LAZY_DEF void worker::time_head(const task_record& t, time_point now) noexcept {
  head_.since = now;
  head_.deadline = head_.soft_deadline = never;
  head_.since_initialized = initialized();
  if (!t.special || status_ != state::live) return;
  head_.deadline = std::min(after(now, details(t).terms.timeout), details(t).terms.deadline);
  if (details(t).terms.soft_timeout != unlimited) head_.soft_deadline = after(now, details(t).terms.soft_timeout);
}

COPROC_LAZY_DEF void worker::time_head(time_point now) noexcept {
  head_.since = head_.deadline = head_.soft_deadline = never;
  if (const task_record* t = head()) time_head(*t, now);
}

COPROC_LAZY_DEF void worker::time_head_unless(const task_record* before, time_point now) noexcept {
  if (head() != before) time_head(now);
}
} // namespace coproc::detail::front
