// SPDX-License-Identifier: BSL-1.0
// create_task: a coroutine that runs by itself, as the task<T> of its result. Front end. A public header: may include
// everything.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/stream.hpp>
#include <coproc/task.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace coproc {

namespace detail {

/// Those who wait for it may be on other threads than its context.
class coroutine_host final : public task_host,
                             public shutdown_listener,
                             public std::enable_shared_from_this<coroutine_host> {
public:
  using task_host::task_host;

  static std::shared_ptr<coroutine_host> make(const net::any_io_executor& ex) {
    auto host = std::make_shared<coroutine_host>(ex);
    host->registration_.join(ex, std::weak_ptr<shutdown_listener>(host));
    return host;
  }

  void runs(std::weak_ptr<spawned_coroutine> who) {
    std::lock_guard lock(mutex_);
    coroutine_ = std::move(who);
  }

  void cancel(net::cancellation_type type) noexcept override {
    const lent_executor::use context(executor); // which is not being destroyed, then
    if (!context) return;
    std::unique_lock lock(mutex_);
    const auto who = coroutine_;
    lock.unlock();
    spawned_coroutine::cancel(who, type);
  }

private:
  void context_shutting_down() noexcept override { executor.take_back(); }

  std::mutex mutex_;
  std::weak_ptr<spawned_coroutine> coroutine_;
  shutdown_service::registration registration_;
};

/// Puts the end of the coroutine into the task. Destroyed uninvoked, it does the same to whoever waits for that.
template <class T>
class coroutine_sink {
public:
  coroutine_sink(std::shared_ptr<task_state<T>> state, std::shared_ptr<std::optional<value_t<T>>> value) noexcept
      : sink_(std::move(state)), value_(std::move(value)) {}

  void operator()(std::exception_ptr e) && {
    if constexpr (std::is_void_v<T>)
      sink_(std::move(e));
    else if (e)
      sink_(std::move(e), front::no_value<T>());
    else
      sink_(nullptr, std::move(**value_));
  }

private:
  typename task_state<T>::sink sink_;
  std::shared_ptr<std::optional<value_t<T>>> value_;
};

} // namespace detail

/// Starts a coroutine, asyncio's create_task: it runs by itself, beside the one that goes on here. What is returned
/// is the same task as submit's: an awaitable of the result, that cancels the coroutine when it is dropped without
/// having been awaited.
///
/// The coroutine runs on the executor, or on a strand of it where that is no strand, and begins after this call has
/// returned, or within it where the executor allows that.
/// \par Errors    what the coroutine throws
/// \par Cancel    cancelling the task, or the wait for it, is forwarded to the coroutine with its type
/// \par Lifetime  a context that goes first destroys the coroutine, and who waits for it, uninvoked
template <executor_or_context Where, class T>
task<T> create_task(Where&& where, net::awaitable<T> coroutine) {
  const net::any_io_executor ex = detail::executor_of(std::forward<Where>(where));
  const auto host = detail::coroutine_host::make(ex);
  const auto state = std::make_shared<detail::task_state<T>>(host);
  const auto value = std::make_shared<std::optional<value_t<T>>>();
  host->runs(detail::spawned_coroutine::start(ex, detail::keep_result(std::move(coroutine), *value),
                                              detail::coroutine_sink<T>(state, value)));
  return task<T>(state);
}

} // namespace coproc
