// SPDX-License-Identifier: BSL-1.0
// The exception for every end of a task but success, made from what its record says. Front end, any thread. Layer net/.
#pragma once

#include <coproc/codec/exception.hpp>
#include <coproc/pool/task_record.hpp>

#include <csignal>
#include <exception>
#include <string>

namespace coproc::detail {

inline double seconds(duration d) noexcept { return std::chrono::duration<double>(d).count(); }

// Templates from here on, so that a file which runs no task does not compile the texts.
template <class Record>
std::string killed_at_timeout(const Record& t) {
  const auto& exit = *t.cold().exit;
  const char* const how = exit.signal == SIGTERM   ? "SIGTERM"
                          : exit.signal == SIGKILL ? "SIGKILL, which it got because it outlived SIGTERM by kill_grace"
                                                     : "itself, after SIGTERM";
  return fmt::format("the timeout is {} s; worker {} was ended by {}", seconds(t.cold().terms.timeout), exit.pid, how);
}

template <class Record>
std::string retries_of(const Record& t) {
  if (t.cold().terms.retries_refused) return "; not retried, because retry_on is not retry::idempotent and it may have run";
  if (t.special && t.cold().retries != 0) return fmt::format("; it was run {} times", t.cold().retries + 1);
  return {};
}

// A task that gave up when it saw the stop token timed out; any other exception of it stays what it is.
template <class Record>
std::exception_ptr failure_after_soft_timeout(const Record& t) {
  const std::exception_ptr e = decode_exception(t.result_bytes());
  if (code_of(e) != net::error::operation_aborted) return e;
  return std::make_exception_ptr(
      task_timeout(make_error_code(errc::task_timeout),
                   fmt::format("it stopped itself at its soft_timeout of {} s", seconds(t.cold().terms.soft_timeout))));
}

template <class Record>
std::exception_ptr refusal_of(const Record& t) {
  const auto& cold = t.cold();
  if (cold.error_cause)
    return std::make_exception_ptr(pool_error(cold.error, fmt::format("{} ({})", cold.error_text, cold.error_cause.message())));
  if (cold.error_text != nullptr) return std::make_exception_ptr(pool_error(cold.error, cold.error_text));
  return std::make_exception_ptr(pool_error(cold.error));
}

/// The exception for every end of a task but success.
template <class Record>
std::exception_ptr failure_of(const Record& t) noexcept {
  try {
    switch (t.outcome) {
    case pool::verdict::exception:
      if (t.special && t.cold().soft_expired) return failure_after_soft_timeout(t);
      return decode_exception(t.result_bytes());
    case pool::verdict::lost:
      return std::make_exception_ptr(worker_lost(*t.cold().exit, t.cold().started, retries_of(t)));
    case pool::verdict::task_timeout:
      return std::make_exception_ptr(task_timeout(make_error_code(errc::task_timeout), killed_at_timeout(t)));
    case pool::verdict::queue_timeout:
      return std::make_exception_ptr(timed_out(make_error_code(errc::queue_timeout),
                                               fmt::format("queue_timeout is {} s", seconds(t.cold().terms.queue_timeout))));
    case pool::verdict::failed: return refusal_of(t);
    default: return std::make_exception_ptr(net::system_error(net::error::operation_aborted));
    }
  } catch (...) {
    return std::current_exception();
  }
}

} // namespace coproc::detail
