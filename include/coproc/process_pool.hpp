// SPDX-License-Identifier: BSL-1.0
// process_pool: worker processes behind an Asio executor. It owns the fork server and the workers; the calls that use it are
// run_in_executor, async_run and submit. Front end. A public header: may include everything.
#pragma once

#include <coproc/fwd.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/pool_core.hpp>
#include <coproc/net/resolve_options.hpp>
#include <coproc/options.hpp>

#include <concepts>
#include <csignal>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

namespace coproc {

/// A pool with the options of one call; trivially copyable. The pool must outlive it.
class pool_ref {
public:
  pool_ref(const process_pool& pool) noexcept : pool_(&pool) {}
  pool_ref(const process_pool&&) = delete; // the pool must be a named object
  pool_ref(const process_pool& pool, const task_options& options) noexcept
      : pool_(&pool), has_options_(true), options_(options) {}

  /// Starts fn(args...) now; see process_pool::submit.
  template <class F, class... A>
  [[nodiscard]] auto submit(F fn, A&&... args) const;

  const process_pool& pool() const noexcept { return *pool_; }
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

/// The members of process_pool. They are a template's so that a file compiles those that it calls, and the engine behind them
/// only if it makes a pool.
/// \par Threads   distinct calls from any threads at once; construction and destruction on one
/// \par Lifetime  the execution context must live when the pool is made; after that either may go first. Destroying the
///                pool ends its workers and completes what is outstanding with operation_aborted (posted, never inline),
///                within about two kill_graces. Destroying the context destroys the handlers uninvoked. A call that is
///                made later completes with errc::pool_closed if it is a coroutine's, on another context; any other
///                handler is destroyed at once, and get_executor() is empty.
///                While nothing is outstanding the pool keeps no work: io_context::run() returns.
///                shutdown() first lets tasks finish.
/// \par Processes make it while the process has one thread: the constructor forks. In a forked copy of its process, and
///                inside its own tasks, every call completes with errc::wrong_process
template <class Core>
class basic_process_pool {
public:
  using executor_type = net::any_io_executor;

  /// Forks the fork server and all workers.
  /// \par Errors  std::invalid_argument: an option is out of range. pool_error(worker_start_failed): the process has
  ///              threads, preload failed, or a process could not be started. pool_error with a system code: descriptors
  ///              or memory. Whatever is thrown, nothing is left behind
  explicit basic_process_pool(executor_type ex, const pool_options& options = {})
      : core_(std::make_shared<Core>(std::move(ex), detail::resolve(options))) {
    core_->start();
  }

  template <class Context>
    requires std::convertible_to<Context&, net::execution_context&>
  explicit basic_process_pool(Context& context, const pool_options& options = {})
      : basic_process_pool(executor_type(context.get_executor()), options) {}

  basic_process_pool(const basic_process_pool&) = delete;
  basic_process_pool& operator=(const basic_process_pool&) = delete;

  /// Where completions run when a handler names no executor of its own; never where tasks run.
  executor_type get_executor() const noexcept { return core_->executor(); }

  /// This pool with options for the calls made through the returned reference.
  pool_ref with(const task_options& options) const& noexcept { return pool_ref(self(), options); }
  pool_ref with(const task_options&) const&& = delete;

  /// Starts fn(args...) now and returns a task<R>, which is an awaitable<R>. Never waits for room: when max_queue is
  /// reached the task completes with queue_full. Arguments behave as decay-copied before the call returns.
  template <class F, class... A>
  [[nodiscard]] auto submit(F fn, A&&... args) const {
    return pool_ref(self()).submit(std::move(fn), std::forward<A>(args)...);
  }

  // ---- the end; all idempotent, in any order, from any thread, also inside a handler, never blocking

  /// No more submissions: they complete with pool_closed. What was submitted goes on, calls that wait for room included.
  void close() noexcept { core_->close(); }

  /// close(), waits until every task has ended, at most `drain_for`; then ends what is left: queued tasks complete with
  /// operation_aborted, running ones are asked to stop, one kill_grace later get SIGTERM (and operation_aborted), one more
  /// later SIGKILL. Completes when no worker process and no fork server is left. drain_for may be zero.
  /// \par Cancel  ends the wait, not the shutdown; a later call can only bring the deadline forward
  net::awaitable<void> shutdown(duration drain_for = unlimited) {
    return net::async_initiate<const net::use_awaitable_t<>, void(std::exception_ptr)>(
        initiate_shutdown{core_}, net::use_awaitable, drain_for);
  }

  /// As shutdown. \par Signature  void(std::exception_ptr); the exception is operation_aborted, if any
  template <net::completion_token_for<void(std::exception_ptr)> Token>
  auto async_shutdown(duration drain_for, Token&& token) {
    return net::async_initiate<Token, void(std::exception_ptr)>(initiate_shutdown{core_}, token, drain_for);
  }

  /// close(), and everything ends now: operation_aborted for all tasks; running workers get SIGTERM, after kill_grace
  /// SIGKILL. Returns at once; keeps run() going until they are gone.
  void terminate_workers() noexcept { core_->terminate(SIGTERM); }
  /// The same with SIGKILL at once.
  void kill_workers() noexcept { core_->terminate(SIGKILL); }

  // ---- in between

  /// Replaces all workers, one after the other, each when its successor is ready: no task is lost, and there are never
  /// fewer workers. Returns at once; keeps run() going until it is done.
  void recycle_workers() noexcept { core_->recycle_workers(); }

  /// A snapshot. \par Threads  any; takes some microseconds per worker
  pool_stats stats() const { return core_->stats(); }

  /// From now on, calls sink(event) for what happens, in order of completion; an empty function ends it. See
  /// chrome_trace.hpp for a sink that writes a file. \par Threads  the sink is called on one thread at a time, of those
  /// that run the pool's executor; it must not throw
  void trace(std::function<void(const trace_event&)> sink) { core_->trace(std::move(sink)); }

  const std::shared_ptr<Core>& core() const noexcept { return core_; }

protected:
  ~basic_process_pool() {
    // In a forked copy the epoll and the sockets still belong to the original: touching them would break it. They are
    // leaked there on purpose.
    if (!core_->is_own_process())
      static_cast<void>(new std::shared_ptr<Core>(std::move(core_)));
    else
      core_->stop();
  }

private:
  struct initiate_shutdown {
    using executor_type = net::any_io_executor;
    std::shared_ptr<Core> core;
    executor_type get_executor() const noexcept { return core->executor(); }

    template <class Handler>
    void operator()(Handler handler, duration drain_for) const {
      core->shut_down(drain_for, std::move(handler));
    }
  };

  const process_pool& self() const noexcept { return static_cast<const process_pool&>(*this); }

  std::shared_ptr<Core> core_;
};

/// Pre-forked worker processes: an I/O object as those of Asio, whose members basic_process_pool describes.
class process_pool : public basic_process_pool<pool_core> {
public:
  using basic_process_pool::basic_process_pool;
};

} // namespace coproc

#include <coproc/task.hpp> // submit's body
