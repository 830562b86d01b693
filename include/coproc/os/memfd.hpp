// SPDX-License-Identifier: BSL-1.0
// Anonymous memory with a descriptor: created sparse, mapped, sealed. It has no name and goes away with its last
// descriptor and mapping, so nothing is left behind after kill -9. The mapping itself is Boost.Interprocess's.
#pragma once

#include <coproc/os/error.hpp>
#include <coproc/os/fault.hpp>
#include <coproc/os/unique_fd.hpp>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <limits>
#include <sys/mman.h>
#include <sys/resource.h>
#include <utility>

namespace coproc::os {

enum class access { read_only, read_write };

/// A mapping of a memfd; unmapped by its destructor. Outlives the descriptor it was made from.
class mapping {
public:
  mapping() = default;

  /// Maps [0, bytes) of fd; throws pool_error with the system's code.
  mapping(int fd, std::size_t bytes, access mode) {
    namespace ipc = boost::interprocess;
    struct mappable {
      int fd;
      ipc::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
    };
    if (invoke(call::map, [] { return 0; }) != 0) throw_errno("mmap of shared memory");
    try {
      region_ = ipc::mapped_region(mappable{fd}, mode == access::read_write ? ipc::read_write : ipc::read_only, 0,
                                   bytes, nullptr, MAP_NORESERVE);
    } catch (const ipc::interprocess_exception& e) {
      if (e.get_native_error() == EAGAIN)
        throw_errno(
            "mmap of shared memory: the program locks its memory (mlockall), and RLIMIT_MEMLOCK allows no more: raise "
            "it, or lower pool_options::max_payload",
            EAGAIN);
      throw_errno("mmap of shared memory", e.get_native_error() != 0 ? e.get_native_error() : ENOMEM);
    }
    // Payloads belong in no core dump: a crashing worker would otherwise write every touched page of them.
    advise(MADV_DONTDUMP);
  }
  mapping(mapping&& other) noexcept { region_.swap(other.region_); }
  mapping& operator=(mapping&& other) noexcept {
    mapping(std::move(other)).region_.swap(region_);
    return *this;
  }
  ~mapping() {
    if (*this) invoke(call::unmap, [&] { return ipc_region().swap(region_), 0; });
  }

  /// A program that locks its memory does not lock this. Best effort.
  void unlock() const noexcept {
    invoke(call::unlock, [&] { return ::munlock(region_.get_address(), region_.get_size()); });
  }

  /// No child gets it: a fork server that is made later would hand it, writable and unsealed, to all its workers.
  void keep_from_children() const noexcept { advise(MADV_DONTFORK); }

  std::byte* data() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  std::size_t size() const noexcept { return region_.get_size(); }
  explicit operator bool() const noexcept { return region_.get_size() != 0; }

private:
  using ipc_region = boost::interprocess::mapped_region;

  // Best effort: neither is needed for anything to work.
  void advise(int what) const noexcept {
    invoke(call::advise, [&] { return ::madvise(region_.get_address(), region_.get_size(), what); });
  }

  ipc_region region_;
};

/// The largest file that this process may create; writing beyond it would raise SIGXFSZ.
inline std::uint64_t file_size_limit() noexcept {
  rlimit limit{};
  if (invoke(call::getrlimit, [&] { return ::getrlimit(RLIMIT_FSIZE, &limit); }) != 0 ||
      limit.rlim_cur == RLIM_INFINITY)
    return std::numeric_limits<std::int64_t>::max();
  return limit.rlim_cur;
}

/// An empty one that may grow to `bytes`.
inline unique_fd make_empty_memfd(const char* name, std::size_t bytes) {
  if (bytes > file_size_limit()) throw_errno("shared memory larger than RLIMIT_FSIZE allows", EFBIG);
  unique_fd fd = above_stdio(
      unique_fd(invoke(call::memfd_create, [&] { return ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); })));
  if (!fd) throw_errno("memfd_create");
  return fd;
}

inline void set_size(const unique_fd& memfd, std::size_t bytes) {
  if (invoke_uninterrupted(call::ftruncate, [&] { return ::ftruncate(memfd.get(), static_cast<off_t>(bytes)); }) != 0)
    throw_errno("ftruncate of shared memory");
}

/// A sparse memfd of fixed size. Throws pool_error; EFBIG where RLIMIT_FSIZE is too low.
inline unique_fd make_memfd(const char* name, std::size_t bytes) {
  unique_fd fd = make_empty_memfd(name, bytes);
  set_size(fd, bytes);
  return fd;
}

struct shared_memory {
  unique_fd fd;
  mapping map;
};

/// The same, mapped, and address space only, also in a program that locks its memory: under mlockall(MCL_FUTURE) a
/// new mapping is filled and locked at once. This one is made while the file is empty, and there is nothing to fill
/// it with.
inline shared_memory make_shared_memory(const char* name, std::size_t bytes, access mode) {
  shared_memory m{make_empty_memfd(name, bytes), {}};
  m.map = mapping(m.fd.get(), bytes, mode);
  m.map.unlock();
  set_size(m.fd, bytes);
  return m;
}

#if !defined(F_SEAL_FUTURE_WRITE)
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/// Fixed size for ever: whoever maps it can never meet SIGBUS.
inline void seal_size(const unique_fd& fd) {
  if (invoke(call::add_seals,
             [&] { return ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL); }) != 0)
    throw_errno("F_ADD_SEALS on shared memory");
}

/// Fixed size, and no new writable mapping or write for anyone, ever; the writable mappings that exist stay writable.
inline void seal_for_readers(const unique_fd& fd) {
  constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (invoke(call::add_seals, [&] { return ::fcntl(fd.get(), F_ADD_SEALS, seals); }) != 0)
    throw_errno("F_ADD_SEALS on shared memory");
}

/// Gives the pages of shared memory that is mapped writable back, for all who map it; they read as zeros afterwards.
/// Whole pages. Best effort.
inline void punch_hole(std::byte* pages, std::size_t bytes) noexcept {
  invoke_uninterrupted(call::punch_hole, [&] { return ::madvise(pages, bytes, MADV_REMOVE); });
}

} // namespace coproc::os
