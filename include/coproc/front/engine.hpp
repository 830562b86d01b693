// SPDX-License-Identifier: BSL-1.0
// The engine of a pool as calls and the public pool see it. Its functions are virtual, so that a file which makes a
// call compiles the call alone; only a file that makes a pool compiles what is behind (pool_impl.hpp), or none where
// the library is compiled separately. A virtual call is a nanosecond, of which an empty task pays four. Front end, any
// thread.
#pragma once

#include <coproc/front/task_record.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/lent_executor.hpp>
#include <coproc/options.hpp>
#include <coproc/os/fork_generation.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>

namespace coproc {

class writer;
struct pool_stats;
struct trace_event;

namespace detail {

class shutdown_gate;

namespace front {

/// Argument memory that belongs to no task: what an argument_array is made of. Destroying it gives the memory back.
struct array_memory {
  virtual ~array_memory() = default;

  std::byte* data = nullptr;
  std::uint64_t place = 0;     ///< what a worker finds it by
  const void* owner = nullptr; ///< tells whose it is: as engine::memory_owner()
};

class engine : public std::enable_shared_from_this<engine> {
public:
  using trace_sink = std::function<void(const trace_event&)>;

  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;
  virtual ~engine() = default;

  /// False in a forked copy of the process that made the pool, workers included: nothing but the fields here may be
  /// used there.
  bool is_own_process() const noexcept { return process_.is_own(); }

  /// Where completions run; empty when its context is gone.
  net::any_io_executor executor() const noexcept { return executor_.get(); }

  /// While one that is true exists, so does that context. Who keeps or posts a handler for it may be on another thread
  /// than the one that destroys it.
  class executor_use : public lent_executor::use {
  public:
    explicit executor_use(const engine& e) noexcept : use(e.executor_) {}
  };

  /// Nothing may be submitted any more, for it could not be completed.
  bool context_is_gone() const noexcept { return context_is_gone_.load(std::memory_order_acquire); }
  /// The io_context whose plain executor that is; null: it is another, or the context is gone.
  net::io_context* context() const noexcept { return context_.load(std::memory_order_acquire); }

  // ---- one call, in this order

  /// A record for a call of `entry`, the code of whose callable is at `code`; `options`: null for the usual ones. It is
  /// the caller's alone until it is submitted or recycled.
  /// \par Errors  std::invalid_argument: an option. pool_error: wrong_process, unknown_function. std::bad_alloc
  virtual task_record& acquire(std::uintptr_t entry, std::uintptr_t code, const task_options* options) = 0;

  /// Encoded arguments of one call may take so many bytes.
  std::uint64_t argument_limit() const noexcept { return argument_limit_; }
  [[noreturn]] virtual void refuse_arguments(std::uint64_t bytes) const = 0;

  /// The writer's memory is full: moves what it has from the record to its cold part, and from there to a block of a
  /// segment.
  virtual void grow_arguments(task_record& t, writer& w, std::size_t more_bytes) = 0;
  /// The arguments are complete; they may lie anywhere.
  virtual void seal_arguments(task_record& t, writer& w) = 0;
  /// The task shares this memory from now on.
  virtual void keep(task_record& t, const std::shared_ptr<const array_memory>& memory) = 0;

  /// Hands a record with its handler over. Never completes it inline.
  /// \par Errors  std::bad_alloc, pool_error(pool_closed): then nothing has happened, and the record is still the
  /// caller's
  virtual void submit(task_record& t) = 0;

  /// By the table in docs/cancellation.md; harmless when the operation has completed. Any thread.
  virtual void cancel(task_record& t, std::uint64_t ticket, net::cancellation_type type) noexcept = 0;

  /// Takes a record back, with whatever it still holds.
  virtual void recycle(task_record& t) noexcept = 0;

  // ---- what a record has ended with

  /// The bytes of its result, in the record or in the worker's result file.
  virtual std::span<const std::byte> result_in_file(const task_record& t) const noexcept = 0;
  /// The exception for every verdict but `value`.
  virtual std::exception_ptr failure(task_record& t) const noexcept = 0;
  /// What its result views in the worker's memory. `loan`: null at first; shared by all views of one result.
  /// \par Errors  bad_payload
  virtual std::shared_ptr<const std::byte> borrow(task_record& t, std::shared_ptr<void>& loan, std::uint64_t place,
                                                  std::uint64_t bytes) const = 0;

  // ---- memory

  /// Room for `count` elements. \par Errors  pool_error
  virtual std::shared_ptr<const array_memory> lend(std::size_t count, std::size_t element_bytes) const = 0;
  virtual const void* memory_owner() const noexcept = 0;

  virtual cold_part& make_cold(task_record& t) noexcept = 0;

  // ---- the pool as a whole; each harmless after the end, and in a forked copy

  virtual void close() noexcept = 0;
  virtual void recycle_workers() noexcept = 0;
  /// \par Errors  std::invalid_argument, pool_error(wrong_process), std::bad_alloc: then nothing has happened
  virtual void resize(count min_workers, count max_workers) = 0;
  virtual void terminate(int signal) noexcept = 0;
  /// Opens when the shutdown is over; null: the context is gone. \par Errors  pool_error(wrong_process)
  virtual std::shared_ptr<shutdown_gate> gate() = 0;
  /// \par Errors  std::bad_alloc: then nothing has happened
  virtual void shut_down(duration drain_for) = 0;
  /// After that: what has not begun is aborted now.
  virtual void drop_queued() noexcept = 0;
  virtual pool_stats stats() const = 0;
  virtual void trace(trace_sink sink) = 0;
  /// Ends everything: outstanding operations complete with operation_aborted (posted), workers and fork server are gone
  /// when it returns. Bounded by about two kill_graces and three seconds. Idempotent; also inside a handler.
  virtual void stop() noexcept = 0;

protected:
  engine(std::uint64_t argument_limit, net::any_io_executor ex) noexcept
      : argument_limit_(argument_limit), executor_(std::move(ex)) {}

  std::atomic<net::io_context*> context_{nullptr};
  std::atomic<bool> context_is_gone_{false};
  const std::uint64_t argument_limit_;
  mutable lent_executor executor_;
  os::process_mark process_; // set anew when it forks
};

inline cold_part& task_record::make_cold() noexcept {
  if (!has_cold_part) [[unlikely]]
    return home->make_cold(*this);
  return cold();
}

} // namespace front
} // namespace detail
} // namespace coproc
