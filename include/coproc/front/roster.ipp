// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/roster.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF roster::roster(unsigned seats) {
  reserve(seats);
  size_ = seats;
}

COPROC_LAZY_DEF void roster::reserve(unsigned seats) {
  const std::size_t most = std::max(seats, size_);
  departed_.reserve(departed_.size() + 2 * most + 8); // more only when that many are unkillable
  if (seats_.size() < seats) seats_.resize(seats);
}

COPROC_LAZY_DEF void roster::resize(unsigned seats) noexcept {
  size_ = std::max(size_, seats);
  trim(seats);
}

COPROC_LAZY_DEF void roster::trim(unsigned seats) noexcept {
  while (size_ > seats && seats_[size_ - 1].vacant()) seats_[--size_].failures = 0;
}

COPROC_LAZY_DEF worker* roster::find(std::uint64_t incarnation) const noexcept {
  const auto is = [&](const worker_ptr& w) { return w && w->incarnation == incarnation; };
  for (const seat& s : *this) {
    if (is(s.worker)) return s.worker.get();
    if (is(s.successor)) return s.successor.get();
  }
  for (const worker_ptr& w : departed_)
    if (is(w)) return w.get();
  return nullptr;
}

COPROC_LAZY_DEF void roster::sit(worker_ptr w) noexcept {
  seat& s = seats_[w->index];
  s.requested = false;
  (s.worker ? s.successor : s.worker) = std::move(w);
}

COPROC_LAZY_DEF auto roster::take(worker& w) noexcept -> worker_ptr {
  seat& s = seats_[w.index];
  if (s.successor.get() == &w) {
    if (s.worker) s.worker->relieve(false);
    return std::move(s.successor);
  }
  if (s.worker.get() != &w) return nullptr;
  worker_ptr taken = std::move(s.worker);
  s.worker = std::move(s.successor);
  return taken;
}

COPROC_LAZY_DEF bool roster::depart(worker& w) noexcept {
  worker_ptr taken = take(w);
  if (!taken) return false;
  departed_.push_back(std::move(taken));
  return true;
}

COPROC_LAZY_DEF bool roster::any_initialized() const noexcept {
  return std::any_of(begin(), end(), [](const seat& s) {
    return s.worker && s.worker->status() == state::live && s.worker->initialized();
  });
}

COPROC_LAZY_DEF bool roster::in_transition() const noexcept {
  for (const seat& s : *this) {
    if (s.requested) return true;
    for (const worker_ptr* each : {&s.worker, &s.successor})
      if (*each && (*each)->status() != state::live) return true;
  }
  return std::any_of(departed_.begin(), departed_.end(),
                     [](const worker_ptr& w) { return w->status() != state::quarantined; });
}

COPROC_LAZY_DEF bool roster::gone() const noexcept {
  for (const seat& s : *this)
    if (s.worker || s.successor || s.requested) return false;
  return std::all_of(departed_.begin(), departed_.end(),
                     [](const worker_ptr& w) { return w->status() == state::quarantined; });
}

} // namespace coproc::detail::front
