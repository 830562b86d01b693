// SPDX-License-Identifier: BSL-1.0
// with_task_group: a scope whose child coroutines have all ended when it ends, as asyncio.TaskGroup and trio's nursery.
// Runs in the front end, on the executor of the awaiting coroutine. A public header: may include everything.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/task.hpp>
#include <coproc/thread_bridge.hpp>

#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

/// What failed in a task group, in order of time: one exception or more.
class COPROC_VISIBLE exception_group : public std::exception {
public:
  /// For with_task_group, and for whoever collects failures of his own; the text is made of theirs.
  COPROC_DECL explicit exception_group(std::vector<std::exception_ptr> exceptions);

  /// Never empty when with_task_group has thrown it.
  const std::vector<std::exception_ptr>& exceptions() const noexcept { return content_->exceptions; }

  /// How many there are, and the texts of the first three.
  const char* what() const noexcept override { return content_->text.c_str(); }

private:
  struct content {
    std::vector<std::exception_ptr> exceptions;
    std::string text;
  };

  std::shared_ptr<const content> content_; // exceptions are copied without throwing
};

namespace detail {
class group_state;
class group_task;
} // namespace detail

/// What the body of with_task_group spawns children into. A handle: children and other threads may have copies of it.
/// \par Threads  any; children that are spawned by the body or by a child begin at once, as with co_spawn, up to where
///               they first wait; those of other threads begin later
/// \par Lifetime the object that the body is given lives as long as the scope. A copy may outlive it: then spawn throws
///               std::logic_error, and cancel does nothing
class task_group {
public:
  /// Starts a child, which the scope awaits. A child that fails ends the scope.
  /// \par Errors  std::logic_error: the scope has ended. operation_aborted: the scope is ending, because something has
  ///              failed, or cancel() was called, or it is cancelled from outside; a coroutine that lets this out does
  ///              as it was told. The child has not begun then, and is destroyed
  COPROC_DECL void spawn(net::awaitable<void> child);

  /// The same for a child that gives a result, which the task has: to be awaited in the scope or after it. A failure
  /// ends the scope all the same, and is the task's result, too. A child that is cancelled by its task has not failed.
  /// \par Drop  a task that is destroyed without having been awaited cancels the child, as any task; see detach()
  template <class T>
    requires(!std::is_void_v<T>)
  task<T> spawn(net::awaitable<T> child);

  /// Ends the scope early, and without an error: body and children get terminal cancellation and are awaited to their
  /// ends. What they throw then counts, unless it is operation_aborted.
  COPROC_DECL void cancel();

private:
  friend class detail::group_state;
  explicit task_group(std::weak_ptr<detail::group_state> state) noexcept : state_(std::move(state)) {}

  COPROC_DECL std::shared_ptr<detail::group_state> state() const;

  std::weak_ptr<detail::group_state> state_; // none of its owners: see group_state
};

namespace detail {

/// Body and children of one group, all on one executor on which nothing runs at the same time. Owned by their
/// completion handlers alone, so that a context that is destroyed in the middle takes everything with it: children,
/// then this, then the parent that waits in it.
/// \par Threads  children come and go on any thread; signals are used on the executor only
class group_state : public std::enable_shared_from_this<group_state> {
public:
  using parent_handler =
      typename net::async_result<net::use_awaitable_t<>, void(std::shared_ptr<group_state>)>::handler_type;

  explicit group_state(net::any_io_executor ex) : executor_(std::move(ex)) {
    strand_ = executor_target<net::strand<net::io_context::executor_type>>(executor_);
  }
  group_state(const group_state&) = delete;
  group_state& operator=(const group_state&) = delete;

  /// Starts the body. Once the last child has ended, parent is posted with this object.
  COPROC_DECL void launch(parent_handler parent, net::awaitable<void> body);

  /// `control`: null, or who may cancel this child alone.
  COPROC_DECL void spawn(net::awaitable<void> child, std::shared_ptr<group_task> control);
  COPROC_DECL void cancel(net::cancellation_type type, bool from_outside);
  /// \par Threads  on the executor
  COPROC_DECL void cancel_child(group_task& control, net::cancellation_type type);

  const net::any_io_executor& executor() const noexcept { return executor_; }

  /// Throws what the scope ends with, if that is an error. \pre completed
  COPROC_DECL void rethrow() const;

protected:
  ~group_state() = default;

  static task_group handle_of(const std::shared_ptr<group_state>& state) noexcept { return task_group(state); }

private:
  struct place_of_child {
    net::cancellation_signal signal;
    bool alive = false;
    std::shared_ptr<group_task> control;
    std::size_t next_free = 0; // of one that is not alive: the place of another + 1; 0: there is none
  };

  // Destroyed instead of called when somebody whom the child awaits is gone with a context of its own, and when this
  // context goes: that ends the child, too.
  COPROC_LAZY_CLASS class child_end {
  public:
    using cancellation_slot_type = net::cancellation_slot;

    child_end(std::shared_ptr<group_state> owner, place_of_child& c, std::size_t index) noexcept
        : owner_(std::move(owner)), slot_(c.signal.slot()), index_(index) {}
    child_end(child_end&&) noexcept = default;
    child_end& operator=(child_end&&) = delete;
    ~child_end() {
      if (owner_)
        owner_->child_ended(index_, std::make_exception_ptr(net::system_error(net::error::operation_aborted)));
    }

    cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }
    void operator()(const std::exception_ptr& e) { std::exchange(owner_, nullptr)->child_ended(index_, e); }

  private:
    std::shared_ptr<group_state> owner_;
    net::cancellation_slot slot_;
    std::size_t index_;
  };

  COPROC_LAZY void start(net::awaitable<void> child, std::shared_ptr<group_task> control);
  COPROC_LAZY void begin(net::awaitable<void> child, std::shared_ptr<group_task> control);
  COPROC_DECL void child_ended(std::size_t index, const std::exception_ptr& e);
  COPROC_LAZY void count_end(const std::exception_ptr& e, bool was_cancelled);
  COPROC_LAZY void emit(net::cancellation_type type);
  COPROC_LAZY void finish();

  const net::any_io_executor executor_;
  const net::strand<net::io_context::executor_type>* strand_; // what executor_ is, if it is one of these

  // Used on the executor only. Places of children that have ended are used again, with the memory of their signals.
  std::deque<place_of_child> children_;
  std::size_t first_free_ = 0;
  net::cancellation_type emitted_ = net::cancellation_type::none;

  std::optional<parent_handler> parent_; // of launch, then of the last to end

  std::mutex mutex_;          // guards the rest
  std::size_t running_ = 0;   // body and children
  bool over_ = false;         // all have ended
  bool aborted_ = false;      // somebody did as he was told
  bool from_outside_ = false; // the parent was cancelled
  net::cancellation_type cancelled_ = net::cancellation_type::none;
  std::vector<std::exception_ptr> failures_;
};

/// A child that gives a result, as what its task cancels it by. Whoever does that may be on another thread than the
/// context's.
class group_task final : public task_host, public shutdown_listener, public std::enable_shared_from_this<group_task> {
public:
  explicit group_task(const std::shared_ptr<group_state>& group) : task_host(group->executor()), group_(group) {}

  static std::shared_ptr<group_task> make(const std::shared_ptr<group_state>& group) {
    auto made = std::make_shared<group_task>(group);
    made->registration_.join(group->executor(), std::weak_ptr<shutdown_listener>(made));
    return made;
  }

  void cancel(net::cancellation_type type) noexcept override {
    const lent_executor::use context(executor); // which is not being destroyed, then
    if (!context) return;
    net::post(*context, [self = shared_from_this(), type] {
      if (const auto group = self->group_.lock()) group->cancel_child(*self, type);
    });
  }

private:
  friend class group_state;

  void context_shutting_down() noexcept override { executor.take_back(); }

  const std::weak_ptr<group_state> group_;
  shutdown_service::registration registration_;

  // Used on the group's executor only.
  std::size_t place_ = 0; // of the child + 1, while it runs
  net::cancellation_type requested_ = net::cancellation_type::none;
};

/// A child that puts its end into a task as well.
template <class T>
net::awaitable<void> tell(net::awaitable<T> child, typename task_state<T>::sink task) {
  std::exception_ptr error;
  try {
    T value = co_await std::move(child);
    task(nullptr, std::move(value));
  } catch (...) {
    error = std::current_exception();
  }
  if (!error) co_return;
  task(error, front::no_value<T>());
  std::rethrow_exception(error);
}

template <class F>
class group_of final : public group_state {
public:
  using result_type = awaited_t<std::invoke_result_t<F&, task_group&>>;

  explicit group_of(net::any_io_executor ex, F&& body) : group_state(std::move(ex)), body_(std::move(body)) {}

  static net::awaitable<void> run_body(std::shared_ptr<group_of> self) {
    self->group_.emplace(handle_of(self));
    // Two steps: g++ 12 and temporaries.
    auto body = self->body_(*self->group_);
    auto kept = keep_result(coroutine_of(body), self->result);
    co_await std::move(kept);
  }

  std::optional<value_t<result_type>> result;

private:
  F body_; // its captures live as long as the coroutine that it has made
  std::optional<task_group> group_;
};

struct group_initiation {
  template <class Handler>
  void operator()(Handler handler, std::shared_ptr<group_state> group, net::awaitable<void> body) const {
    group->launch(std::move(handler), std::move(body));
  }
};

template <class F>
net::awaitable<typename group_of<F>::result_type> run_group(F body) {
  net::any_io_executor ex = co_await net::this_coro::executor;
  auto group = std::make_shared<group_of<F>>(serial_executor(ex), std::move(body));
  auto first = group_of<F>::run_body(group);
  auto waiting = net::async_initiate<const net::use_awaitable_t<>, void(std::shared_ptr<group_state>)>(
      group_initiation(), net::use_awaitable, std::shared_ptr<group_state>(std::move(group)), std::move(first));
  const auto ended = co_await std::move(waiting);
  ended->rethrow();
  if constexpr (!std::is_void_v<typename group_of<F>::result_type>) {
    auto& result = static_cast<group_of<F>&>(*ended).result;
    if (!result) throw net::system_error(net::error::operation_aborted);
    co_return std::move(*result);
  }
}

template <class F>
concept group_body = std::invocable<F&, task_group&> && awaitable_like<std::invoke_result_t<F&, task_group&>>;

} // namespace detail

/// Runs body(group), a coroutine that may spawn children into the group, and awaits it and all children. The result is
/// the body's.
///
/// body is a function of task_group& that returns a net::awaitable<T>; it is decay-copied, and lives to the end of the
/// scope. The first failure, of a child or of the body, ends the scope: all others get terminal cancellation, and are
/// awaited to their ends.
/// \par Errors    exception_group of all that failed: also when that is one, so that a handler which is right today is
///                right when two fail at a time (as asyncio, trio and anyio have it). operation_aborted that is thrown
///                after a cancellation is none of them
/// \par Cancel    forwarded to the body and the children with its type; completes when all have ended: with
///                operation_aborted if any of them has heeded it, and nothing has failed. After group.cancel() the
///                scope ends without an error; a body that was to give a value and was cancelled has none:
///                operation_aborted
/// \par Threads   body and children run one at a time, on the caller's executor if it is a strand, else on a strand on
///                it: what they share needs no lock, also when several threads run the io_context. To run one beside
///                the others, spawn an awaitable of co_spawn on another executor
/// \par Lifetime  what body and children refer to must outlive the awaiting; the captures of body do
template <class F>
[[nodiscard]] auto with_task_group(F&& body) {
  using kept = std::decay_t<F>;
  static_assert(
      !detail::gcc12_closure_hazard<F>,
      "coproc: g++ 12 destroys this temporary twice inside co_await (GCC PR 99576): give the object a name and "
      "pass the name");
  static_assert(detail::group_body<kept>,
                "coproc: with_task_group takes a function of task_group& that returns a net::awaitable<T>");
  if constexpr (detail::group_body<kept>) return detail::run_group<kept>(std::forward<F>(body));
}

template <class T>
  requires(!std::is_void_v<T>)
task<T> task_group::spawn(net::awaitable<T> child) {
  const auto group = state();
  auto control = detail::group_task::make(group);
  auto result = std::make_shared<detail::task_state<T>>(control);
  auto body = detail::tell<T>(std::move(child), typename detail::task_state<T>::sink(result));
  group->spawn(std::move(body), std::move(control));
  return task<T>(std::move(result));
}

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/task_group.ipp>
#endif
