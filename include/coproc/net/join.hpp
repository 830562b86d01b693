// SPDX-License-Identifier: BSL-1.0
// Child coroutines of one waiting coroutine: started together, ended together, awaited to the last one. The mechanism
// of gather and with_timeout; runs in the front end, on the executor of the waiting coroutine. Layer net/.
#pragma once

#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/operation.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coproc {

/// T as a value: std::monostate for void.
template <class T>
using value_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

namespace detail {

template <class T>
std::type_identity<T> awaited(const net::awaitable<T>*);

} // namespace detail

/// net::awaitable<T>, or a type that publicly derives from it, such as task<T>.
template <class A>
concept awaitable_like = std::is_same_v<A, std::remove_cvref_t<A>> && requires(A* a) { detail::awaited(a); };

template <awaitable_like A>
using awaited_t = typename decltype(detail::awaited(static_cast<A*>(nullptr)))::type;

namespace detail {

/// The coroutine inside; the object may be a task, whose destructor cancels, and so must outlive it.
template <awaitable_like A>
net::awaitable<awaited_t<A>>&& coroutine_of(A& a) noexcept {
  return static_cast<net::awaitable<awaited_t<A>>&&>(a);
}

/// Awaits child and keeps its value, which need not be default-constructible as co_spawn has it on Asio 1.22. Accepts
/// every type of cancellation: the parent's own filter has already had its say.
template <class T>
net::awaitable<void> keep_result(net::awaitable<T> child, std::optional<value_t<T>>& result) {
  co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
  if constexpr (std::is_void_v<T>) {
    co_await std::move(child);
    result.emplace();
  } else {
    T value = co_await std::move(child);
    result.emplace(std::move(value));
  }
}

/// An executor on which nothing runs at the same time: ex itself when it is a strand, else a strand on it. A child
/// needs one because a cancellation must not be emitted while the child runs, and several threads may run ex.
template <class Executor>
Executor serial_executor(const Executor& ex) {
  const bool is_strand = executor_target<net::strand<Executor>>(ex) != nullptr ||
                         executor_target<net::strand<net::io_context::executor_type>>(ex) != nullptr ||
                         executor_target<net::strand<net::thread_pool::executor_type>>(ex) != nullptr;
  if (is_strand) return ex;
  // A strand on the concrete executor costs a child half of what one on any_io_executor does.
  if (const io_executor* io = executor_target<io_executor>(ex)) return net::make_strand(*io);
  return net::make_strand(ex);
}

/// What makes a join cancel the children that still run.
enum class join_until { first_failure, first_end };

/// Bookkeeping of one group of children. Owned by their completion handlers alone, so that a context that is destroyed
/// in the middle takes everything with it: children, then this, then the parent that waits in it.
/// A template so that only files that join anything compile it.
/// \par Threads  children may end on several threads at a time; a child's signal is emitted on its own executor
template <class Executor>
class basic_join : public std::enable_shared_from_this<basic_join<Executor>> {
public:
  using executor_type = Executor;

  basic_join(std::size_t children, join_until until)
      : until_(until), size_(children), children_(std::make_unique<child[]>(children)), running_(children + 1) {}
  basic_join(const basic_join&) = delete;
  basic_join& operator=(const basic_join&) = delete;

  /// What was thrown first; null when nothing was. \pre completed
  const std::exception_ptr& error() const noexcept { return error_; }

  /// The index of the child that ended first. \pre completed, not empty
  std::size_t first_to_end() const noexcept { return first_to_end_; }

  /// Starts the bodies. Once the last has ended, parent is posted with the join itself. A cancellation of parent is
  /// forwarded to the children and shows in what they do.
  template <class Handler>
  static void launch(std::shared_ptr<basic_join> self, Handler parent, const Executor& ex,
                     std::vector<net::awaitable<void>> bodies) {
    auto slot = net::get_associated_cancellation_slot(parent);
    self->parent_ = make_operation<parent_operation>(std::move(parent), ex, work_tracking::here);
    if (slot.is_connected())
      slot.assign([weak = self->weak_from_this()](net::cancellation_type type) {
        if (auto alive = weak.lock()) alive->forward(type);
      });
    const Executor first = serial_executor(ex);
    self->one_executor_ = first == ex || self->until_ == join_until::first_end;
    for (std::size_t i = 0; i < self->size_; ++i) {
      child& c = self->children_[i];
      c.executor = self->one_executor_ || i == 0 ? first : serial_executor(ex);
      net::co_spawn(c.executor, std::move(bodies[i]), net::bind_cancellation_slot(c.signal.slot(), child_end(self, i)));
    }
    self->launched();
  }

private:
  using parent_operation = operation<void(std::shared_ptr<basic_join>)>;

  struct child {
    Executor executor;
    net::cancellation_signal signal;
    bool ended = false; // used on the executor only, like the signal
  };

  class child_end {
  public:
    child_end(std::shared_ptr<basic_join> owner, std::size_t index) noexcept : owner_(std::move(owner)), index_(index) {}
    void operator()(std::exception_ptr e) const { owner_->child_ended(index_, e); }

  private:
    std::shared_ptr<basic_join> owner_;
    std::size_t index_;
  };

  void child_ended(std::size_t index, const std::exception_ptr& e) {
    children_[index].ended = true;
    std::unique_lock lock(mutex_);
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

  void launched() {
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

  void finish() { detail::post(std::move(parent_), this->shared_from_this()); }

  void forward(net::cancellation_type type) {
    if (type == net::cancellation_type::none) return;
    {
      std::lock_guard lock(mutex_);
      forwarded_ = true;
    }
    cancel(type);
  }

  void cancel(net::cancellation_type type) {
    if (size_ == 0) return;
    {
      std::lock_guard lock(mutex_);
      if (!launched_) {
        pending_ = pending_ | type; // for the children whose signals nobody is connected to yet
        return;
      }
    }
    if (one_executor_) return net::post(children_[0].executor, emission(this->shared_from_this(), 0, size_, type));
    for (std::size_t i = 0; i < size_; ++i)
      net::post(children_[i].executor, emission(this->shared_from_this(), i, i + 1, type));
  }

  class emission {
  public:
    emission(std::shared_ptr<basic_join> to, std::size_t first, std::size_t end, net::cancellation_type type) noexcept
        : to_(std::move(to)), first_(first), end_(end), type_(type) {}

    void operator()() const {
      for (std::size_t i = first_; i < end_; ++i)
        if (!to_->children_[i].ended) to_->children_[i].signal.emit(type_);
    }

  private:
    std::shared_ptr<basic_join> to_;
    std::size_t first_, end_;
    net::cancellation_type type_;
  };

  const join_until until_;
  const std::size_t size_;
  const std::unique_ptr<child[]> children_;
  bool one_executor_ = false; // all children have the same
  operation_ptr<parent_operation> parent_;

  std::mutex mutex_;    // guards the rest
  std::size_t running_; // children, and launch
  bool launched_ = false;
  bool any_ended_ = false;
  bool siblings_ended_ = false;
  bool forwarded_ = false; // the parent was cancelled
  std::size_t first_to_end_ = 0;
  net::cancellation_type pending_ = net::cancellation_type::none;
  std::exception_ptr error_;
};

using join = basic_join<net::any_io_executor>;

/// A join and the place into which its children put their results.
template <class Results, class Base = join>
class join_of final : public Base {
public:
  join_of(std::size_t children, join_until until) : Base(children, until) {}
  Results results{};
};

struct join_initiation {
  using executor_type = net::any_io_executor;
  executor_type get_executor() const noexcept { return executor; }

  template <class Handler, class Join>
  void operator()(Handler handler, std::shared_ptr<Join> j, std::vector<net::awaitable<void>> bodies) const {
    Join::launch(std::move(j), std::move(handler), executor, std::move(bodies));
  }

  net::any_io_executor executor;
};

/// Runs the bodies, which use j->results, and awaits their ends; gives j back.
template <class Results>
net::awaitable<std::shared_ptr<join_of<Results>>>
run_joined(net::any_io_executor ex, std::shared_ptr<join_of<Results>> j, std::vector<net::awaitable<void>> bodies) {
  auto waiting = net::async_initiate<const net::use_awaitable_t<>, void(std::shared_ptr<join>)>(
      join_initiation{std::move(ex)}, net::use_awaitable, std::shared_ptr<join>(std::move(j)), std::move(bodies));
  std::shared_ptr<join> ended = co_await std::move(waiting);
  co_return std::static_pointer_cast<join_of<Results>>(std::move(ended));
}

} // namespace detail
} // namespace coproc
