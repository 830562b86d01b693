// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/join.hpp>

namespace coproc::detail {

COPROC_DEF void join::child_ended(std::size_t index, const std::exception_ptr& e) noexcept {
  children_[index].ended = true;
  std::unique_lock lock(mutex_);
  if (std::exchange(children_[index].counted, true)) return;
  if (!std::exchange(any_ended_, true)) first_to_end_ = index;
  if (e && !error_) error_ = e;
  // Doing as one was told is no failure: the parent's cancellation may have been weaker than terminal.
  const bool obeyed = e && forwarded_ && code_of(e) == net::error::operation_aborted;
  const bool end_siblings = !siblings_ended_ && ((e && !obeyed) || until_ == join_until::first_end);
  siblings_ended_ = siblings_ended_ || end_siblings;
  const bool last = --running_ == 0;
  lock.unlock();
  if (last)
    finish();
  else if (end_siblings)
    cancel(net::cancellation_type::terminal);
}

COPROC_DEF void join::launched() noexcept {
  std::unique_lock lock(mutex_);
  launched_ = true;
  const bool last = --running_ == 0;
  const net::cancellation_type type = pending_;
  lock.unlock();
  if (last)
    finish();
  else if (type != net::cancellation_type::none)
    cancel(type);
}

COPROC_DEF void join::finish() noexcept { detail::post(std::move(parent_), shared_from_this()); }

COPROC_DEF void join::forward(net::cancellation_type type) noexcept {
  if (type == net::cancellation_type::none) return;
  {
    std::lock_guard lock(mutex_);
    forwarded_ = true;
  }
  cancel(type);
}

COPROC_LAZY_DEF void join::cancel(net::cancellation_type type) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (!launched_) {
      pending_ = pending_ | type; // for the children whose signals nobody is connected to yet
      return;
    }
    for (std::size_t i = 0; i < executors(); ++i) children_[i].signals->add(type);
  }
  for (std::size_t i = 0; i < executors(); ++i) children_[i].signals->request(shared_from_this());
}

COPROC_LAZY_DEF void join::emission::request(std::shared_ptr<join> to) noexcept {
  {
    std::lock_guard lock(to->mutex_);
    if (posted_for_) return;
    posted_for_ = to;
  }
  post();
}

COPROC_DEF auto join::emission::end() noexcept -> ending {
  std::lock_guard lock(posted_for_->mutex_);
  return {std::exchange(posted_for_, nullptr), std::exchange(pending_, net::cancellation_type::none)};
}

COPROC_DEF void join::emission::emit() {
  const auto [to, type] = end();
  const std::size_t end = to->one_executor_ ? to->size_ : first_ + 1;
  bool short_of_memory = false;
  for (std::size_t i = first_; i < end; ++i) {
    child& c = to->children_[i];
    c.owed = c.owed | type;
    if (c.ended || c.owed == net::cancellation_type::none) continue;
    try {
      c.signal.emit(c.owed); // newer Asio dispatches it once more
      c.owed = net::cancellation_type::none;
    } catch (const std::bad_alloc&) {
      short_of_memory = true;
    }
  }
  if (short_of_memory) request(to); // until it has worked
}

} // namespace coproc::detail
