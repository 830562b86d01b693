// SPDX-License-Identifier: BSL-1.0
// Child coroutines of one waiting coroutine: started together, ended together, awaited to the last one. The mechanism
// of gather and with_timeout; runs in the front end, on the executor of the waiting coroutine. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/exception_of.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/operation.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
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

template <class T, class Executor>
net::awaitable<T, Executor> as_awaitable(const net::awaitable<T, Executor>*);

} // namespace detail

/// net::awaitable<T, Executor>, or a type that publicly derives from it, such as task<T>.
template <class A>
concept awaitable_like = std::is_same_v<A, std::remove_cvref_t<A>> && requires(A* a) { detail::as_awaitable(a); };

template <awaitable_like A>
using awaited_t = typename decltype(detail::as_awaitable(static_cast<A*>(nullptr)))::value_type;

namespace detail {

/// The executor of the coroutines that can await an A.
template <awaitable_like A>
using executor_awaiting_t = typename decltype(as_awaitable(static_cast<A*>(nullptr)))::executor_type;

/// The coroutine inside; the object may be a task, whose destructor cancels, and so must outlive it.
template <awaitable_like A>
net::awaitable<awaited_t<A>, executor_awaiting_t<A>>&& coroutine_of(A& a) noexcept {
  return static_cast<net::awaitable<awaited_t<A>, executor_awaiting_t<A>>&&>(a);
}

/// Awaits child and keeps its value, which need not be default-constructible as co_spawn has it on Asio 1.22. Accepts
/// every type of cancellation: the parent's own filter has already had its say.
template <class T, class Executor>
net::awaitable<void, Executor> keep_result(net::awaitable<T, Executor> child, std::optional<value_t<T>>& result) {
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
/// needs one because a cancellation must not be emitted while the child runs, and several threads may run ex. A child
/// whose type names the executor has that one: then it must be a strand, or have one thread.
template <class Executor>
Executor serial_executor(const Executor& ex) {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    const bool is_strand = executor_target<net::strand<net::any_io_executor>>(ex) != nullptr ||
                           executor_target<net::strand<io_executor>>(ex) != nullptr ||
                           executor_target<net::strand<pool_executor>>(ex) != nullptr;
    if (is_strand) return ex;
    // A strand on the concrete executor costs a child half of what one on any_io_executor does, and takes memory from a
    // post_room.
    if (const io_executor* io = executor_target<io_executor>(ex)) return net::make_strand(*io);
    if (const pool_executor* threads = executor_target<pool_executor>(ex)) return net::make_strand(*threads);
    return net::make_strand(ex);
  } else {
    return ex;
  }
}

/// What makes a join cancel the children that still run.
enum class join_until { first_failure, first_end };

/// Bookkeeping of one group of children. Owned by their completion handlers alone, so that a context that is destroyed
/// in the middle takes everything with it: children, then this, then the parent that waits in it.
/// \par Threads  children may end on several threads at a time; a child's signal is emitted on its own executor
class join : public std::enable_shared_from_this<join> {
public:
  using parent_operation = operation<void(std::shared_ptr<join>)>;

  join(std::size_t children, join_until until)
      : until_(until), size_(children), children_(std::make_unique<child[]>(children)), running_(children + 1) {}
  join(const join&) = delete;
  join& operator=(const join&) = delete;

  /// What was thrown first; null when nothing was. \pre completed
  const std::exception_ptr& error() const noexcept { return error_; }

  /// The index of the child that ended first. \pre completed, not empty
  std::size_t first_to_end() const noexcept { return first_to_end_; }

  /// Makes what launch() needs, because that must not fail. \par Errors  std::bad_alloc
  template <class Executor>
  void prepare(const Executor& ex) {
    const Executor first = serial_executor(ex);
    one_executor_ = first == ex || until_ == join_until::first_end;
    for (std::size_t i = 0; i < executors(); ++i)
      children_[i].signals = std::make_unique<emission_on<Executor>>(i, i == 0 ? first : serial_executor(ex));
  }

  /// Starts the bodies. Once the last has ended, parent is posted with the join itself. A cancellation of parent is
  /// forwarded to the children and shows in what they do. A body that cannot be started has failed.
  /// \pre prepared with the same executor
  template <class Executor, class Handler>
  static void launch(std::shared_ptr<join> self, Handler parent, operation_memory memory,
                     const net::any_io_executor& ex, std::vector<net::awaitable<void, Executor>> bodies) {
    auto slot = net::get_associated_cancellation_slot(parent);
    self->parent_ = make_operation<parent_operation>(std::move(parent), std::move(memory), ex, work_tracking::here);
    try {
      if (self->parent_->is_starved()) throw std::bad_alloc();
      if (slot.is_connected())
        slot.assign([weak = self->weak_from_this()](net::cancellation_type type) {
          if (auto alive = weak.lock()) alive->forward(type);
        });
    } catch (const std::bad_alloc&) {
      self->error_ = std::current_exception();
      return self->finish();
    }
    for (std::size_t i = 0; i < self->size_; ++i) {
      child& c = self->children_[i];
      try {
        const auto& signals = *self->children_[self->one_executor_ ? 0 : i].signals;
        net::co_spawn(static_cast<const emission_on<Executor>&>(signals).executor(), std::move(bodies[i]),
                      net::bind_cancellation_slot(c.signal.slot(), child_end(self, i)));
      } catch (...) {
        self->child_ended(i, std::current_exception());
      }
    }
    self->launched();
  }

private:
  // Emits the signals of the children that have one executor, there. Posted once at a time: later types are added.
  class emission : public postable {
  public:
    explicit emission(std::size_t first) noexcept : first_(first) {}
    virtual ~emission() = default;

    void add(net::cancellation_type type) noexcept { pending_ = pending_ | type; } // under the join's mutex
    COPROC_LAZY void request(std::shared_ptr<join> to) noexcept;

  protected:
    using ending = std::pair<std::shared_ptr<join>, net::cancellation_type>;

    virtual void post() noexcept = 0;
    COPROC_DECL void emit();
    /// What is returned may take the join with it, and this object in it.
    COPROC_DECL ending end() noexcept;

  private:
    const std::size_t first_;
    net::cancellation_type pending_ = net::cancellation_type::none; // guarded by the join's mutex, as the next
    std::shared_ptr<join> posted_for_;
  };

  template <class Executor>
  class emission_on final : public emission {
  public:
    emission_on(std::size_t first, Executor ex) : emission(first), executor_(std::move(ex)) {}
    const Executor& executor() const noexcept { return executor_; }
    void destroy() noexcept override { static_cast<void>(this->end()); }

  private:
    void run() override { this->emit(); }
    void post() noexcept override { this->post_to(executor_, base_context()); }
    void post_again() override { this->dispatch_to(executor_, base_context()); }

    const Executor executor_;
  };

  struct child {
    std::unique_ptr<emission> signals; // null where that of the first child is for this one, too
    net::cancellation_signal signal;
    bool ended = false; // used on the executor only, like the signal and the next
    net::cancellation_type owed = net::cancellation_type::none;
    bool counted = false; // guarded by the join's mutex
  };

  // Dropped instead of called when Asio finds no memory to go on with the child, when somebody whom it awaits is gone
  // with a context of its own, and when this context goes: that ends the child, too.
  class child_end {
  public:
    child_end(std::shared_ptr<join> owner, std::size_t index) noexcept
        : owner_(std::move(owner)), index_(index), exceptions_(std::uncaught_exceptions()) {}
    child_end(child_end&&) noexcept = default;
    child_end& operator=(child_end&&) = delete;
    ~child_end() {
      if (!owner_) return;
      const net::error_code no_memory = net::error::no_memory;
      const bool thrown = std::uncaught_exceptions() > exceptions_;
      owner_->child_ended(index_, exception_of(thrown ? no_memory : net::error_code(net::error::operation_aborted)));
    }

    void operator()(const std::exception_ptr& e) { std::exchange(owner_, nullptr)->child_ended(index_, e); }

  private:
    std::shared_ptr<join> owner_;
    std::size_t index_;
    int exceptions_;
  };

  std::size_t executors() const noexcept { return one_executor_ && size_ != 0 ? 1 : size_; }
  COPROC_DECL void child_ended(std::size_t index, const std::exception_ptr& e) noexcept;
  COPROC_DECL void launched() noexcept;
  COPROC_DECL void finish() noexcept;
  COPROC_DECL void forward(net::cancellation_type type) noexcept;
  COPROC_LAZY void cancel(net::cancellation_type type) noexcept;

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

/// A join and the place into which its children put their results.
template <class Results>
class join_of final : public join {
public:
  join_of(std::size_t children, join_until until) : join(children, until) {}
  Results results{};
};

template <class Executor>
struct join_initiation {
  using executor_type = net::any_io_executor;
  executor_type get_executor() const noexcept { return executor; }

  template <class Handler>
  void operator()(Handler handler, std::shared_ptr<join> j, operation_memory memory,
                  std::vector<net::awaitable<void, Executor>> bodies) const {
    join::launch<Executor>(std::move(j), std::move(handler), std::move(memory), executor, std::move(bodies));
  }

  net::any_io_executor executor;
};

/// Runs the bodies, which use j->results, and awaits their ends; gives j back.
template <class Results, class Executor>
net::awaitable<std::shared_ptr<join_of<Results>>, Executor> run_joined(
    Executor ex, std::shared_ptr<join_of<Results>> j, std::vector<net::awaitable<void, Executor>> bodies) {
  using token = net::use_awaitable_t<Executor>;
  j->prepare(ex);
  auto waiting = net::async_initiate<const token, void(std::shared_ptr<join>)>(
      join_initiation<Executor>{any_executor_of(ex)}, token(), std::shared_ptr<join>(std::move(j)),
      memory_for_operation<join::parent_operation>(), std::move(bodies));
  std::shared_ptr<join> ended = co_await std::move(waiting);
  co_return std::static_pointer_cast<join_of<Results>>(std::move(ended));
}

} // namespace detail
} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/join.ipp>
#endif
