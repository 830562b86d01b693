// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/watchdog.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void watchdog::kill_running(worker_record& w, task_record& t, exit_cause cause, time_point now) noexcept {
  if (w.status != state::live) {
    if (w.victim == nullptr && w.status != state::dead) w.victim = &t, w.exit.cause = cause;
    return;
  }
  take_back(w, t.seq + 1);
  switch (w.look(t)) {
  case worker_record::task_state::running: break;
  case worker_record::task_state::done: return; // meanwhile: the worker goes on
  default: return violation(w, now);            // it was not to be taken back, so READY is a lie, too
  }
  w.status = state::ending;
  w.exit.cause = cause;
  w.victim = &t;
  w.grace = t.special && details(t).terms.kill_grace != duration::zero() ? details(t).terms.kill_grace : limits_.kill_grace;
  w.next_step = after(now, w.grace);
  w.head_deadline = w.head_soft_deadline = time_point::max();
  effects_.signal(w, SIGTERM);
}

COPROC_LAZY_DEF void watchdog::kill_now(worker_record& w, time_point now) noexcept {
  w.status = state::killed;
  w.next_step = after(now, limits_.kill_grace);
  w.head_deadline = w.head_soft_deadline = time_point::max();
  effects_.signal(w, SIGKILL);
}

COPROC_LAZY_DEF void watchdog::violation(worker_record& w, time_point now) noexcept {
  if (w.exit.cause == exit_cause::violation) return;
  w.exit.cause = exit_cause::violation;
  if (w.status != state::dead && w.status != state::killed) kill_now(w, now);
}

COPROC_LAZY_DEF void watchdog::stall(worker_record& w, time_point now) noexcept {
  w.stalled = true;
  w.next_step = after(now, limits_.kill_grace);
}

COPROC_LAZY_DEF void watchdog::deafen(worker_record& w, time_point now) noexcept {
  if (w.deaf_since == time_point::max()) w.deaf_since = now;
  w.stalled = true;
  w.next_step = after(now, std::min<duration>(deaf_again_after, limits_.kill_grace));
}

COPROC_LAZY_DEF bool watchdog::revoke(worker_record& w, task_record& t, time_point now) noexcept {
  const bool was_head = w.head() == &t;
  if (!w.revoke(t)) return false;
  if (was_head) look_at_head(w, now);
  // It acknowledges in no time, or does not run at all.
  if (w.unfinished() == 0 && w.initialized() && w.status == state::live && w.next_step == time_point::max())
    w.next_step = after(now, limits_.kill_grace);
  return true;
}

COPROC_LAZY_DEF void watchdog::new_head(worker_record& w, task_record& t, time_point now) noexcept {
  w.head_since = now;
  w.head_deadline = w.head_soft_deadline = time_point::max();
  w.head_since_initialized = w.initialized();
  if (!t.special) return;
  w.head_deadline = std::min(after(now, details(t).terms.timeout), details(t).terms.deadline);
  if (details(t).terms.soft_timeout != unlimited) w.head_soft_deadline = after(now, details(t).terms.soft_timeout);
}

COPROC_LAZY_DEF void watchdog::look_at_head(worker_record& w, time_point now) noexcept {
  w.head_since = w.head_deadline = w.head_soft_deadline = time_point::max();
  if (task_record* t = w.head()) new_head(w, *t, now);
}

COPROC_LAZY_DEF void watchdog::look_at_head_unless(const task_record* before, worker_record& w, time_point now) noexcept {
  if (w.head() != before) look_at_head(w, now);
}

COPROC_LAZY_DEF void watchdog::take_back(worker_record& w, std::uint64_t from) noexcept {
  w.each_issued_backwards(
      [&](task_record& t) {
        if (w.revoke(t)) ledger_.requeue(t);
      },
      from);
}

COPROC_LAZY_DEF bool watchdog::step(worker_record& w, time_point now) noexcept {
  if (now >= w.head_soft_deadline) soft_expired(w, now);
  if (now >= w.head_deadline) head_expired(w, now);
  if (now >= w.start_deadline) start_expired(w, now);
  if (now < w.next_step) return false;
  switch (w.status) {
  case state::live: stalled_for_too_long(w, now); return false;
  case state::leaving:
  case state::ending: kill_now(w, now); return false;
  case state::killed: return true;
  default: w.next_step = time_point::max(); return false;
  }
}

COPROC_LAZY_DEF time_point watchdog::next_deadline(const worker_record& w) const noexcept {
  const time_point next = std::min({w.next_step, w.head_deadline, w.head_soft_deadline});
  // Also of one that says it is initialized, but of which the fork server has said nothing.
  return w.status == state::starting || !w.initialized() ? std::min(next, w.start_deadline) : next;
}

COPROC_LAZY_DEF void watchdog::stalled_for_too_long(worker_record& w, time_point now) noexcept {
  w.next_step = time_point::max();
  const task_record* const before = w.head();
  take_back(w);
  look_at_head_unless(before, w, now);
  if (task_record* const t = w.head()) {
    switch (w.look(*t)) {
    case worker_record::task_state::running: // it has begun after all, and has its whole time
      if (w.head_deadline == time_point::max()) new_head(w, *t, now);
      return;
    case worker_record::task_state::done: return static_cast<void>(w.next_step = after(now, limits_.kill_grace));
    default: return violation(w, now); // neither ours to take back, nor its own
    }
  }
  if (w.load() == 0 && !w.stalled) return; // it moves
  const bool deaf = w.load() == 0 && w.deaf_since != time_point::max();
  if (deaf && now < after(w.deaf_since, limits_.kill_grace)) return static_cast<void>(w.stalled = false);
  w.exit.cause = exit_cause::stalled;
  kill_now(w, now);
}

COPROC_LAZY_DEF void watchdog::soft_expired(worker_record& w, time_point now) noexcept {
  w.head_soft_deadline = time_point::max();
  task_record* const t = w.head();
  if (t == nullptr || !t->special || w.status != state::live) return;
  if (w.look(*t) != worker_record::task_state::running) { // not begun: its time has not, either
    w.head_soft_deadline = after(now, details(*t).terms.soft_timeout);
    return;
  }
  if (began_late(w)) return new_head(w, *t, now);
  details(*t).soft_expired = true;
  w.raise_stop(*t);
}

COPROC_LAZY_DEF void watchdog::time_out(worker_record& w, task_record& running, time_point now) noexcept {
  const bool deadline_passed = now >= details(running).terms.deadline;
  if (began_late(w) && !deadline_passed) return new_head(w, running, now);
  details(running).deadline_passed = deadline_passed;
  kill_running(w, running, exit_cause::timed_out, now);
}

COPROC_LAZY_DEF void watchdog::head_expired(worker_record& w, time_point now) noexcept {
  w.head_deadline = time_point::max();
  task_record* const t = w.head();
  if (t == nullptr || w.status != state::live) return;
  w.head_deadline = after(now, limits_.kill_grace); // looked at again, should a word say what is not true
  switch (w.look(*t)) {
  case worker_record::task_state::illegal: return violation(w, now);
  case worker_record::task_state::done: return;
  case worker_record::task_state::running: return time_out(w, *t, now);
  case worker_record::task_state::ready: break;
  }
  if (!w.initialized()) return new_head(w, *t, now); // it has not begun: start_timeout bounds an initializer
  take_back(w, t->seq + 1);
  if (!w.revoke(*t)) return time_out(w, *t, now); // begun this very moment
  ledger_.requeue(*t);
  look_at_head(w, now);
  stall(w, now);
}

COPROC_LAZY_DEF void watchdog::start_expired(worker_record& w, time_point now) noexcept {
  w.start_deadline = time_point::max();
  if (w.status != state::starting && (w.status != state::live || w.initialized())) return;
  w.exit.cause = exit_cause::start_timeout;
  if (w.status == state::starting) return effects_.server_hangs();
  take_back(w);
  kill_now(w, now);
}

COPROC_LAZY_DEF bool watchdog::began_late(const worker_record& w) noexcept { return !w.head_since_initialized && w.initialized(); }

COPROC_LAZY_DEF watchdog::watchdog(const dispatcher_limits& limits, effects& kernel, ledger& books) : limits_(limits), effects_(kernel), ledger_(books) {}

} // namespace coproc::detail::front
