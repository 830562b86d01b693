// SPDX-License-Identifier: BSL-1.0
// Everything that coproc raises: the error codes, the category "coproc" and the exception types. Vocabulary that every
// layer may include.
#pragma once

#include <coproc/net/error_code.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <type_traits>
#include <utility>

#include <fmt/core.h>

namespace coproc {

enum class errc {
  worker_lost = 1,     ///< the worker died while this task was running, or may have been
  task_timeout,        ///< task_options::timeout expired; the worker was killed
  timed_out,           ///< with_timeout expired
  queue_full,          ///< max_queue tasks are accepted and not completed (submit never waits)
  pool_closed,         ///< the pool takes no more tasks
  payload_too_large,   ///< the encoded arguments or result exceed max_payload or max_queue_bytes
  bad_payload,         ///< received bytes do not decode to the expected type
  worker_start_failed, ///< a worker, or the fork server, could not be started
  channel_closed,      ///< send on a closed channel
  remote_exception,    ///< the task threw something that is not a standard exception
  wrong_process,       ///< the pool was used in a forked copy of its process, or inside a task
  unknown_function,    ///< the function's code was loaded after the pool was made, so no worker has it
  queue_timeout,       ///< task_options::queue_timeout expired before the task began
};

namespace detail {

class category final : public net::error_category {
public:
  const char* name() const noexcept override { return "coproc"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
    case errc::worker_lost: return "the worker process died";
    case errc::task_timeout: return "the task ran past its time-out and its worker was killed";
    case errc::timed_out: return "the operation ran past its time-out";
    case errc::queue_full: return "the queue of the pool is full";
    case errc::pool_closed: return "the pool is closed";
    case errc::payload_too_large: return "the payload is too large";
    case errc::bad_payload: return "the payload does not decode to the expected type";
    case errc::worker_start_failed: return "a worker process could not be started";
    case errc::channel_closed: return "the channel is closed";
    case errc::remote_exception: return "the task threw an exception";
    case errc::wrong_process: return "the pool belongs to another process";
    case errc::unknown_function: return "the function is not in the worker processes";
    case errc::queue_timeout: return "the task had not begun within its queue_timeout";
    }
    return "unknown coproc error";
  }

  // All time-outs compare equal to std::errc::timed_out.
  std::error_condition default_error_condition(int value) const noexcept override {
    const auto e = static_cast<errc>(value);
    if (e == errc::task_timeout || e == errc::timed_out || e == errc::queue_timeout) return std::make_error_condition(std::errc::timed_out);
    return {value, *this};
  }
};

constexpr const char* ordinal_suffix(std::uint64_t n) noexcept {
  if (n / 10 % 10 == 1) return "th";
  return n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
}

} // namespace detail

inline const net::error_category& error_category() noexcept {
  static const detail::category instance;
  return instance;
}

inline net::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

} // namespace coproc

template <>
struct std::is_error_code_enum<coproc::errc> : std::true_type {};

namespace coproc {

/// Base of everything coproc raises; code() is in category "coproc" unless an operating-system error is the cause.
class pool_error : public net::system_error {
public:
  using net::system_error::system_error;
};

/// with_timeout expired, or with errc::queue_timeout task_options::queue_timeout; equals std::errc::timed_out.
class timed_out : public pool_error {
public:
  using pool_error::pool_error;
  timed_out() : pool_error(make_error_code(errc::timed_out)) {}
};

/// task_options::timeout expired and the worker was killed, or soft_timeout expired and the task stopped when it saw
/// that; equals std::errc::timed_out.
class task_timeout : public timed_out {
public:
  using timed_out::timed_out;
  task_timeout() : timed_out(make_error_code(errc::task_timeout)) {}
};

/// Received bytes do not decode: thrown by codec::reader, and by a user's codec<T>::decode.
class bad_payload : public pool_error {
public:
  using pool_error::pool_error;
  bad_payload() : pool_error(make_error_code(errc::bad_payload)) {}
  explicit bad_payload(const char* what) : pool_error(make_error_code(errc::bad_payload), what) {}
};

/// Why a worker ended, or who ended it.
enum class exit_cause : std::uint8_t {
  self,          ///< it crashed, exited, or was killed from outside coproc
  fork_server,   ///< the fork server died and took its workers with it
  violation,     ///< coproc killed it: it wrote impossible values into its mailbox
  timed_out,     ///< coproc killed it: its task ran past task_options::timeout
  cancelled,     ///< coproc killed it: its task was cancelled
  stalled,       ///< coproc killed it: it did not begin its next task in that task's timeout (stopped, or starved)
  start_timeout, ///< coproc killed it: it was not initialized within pool_options::start_timeout
  shutdown,      ///< the pool was shut down or destroyed
  recycled,      ///< max_tasks_per_child or recycle_workers()
  memory_limit,  ///< max_memory_per_child
  idle,          ///< it had nothing to do for pool_options::idle_timeout
};

/// How far a worker had come.
enum class exit_phase : std::uint8_t { starting, idle, running };

/// What on_worker_start is told.
struct worker_start {
  unsigned index = 0; ///< 0 to max_workers - 1; a replacement inherits it
  pid_t pid = 0;
};

/// What is known about a worker's end: the parts of worker_lost, and what on_worker_exit is told.
struct worker_exit {
  pid_t pid = 0;
  int signal = 0;               ///< 0: not killed by a signal
  std::optional<int> exit_code; ///< empty: killed by a signal, or unknown
  bool status_known = false;    ///< false: nobody could tell (fork server gone, or it did not answer within 1 s)
  exit_cause cause = exit_cause::self;
  exit_phase phase = exit_phase::starting;
  unsigned index = 0;           ///< of the worker
  std::uint64_t tasks_done = 0; ///< by this worker before
  std::chrono::nanoseconds age{};
  std::int64_t user_microseconds = 0, system_microseconds = 0, max_rss_kilobytes = 0; ///< rusage of its whole life
};

/// The worker died. started() == false: the worker's own mailbox word said that it had not begun this task.
class worker_lost : public pool_error {
public:
  template <class Exit = worker_exit> // so that only a file that makes one compiles the text
  worker_lost(const std::type_identity_t<Exit>& how, bool started, const std::string& more = {})
      : pool_error(make_error_code(errc::worker_lost), describe(how, started) + more), exit_(how), started_(started) {}

  pid_t pid() const noexcept { return exit_.pid; }
  bool started() const noexcept { return started_; }
  int signal() const noexcept { return exit_.signal; }                          ///< 0: none
  std::optional<int> exit_code() const noexcept { return exit_.exit_code; }
  exit_cause cause() const noexcept { return exit_.cause; }
  const worker_exit& exit() const noexcept { return exit_; }

private:
  template <class Exit>
  static std::string describe(const Exit& how, bool started);

  worker_exit exit_;
  bool started_;
};

/// What every exception that crossed from a worker has besides its own type.
class remote_info {
public:
  virtual ~remote_info() = default;
  /// The dynamic type of the exception in the worker, demangled.
  virtual std::string_view type_name() const noexcept = 0;
};

/// A standard exception of type E that a task threw: `catch (E&)` works, and dynamic_cast to remote_info tells it from a local one.
template <class E>
class remote final : public E, public remote_info {
public:
  template <class... A>
  explicit remote(std::string type_name, std::string what, A&&... args)
      : E(static_cast<A&&>(args)...), type_name_(std::move(type_name)), what_(std::move(what)) {}

  const char* what() const noexcept override { return what_.c_str(); }
  std::string_view type_name() const noexcept override { return type_name_; }

private:
  std::string type_name_, what_;
};

/// Anything else that a task threw; what() is its text where it derives from std::exception.
class remote_exception : public std::runtime_error, public remote_info {
public:
  remote_exception(std::string type_name, const std::string& what)
      : std::runtime_error(what), type_name_(std::move(type_name)) {}

  std::string_view type_name() const noexcept override { return type_name_; }

private:
  std::string type_name_;
};

/// The error_code inside an exception, for completions taken with as_tuple: {} for null, the code of any system_error,
/// errc::remote_exception for whatever else a task threw. Never throws.
inline net::error_code code_of(const std::exception_ptr& e) noexcept {
  if (!e) return {};
  try {
    std::rethrow_exception(e);
  } catch (const net::system_error& se) {
    return se.code();
  } catch (...) {
    return make_error_code(errc::remote_exception);
  }
}

template <class Exit>
std::string worker_lost::describe(const Exit& how, bool started) {
  std::string end;
  if (how.signal != 0)
    end = fmt::format("was killed by signal {} ({})", how.signal, ::strsignal(how.signal));
  else if (how.exit_code)
    end = fmt::format("exited with status {}", *how.exit_code);
  else
    end = "died, its exit status is unknown";
  const char* who = "";
  switch (how.cause) {
  case exit_cause::self:
    if (how.signal == 9) who = ", from outside coproc: perhaps the kernel was out of memory";
    break;
  case exit_cause::fork_server: who = ", because the fork server died"; break;
  case exit_cause::violation: who = ", by coproc, because it wrote impossible values into its mailbox"; break;
  case exit_cause::timed_out: who = ", by coproc, because another task of it had timed out"; break;
  case exit_cause::cancelled: who = ", by coproc, because another task of it was cancelled"; break;
  case exit_cause::stalled: who = ", by coproc, because it did not begin its next task in time"; break;
  case exit_cause::start_timeout: who = ", by coproc, because it was not initialized within start_timeout"; break;
  case exit_cause::shutdown: who = ", because the pool was shut down"; break;
  case exit_cause::recycled:
  case exit_cause::memory_limit:
  case exit_cause::idle: who = ", when it was to be replaced"; break;
  }
  const char* when = how.cause == exit_cause::violation ? "this task may have run"
                     : started                          ? "while it ran this task"
                                                        : "before it began this task";
  return fmt::format("worker {} {}{}; {}, its {}{} in {:.3f} s of life", how.pid, end, who, when, how.tasks_done + 1,
                     detail::ordinal_suffix(how.tasks_done + 1), std::chrono::duration<double>(how.age).count());
}

} // namespace coproc
