// SPDX-License-Identifier: BSL-1.0
// task<R>: a call that has been started, and an awaitable<R> of its result. What submit returns. Front end.
#pragma once

#include <coproc/front/call.hpp>
#include <coproc/pool.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

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

// The result of a started call, and whoever waits for it: the first to do so has claimed it, and keeps it.
template <class R>
class task_state : public std::enable_shared_from_this<task_state<R>> {
  using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

  struct waiter_base {
    virtual ~waiter_base() = default;
    virtual void deliver(std::exception_ptr e, std::optional<value_type> value) = 0;
  };

  template <class Handler>
  struct waiter final : waiter_base {
    completion<Handler> c;
    explicit waiter(completion<Handler>&& completion) : c(std::move(completion)) {}
    void deliver(std::exception_ptr e, std::optional<value_type> value) override {
      if constexpr (!std::is_void_v<R>)
        if (value) return front::post_result<R>(std::move(c), std::move(e), std::move(*value));
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

  void cancel(net::cancellation_type type) noexcept {
    if (host_) return host_->cancel(type);
    if (identity_.first != nullptr) engine_->cancel(*identity_.first, identity_.second, type);
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

  template <class Handler>
  void wait(Handler handler) {
    if (host_)
      wait_on(lent_executor::use(host_->executor), std::move(handler));
    else
      wait_on(front::engine::executor_use(*engine_), std::move(handler));
  }

private:
  template <class Handler>
  void wait_on(const lent_executor::use& context, Handler handler) {
    if (!context) return; // the handler goes, too, as all that wait
    completion<Handler> c(std::move(handler), *context);
    auto slot = c.get_cancellation_slot();
    auto w = std::make_unique<waiter<Handler>>(std::move(c));
    if (!claim())
      return w->deliver(std::make_exception_ptr(pool_error(
                            make_error_code(errc::already_awaited),
                            "a task can be awaited once, by co_await or async_wait: let the one who waits pass its result on")),
                        std::nullopt);
    if (slot.is_connected()) connect(slot);
    std::unique_lock lock(mutex_);
    if (!done_) {
      waiter_ = std::move(w);
      return;
    }
    auto e = std::move(exception_);
    auto v = std::move(value_);
    lock.unlock();
    w->deliver(std::move(e), std::move(v));
  }

  bool claim() {
    std::lock_guard lock(mutex_);
    return !std::exchange(claimed_, true);
  }

  void connect(net::cancellation_slot slot) {
    try {
      slot.assign([weak = this->weak_from_this()](net::cancellation_type type) {
        if (const auto self = weak.lock()) self->cancel(type);
      });
    } catch (...) { // no memory: nobody waits
      std::lock_guard lock(mutex_);
      claimed_ = false;
      throw;
    }
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

  // The context goes, and with it whoever waits: a waiting coroutine's frame holds this object, so nobody else would end
  // it. Not under the lock, since what is destroyed may drop the task.
  void abandon() noexcept {
    std::unique_ptr<waiter_base> doomed;
    std::lock_guard lock(mutex_);
    done_ = true;
    exception_ = std::make_exception_ptr(net::system_error(net::error::operation_aborted));
    doomed = std::move(waiter_);
  }

  void set(std::exception_ptr e, std::optional<value_type> v) {
    std::unique_lock lock(mutex_);
    done_ = true;
    if (!waiter_) {
      exception_ = std::move(e);
      value_ = std::move(v);
      return;
    }
    const auto w = std::move(waiter_);
    lock.unlock();
    w->deliver(std::move(e), std::move(v));
  }

  const std::shared_ptr<front::engine> engine_; // null: a host_ runs it
  const std::pair<front::task_record*, std::uint64_t> identity_{};
  const std::shared_ptr<task_host> host_;
  mutable std::mutex mutex_;
  bool done_ = false, detached_ = false, claimed_ = false;
  std::exception_ptr exception_;
  std::optional<value_type> value_;
  std::unique_ptr<waiter_base> waiter_;
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
  template <class Handler>
  void operator()(Handler handler) const {
    state->wait(std::move(handler));
  }
};

template <class R, class Token>
auto wait_for_task(std::shared_ptr<task_state<R>> state, Token&& token) {
  return net::async_initiate<Token, front::completion_signature<R>>(initiate_task_wait<R>{std::move(state)}, token);
}

template <class R>
net::awaitable<R> await_task(task_guard<R> guard) {
  co_return co_await wait_for_task<R>(guard.state(), net::use_awaitable);
}

} // namespace detail

/// A call that was started by submit. It is an awaitable<R>: co_await it, combine it with && and ||, pass it to co_spawn
/// and gather; once, or it throws errc::already_awaited. Cancelling the wait cancels the call.
/// \par Drop      an unfinished task that is destroyed without having been awaited is cancelled; detach() lets it go on
/// \par Threads   cancel() and done() from any thread
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

  /// By the table in docs/cancellation.md.
  void cancel(net::cancellation_type type = net::cancellation_type::terminal) noexcept { state_->cancel(type); }

  /// Waits with any token; signature void(std::exception_ptr[, R]). One wait per task, co_await included: another one, also
  /// after the end, completes with errc::already_awaited, and leaves the first alone.
  /// \par Errors, Cancel  as run_in_executor
  template <class Token>
  auto async_wait(Token&& token) {
    if constexpr (detail::verify_callback_result<R>()) return detail::wait_for_task<R>(state_, std::forward<Token>(token));
  }

private:
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
