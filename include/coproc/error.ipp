// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/error.hpp>
#include <coproc/os/text.hpp>

#include <chrono>
#include <cstring>

namespace coproc {

namespace detail {

class COPROC_VISIBLE category final : public net::error_category {
public:
  const char* name() const noexcept override { return "coproc"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
    case errc::worker_lost: return "the worker process died";
    case errc::task_timeout: return "the task ran past its time-out";
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
    case errc::queue_timeout: return "the task had not begun in time";
    case errc::already_awaited: return "the result of the task belongs to another wait";
    case errc::wrong_context: return "the pool lives on another context";
    }
    return "unknown coproc error";
  }

  // All time-outs compare equal to std::errc::timed_out.
  std::error_condition default_error_condition(int value) const noexcept override {
    const auto e = static_cast<errc>(value);
    if (e == errc::task_timeout || e == errc::timed_out || e == errc::queue_timeout)
      return std::make_error_condition(std::errc::timed_out);
    return {value, *this};
  }

  // By name, since not all of a process need be one object; see COPROC_VISIBLE.
  bool equivalent(const std::error_code& code, int condition) const noexcept override {
    return code.value() == condition && is_named_so(code.category());
  }
  bool equivalent(int code, const std::error_condition& condition) const noexcept override {
    return (condition.value() == code && is_named_so(condition.category())) ||
           default_error_condition(code) == condition;
  }

private:
  bool is_named_so(const net::error_category& other) const noexcept { return std::string_view(other.name()) == name(); }
};

/// A constant that outlives every other static object, and a shared library that was first to ask for it.
template <class T>
struct never_destroyed {
  union {
    T value;
  };
  constexpr never_destroyed() noexcept : value() {}
  ~never_destroyed() {}
};

template <class = void>
COPROC_VISIBLE inline constinit const never_destroyed<category> the_category{};

constexpr const char* ordinal_suffix(std::uint64_t n) noexcept {
  if (n / 10 % 10 == 1) return "th";
  return n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
}

} // namespace detail

COPROC_DEF const net::error_category& error_category() noexcept { return detail::the_category<>.value; }

namespace detail {

COPROC_DEF std::string describe_survivor(const worker_exit& how) {
  if (how.kill_error != 0)
    return os::text("could not be killed (", std::strerror(how.kill_error), ") and may still run");
  return "is not dead although it got SIGKILL, and may still run";
}

COPROC_DEF std::string describe_end(const worker_exit& how) {
  std::string end;
  if (how.still_running)
    end = describe_survivor(how);
  else if (how.signal != 0)
    end = os::text("was killed by signal ", how.signal, " (", ::strsignal(how.signal), ")");
  else if (how.exit_code)
    end = os::text("exited with status ", *how.exit_code);
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
  const char* when = how.cause == exit_cause::violation ? "this task may have run" : "while it ran this task";
  const std::string life = os::decimal(std::chrono::round<std::chrono::milliseconds>(how.age).count());
  const std::uint64_t number = how.tasks_done + 1;
  return os::text("worker ", how.pid, " ", end, who, "; ", when, ", its ", number, ordinal_suffix(number), " in ", life,
                  " s of life");
}

COPROC_DEF std::string describe_limit(std::string_view of, std::chrono::nanoseconds limit) {
  return os::text(of, " is ", std::chrono::duration<double>(limit).count(), " s");
}

} // namespace detail

COPROC_DEF worker_lost::worker_lost(const worker_exit& how, const std::string& more)
    : pool_error(make_error_code(errc::worker_lost)), exit_(how), text_(detail::describe_end(how) + more) {}

} // namespace coproc
