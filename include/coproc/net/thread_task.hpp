// SPDX-License-Identifier: BSL-1.0
// One function call on a thread of some executor, awaited from another: who of the thread, a cancellation and two dying
// contexts completes it. Made in the front end, run on a thread of it. Layer net/.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/exception_of.hpp>
#include <coproc/net/join.hpp>
#include <coproc/net/operation.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/worker/stop_flag.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coproc::detail {

/// The life of the call, without the call.
///
/// The waiting handler is posted under the mutex: context_shutting_down takes the mutex too, so that the thread, which
/// goes on when the waiter's context is destroyed, never posts to a context that is gone.
template <class R>
class thread_task : public shutdown_listener, public std::enable_shared_from_this<thread_task<R>> {
public:
  using result_type = R;
  /// Null where there is an error. Shared, so that the caller alone moves it on.
  using result = std::shared_ptr<value_t<R>>;
  using signature = void(std::exception_ptr, result);

  using waiter = operation<signature>;

  thread_task() = default;
  thread_task(const thread_task&) = delete;
  thread_task& operator=(const thread_task&) = delete;

  /// Takes what start() needs, because that must not fail. \par Errors  std::bad_alloc
  operation_memory prepare(const net::any_io_executor& io_ex) {
    registration_.join(io_ex, this->weak_from_this());
    return memory_for_operation<waiter>();
  }

  /// Queues the call on `where`; handler gets what becomes of it, or what `where` threw.
  /// \pre prepared with the same io_ex
  template <class Executor, class Handler>
  void start(const Executor& where, Handler handler, operation_memory memory, const net::any_io_executor& io_ex) {
    auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), std::move(memory), io_ex, work_tracking::here);
    if (op->is_starved()) return detail::post(std::move(op), exception_of(net::error::no_memory), result());
    {
      std::lock_guard lock(mutex_);
      waiter_ = std::move(op);
      starting_ = std::this_thread::get_id();
    }
    std::exception_ptr refusal;
    try {
      if (slot.is_connected())
        slot.assign([weak = this->weak_from_this()](net::cancellation_type type) {
          if (auto self = weak.lock()) self->cancel(type);
        });
      net::post(where, job(this->shared_from_this()));
    } catch (...) {
      refusal = std::current_exception();
    }
    std::unique_lock lock(mutex_);
    starting_ = {};
    if (!refusal && !abandoned_) return;
    withdraw(lock, refusal ? std::move(refusal) : exception_of(net::error::operation_aborted));
  }

protected:
  ~thread_task() = default;

  virtual void call(std::optional<value_t<R>>& into) = 0;
  virtual void drop_call() noexcept = 0;

private:
  enum class phase : std::uint8_t { queued, running, over };

  // Runs the call, or reports that nobody will: an executor that goes destroys its queue.
  class job {
  public:
    explicit job(std::shared_ptr<thread_task> task) noexcept : task_(std::move(task)) {}
    job(job&&) noexcept = default;
    job& operator=(job&&) = delete;
    ~job() {
      if (task_) task_->abandon();
    }

    void operator()() { std::exchange(task_, nullptr)->run(); }

  private:
    std::shared_ptr<thread_task> task_;
  };

  void run() noexcept {
    {
      std::lock_guard lock(mutex_);
      if (phase_ != phase::queued) return;
      phase_ = phase::running;
    }
    std::exception_ptr error;
    result value;
    try {
      const worker::thread_stop_scope scope(stop_requested_);
      call(value_);
      value = result(this->shared_from_this(), std::addressof(*value_));
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard lock(mutex_);
    phase_ = phase::over;
    if (waiter_) detail::post(std::move(waiter_), std::move(error), std::move(value));
  }

  // The strongest bit of the mask wins.
  void cancel(net::cancellation_type type) noexcept {
    using enum net::cancellation_type;
    std::unique_lock lock(mutex_);
    if (type == none || phase_ == phase::over) return;
    if (phase_ == phase::running) {
      if ((type & (partial | terminal)) == none) return;
      stop_requested_.store(true, std::memory_order_relaxed);
      if ((type & terminal) == none) return;
      if (waiter_) detail::post(std::move(waiter_), exception_of(net::error::operation_aborted), result());
    } else {
      withdraw(lock, exception_of(net::error::operation_aborted));
    }
  }

  // start() looks after what happens while it runs: it knows why.
  void abandon() noexcept {
    std::unique_lock lock(mutex_);
    if (starting_ == std::this_thread::get_id())
      abandoned_ = true;
    else
      withdraw(lock, exception_of(net::error::operation_aborted));
  }

  // The call, if it has not begun.
  void withdraw(std::unique_lock<std::mutex>& lock, std::exception_ptr why) noexcept {
    if (phase_ != phase::queued) return;
    phase_ = phase::over;
    if (waiter_) detail::post(std::move(waiter_), std::move(why), result());
    lock.unlock();
    drop_call();
  }

  void context_shutting_down() noexcept override {
    operation_ptr<operation<signature>> dropped;
    std::lock_guard lock(mutex_);
    dropped = std::move(waiter_);
  }

  std::optional<value_t<R>> value_; // written by the thread, read by whom it is posted to
  std::atomic<bool> stop_requested_ = false;
  std::mutex mutex_; // guards all below
  phase phase_ = phase::queued;
  std::thread::id starting_;                   // who is within start()
  bool abandoned_ = false;                     // by `where`, within start()
  operation_ptr<operation<signature>> waiter_; // null when completed, or its context is gone
  shutdown_service::registration registration_;
};

template <class F, class... A>
using thread_result_t = std::decay_t<std::invoke_result_t<F, A...>>;

template <class F, class... A>
class thread_task_of final : public thread_task<thread_result_t<F, A...>> {
  using base = thread_task<thread_result_t<F, A...>>;

public:
  template <class... X>
  explicit thread_task_of(X&&... fn_and_args)
      : call_(std::make_unique<std::tuple<F, A...>>(std::forward<X>(fn_and_args)...)) {}

private:
  // fn and its arguments die before the caller hears of the result, or of the withdrawal.
  void call(std::optional<value_t<typename base::result_type>>& into) override {
    const auto parts = std::move(call_);
    const auto invoke = [](F& fn, A&... args) -> decltype(auto) {
      return std::invoke(std::move(fn), std::move(args)...);
    };
    if constexpr (std::is_void_v<typename base::result_type>) {
      std::apply(invoke, *parts);
      into.emplace();
    } else {
      into.emplace(std::apply(invoke, *parts));
    }
  }

  void drop_call() noexcept override { call_.reset(); }

  std::unique_ptr<std::tuple<F, A...>> call_;
};

/// `where` is an argument, moved from by the call, and not kept here: the pool need not outlive the waiting coroutine,
/// but a strand on it could not be destroyed after it.
template <class Executor, class Task>
class thread_task_initiation {
public:
  using executor_type = net::any_io_executor;

  explicit thread_task_initiation(net::any_io_executor here) : here_(std::move(here)) {}

  executor_type get_executor() const noexcept { return here_; }

  template <class Handler>
  void operator()(Handler handler, std::shared_ptr<Task> task, operation_memory memory, Executor where) const {
    task->start(where, std::move(handler), std::move(memory), here_);
  }

private:
  net::any_io_executor here_;
};

} // namespace coproc::detail
