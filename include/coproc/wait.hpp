// SPDX-License-Identifier: BSL-1.0
// wait: waits until some of several tasks have ended, and leaves them alone. Runs in the front end, on the caller's
// executor. A public header: may include everything.
#pragma once

#include <coproc/bounded_channel.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/options.hpp>
#include <coproc/task.hpp>
#include <coproc/with_timeout.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coproc {

/// What wait() waits for.
enum class when {
  first_completed, ///< until one has ended, one way or another
  first_exception, ///< until one has ended with an exception, or all have ended
  all_completed,   ///< until all have ended
};

/// What wait() found: the indices of the tasks that have ended, and of the others, each ascending.
struct wait_result {
  std::vector<std::size_t> done;    ///< have ended
  std::vector<std::size_t> pending; ///< have not
};

namespace detail {

template <class T>
inline constexpr bool is_task = false;
template <class R>
inline constexpr bool is_task<task<R>> = true;

template <class Range>
using span_of = decltype(std::span(std::declval<Range&>()));
template <class Range>
concept range_of_tasks = is_task<typename span_of<Range>::element_type>;

template <class Channel> // bounded_channel<std::monostate>: a template so that only a file that waits compiles it
class wait_state final : public task_observer {
public:
  wait_state(net::any_io_executor ex, when until, std::size_t tasks)
      : until_(until), left_(tasks), enough_(std::move(ex), 1) {}

  void task_ended(bool failed) noexcept override {
    std::lock_guard lock(mutex_);
    --left_;
    if (left_ == 0 || until_ == when::first_completed || (until_ == when::first_exception && failed))
      static_cast<void>(enough_.try_send({})); // once is enough
  }

  auto enough() { return enough_.receive(); }

private:
  const when until_;
  std::mutex mutex_; // guards left_
  std::size_t left_;
  Channel enough_;
};

/// The tasks tell `who` of their ends, while it lives.
template <class R>
class observation {
public:
  observation(std::span<task<R>> tasks, std::shared_ptr<task_observer> who) : tasks_(tasks), who_(std::move(who)) {
    try {
      for (auto& t : tasks_) task_access::state_of(t).observe(who_);
    } catch (...) { // no memory
      end();
      throw;
    }
  }
  observation(const observation&) = delete;
  observation& operator=(const observation&) = delete;
  ~observation() { end(); }

private:
  void end() noexcept {
    for (auto& t : tasks_) task_access::state_of(t).forget(who_);
  }

  std::span<task<R>> tasks_;
  std::shared_ptr<task_observer> who_;
};

template <class R>
net::awaitable<wait_result> wait_for_tasks(std::span<task<R>> tasks, when until, duration limit) {
  if (!tasks.empty() && limit > duration::zero()) {
    net::any_io_executor ex = co_await net::this_coro::executor;
    const auto state =
        std::make_shared<wait_state<bounded_channel<std::monostate>>>(std::move(ex), until, tasks.size());
    const observation<R> observing(tasks, state);
    try {
      co_await with_timeout(limit, state->enough());
    } catch (const timed_out&) { // the result says what has not ended
    }
  }
  wait_result result;
  for (std::size_t i = 0; i < tasks.size(); ++i) (tasks[i].done() ? result.done : result.pending).push_back(i);
  co_return result;
}

} // namespace detail

/// Waits until what `until` says, for `timeout` at most, and says which tasks have ended. It cancels nothing and throws
/// nothing of theirs: their results stay with them, and they may be waited for again, also by others at the same time.
/// With a timeout of zero it looks, and does not wait.
///
///     std::vector<coproc::task<int>> tasks = ...;
///     const auto [done, pending] = co_await coproc::wait(tasks, coproc::when::first_completed, 200ms);
///
/// \param tasks   a vector, array or std::span of task<R>
/// \param until   what it waits for
/// \param timeout  how long, at most
/// \par Cancel    ends the wait with operation_aborted; the tasks go on
/// \par Threads   the tasks' pools may be on other contexts than the caller
/// \par Lifetime  the tasks must stay where they are while it waits
template <detail::range_of_tasks Tasks>
[[nodiscard]] net::awaitable<wait_result> wait(Tasks&& tasks, when until = when::all_completed,
                                               time_limit timeout = unlimited) {
  static_assert(std::is_lvalue_reference_v<Tasks> || std::is_same_v<std::remove_cv_t<Tasks>, detail::span_of<Tasks>>,
                "coproc: wait does not keep the tasks: give them a name");
  return detail::wait_for_tasks(std::span<typename detail::span_of<Tasks>::element_type>(tasks), until, timeout);
}

} // namespace coproc
