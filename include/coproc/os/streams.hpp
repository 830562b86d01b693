// SPDX-License-Identifier: BSL-1.0
// What lies in the buffers of streams: written before a fork, or both processes would write it, and before an end by
// _exit, or nobody would. Fork server and worker; the front end before it forks.
#pragma once

#include <coproc/os/process.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace coproc::os {

/// The standard streams of C++, and stdout.
inline void flush_standard_streams() noexcept {
  const auto flush = [](auto& stream) {
    try {
      stream.flush();
    } catch (...) { // the program has asked for exceptions
    }
  };
  flush(std::cout), flush(std::cerr), flush(std::clog);
  flush(std::wcout), flush(std::wcerr), flush(std::wclog);
  std::fflush(stdout);
}

/// These, and every output stream of C.
inline void flush_all_streams() noexcept {
  flush_standard_streams();
  std::fflush(nullptr);
}

namespace exit_handlers {

inline void end(void*, int status) noexcept {
  flush_all_streams();
  exit_now(status);
}

} // namespace exit_handlers

/// Of what is to run at exit() and quick_exit(), only what is registered from here on runs in this process: handlers
/// run last in, first out, and this one ends it.
inline void forget_exit_handlers() noexcept {
  ::on_exit([](int status, void* none) { exit_handlers::end(none, status); }, nullptr);
#if defined(__GLIBC__)
  // It calls all its handlers, these too, with the status as second argument: there is no other way to learn it.
  std::at_quick_exit(reinterpret_cast<void (*)()>(&exit_handlers::end));
#else
  std::at_quick_exit([] { exit_handlers::end(nullptr, EXIT_FAILURE); });
#endif
}

} // namespace coproc::os
