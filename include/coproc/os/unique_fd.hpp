// SPDX-License-Identifier: BSL-1.0
// An owning file descriptor. Any process, any thread; no policy.
#pragma once

#include <fcntl.h>
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
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

private:
  int fd_ = -1;
};

/// fd, or a copy of it above 2: where the application has closed stdin, stdout or stderr, a new descriptor takes that
/// place, and whatever prints would write into it. Empty, with errno, where no copy can be made.
inline unique_fd above_stdio(unique_fd fd) noexcept {
  if (!fd || fd.get() > 2) return fd;
  return unique_fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
}

} // namespace coproc::os
