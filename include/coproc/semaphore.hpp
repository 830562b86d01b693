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

/// n permits, handed out in the order in which they were asked for.
/// \par Threads    safe to use from several threads
/// \par Completes  exactly once, never inside the initiating call, on the handler's executor; waiting keeps run() going
/// \par Cancel     any type withdraws an operation that waits: operation_aborted, and no permit is lost
/// \par Lifetime   permits may outlive the semaphore and the context. Destroying the semaphore completes what waits
///                 with operation_aborted; destroying the context first destroys it uninvoked.
class semaphore {
  class state;

public:
  using executor_type = net::any_io_executor;

  /// The right to go on, given back by its destructor. Move-only; a moved-from or default-made one is empty.
  class permit {
  public:
    permit() noexcept = default;
    permit(permit&& other) noexcept = default;
    permit& operator=(permit&& other) noexcept {
      permit old(std::move(*this));
      from_ = std::move(other.from_);
      return *this;
    }
    ~permit() { release(); }

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
  semaphore(Where&& where, count n);

  semaphore(semaphore&&) noexcept = default;
  semaphore& operator=(semaphore&& other) noexcept;
  ~semaphore();

  executor_type get_executor() const noexcept;

  /// Waits for a permit.
  template <class Signature = void(net::error_code, permit)> // so that only a file that calls it compiles it
  net::awaitable<permit> acquire() {
    return net::async_initiate<const net::use_awaitable_t<>, Signature>(initiation{state_}, net::use_awaitable);
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
    using executor_type = net::any_io_executor;
    executor_type get_executor() const noexcept;
    template <class Handler>
    void operator()(Handler handler) const;

    std::shared_ptr<state> shared;
  };

  std::shared_ptr<state> state_;
};

// Whoever waits does so because free_ == 0.
class semaphore::state final : public waitable_state<state> {
  using signature = void(net::error_code, permit);

  struct waiter : operation<signature>, waiter_links<waiter> {
    explicit waiter(function f) : operation(f) {}
    static void abort(operation_ptr<waiter> op) {
      coproc::post(std::move(op), net::error_code(net::error::operation_aborted), permit());
    }
  };

public:
  state(net::any_io_executor ex, long long permits) : waitable_state(std::move(ex)), free_(permits) {}

  std::optional<permit> try_acquire() {
    std::lock_guard lock(mutex_);
    if (free_ == 0) return std::nullopt;
    --free_;
    return permit(shared_from_this());
  }

  template <class Handler>
  void start_acquire(Handler handler) {
    const auto slot = net::get_associated_cancellation_slot(handler);
    auto op = make_operation<waiter>(std::move(handler), executor_, work_tracking::here);
    bool granted = false;
    op = settle_or_wait(&state::waiters_, std::move(op), slot, [&] {
      granted = !abandoned_ && free_ > 0;
      if (granted) --free_;
      return granted || abandoned_;
    });
    if (!op) return;
    if (granted)
      coproc::post(std::move(op), net::error_code(), permit(shared_from_this()));
    else
      waiter::abort(std::move(op));
  }

  void give_back() {
    operation_ptr<waiter> next;
    {
      std::lock_guard lock(mutex_);
      next = waiters_.pop_front();
      if (!next) ++free_;
    }
    if (next) coproc::post(std::move(next), net::error_code(), permit(shared_from_this()));
  }

  void abandon() {
    std::unique_lock lock(mutex_);
    abandoned_ = true;
    auto waiting = waiters_.drain();
    lock.unlock();
    while (auto op = waiting.pop_front()) waiter::abort(std::move(op));
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(mutex_);
    const auto waiting = waiters_.drain();
    lock.unlock();
  }

private:
  long long free_;
  bool abandoned_ = false; // the semaphore object is gone
  waiter_list<waiter> waiters_;
};

inline void semaphore::permit::release() noexcept {
  if (auto from = std::exchange(from_, nullptr)) from->give_back();
}

template <executor_or_context Where>
semaphore::semaphore(Where&& where, count n) {
  if (n.value < 1) throw std::invalid_argument("coproc: semaphore: n must be at least 1");
  state_ = state::make(executor_of(std::forward<Where>(where)), n.value);
}

inline semaphore& semaphore::operator=(semaphore&& other) noexcept {
  if (auto old = std::exchange(state_, std::exchange(other.state_, nullptr))) old->abandon();
  return *this;
}

inline semaphore::~semaphore() {
  if (state_) state_->abandon();
}

inline net::any_io_executor semaphore::get_executor() const noexcept { return state_->executor(); }

inline std::optional<semaphore::permit> semaphore::try_acquire() { return state_->try_acquire(); }

inline net::any_io_executor semaphore::initiation::get_executor() const noexcept { return shared->executor(); }

template <class Handler>
void semaphore::initiation::operator()(Handler handler) const {
  shared->start_acquire(std::move(handler));
}

} // namespace coproc
