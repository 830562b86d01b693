// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/turn.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void turn::posted() noexcept {
  if (token_ == token::idle) {
    checked_ = false;
    check_at_ = time_point::max(); // what happened while all was idle is seen after the first round, or by the wait
  }
  token_ = token::polling;
}

COPROC_LAZY_DEF auto turn::changed(bool urgent) noexcept -> answer {
  switch (token_) {
  case token::idle: return answer::nothing;
  case token::polling:
  case token::owed: return answer::guard;
  case token::armed: break;
  }
  if (!urgent) return answer::set_timer;
  token_ = token::polling;
  return answer::interrupt;
}

COPROC_LAZY_DEF void turn::woken(time_point now) noexcept {
  token_ = token::polling;
  check_at_ = now;
}

COPROC_LAZY_DEF bool turn::check_is_due(time_point now, std::size_t moved) noexcept {
  if (check_at_ == time_point::max()) check_at_ = now + check_period;
  if (now < check_at_ || (moved != 0 && now - check_at_ < check_period)) return false;
  check_at_ = now + check_period;
  return checked_ = true;
}

COPROC_LAZY_DEF auto turn::after_round(const findings& found) noexcept -> step {
  if (found.errands) {
    in_handler_ = false; // one thread at a time sees to them
    return step::attend;
  }
  if (found.ended != 0 || found.moved != 0 || found.left_some) return step::deliver;
  if (!found.busy && !checked_) { // a death may have been waiting to be seen, and nobody else is
    check_soon();
    return step::round;
  }
  // The next turn has no number yet, and the spinner looks at memory without the mutex: nobody may take over meanwhile.
  in_handler_ = false;
  if (found.busy) return step::rest;
  token_ = token::idle;
  return step::idle;
}

COPROC_LAZY_DEF auto turn::claim(number me) noexcept -> claimed {
  const std::lock_guard lock(lock_);
  if (!is_held_by(me)) return {};
  task_record* const t = list_.pop_front();
  if (t == nullptr) return {};
  in_handler_ = true;
  ++claims_;
  if (list_.front() != nullptr) list_.front()->prefetch();
  return {t, !list_.empty()};
}

COPROC_LAZY_DEF void turn::abandon(task_list& ended) noexcept {
  const std::lock_guard lock(lock_);
  list_.splice_back(ended);
  ended.splice_back(list_);
}

COPROC_LAZY_DEF auto turn::guard_fired(bool whole_period) noexcept -> guard_answer {
  guarded_ = false;
  if (token_ == token::owed) {
    token_ = token::polling;
    check_soon();
    return guard_answer::take_over;
  }
  if (token_ != token::polling) return guard_answer::nothing;
  if (!take_over_if_stuck(whole_period)) return guard_answer::guard;
  check_soon();
  return guard_answer::take_over;
}

COPROC_LAZY_DEF bool turn::take_over_if_stuck(bool whole_period) noexcept {
  const std::lock_guard lock(lock_);
  const bool same = std::exchange(claims_at_last_period_, claims_) == claims_;
  if (!same || !whole_period || !in_handler_) return false;
  in_handler_ = false;
  add_one(); // the turn that takes over goes one further; nobody else is called that
  return true;
}

} // namespace coproc::detail::front
