// SPDX-License-Identifier: BSL-1.0
// task<R>: a call that has been started, and an awaitable<R> of its result. What submit returns. Front end.
#pragma once

#include <coproc/codec/aggregate.hpp>
#include <coproc/front/call.hpp>
#include <coproc/net/run_scope.hpp>
#include <coproc/pool.hpp>

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

namespace detail {

/// Who runs what a task stands for, where that is no call of a pool.
class task_host {
public:
  explicit task_host(net::any_io_executor ex) noexcept : executor(std::move(ex)) {}
  virtual ~task_host() = default;
  virtual void cancel(net::cancellation_type type) noexcept = 0;

  lent_executor executor; ///< of those who wait and have none
};

/// Told of the end of tasks that somebody waits for without wanting their results. Under no lock of the task.
class task_observer {
public:
  virtual void task_ended(bool failed) noexcept = 0;

protected:
  ~task_observer() = default;
};

// Can a T be copied, and not only say so? Containers say so whatever their elements are, and so do aggregates of them.
template <class T>
consteval bool is_copyable() {
  if constexpr (!std::is_copy_constructible_v<T>)
    return false;
  else if constexpr (requires { typename T::value_type; })
    return std::is_same_v<T, typename T::value_type> || is_copyable<std::remove_cv_t<typename T::value_type>>();
  else if constexpr (std::is_trivially_copyable_v<T> || !reflectable<T>)
    return true;
  else
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (is_copyable<std::remove_all_extents_t<member_t<I, T>>>() && ...);
    }(std::make_index_sequence<std::is_empty_v<T> ? 0 : member_count<T>>());
}

// The result of a started call, and who waits for it, in order. One who takes the result is given it by a move, the
// others get copies; a result that cannot be copied is for the first.
template <class R>
class task_state : public std::enable_shared_from_this<task_state<R>> {
  using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
  static constexpr bool copyable = is_copyable<value_type>();

  struct waiter_base {
    explicit waiter_base(bool takes) noexcept : takes_result(takes) {}
    virtual ~waiter_base() = default;
    virtual void deliver(std::exception_ptr e, std::optional<value_type> result) = 0;

    const bool takes_result;
    std::exception_ptr given_error; // what it is to be delivered, with the value
    std::optional<value_type> given_value;
    std::unique_ptr<waiter_base> next;
  };
  using waiter_list = std::unique_ptr<waiter_base>;

  template <class Handler>
  struct waiter final : waiter_base {
    completion<Handler> c;
    waiter(completion<Handler>&& completion, bool takes) : waiter_base(takes), c(std::move(completion)) {}
    void deliver(std::exception_ptr e, std::optional<value_type> result) override {
      if constexpr (!std::is_void_v<R>)
        if (result) return front::post_result<R>(std::move(c), std::move(e), std::move(*result));
      front::post_result<R>(std::move(c), std::move(e));
    }
  };

public:
  /// The handler of the pool's operation: puts the result here. Nobody's executor: it runs where the pool completes.
  /// Destroyed uninvoked, it does the same to whoever waits.
  class sink {
  public:
    explicit sink(std::shared_ptr<task_state> state) noexcept : state_(std::move(state)) {}
    sink(sink&&) noexcept = default;
    ~sink() {
      if (state_) state_->abandon();
    }

    void operator()(std::exception_ptr e)
      requires std::is_void_v<R>
    {
      std::exchange(state_, nullptr)->set(std::move(e), value_type());
    }
    template <class V>
      requires(!std::is_void_v<R>)
    void operator()(std::exception_ptr e, V&& v) {
      const auto state = std::exchange(state_, nullptr);
      if (e)
        state->set(std::move(e), std::nullopt);
      else
        state->set_value(std::forward<V>(v));
    }

  private:
    std::shared_ptr<task_state> state_;
  };

  task_state(std::shared_ptr<front::engine> engine, std::pair<front::task_record*, std::uint64_t> identity)
      : engine_(std::move(engine)), identity_(identity) {}
  explicit task_state(std::shared_ptr<task_host> host) : host_(std::move(host)) {}

  /// False: it had ended.
  bool cancel(net::cancellation_type type) noexcept {
    if (done()) return false;
    if (host_) return host_->cancel(type), true;
    if (identity_.first != nullptr) engine_->cancel(*identity_.first, identity_.second, type);
    return true;
  }

  bool done() const {
    std::lock_guard lock(mutex_);
    return done_;
  }

  void detach() {
    std::lock_guard lock(mutex_);
    detached_ = true;
  }

  /// Nobody can get the result any more: an unfinished call is cancelled.
  void drop() noexcept {
    {
      std::lock_guard lock(mutex_);
      if (done_ || detached_ || claimed_) return;
    }
    cancel(net::cancellation_type::terminal);
  }

  /// `takes`: the result is moved out of here.
  template <class Handler>
  void wait(Handler handler, bool takes) {
    if (host_)
      wait_on(lent_executor::use(host_->executor), std::move(handler), takes);
    else
      wait_on(front::engine::executor_use(*engine_), std::move(handler), takes);
  }

  /// Tells `who` of the end, which may be now.
  void observe(const std::shared_ptr<task_observer>& who) {
    bool failed = false;
    {
      std::lock_guard lock(mutex_);
      if (!done_) return observers_.push_back(who);
      failed = failed_;
    }
    who->task_ended(failed);
  }

  /// No more.
  void forget(const std::shared_ptr<task_observer>& who) noexcept {
    std::lock_guard lock(mutex_);
    std::erase(observers_, who);
  }

private:
  // `takes`: the result is moved out of here.
  template <class Handler>
  void wait_on(const lent_executor::use& context, Handler handler, bool takes) {
    if (!context) return; // the handler goes, too, as all that wait
    std::exception_ptr refused = host_ ? nullptr : run_scope::refusal(*engine_, handler);
    completion<Handler> c(std::move(handler), *context);
    auto slot = c.get_cancellation_slot();
    auto w = std::make_unique<waiter<Handler>>(std::move(c), takes || !copyable);
    const bool claimed_before = refused || claim(refused);
    if (refused) return w->deliver(std::move(refused), std::nullopt);
    if (slot.is_connected()) connect(slot, claimed_before);
    {
      std::lock_guard lock(mutex_);
      if (!done_) return append(std::move(w));
      hand_out(*w, true);
    }
    deliver(std::move(w));
  }

  // Whether there was a wait before. `refused`: why there can be no other one.
  bool claim(std::exception_ptr& refused) {
    std::unique_lock lock(mutex_);
    if (!taken_ && (copyable || !claimed_)) return std::exchange(claimed_, true);
    lock.unlock();
    refused = std::make_exception_ptr(pool_error(
        make_error_code(errc::already_awaited),
        copyable ? "co_await of a task, and async_wait of one that is moved from, take its result out of it: wait with "
                   "async_wait of a named task before that"
                 : "a result that cannot be copied is for the first who waits for it: let that one pass it on"));
    return true;
  }

  void connect(net::cancellation_slot slot, bool claimed_before) {
    try {
      slot.assign([weak = this->weak_from_this()](net::cancellation_type type) {
        if (const auto self = weak.lock()) self->cancel(type);
      });
    } catch (...) { // no memory: this one does not wait
      std::lock_guard lock(mutex_);
      claimed_ = claimed_before;
      throw;
    }
  }

  void append(waiter_list w) noexcept {
    waiter_base* const last = w.get();
    (last_ != nullptr ? last_->next : first_) = std::move(w);
    last_ = last;
  }

  template <class V>
  void set_value(V&& v) {
    std::optional<value_type> value;
    std::exception_ptr e;
    try {
      value.emplace(std::forward<V>(v));
    } catch (...) { // a value that cannot be moved: that is the result, then
      e = std::current_exception();
    }
    set(std::move(e), std::move(value));
  }

  void set(std::exception_ptr e, std::optional<value_type> v) {
    std::unique_lock lock(mutex_);
    done_ = true;
    failed_ = e != nullptr;
    const auto observers = std::move(observers_);
    waiter_list waiting = std::move(first_);
    if (waiting && waiting.get() == last_ && waiting->takes_result) { // as nearly always: without a detour
      taken_ = true;
      last_ = nullptr;
      lock.unlock();
      waiting->deliver(std::move(e), std::move(v));
    } else {
      last_ = nullptr;
      exception_ = std::move(e);
      value_ = std::move(v);
      for (waiter_base* w = waiting.get(); w != nullptr; w = w->next.get()) hand_out(*w, w->next == nullptr);
      lock.unlock();
      deliver(std::move(waiting));
    }
    for (const auto& who : observers) who->task_ended(failed_);
  }

  // Under the lock: gives w its part of the result.
  void hand_out(waiter_base& w, bool is_last) noexcept {
    w.given_error = exception_;
    taken_ = taken_ || w.takes_result;
    if (!value_) return;
    try {
      if constexpr (copyable)
        if (!(w.takes_result && is_last)) return static_cast<void>(w.given_value.emplace(*value_));
      w.given_value.emplace(std::move(*value_));
      value_.reset();
    } catch (...) {
      w.given_error = std::current_exception();
    }
  }

  // In order. Not under the lock, since what is destroyed may drop the task.
  static void deliver(waiter_list waiting) {
    while (waiting) {
      waiter_list rest = std::move(waiting->next);
      waiting->deliver(std::move(waiting->given_error), std::move(waiting->given_value));
      waiting = std::move(rest);
    }
  }

  // The context goes, and with it whoever waits: a waiting coroutine's frame holds this object, so nobody else would
  // end it. Not under the lock, as above.
  void abandon() noexcept {
    std::unique_lock lock(mutex_);
    done_ = failed_ = true;
    exception_ = std::make_exception_ptr(net::system_error(net::error::operation_aborted));
    waiter_list doomed = std::move(first_);
    last_ = nullptr;
    const auto observers = std::move(observers_);
    lock.unlock();
    while (doomed) doomed = std::move(doomed->next);
    for (const auto& who : observers) who->task_ended(true);
  }

  const std::shared_ptr<front::engine> engine_; // null: a host_ runs it
  const std::pair<front::task_record*, std::uint64_t> identity_{};
  const std::shared_ptr<task_host> host_;
  mutable std::mutex mutex_;
  bool done_ = false, failed_ = false, detached_ = false;
  bool claimed_ = false; // somebody waits, or has waited
  bool taken_ = false;   // the result is gone
  std::exception_ptr exception_;
  std::optional<value_type> value_;
  waiter_list first_;
  waiter_base* last_ = nullptr;
  std::vector<std::shared_ptr<task_observer>> observers_;
};

// Lives in the awaitable's frame: whatever way the frame goes, an unfinished call that nobody waits for is cancelled.
template <class R>
class task_guard {
public:
  explicit task_guard(std::shared_ptr<task_state<R>> state) noexcept : state_(std::move(state)) {}
  task_guard(task_guard&&) noexcept = default;
  ~task_guard() {
    if (state_) state_->drop();
  }
  const std::shared_ptr<task_state<R>>& state() const noexcept { return state_; }

private:
  std::shared_ptr<task_state<R>> state_;
};

template <class R>
struct initiate_task_wait {
  std::shared_ptr<task_state<R>> state;
  bool takes;
  template <class Handler>
  void operator()(Handler handler) const {
    state->wait(std::move(handler), takes);
  }
};

/// What wait() needs of a task.
struct task_access {
  template <class R>
  static task_state<R>& state_of(const task<R>& t) noexcept {
    return *t.state_;
  }
};

template <class R, class Token>
auto wait_for_task(std::shared_ptr<task_state<R>> state, bool takes, Token&& token) {
  return net::async_initiate<Token, front::completion_signature<R>>(initiate_task_wait<R>{std::move(state), takes},
                                                                    token);
}

template <class R>
net::awaitable<R> await_task(task_guard<R> guard) {
  co_return co_await wait_for_task<R>(guard.state(), true, net::use_awaitable);
}

} // namespace detail

/// A call that was started by submit. It is an awaitable<R>: co_await it, combine it with && and ||, pass it to
/// co_spawn and gather. That takes the result out of it. Others may wait, too, before: with async_wait for a copy of
/// the result, with coproc::wait for the end.
/// \par Order     those who wait are posted in the order in which they began to
/// \par Cancel    cancelling one who waits for the result cancels the call, for all
/// \par Drop      an unfinished task that is destroyed without having been awaited is cancelled; detach() lets it go on
/// \par Threads   cancel(), done() and async_wait() from any thread
/// \par Lifetime  may outlive the pool: it then has ended with operation_aborted. One that was moved from can only be
///                destroyed
template <class R>
class [[nodiscard]] task : public net::awaitable<R> {
public:
  /// For submit.
  explicit task(std::shared_ptr<detail::task_state<R>> state)
      : net::awaitable<R>(detail::await_task<R>(detail::task_guard<R>(state))), state_(std::move(state)) {}

  task(task&&) noexcept = default; ///< a task that was moved from can only be destroyed
  task& operator=(task&&) = delete;
  ~task() = default;

  /// Has it ended, one way or another?
  bool done() const noexcept { return state_->done(); }

  /// Gives up the result; the call goes on.
  void detach() && noexcept { state_->detach(); }

  /// By the table in docs/cancellation.md. \return false: the call had ended, and nothing happens. True: it is asked to
  /// end; what it completes with says whether it did so because of that
  bool cancel(net::cancellation_type type = net::cancellation_type::terminal) noexcept { return state_->cancel(type); }

  /// Waits with any token, as often as you like; signature void(std::exception_ptr[, R]). Each wait gets a copy of the
  /// result. One with std::move(task).async_wait takes the result out, as co_await does; so does the first of an R that
  /// cannot be copied.
  /// \par Errors  as run_in_executor; errc::already_awaited when the result has been taken
  /// \par Cancel  as run_in_executor
  /// @{
  template <class Token>
  auto async_wait(Token&& token) & {
    if constexpr (detail::verify_callback_result<R>())
      return detail::wait_for_task<R>(state_, false, std::forward<Token>(token));
  }
  template <class Token>
  auto async_wait(Token&& token) && {
    if constexpr (detail::verify_callback_result<R>())
      return detail::wait_for_task<R>(state_, true, std::forward<Token>(token));
  }
  /// @}

private:
  friend struct detail::task_access;
  std::shared_ptr<detail::task_state<R>> state_;
};

template <class F, class... A>
auto pool_ref::submit(F fn, A&&... args) const {
  if constexpr (detail::verify<F, A...>()) {
    using R = detail::result_t<F, A...>;
    const auto& engine = detail::front::engine_of(*pool_);
    auto prepared = detail::front::prepared_call::make(engine, options(), false, fn, std::forward<A>(args)...);
    auto state = std::make_shared<detail::task_state<R>>(engine, prepared.identity());
    std::move(prepared).template start<R>(typename detail::task_state<R>::sink(state));
    return task<R>(std::move(state));
  }
}

} // namespace coproc
