// SPDX-License-Identifier: BSL-1.0
// What hash_files wants from the file system: the contents of files, the entries of a directory, the size of a tree.
// All of it blocks, so all of it runs in the thread pool of hash_files. Knows nothing of coproc.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

inline constexpr std::size_t chunk_bytes = 1 << 20;

// Reads files one after the other as a single stream of chunks, and says where in it each one ends. A file that cannot
// be opened, or not be read to its end, ends there, with an error.
class batch_reader {
public:
  explicit batch_reader(std::vector<std::string> paths) : paths_(std::move(paths)), buffer_(chunk_bytes) {}
  batch_reader(batch_reader&& other) noexcept
      : paths_(std::move(other.paths_)), errors_(std::move(other.errors_)), buffer_(std::move(other.buffer_)),
        ends_(std::move(other.ends_)), filled_(other.filled_), fd_(std::exchange(other.fd_, -1)) {}
  batch_reader& operator=(batch_reader&& other) noexcept {
    std::swap(paths_, other.paths_);
    std::swap(errors_, other.errors_);
    std::swap(buffer_, other.buffer_);
    std::swap(ends_, other.ends_);
    std::swap(filled_, other.filled_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~batch_reader() {
    if (fd_ >= 0) ::close(fd_);
  }

  void read_chunk() {
    ends_.clear();
    for (filled_ = 0; filled_ < chunk_bytes && !at_end();) {
      if (fd_ < 0) fd_ = ::open(paths_[errors_.size()].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
      const ssize_t n = fd_ < 0 ? -1 : ::read(fd_, buffer_.data() + filled_, chunk_bytes - filled_);
      if (n > 0)
        filled_ += static_cast<std::size_t>(n);
      else if (n == 0 || errno != EINTR)
        end_file(n == 0 ? 0 : errno);
    }
  }

  std::span<const std::uint8_t> chunk() const { return std::span(buffer_).first(filled_); }
  const std::vector<std::size_t>& ends() const { return ends_; } // of files, as offsets into chunk()
  bool at_end() const { return errors_.size() == paths_.size(); }

  std::error_code error(std::size_t file) const { return {errors_.at(file), std::generic_category()}; }

private:
  void end_file(int error) {
    errors_.push_back(error);
    ends_.push_back(filled_);
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  std::vector<std::string> paths_;
  std::vector<int> errors_; // errno of each file that has ended
  std::vector<std::uint8_t> buffer_;
  std::vector<std::size_t> ends_;
  std::size_t filled_ = 0;
  int fd_ = -1;
};

inline batch_reader read_chunk(batch_reader reader) {
  reader.read_chunk();
  return reader;
}

struct entry {
  std::string path;
  bool is_directory;
  std::uintmax_t bytes;
};

// Regular files and directories; symbolic links, sockets, fifos and devices are left out. Sorted so that a walk in this
// order meets the paths in their byte order: a directory counts as its name with the slash that will follow it.
inline std::vector<entry> list(const std::string& directory) {
  std::vector<entry> entries;
  for (const std::filesystem::directory_entry& e : std::filesystem::directory_iterator(directory)) {
    std::error_code vanished;
    const bool is_link = e.is_symlink(vanished), is_directory = !is_link && e.is_directory(vanished);
    if (is_link || !(is_directory || e.is_regular_file(vanished))) continue;
    const std::uintmax_t bytes = is_directory ? 0 : e.file_size(vanished);
    const std::string name = e.path().filename();
    entries.push_back({directory + (directory.ends_with('/') ? "" : "/") + name, is_directory, vanished ? 0 : bytes});
  }
  std::ranges::sort(entries, {}, [](const entry& e) { return e.is_directory ? e.path + '/' : e.path; });
  return entries;
}

// For the progress bar only, so errors are for others to report.
inline std::uintmax_t bytes_below(const std::string& directory) {
  namespace fs = std::filesystem;
  std::uintmax_t total = 0;
  std::error_code ignored;
  auto walk = fs::recursive_directory_iterator(directory, fs::directory_options::skip_permission_denied, ignored);
  for (; !ignored && walk != fs::end(walk); walk.increment(ignored)) {
    std::error_code vanished;
    if (walk->is_symlink(vanished) || !walk->is_regular_file(vanished)) continue;
    if (const std::uintmax_t size = walk->file_size(vanished); !vanished) total += size;
  }
  return total;
}
