// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/restarts.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void restarts::request(unsigned index) noexcept {
  seat& s = seats_[index];
  if (s.requested || index >= limits_.max_workers) return;
  s.requested = true;
  s.restart_at = time_point::max();
  effects_.request_start(index);
}

COPROC_LAZY_DEF void restarts::after_failed_start(unsigned index, net::error_code why, const char* text,
                                                  time_point now) noexcept {
  ++ledger_.counters().start_failures;
  if (ledger_.failed() || ended_ || index >= limits_.max_workers) return;
  seat& s = seats_[index];
  if (++s.failures > limits_.max_start_failures && !seats_.any_initialized()) return fail(why, text, now);
  s.restart_at = now + back_off(s.failures);
}

COPROC_LAZY_DEF void restarts::after_crash(unsigned index, time_point now) noexcept {
  seat& s = seats_[index];
  if (++s.failures <= free_failures) return request(index);
  if (!s.requested) s.restart_at = now + back_off(s.failures - free_failures);
}

COPROC_LAZY_DEF void restarts::fail(net::error_code why, const char* text, time_point now) noexcept {
  forget();
  recover_at_ = after(now, limits_.recovery_wait);
  ledger_.fail(why, text);
}

COPROC_LAZY_DEF void restarts::try_to_recover(time_point now) noexcept {
  if (!ledger_.failed() || ended_ || now < recover_at_) return;
  ledger_.recover();
  for (unsigned i = 0; i < limits_.min_workers; ++i)
    if (seats_[i].vacant()) request(i);
}

COPROC_LAZY_DEF void restarts::tick(time_point now) noexcept {
  for (unsigned i = 0; i < seats_.size(); ++i) {
    if (now < seats_[i].restart_at) continue;
    seats_[i].restart_at = time_point::max();
    if (!ledger_.failed() && !ended_) request(i);
  }
}

COPROC_LAZY_DEF void restarts::end() noexcept {
  ended_ = true;
  forget();
}

COPROC_LAZY_DEF std::chrono::milliseconds restarts::back_off(unsigned failures) noexcept {
  return std::chrono::milliseconds(10ll << (std::min(failures, 7u) - 1));
}

COPROC_LAZY_DEF void restarts::forget() noexcept {
  effects_.forget_starts();
  for (seat& s : seats_) {
    s.restart_at = time_point::max();
    s.requested = false;
  }
}

} // namespace coproc::detail::front
