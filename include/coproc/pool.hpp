// SPDX-License-Identifier: BSL-1.0
// process_pool: worker processes behind an Asio executor, and pool_ref: a pool with the options of one call, as those
// see them who call it. To make one, include <coproc/process_pool.hpp>. Front end.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/fwd.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/run_scope.hpp>
#include <coproc/net/shutdown_gate.hpp>
#include <coproc/options.hpp>
#include <coproc/stats.hpp>

#include <concepts>
#include <csignal>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

namespace coproc {

namespace detail::front {

inline const std::shared_ptr<engine>& engine_of(const process_pool& pool) noexcept;

struct initiate_shutdown {
  using executor_type = net::any_io_executor;
  std::shared_ptr<engine> pool;
  executor_type get_executor() const noexcept { return pool->executor(); }

  template <class Handler>
  void operator()(Handler handler, operation_memory memory, duration drain_for, queued rest) const {
    const engine::executor_use context(*pool);
    if (!context) return; // the handler goes, too, as all that wait
    std::shared_ptr<shutdown_gate> gate;
    try {
      gate = pool->gate();
      if (auto why = run_scope::refusal(*pool, handler)) std::rethrow_exception(std::move(why));
      pool->shut_down(drain_for);
      if (rest == queued::drop) pool->drop_queued();
    } catch (...) { // wrong_process, wrong_context, or no memory: nothing has happened
      auto op = make_operation<shutdown_gate::waiter>(std::move(handler), std::move(memory), *context,
                                                      work_tracking::elsewhere);
      return detail::post(std::move(op), std::current_exception());
    }
    if (gate) gate->wait(std::move(handler), std::move(memory));
  }
};

} // namespace detail::front

/// A pool with the options of one call; trivially copyable. The pool must outlive it.
class pool_ref {
public:
  /// The pool, with the usual options.
  pool_ref(const process_pool& pool) noexcept : pool_(&pool) {}
  pool_ref(const process_pool&&) = delete; // the pool must be a named object
  /// The pool, with these options.
  pool_ref(const process_pool& pool, const task_options& options) noexcept
      : pool_(&pool), has_options_(true), options_(options) {}

  /// Starts fn(args...) now; see process_pool::submit.
  template <class F, class... A>
  [[nodiscard]] auto submit(F fn, A&&... args) const;

  const process_pool& pool() const noexcept { return *pool_; } ///< whose calls these are
  /// Null: the usual ones.
  const task_options* options() const noexcept { return has_options_ ? &options_ : nullptr; }

private:
  const process_pool* pool_;
  bool has_options_ = false;
  task_options options_{};
};

/// What run_in_executor runs on in processes: a process_pool or a pool_ref, by name.
template <class P>
concept process_bridge = std::convertible_to<P, pool_ref>;

/// Pre-forked worker processes: an I/O object as those of Asio.
/// \par Threads   distinct calls from any threads at once; construction and destruction on one
/// \par Lifetime  the execution context must live when the pool is made; after that either may go first. Destroying the
///                pool ends its workers and completes what is outstanding with operation_aborted (posted, never
///                inline), within about two kill_graces. Destroying the context destroys the handlers uninvoked. A call
///                that is made later completes with errc::pool_closed if it is a coroutine's, on another context; any
///                other handler is destroyed at once, and get_executor() is empty.
///                While nothing is outstanding the pool keeps no work: io_context::run() returns.
///                shutdown() first lets tasks finish.
/// \par Processes make it while the process has one thread: the constructor forks. In a forked copy of its process, and
///                inside its own tasks, every call and every shutdown completes with errc::wrong_process, stats() and
///                resize() throw that, and whatever else returns nothing does nothing. There, too, completions run on
///                the handler's executor, or on the copy of the pool's
class process_pool {
public:
  using executor_type = net::any_io_executor; ///< of completions whose handlers have none

  /// Forks the fork server and all workers.
  /// \par Errors  std::invalid_argument: an option is out of range. pool_error(worker_start_failed): the process has
  ///              threads, preload failed, or a process could not be started. pool_error with a system code:
  ///              descriptors or memory. Whatever is thrown, nothing is left behind
  COPROC_DECL explicit process_pool(executor_type ex, const pool_options& options = {});

  /// The same on the executor of an io_context, or of another context.
  template <class Context>
    requires std::convertible_to<Context&, net::execution_context&>
  explicit process_pool(Context& context, const pool_options& options = {})
      : process_pool(executor_type(context.get_executor()), options) {}

  process_pool(const process_pool&) = delete;
  process_pool& operator=(const process_pool&) = delete;

  /// Where completions run when a handler names no executor of its own; never where tasks run.
  executor_type get_executor() const noexcept { return engine_->executor(); }

  /// This pool with options for the calls made through the returned reference.
  pool_ref with(const task_options& options) const& noexcept { return pool_ref(*this, options); }
  pool_ref with(const task_options&) const&& = delete;

  /// Starts fn(args...) now and returns a task<R>, which is an awaitable<R>. Never waits for room: when max_queue is
  /// reached the task completes with queue_full. Arguments behave as decay-copied before the call returns.
  template <class F, class... A>
  [[nodiscard]] auto submit(F fn, A&&... args) const {
    return pool_ref(*this).submit(std::move(fn), std::forward<A>(args)...);
  }

  // ---- the end; all idempotent, in any order, from any thread, also inside a handler, never blocking

  /// No more submissions: they complete with pool_closed. What was submitted goes on, calls that wait for room
  /// included.
  void close() noexcept { engine_->close(); }

  /// close(), waits until every task has ended, at most `drain_for`; then ends what is left: queued tasks complete with
  /// operation_aborted, running ones are asked to stop, one kill_grace later get SIGTERM (and operation_aborted), one
  /// more later SIGKILL. Completes when no worker process and no fork server is left. drain_for may be zero. With
  /// queued::drop what has not begun completes with operation_aborted at once, and drain_for is for what runs.
  /// \par Errors  pool_error(wrong_process): nothing has happened
  /// \par Cancel  ends the wait, not the shutdown; a later call can only bring the deadline forward
  /// \tparam Awaiting  executor of the awaiting coroutine: `co_await pool.shutdown<E>()` in a net::awaitable<T, E>
  template <class Awaiting = net::any_io_executor>
  net::awaitable<void, Awaiting> shutdown(time_limit drain_for = unlimited, queued rest = queued::finish) {
    return async_shutdown(drain_for, rest, net::use_awaitable_t<Awaiting>());
  }

  /// As shutdown. \par Signature  void(std::exception_ptr); the exception, if any, is operation_aborted or
  /// wrong_process
  /// @{
  template <net::completion_token_for<void(std::exception_ptr)> Token = net::use_awaitable_t<>>
  auto async_shutdown(time_limit drain_for, Token&& token = Token()) {
    return async_shutdown(drain_for, queued::finish, std::forward<Token>(token));
  }
  template <net::completion_token_for<void(std::exception_ptr)> Token>
  auto async_shutdown(time_limit drain_for, queued rest, Token&& token) {
    return net::async_initiate<Token, void(std::exception_ptr)>(
        detail::front::initiate_shutdown{engine_}, token, detail::memory_for_operation<detail::shutdown_gate::waiter>(),
        duration(drain_for), rest);
  }
  /// @}

  /// close(), and everything ends now: operation_aborted for all tasks; running workers get SIGTERM, after kill_grace
  /// SIGKILL. Returns at once; keeps run() going until they are gone.
  void terminate_workers() noexcept { engine_->terminate(SIGTERM); }
  /// The same with SIGKILL at once.
  void kill_workers() noexcept { engine_->terminate(SIGKILL); }

  // ---- in between

  /// Replaces all workers, one after the other, each when its successor is ready: no task is lost, and there are never
  /// fewer workers. Returns at once; keeps run() going until it is done.
  void recycle_workers() noexcept { engine_->recycle_workers(); }

  /// From now on the pool has so many workers: counts, defaults and ranges are those of pool_options; max_queue stays.
  /// Workers up to min_workers are started at once, others on demand. Those beyond max_workers finish the task that
  /// they run and end in an orderly way, finalizer included (exit_cause::recycled); tasks that they have not begun
  /// move. No task is lost or run twice. A task_options::worker_key belongs to worker `key mod max_workers` of the new
  /// number, also of tasks that wait. What runs goes on: two tasks of one key may run at once where the key has moved.
  /// With an idle_timeout, idle workers that need not be kept any more end at once. Returns at once, and may be called
  /// as often as wanted; keeps run() going until all are there, or gone. While a shutdown drains it does the same;
  /// after that, nothing.
  /// \par Errors   std::invalid_argument names the argument; pool_error(wrong_process); std::bad_alloc. Nothing has
  ///              happened then. Starts that fail are tried again: see pool_options::max_start_failures
  /// \par Threads  any, also inside a handler
  void resize(count min_workers, count max_workers) { engine_->resize(min_workers, max_workers); }

  /// A snapshot. \par Threads  any; takes some microseconds per worker
  pool_stats stats() const { return engine_->stats(); }

  /// From now on, calls sink(event) for what happens, in order of completion; an empty function ends it. See
  /// chrome_trace.hpp for a sink that writes a file. \par Threads  the sink is called on one thread at a time, of those
  /// that run the pool's executor; it must not throw
  void trace(std::function<void(const trace_event&)> sink) { engine_->trace(std::move(sink)); }

  ~process_pool() { engine_->stop(); } // nothing in a forked copy

private:
  friend const std::shared_ptr<detail::front::engine>& detail::front::engine_of(const process_pool& pool) noexcept;

  std::shared_ptr<detail::front::engine> engine_;
};

namespace detail::front {

inline const std::shared_ptr<engine>& engine_of(const process_pool& pool) noexcept { return pool.engine_; }
inline const std::shared_ptr<engine>& engine_of(const pool_ref& pool) noexcept { return engine_of(pool.pool()); }
inline const task_options* options_of(const process_pool&) noexcept { return nullptr; }
inline const task_options* options_of(const pool_ref& pool) noexcept { return pool.options(); }

} // namespace detail::front

} // namespace coproc
