// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/codec/exception.hpp>
#include <coproc/codec/reader.hpp>
#include <coproc/front/failure.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/front/worker_memory.hpp>
#include <coproc/os/fork_generation.hpp>
#include <coproc/os/text.hpp>

#include <chrono>
#include <csignal>
#include <string>
#include <utility>

namespace coproc::detail::front {

/// The texts of failure_of().
COPROC_LAZY_CLASS class failure_texts {
public:
  explicit failure_texts(const task_record& t) noexcept : task_(t) {}

  std::exception_ptr make() const {
    switch (task_.outcome) {
    case verdict::exception:
      if (task_.special && details(task_).soft_expired) return after_soft_timeout();
      return decode_exception(result());
    case verdict::lost: return made<worker_lost>(*details(task_).exit, retries());
    case verdict::task_timeout: return made<task_timeout>(make_error_code(errc::task_timeout), killed_at_timeout());
    case verdict::queue_timeout:
      return made<timed_out>(make_error_code(errc::queue_timeout),
                             deadline_comes_first()
                                 ? deadline()
                                 : os::text("queue_timeout is ", seconds(details(task_).terms.queue_timeout), " s"));
    case verdict::failed: return refusal();
    default: return made<net::system_error>(net::error::operation_aborted);
    }
  }

private:
  template <class E, class... A>
  static std::exception_ptr made(const A&... arguments) {
    return std::make_exception_ptr(E(arguments...));
  }

  static double seconds(duration d) noexcept { return std::chrono::duration<double>(d).count(); }

  std::span<const std::byte> result() const noexcept {
    if (task_.result_in_file) return {details(task_).far_result, task_.result_length};
    return task_.inline_bytes(task_.result_length);
  }

  std::string killed_at_timeout() const {
    const worker_exit& exit = *details(task_).exit;
    const std::string limit = os::text(details(task_).deadline_passed
                                           ? deadline()
                                           : os::text("the timeout is ", seconds(details(task_).terms.timeout), " s"),
                                       "; worker ", exit.pid);
    if (exit.still_running) return os::text(limit, " ", describe_survivor(exit));
    const char* const how = exit.signal == SIGTERM   ? "SIGTERM"
                            : exit.signal == SIGKILL ? "SIGKILL, which it got because it outlived SIGTERM by kill_grace"
                                                     : "itself, after SIGTERM";
    return os::text(limit, " was ended by ", how);
  }

  bool deadline_comes_first() const noexcept {
    return details(task_).terms.deadline <= after(task_.submitted_at, details(task_).terms.queue_timeout);
  }

  std::string deadline() const {
    return os::text("the deadline was ", seconds(details(task_).terms.deadline - task_.submitted_at),
                    " s after the submission");
  }

  std::string retries() const {
    const task_details& d = details(task_);
    if (task_.special && d.retries != 0) return os::text("; it was run ", d.retries + 1, " times");
    return {};
  }

  // A task that gave up when it saw the stop token timed out; any other exception of it stays what it is.
  std::exception_ptr after_soft_timeout() const {
    const std::exception_ptr e = decode_exception(result());
    if (code_of(e) != net::error::operation_aborted) return e;
    return made<task_timeout>(
        make_error_code(errc::task_timeout),
        os::text("it stopped itself at its soft_timeout of ", seconds(details(task_).terms.soft_timeout), " s"));
  }

  std::exception_ptr refusal() const {
    const task_details& d = details(task_);
    if (d.error_cause) return made<pool_error>(d.error, os::text(d.error_text, " (", d.error_cause.message(), ")"));
    if (d.error_text != nullptr) return made<pool_error>(d.error, d.error_text);
    return made<pool_error>(d.error);
  }

  const task_record& task_;
};

COPROC_LAZY_DEF std::exception_ptr failure_of(const task_record& t) noexcept {
  try {
    return failure_texts<>(t).make();
  } catch (...) {
    return std::current_exception();
  }
}

/// What a worker lent with one result, for as long as anything refers to it.
COPROC_LAZY_CLASS class loan {
public:
  loan(std::shared_ptr<worker_memory> memory, unsigned number) noexcept : memory_(std::move(memory)), number_(number) {}
  loan(const loan&) = delete;
  loan& operator=(const loan&) = delete;
  // A forked copy of the front end does not map this memory, and has nothing to give back: leaked there on purpose, for
  // what it would unmap may be somebody else's by now.
  ~loan() {
    if (process_.is_own())
      memory_->give_back(number_);
    else
      static_cast<void>(new std::shared_ptr<worker_memory>(std::move(memory_)));
  }

private:
  std::shared_ptr<worker_memory> memory_;
  unsigned number_;
  os::process_mark process_;
};

COPROC_LAZY_DEF std::shared_ptr<const std::byte> borrow_views(task_record& t, std::shared_ptr<void>& taken,
                                                              std::uint64_t place, std::uint64_t bytes) {
  if (!taken) {
    if (!t.encumbered || details(t).loan == task_details::no_loan)
      reject("a result refers to memory that was not lent");
    taken = std::make_shared<loan<>>(details(t).result_owner, details(t).loan);
    details(t).loan = task_details::no_loan;
  }
  const os::mapping& file = details(t).result_owner->results_map;
  if (place > file.size() || bytes > file.size() - place) reject("a result refers to what is not there");
  return {taken, file.data() + place};
}

} // namespace coproc::detail::front
