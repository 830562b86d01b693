// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/waiter_list.hpp>

namespace coproc::detail {

COPROC_DEF waiter_ticket waiter_line::reserve() {
  if (free_ == none) {
    tickets_.push_back({});
    return waiter_ticket(static_cast<std::uint32_t>(tickets_.size() - 1), tickets_.back().generation);
  }
  const std::uint32_t index = free_;
  free_ = std::exchange(tickets_[index].next_free, none);
  return waiter_ticket(index, tickets_[index].generation);
}

COPROC_DEF void waiter_line::release(waiter_ticket t) noexcept {
  if (!t) return;
  entry& e = tickets_[t.index_];
  e.waiter = nullptr;
  if (++e.generation == 0) e.generation = 1;
  e.next_free = std::exchange(free_, t.index_);
}

COPROC_DEF void waiter_line::push_back(waiter_links& w, waiter_ticket ticket) noexcept {
  w.ticket_ = ticket;
  if (ticket) tickets_[ticket.index_].waiter = &w;
  w.previous_ = last_;
  (last_ == nullptr ? first_ : last_->next_) = &w;
  last_ = &w;
}

COPROC_DEF waiter_links* waiter_line::pop_front() noexcept { return first_ == nullptr ? nullptr : take(first_); }

COPROC_DEF waiter_links* waiter_line::remove(waiter_ticket t) noexcept {
  if (t.index_ >= tickets_.size()) return nullptr;
  const entry& e = tickets_[t.index_];
  return e.generation == t.generation_ && e.waiter != nullptr ? take(e.waiter) : nullptr;
}

COPROC_DEF void waiter_line::take_all(waiter_line& from) noexcept {
  while (waiter_links* w = from.pop_front()) push_back(*w, {});
}

COPROC_LAZY_DEF waiter_links* waiter_line::take(waiter_links* w) noexcept {
  (w->previous_ == nullptr ? first_ : w->previous_->next_) = w->next_;
  (w->next_ == nullptr ? last_ : w->next_->previous_) = w->previous_;
  w->previous_ = w->next_ = nullptr;
  release(std::exchange(w->ticket_, {}));
  return w;
}

} // namespace coproc::detail
