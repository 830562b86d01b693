// SPDX-License-Identifier: BSL-1.0
// For tests of programs that use coproc: the errors that a call can end with, made at will. Not part of
// <coproc/coproc.hpp>. A public header: may include everything.
#pragma once

#include <coproc/codec/exception.hpp>
#include <coproc/codec/writer.hpp>
#include <coproc/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <span>
#include <vector>

/// For tests of programs that use coproc. task_timeout, timed_out, bad_payload and pool_error(make_error_code(errc))
/// have public constructors.
namespace coproc::testing {

/// As of a worker that was killed by this signal while it ran the task: 6 aborted, 9 killed, 11 wrong memory.
inline worker_lost worker_killed(int signal, exit_cause cause = exit_cause::self) {
  worker_exit how;
  how.pid = 4711;
  how.signal = signal;
  how.status_known = true;
  how.cause = cause;
  how.phase = exit_phase::running;
  how.age = std::chrono::seconds(1);
  return worker_lost(how);
}

/// As of a worker whose task called exit(status).
inline worker_lost worker_exited(int status) {
  worker_exit how;
  how.pid = 4711;
  how.exit_code = status;
  how.status_known = true;
  how.phase = exit_phase::running;
  how.age = std::chrono::seconds(1);
  return worker_lost(how);
}

/// What a call ends with whose task throws `e`: it goes the same way, over bytes. A standard exception becomes
/// remote<E>, one that was registered an E, anything else remote_exception.
template <class E>
std::exception_ptr thrown_by_task(const E& e) {
  std::vector<std::byte> bytes(256);
  const auto grow = [](void* context, writer& w, std::size_t more) {
    auto& from = *static_cast<std::vector<std::byte>*>(context);
    std::vector<std::byte> larger(2 * from.size() + more);
    std::copy(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(w.size()), larger.begin());
    from.swap(larger);
    w.rebase(from.data(), from.size());
  };
  writer w(bytes.data(), bytes.size(), grow, &bytes);
  try {
    throw e;
  } catch (...) {
    detail::encode_exception(w);
  }
  return detail::decode_exception(std::span<const std::byte>(w.data(), w.size()));
}

} // namespace coproc::testing
