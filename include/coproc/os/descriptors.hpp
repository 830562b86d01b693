// SPDX-License-Identifier: BSL-1.0
// The numbers of descriptors: which are open, closing all but some, and moving one out of the way of others. Any
// single-threaded process; no policy.
#pragma once

#include <coproc/os/fault.hpp>
#include <coproc/os/unique_fd.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <span>
#include <sys/resource.h>
#include <unistd.h>

namespace coproc::os {

/// Calls each(number) for every open descriptor, and may close it there. False: there is no /proc to look in.
template <class Each>
bool each_descriptor(Each each) noexcept {
  unique_fd folder = open_file("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  if (!folder) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(folder.get()), [](DIR* d) { return ::closedir(d); });
  if (!list) return false;
  const int own = folder.release();
  while (const dirent* entry = ::readdir(list.get())) {
    if (entry->d_name[0] == '.') continue;
    if (const int fd = std::atoi(entry->d_name); fd != own) each(fd);
  }
  return true;
}

inline bool is_open(int fd) noexcept {
  return invoke(call::descriptor_flags, [&] { return ::fcntl(fd, F_GETFD); }) >= 0;
}

inline std::optional<rlimit> open_files_limit() noexcept {
  rlimit limit{};
  if (invoke(call::getrlimit, [&] { return ::getrlimit(RLIMIT_NOFILE, &limit); }) != 0) return {};
  return limit;
}

/// The least number above 2 from which on no descriptor is open.
inline int above_all_descriptors() noexcept {
  int next = 3;
  if (each_descriptor([&](int fd) { next = std::max(next, fd + 1); })) return next;
  const auto limit = open_files_limit();
  const int end = static_cast<int>(std::min<rlim_t>(limit ? limit->rlim_cur : 1024, 1 << 20));
  for (int fd = next; fd < end; ++fd)
    if (is_open(fd)) next = fd + 1;
  return next;
}

/// Lets the limit of open files be at least `wanted`. Returns what it was if it had to be raised. errno is 0 unless
/// that is more than this process may have.
inline std::optional<rlimit> raise_open_files_limit(int wanted) noexcept {
  errno = 0;
  const auto limit = open_files_limit();
  if (!limit || limit->rlim_cur >= static_cast<rlim_t>(wanted)) return {};
  rlimit raised = *limit;
  raised.rlim_cur = static_cast<rlim_t>(wanted);
  if (raised.rlim_cur > raised.rlim_max) {
    errno = EMFILE;
    return {};
  }
  if (invoke(call::setrlimit, [&] { return ::setrlimit(RLIMIT_NOFILE, &raised); }) != 0) return {};
  return limit;
}

/// fd, or a copy of it at `least` or above. Empty, with errno, where no copy can be made.
inline unique_fd move_above(unique_fd fd, int least) noexcept {
  if (!fd || fd.get() >= least) return fd;
  return duplicate(fd.get(), least);
}

/// Closes all descriptors above 2 but `keep`, which it sorts. False: the system lets nobody do that.
inline bool close_all_but(std::span<int> keep) noexcept {
  std::sort(keep.begin(), keep.end());
  const auto close_range = [](unsigned first, unsigned last) {
    return invoke(call::close_range, [&] { return ::close_range(first, last, 0); }) == 0;
  };
  bool closed = true;
  unsigned next = 3;
  for (const int each : keep) {
    const auto fd = static_cast<unsigned>(each);
    if (fd > next) closed = closed && close_range(next, fd - 1);
    next = std::max(next, fd + 1);
  }
  if (closed && close_range(next, ~0u)) return true;
  // Refused: an old kernel, or the profile of a container.
  return each_descriptor([&](int fd) {
    if (fd > 2 && !std::binary_search(keep.begin(), keep.end(), fd)) unique_fd{fd}.reset();
  });
}

} // namespace coproc::os
