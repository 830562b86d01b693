// SPDX-License-Identifier: BSL-1.0
// An owning file descriptor, and reading what files say. Any process, any thread; no policy.
#pragma once

#include <coproc/os/fault.hpp>

#include <fcntl.h>
#include <span>
#include <unistd.h>
#include <utility>

namespace coproc::os {

class unique_fd {
public:
  unique_fd() = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }

  // close() is never retried: on Linux the descriptor is gone even after EINTR.
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) invoke(call::close, [&] { return ::close(fd_); });
    fd_ = fd;
  }

private:
  int fd_ = -1;
};

/// A copy of fd at `least` or above; empty, with errno, where none can be made.
inline unique_fd duplicate(int fd, int least = 3) noexcept {
  return unique_fd(invoke(call::dup, [&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, least); }));
}

/// fd, or a copy of it above 2: where the application has closed stdin, stdout or stderr, a new descriptor takes that
/// place, and whatever prints would write into it. Empty, with errno, where no copy can be made.
inline unique_fd above_stdio(unique_fd fd) noexcept {
  if (!fd || fd.get() > 2) return fd;
  return duplicate(fd.get());
}

/// Not above stdin, stdout and stderr: for what is closed soon, or is to take their place. Empty, with errno, on
/// failure.
inline unique_fd open_file(const char* path, int flags) noexcept {
  return unique_fd(invoke_uninterrupted(call::open, [&] { return ::open(path, flags | O_CLOEXEC); }));
}

/// As much of a file, from its beginning, as there is and fits; 0 also if it cannot be read to its end.
inline std::size_t read_from_start(int fd, std::span<char> text) noexcept {
  std::size_t used = 0;
  while (used < text.size()) {
    const auto n = invoke_uninterrupted(call::read, [&] {
      return ::pread(fd, text.data() + used, bytes_to_ask_for(call::read, text.size() - used),
                     static_cast<off_t>(used));
    });
    if (n < 0) return 0;
    if (n == 0) break;
    used += static_cast<std::size_t>(n);
  }
  return used;
}

} // namespace coproc::os
