// SPDX-License-Identifier: BSL-1.0
// semaphore: at most n coroutines at a time do something; the others wait in line. Lives in the front end, usable from
// all its threads. A public header: may include everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/waitable_state.hpp>
#include <coproc/options.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

namespace coproc {

/// The members of semaphore. They are a template's so that a file compiles those that it calls.
/// \par Threads    safe to use from several threads
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor; waiting keeps run() going
/// \par Cancel     any type withdraws an operation that waits: operation_aborted, and no permit is lost
/// \par Lifetime   permits may outlive the semaphore and the context. Destroying the semaphore completes what waits
///                 with operation_aborted; destroying the context first destroys it uninvoked, and get_executor() is
///                 empty from then on.
template <class Executor>
class basic_semaphore {
  class state;

public:
  using executor_type = Executor; ///< of completions whose handlers have none

  /// The right to go on, given back by its destructor. Move-only; a moved-from or default-made one is empty.
  class permit {
  public:
    permit() noexcept = default; ///< empty
    /// A permit that is assigned to is given back first.
    /// @{
    permit(permit&& other) noexcept = default;
    permit& operator=(permit&& other) noexcept {
      permit old(std::move(*this));
      from_ = std::move(other.from_);
      return *this;
    }
    /// @}
    ~permit() { release(); }

    /// Is it a permit, and not empty?
    explicit operator bool() const noexcept { return from_ != nullptr; }

    /// Gives it back now; the next in line, if any, is posted. \par Threads  any
    void release() noexcept;

  private:
    friend class state;
    explicit permit(std::shared_ptr<state> from) noexcept : from_(std::move(from)) {}

    std::shared_ptr<state> from_;
  };

  /// \par Errors  std::invalid_argument unless n is at least 1
  template <executor_or_context Where>
  basic_semaphore(Where&& where, count n);

  /// The one that was moved from can only be destroyed or assigned to.
  basic_semaphore(basic_semaphore&&) noexcept = default;
  /// The one that is assigned to ends as by destruction.
  basic_semaphore& operator=(basic_semaphore&& other) noexcept;
  ~basic_semaphore();

  /// Where handlers run that name no executor of their own.
  executor_type get_executor() const noexcept;

  /// Waits for a permit.
  net::awaitable<permit> acquire() {
    return net::async_initiate<const net::use_awaitable_t<>, void(net::error_code, permit)>(
        initiation{state_}, net::use_awaitable);
  }

  /// As acquire. \par Signature  void(error_code, semaphore::permit); the permit is empty when there is an error
  template <net::completion_token_for<void(net::error_code, permit)> Token>
  auto async_acquire(Token&& token) {
    return net::async_initiate<Token, void(net::error_code, permit)>(initiation{state_}, token);
  }

  /// A permit if one is free; never overtakes those who wait.
  [[nodiscard]] std::optional<permit> try_acquire();

private:
  struct initiation {
    using executor_type = Executor;
    executor_type get_executor() const noexcept;
    template <class Handler>
    void operator()(Handler handler) const;

    std::shared_ptr<state> shared;
  };

  std::shared_ptr<state> state_;
};

// Whoever waits does so because free_ == 0.
template <class Executor>
class basic_semaphore<Executor>::state final : public detail::waitable_state<state> {
  using base = detail::waitable_state<state>;
  using signature = void(net::error_code, permit);

  struct waiter : detail::operation<signature>, detail::waiter_links<waiter> {
    explicit waiter(typename detail::operation<signature>::function f) : detail::operation<signature>(f) {}
    static void abort(detail::operation_ptr<waiter> op) {
      detail::post(std::move(op), net::error_code(net::error::operation_aborted), permit());
    }
  };

public:
  state(Executor ex, long long permits) : base(std::move(ex)), free_(permits) {}

  std::optional<permit> try_acquire() {
    std::lock_guard lock(this->mutex_);
    if (free_ == 0) return std::nullopt;
    --free_;
    return permit(this->shared_from_this());
  }

  template <class Handler>
  void start_acquire(Handler handler) {
    if (!this->executor_) return; // the context is gone
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = detail::make_operation<waiter>(std::move(handler), this->executor_, detail::work_tracking::here);
    bool granted = false;
    op = this->settle_or_wait(&state::waiters_, std::move(op), slot, [&] {
      granted = !abandoned_ && free_ > 0;
      if (granted) --free_;
      return granted || abandoned_;
    });
    if (!op) return;
    if (granted)
      detail::post(std::move(op), net::error_code(), permit(this->shared_from_this()));
    else
      waiter::abort(std::move(op));
  }

  // The next in line may be destroyed instead of posted, when its executor is gone, and give back in turn what it held: that is left
  // to the loop of this thread, however many there are. What other threads give back meanwhile they hand out themselves.
  void give_back() {
    for (handing_out* h = innermost_; h != nullptr; h = h->outer)
      if (h->of == this) return static_cast<void>(++h->permits);
    handing_out here{this, 1, innermost_};
    innermost_ = &here;
    do {
      std::unique_lock lock(this->mutex_);
      if (auto next = waiters_.pop_front())
        hand_over(std::move(next), lock);
      else
        ++free_;
    } while (--here.permits != 0);
    innermost_ = here.outer;
  }

  void abandon() {
    std::unique_lock lock(this->mutex_);
    abandoned_ = true;
    auto waiting = waiters_.drain();
    const typename base::posting scope(*this, lock);
    while (auto op = waiting.pop_front()) waiter::abort(std::move(op));
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(this->mutex_);
    const auto waiting = waiters_.drain();
    lock.unlock();
  }

private:
  struct handing_out {
    const state* of;
    long long permits; // given back to this thread's loop, and not handed out yet
    handing_out* outer;
  };

  void hand_over(detail::operation_ptr<waiter> to, std::unique_lock<std::mutex>& lock) {
    const typename base::posting scope(*this, lock);
    detail::post(std::move(to), net::error_code(), permit(this->shared_from_this()));
  }

  COPROC_VISIBLE static inline thread_local constinit handing_out* innermost_ = nullptr;

  long long free_;
  bool abandoned_ = false; // the semaphore object is gone
  detail::waiter_list<waiter> waiters_;
};

template <class Executor>
void basic_semaphore<Executor>::permit::release() noexcept {
  if (auto from = std::exchange(from_, nullptr)) from->give_back();
}

template <class Executor>
template <executor_or_context Where>
basic_semaphore<Executor>::basic_semaphore(Where&& where, count n) {
  if (n.value < 1) throw std::invalid_argument("coproc: semaphore: n must be at least 1");
  state_ = state::make(detail::executor_of(std::forward<Where>(where)), n.value);
}

template <class Executor>
basic_semaphore<Executor>& basic_semaphore<Executor>::operator=(basic_semaphore&& other) noexcept {
  if (auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
  return *this;
}

template <class Executor>
basic_semaphore<Executor>::~basic_semaphore() {
  if (state_) state_->abandon();
}

template <class Executor>
Executor basic_semaphore<Executor>::get_executor() const noexcept {
  return state_->executor();
}

template <class Executor>
std::optional<typename basic_semaphore<Executor>::permit> basic_semaphore<Executor>::try_acquire() {
  return state_->try_acquire();
}

template <class Executor>
Executor basic_semaphore<Executor>::initiation::get_executor() const noexcept {
  return shared->executor();
}

template <class Executor>
template <class Handler>
void basic_semaphore<Executor>::initiation::operator()(Handler handler) const {
  shared->start_acquire(std::move(handler));
}

/// n permits, handed out in the order in which they were asked for; basic_semaphore describes what it can do.
class semaphore : public basic_semaphore<net::any_io_executor> {
public:
  using basic_semaphore::basic_semaphore;
};

} // namespace coproc
