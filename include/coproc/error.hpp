// SPDX-License-Identifier: BSL-1.0
// Everything that coproc raises: the error codes, the category "coproc" and the exception types. Vocabulary that every
// layer may include.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/error_code.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <type_traits>
#include <utility>

// Visible, as COPROC_VISIBLE: exceptions are thrown on one side of a shared library and caught on the other.
namespace [[gnu::visibility("default")]] coproc {

/// What can go wrong, in category "coproc".
enum class errc {
  worker_lost = 1,     ///< the worker died while this task was running, or may have been
  task_timeout,        ///< task_options::timeout, or its deadline, was over; the worker was killed
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
  queue_timeout,       ///< task_options::queue_timeout, or its deadline, was over before the task began
  already_awaited,     ///< the result of the task has been given to somebody else, and cannot be copied
  wrong_context,       ///< a coroutine of coproc::run waits for a pool on another context, which nobody runs
};

/// The category "coproc": one object a process, also where shared libraries hide their symbols.
COPROC_DECL const net::error_category& error_category() noexcept;

/// An errc as an error_code.
inline net::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

/// Also true of a code that a shared library made with a category of its own, where the program does not export its
/// symbols.
inline bool operator==(const net::error_code& code, errc e) noexcept {
  return code.value() == static_cast<int>(e) && std::string_view(code.category().name()) == "coproc";
}

} // namespace coproc

template <>
struct std::is_error_code_enum<coproc::errc> : std::true_type {};

namespace [[gnu::visibility("default")]] coproc {

/// Base of everything coproc raises; code() is in category "coproc" unless an operating-system error is the cause.
class pool_error : public net::system_error {
public:
  using net::system_error::system_error;
};

/// with_timeout expired, or with errc::queue_timeout task_options::queue_timeout; equals std::errc::timed_out.
class timed_out : public pool_error {
public:
  using pool_error::pool_error;
  /// With errc::timed_out.
  timed_out() : pool_error(make_error_code(errc::timed_out)) {}
};

/// task_options::timeout expired and the worker was killed, or soft_timeout expired and the task stopped when it saw
/// that; equals std::errc::timed_out.
class task_timeout : public timed_out {
public:
  using timed_out::timed_out;
  /// With errc::task_timeout.
  task_timeout() : timed_out(make_error_code(errc::task_timeout)) {}
};

/// Received bytes do not decode: thrown by codec::reader, and by a user's codec<T>::decode.
class bad_payload : public pool_error {
public:
  using pool_error::pool_error;
  /// With errc::bad_payload, and with what does not decode.
  /// @{
  bad_payload() : pool_error(make_error_code(errc::bad_payload)) {}
  explicit bad_payload(const char* what) : pool_error(make_error_code(errc::bad_payload), what) {}
  /// @}
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
  recycled,      ///< max_tasks_per_child, recycle_workers(), or resize() to fewer
  memory_limit,  ///< max_memory_per_child
  idle,          ///< it had nothing to do for pool_options::idle_timeout
};

/// How far a worker had come.
enum class exit_phase : std::uint8_t { starting, idle, running };

/// What on_worker_start is told.
struct worker_start {
  unsigned index = 0; ///< 0 to max_workers - 1; a replacement inherits it
  pid_t pid = 0;      ///< of the process
};

/// What is known about a worker's end: the parts of worker_lost, and what on_worker_exit is told.
struct worker_exit {
  pid_t pid = 0;                       ///< of the process
  int signal = 0;                      ///< 0: not killed by a signal
  std::optional<int> exit_code;        ///< empty: killed by a signal, or unknown
  bool status_known = false;           ///< false: nobody could tell (fork server gone, or it did not answer within 1 s)
  bool still_running = false;          ///< it was to be killed and is not dead: it was given up, its place is filled
  int kill_error = 0;                  ///< errno: neither front end nor fork server may signal it
  exit_cause cause = exit_cause::self; ///< who ended it
  exit_phase phase = exit_phase::starting; ///< how far it had come
  unsigned index = 0;                      ///< of the worker
  std::uint64_t tasks_done = 0;            ///< by this worker before
  std::chrono::nanoseconds age{};          ///< of the process when it ended
  std::int64_t user_microseconds = 0;      ///< CPU time in user mode, as rusage has it for the whole life
  std::int64_t system_microseconds = 0;    ///< CPU time in the kernel
  std::int64_t max_rss_kilobytes = 0;      ///< the most memory that was resident
};

namespace detail {
/// What is said of a worker that is still_running, after its pid.
COPROC_DECL std::string describe_survivor(const worker_exit& how);
/// What a worker_lost says of the end.
COPROC_DECL std::string describe_end(const worker_exit& how);
} // namespace detail

/// The worker died while it ran this task. If cause() is violation, nobody knows whether it had begun. (A task that is
/// known not to have begun is not lost: it moves to another worker.)
class worker_lost : public pool_error {
public:
  /// For coproc itself, and for tests: see coproc/testing.hpp. `more`: added to the text.
  COPROC_DECL explicit worker_lost(const worker_exit& how, const std::string& more = {});

  /// Which worker, how it ended, who ended it, and how long it had lived.
  const char* what() const noexcept override { return text_.what(); }
  pid_t pid() const noexcept { return exit_.pid; }                          ///< of the worker
  int signal() const noexcept { return exit_.signal; }                      ///< 0: none
  std::optional<int> exit_code() const noexcept { return exit_.exit_code; } ///< empty: killed by a signal, or unknown
  exit_cause cause() const noexcept { return exit_.cause; }                 ///< who ended the worker
  const worker_exit& exit() const noexcept { return exit_; }                ///< all that is known

private:
  worker_exit exit_;
  std::runtime_error text_; // what system_error makes of it ends in the message of the code, which says less
};

/// What every exception that crossed from a worker has besides its own type.
class remote_info {
public:
  virtual ~remote_info() = default;
  /// The dynamic type of the exception in the worker, demangled.
  virtual std::string_view type_name() const noexcept = 0;
};

/// A standard exception of type E that a task threw, or one that was registered: `catch (E&)` works, and dynamic_cast
/// to remote_info tells it from a local one. What it was nested in with std::throw_with_nested arrives with it:
/// std::rethrow_if_nested works.
template <class E>
class remote : public E, public remote_info {
public:
  /// For coproc itself, and for tests: E is made of `args`.
  template <class... A>
  explicit remote(std::string type_name, std::string what, A&&... args)
      : E(static_cast<A&&>(args)...), type_name_(std::move(type_name)), what_(std::move(what)) {}

  /// The text that the exception had in the worker.
  const char* what() const noexcept override { return what_.c_str(); }
  std::string_view type_name() const noexcept override { return type_name_; }

private:
  std::string type_name_, what_;
};

/// Anything else that a task threw; what() is its text where it derives from std::exception, or is a std::string or a
/// string literal.
class remote_exception : public std::runtime_error, public remote_info {
public:
  /// For coproc itself, and for tests.
  remote_exception(std::string type_name, const std::string& what)
      : std::runtime_error(what), type_name_(std::move(type_name)) {}

  std::string_view type_name() const noexcept override { return type_name_; }

private:
  std::string type_name_;
};

namespace detail {

/// "<of> is 0.2 s", for the texts of time-outs.
COPROC_DECL std::string describe_limit(std::string_view of, std::chrono::nanoseconds limit);

} // namespace detail

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

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/error.ipp>
#endif
