// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/os/text.hpp>
#include <coproc/task_group.hpp>

#include <algorithm>
#include <new>
#include <stdexcept>

namespace coproc {

namespace detail {

COPROC_LAZY std::string text_of(const std::vector<std::exception_ptr>& exceptions) {
  constexpr std::size_t shown = 3;
  std::string text =
      os::text("coproc: ", exceptions.size(), exceptions.size() == 1 ? " failure" : " failures", " in a task group");
  for (std::size_t i = 0; i < exceptions.size() && i < shown; ++i) {
    text += i == 0 ? ": " : "; ";
    try {
      std::rethrow_exception(exceptions[i]);
    } catch (const std::exception& e) {
      text += e.what();
    } catch (...) {
      text += "(not a std::exception)";
    }
  }
  if (exceptions.size() > shown) text += "; ...";
  return text;
}

} // namespace detail

COPROC_DEF exception_group::exception_group(std::vector<std::exception_ptr> exceptions) {
  std::string text = detail::text_of(exceptions);
  content_ = std::make_shared<const content>(content{std::move(exceptions), std::move(text)});
}

COPROC_DEF std::shared_ptr<detail::group_state> task_group::state() const {
  auto alive = state_.lock();
  if (!alive) throw std::logic_error("coproc: task_group: spawn after the end of with_task_group");
  return alive;
}

COPROC_DEF void task_group::spawn(net::awaitable<void> child) { state()->spawn(std::move(child), nullptr); }

COPROC_DEF void task_group::cancel() {
  if (const auto alive = state_.lock()) alive->cancel(net::cancellation_type::terminal, false);
}

namespace detail {

/// Accepts every type of cancellation: the parent's own filter has already had its say.
COPROC_LAZY net::awaitable<void> group_child(net::awaitable<void> child) {
  co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
  co_await std::move(child);
}

/// Has it been thrown because of a cancellation?
COPROC_LAZY bool is_abort(const std::exception_ptr& e) noexcept {
  try {
    std::rethrow_exception(e);
  } catch (const net::system_error& se) {
    return se.code() == net::error::operation_aborted;
  } catch (const net::multiple_exceptions& several) { // of && and || among awaitables
    try {
      std::rethrow_exception(several.first_exception());
    } catch (const net::system_error& se) {
      return se.code() == net::error::operation_aborted;
    } catch (...) {
      return false;
    }
  } catch (...) {
    return false;
  }
}

COPROC_DEF void group_state::launch(parent_handler parent, net::awaitable<void> body) {
  const auto self = shared_from_this(); // others may complete it while this runs
  auto slot = net::get_associated_cancellation_slot(parent);
  parent_.emplace(std::move(parent));
  running_ = 1;
  try {
    if (slot.is_connected())
      slot.assign([weak = weak_from_this()](net::cancellation_type type) {
        if (const auto alive = weak.lock()) alive->cancel(type, true);
      });
    start(std::move(body), nullptr);
  } catch (...) { // no memory
    count_end(std::current_exception(), false);
  }
}

COPROC_DEF void group_state::spawn(net::awaitable<void> child, std::shared_ptr<group_task> control) {
  {
    std::lock_guard lock(mutex_);
    if (over_) throw std::logic_error("coproc: task_group: spawn after the end of with_task_group");
    if ((cancelled_ & net::cancellation_type::terminal) != net::cancellation_type::none)
      throw net::system_error(net::error::operation_aborted, "coproc: task_group: spawn into a group that is ending");
    ++running_;
  }
  try {
    start(std::move(child), std::move(control));
  } catch (...) {
    count_end(nullptr, false);
    throw;
  }
}

COPROC_LAZY_DEF void group_state::start(net::awaitable<void> child, std::shared_ptr<group_task> control) {
  if (strand_ != nullptr && strand_->running_in_this_thread()) return begin(std::move(child), std::move(control));
  net::dispatch(executor_, [self = shared_from_this(), c = std::move(child), t = std::move(control)]() mutable {
    try {
      self->begin(std::move(c), std::move(t));
    } catch (...) {
      self->count_end(std::current_exception(), false);
    }
  });
}

COPROC_LAZY_DEF void group_state::begin(net::awaitable<void> child, std::shared_ptr<group_task> control) {
  if (first_free_ == 0) {
    children_.emplace_back();
    first_free_ = children_.size();
  }
  const std::size_t place = first_free_ - 1;
  auto& c = children_[place];
  first_free_ = c.next_free;
  c.alive = true;
  c.control = control;
  if (control) control->place_ = place + 1;
  try {
    net::co_spawn(executor_, group_child(std::move(child)), child_end<>(shared_from_this(), c, place));
  } catch (const std::bad_alloc&) {
    return; // the end that was destroyed has reported it
  }
  // What came before it began.
  const auto type = emitted_ | (control ? control->requested_ : net::cancellation_type::none);
  if (type != net::cancellation_type::none && c.alive) c.signal.emit(type);
}

COPROC_DEF void group_state::child_ended(std::size_t index, const std::exception_ptr& e) {
  auto& c = children_[index];
  c.alive = false;
  c.next_free = std::exchange(first_free_, index + 1);
  const auto control = std::move(c.control);
  if (control) control->place_ = 0;
  count_end(e, control && control->requested_ != net::cancellation_type::none);
}

COPROC_LAZY_DEF void group_state::count_end(const std::exception_ptr& e, bool was_cancelled) {
  using enum net::cancellation_type;
  std::unique_lock lock(mutex_);
  const bool obeyed = e && (cancelled_ != none || was_cancelled) && is_abort(e);
  // Who awaits the task of a child may have let out its failure.
  const bool failed = e && !obeyed && std::find(failures_.begin(), failures_.end(), e) == failures_.end();
  aborted_ = aborted_ || (obeyed && cancelled_ != none);
  if (failed) failures_.push_back(e);
  const bool last = --running_ == 0;
  over_ = last;
  lock.unlock();
  if (last)
    finish();
  else if (failed)
    cancel(terminal, false);
}

COPROC_DEF void group_state::cancel(net::cancellation_type type, bool from_outside) {
  {
    std::lock_guard lock(mutex_);
    if (over_ || type == net::cancellation_type::none) return;
    from_outside_ = from_outside_ || from_outside;
    if ((cancelled_ | type) == cancelled_) return;
    cancelled_ = cancelled_ | type;
  }
  // Later: the one who calls may be a child.
  net::post(executor_, [self = shared_from_this(), type] { self->emit(type); });
}

COPROC_DEF void group_state::cancel_child(group_task& control, net::cancellation_type type) {
  control.requested_ = control.requested_ | type;
  if (control.place_ != 0) children_[control.place_ - 1].signal.emit(type);
}

COPROC_LAZY_DEF void group_state::emit(net::cancellation_type type) {
  emitted_ = emitted_ | type;
  for (std::size_t i = 0; i < children_.size(); ++i)
    if (children_[i].alive) children_[i].signal.emit(type);
}

COPROC_LAZY_DEF void group_state::finish() {
  parent_handler parent(std::move(*parent_));
  parent_.reset();
  const auto ex = parent.get_executor();
  net::post(ex, [p = std::move(parent), self = shared_from_this()]() mutable { std::move(p)(std::move(self)); });
}

COPROC_DEF void group_state::rethrow() const {
  if (!failures_.empty()) throw exception_group(failures_);
  if (from_outside_ && aborted_) throw net::system_error(net::error::operation_aborted);
}

} // namespace detail
} // namespace coproc
