// SPDX-License-Identifier: BSL-1.0
// as_completed: the results of several coroutines or tasks as a stream, in the order in which they end. Front end, on
// the executor of the reader. A public header: may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/stream.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

/// How one of the coroutines given to as_completed has ended.
template <class R>
class completed {
public:
  /// For as_completed.
  completed(std::size_t i, std::exception_ptr e,
            std::optional<value_t<R>> v) noexcept(std::is_nothrow_move_constructible_v<value_t<R>>)
      : index(i), error_(std::move(e)), value_(std::move(v)) {}

  std::size_t index; ///< of the coroutine in the vector

  /// Its result, once; rethrows what it threw.
  R get() {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<R>) return static_cast<R>(std::move(*value_));
  }

private:
  std::exception_ptr error_;
  std::optional<value_t<R>> value_;
};

namespace detail {

template <awaitable_like A>
class as_completed_core final : public stream_core<completed<awaited_t<A>>> {
  using R = awaited_t<A>;

public:
  explicit as_completed_core(std::vector<A>&& children) : children_(std::move(children)), left_(children_.size()) {}

private:
  // What a child leaves: its own until it has ended.
  struct place {
    explicit place(A&& a) : child(std::move(a)) {}
    A child; // a task cancels when it is destroyed
    std::optional<value_t<R>> value;
  };

  pulled pull(std::vector<completed<R>>& into, std::exception_ptr&) override {
    if (!std::exchange(is_started_, true)) start();
    std::lock_guard lock(mutex_);
    into.swap(ready_);
    if (!into.empty()) return pulled::items;
    return left_ == 0 ? pulled::over : pulled::nothing_yet;
  }

  void start() {
    const net::any_io_executor ex = this->executor();
    const auto self = std::static_pointer_cast<as_completed_core>(this->shared_from_this());
    auto children = std::move(children_);
    for (std::size_t i = 0; i != children.size(); ++i) {
      if (!ex) {
        ended(i, aborted(), {});
        continue;
      }
      const auto p = std::make_shared<place>(std::move(children[i]));
      auto end =
          called_at_end([self, p, i](std::exception_ptr e) { self->ended(i, std::move(e), std::move(p->value)); });
      auto child = spawned_coroutine::start(ex, keep_result(coroutine_of(p->child), p->value), std::move(end));
      std::lock_guard lock(mutex_);
      running_.push_back(std::move(child));
    }
    std::unique_lock lock(mutex_);
    if (!is_stopped_) return;
    lock.unlock();
    cancel_children();
  }

  void ended(std::size_t i, std::exception_ptr e, std::optional<value_t<R>> value) {
    {
      std::lock_guard lock(mutex_);
      ready_.emplace_back(i, std::move(e), std::move(value));
      --left_;
    }
    this->notify();
  }

  void stop() noexcept override {
    {
      std::lock_guard lock(mutex_);
      is_stopped_ = true;
    }
    cancel_children();
  }

  void cancel_children() noexcept {
    std::unique_lock lock(mutex_);
    const auto running = std::exchange(running_, {});
    lock.unlock();
    for (const auto& child : running) spawned_coroutine::cancel(child);
  }

  std::vector<A> children_; // until they are started
  bool is_started_ = false;
  std::mutex mutex_; // guards the rest
  std::vector<std::weak_ptr<spawned_coroutine>> running_;
  std::vector<completed<R>> ready_;
  std::size_t left_;
  bool is_stopped_ = false;
};

} // namespace detail

/// The ends of the children, which are net::awaitable<R> or task<R>, in the order in which they come. A child that
/// fails is an item, too, whose get() rethrows; the others go on.
///
/// Children start when the stream is first read, on the executor of that reader, each on a strand of its own where
/// that executor is none (a task has been running since submit).
/// \par Errors    of next(): operation_aborted after stream::cancel(), and already_awaited
/// \par Cancel    cancelling next() cancels no child. stream::cancel() and the destructor cancel all that have not
///                ended, with terminal; those that were never started are destroyed, which cancels a task
/// \par Lifetime  what the children refer to must outlive their ends
template <awaitable_like A>
stream<completed<awaited_t<A>>> as_completed(std::vector<A> children) {
  return stream<completed<awaited_t<A>>>(std::make_shared<detail::as_completed_core<A>>(std::move(children)));
}

} // namespace coproc
