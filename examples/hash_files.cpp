// SPDX-License-Identifier: BSL-1.0
// hash_files DIR [--workers N]: what `sha512sum` prints, for every regular file below DIR, in the byte order of their
// paths: the output of `find DIR -type f -print0 | LC_ALL=C sort -z | xargs -0 sha512sum`. Read by coroutines, hashed
// by the pool. Exit status: 0, or 1 if some file or directory could not be read, or 2 for wrong usage.
//
// Memory is bounded whatever lies below DIR: a few coroutines each read a batch of files as a stream of 1 MiB chunks; a
// chunk is one task, be it many small files or a piece of a large one. The next chunk goes to any worker, because the
// state of the unfinished hash travels: Nettle's sha512_ctx is plain bytes. While one chunk is hashed, the next is
// read. Lines that are finished wait for their turn; a semaphore bounds how many.
//
// Reading a file blocks, and epoll cannot wait for files (Asio's stream_file needs io_uring), so reads run in a small
// thread pool behind the same run_in_executor. It is made after the process pool, which has to fork without threads.
#include "hash_files/files.hpp"
#include "hash_files/progress_bar.hpp"

#include <coproc/coproc.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <map>
#include <nettle/sha2.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace net = coproc::net;

namespace {

constexpr std::size_t files_per_batch = 64;
constexpr int max_unprinted_batches = 64;

using digest = std::array<std::uint8_t, SHA512_DIGEST_SIZE>;

sha512_ctx empty_hash() {
  sha512_ctx state{};
  sha512_init(&state);
  return state;
}

// In a worker process: the digests of the files that end in this chunk, and the state of the one that does not.
std::pair<sha512_ctx, std::vector<digest>> hash_chunk(sha512_ctx state, std::span<const std::uint8_t> chunk,
                                                      const std::vector<std::size_t>& ends) {
  std::vector<digest> finished(ends.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < ends.size(); begin = ends[i++]) {
    sha512_update(&state, ends[i] - begin, chunk.data() + begin);
    sha512_digest(&state, finished[i].size(), finished[i].data()); // and starts a new hash
  }
  sha512_update(&state, chunk.size() - begin, chunk.data() + begin);
  return {state, std::move(finished)};
}

// As sha512sum: a name with one of these characters is escaped, and the line begins with a backslash.
std::string output_line(const digest& hash, const std::string& path) {
  std::string name;
  for (const char c : path) {
    if (c == '\\')
      name += "\\\\";
    else if (c == '\n')
      name += "\\n";
    else if (c == '\r')
      name += "\\r";
    else
      name += c;
  }
  return fmt::format("{}{:02x}  {}\n", name.size() == path.size() ? "" : "\\", fmt::join(hash, ""), name);
}

class hash_job {
public:
  hash_job(net::any_io_executor loop, int workers)
      : workers_(workers), pool_(loop, {.max_workers = workers}), threads_(2), queue_(loop, 4),
        unprinted_(loop, max_unprinted_batches) {}

  // True if everything below the directory could be read.
  net::awaitable<bool> run(std::string directory) {
    if (::isatty(STDERR_FILENO)) progress_.emplace(co_await coproc::run_in_executor(threads_, bytes_below, directory));

    const auto start = std::chrono::steady_clock::now();
    std::vector<net::awaitable<void>> coroutines;
    coroutines.push_back(produce(std::move(directory)));
    for (int i = 0; i < workers_ + 2; ++i) coroutines.push_back(consume());
    co_await coproc::gather(std::move(coroutines));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;

    progress_.reset();
    const double megabytes = static_cast<double>(bytes_) * 1e-6;
    fmt::print(stderr, "{} files, {:.1f} MB in {:.2f} s: {:.1f} MB/s with {} workers\n", files_, megabytes,
               elapsed.count(), megabytes / elapsed.count(), workers_);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      report("standard output", std::generic_category().message(errno));
    co_return !failed_;
  }

private:
  struct batch {
    long long order = 0;
    std::vector<std::string> paths = {};
    coproc::semaphore::permit until_printed = {};
  };

  net::awaitable<void> produce(std::string directory) {
    co_await walk(std::move(directory));
    if (!next_.paths.empty()) co_await send_batch();
    queue_.close();
  }

  net::awaitable<void> walk(std::string directory) {
    std::vector<entry> entries;
    try {
      entries = co_await coproc::run_in_executor(threads_, list, directory);
    } catch (const std::system_error& e) {
      report(directory, e.code().message());
    }
    for (entry& e : entries) {
      if (e.is_directory) {
        co_await walk(std::move(e.path));
        continue;
      }
      next_.paths.push_back(std::move(e.path));
      next_bytes_ += e.bytes;
      if (next_.paths.size() == files_per_batch || next_bytes_ >= chunk_bytes) co_await send_batch();
    }
  }

  net::awaitable<void> send_batch() {
    next_.until_printed = co_await unprinted_.acquire();
    co_await queue_.send(coproc::moved(next_));
    next_ = batch{.order = next_.order + 1};
    next_bytes_ = 0;
  }

  net::awaitable<void> consume() {
    while (std::optional<batch> work = co_await queue_.receive()) {
      std::string lines = co_await hash(std::move(work->paths));
      print_in_order(work->order, std::move(lines), std::move(work->until_printed));
    }
  }

  // The output for these files.
  net::awaitable<std::string> hash(std::vector<std::string> paths) {
    std::string lines;
    std::size_t file = 0;
    batch_reader reader(paths);
    try {
      sha512_ctx state = empty_hash();
      reader = co_await coproc::run_in_executor(threads_, read_chunk, std::move(reader));
      for (bool last = false; !last;) {
        last = reader.at_end();
        auto hashing =
            pool_.submit(hash_chunk, state, reader.chunk(), reader.ends()); // takes its own copy of the chunk
        count(reader.chunk().size());
        if (!last) reader = co_await coproc::run_in_executor(threads_, read_chunk, std::move(reader));
        const auto hashed = co_await std::move(hashing);
        state = hashed.first;
        for (const digest& d : hashed.second) {
          if (const std::error_code error = reader.error(file))
            report(paths[file], error.message());
          else
            lines += output_line(d, paths[file]), ++files_;
          ++file;
        }
      }
    } catch (const std::exception& e) {
      for (; file < paths.size(); ++file) report(paths[file], e.what());
    }
    co_return lines;
  }

  void print_in_order(long long order, std::string lines, coproc::semaphore::permit permit) {
    unprinted_lines_.emplace(order, std::pair(std::move(lines), std::move(permit)));
    const above_progress guard(progress_);
    for (auto first = unprinted_lines_.begin(); first != unprinted_lines_.end() && first->first == printed_;
         ++printed_) {
      std::fwrite(first->second.first.data(), 1, first->second.first.size(), stdout);
      first = unprinted_lines_.erase(first);
    }
  }

  void count(std::size_t bytes) {
    bytes_ += bytes;
    if (progress_) progress_->advance(bytes);
  }

  void report(const std::string& path, const std::string& error) {
    const above_progress guard(progress_);
    fmt::print(stderr, "hash_files: {}: {}\n", path, error);
    failed_ = true;
  }

  const int workers_;
  coproc::process_pool pool_;
  net::thread_pool threads_;
  coproc::bounded_channel<batch> queue_;
  coproc::semaphore unprinted_;
  batch next_;
  std::uintmax_t next_bytes_ = 0;
  std::map<long long, std::pair<std::string, coproc::semaphore::permit>> unprinted_lines_;
  long long printed_ = 0, files_ = 0;
  std::uintmax_t bytes_ = 0;
  std::optional<progress_bar> progress_;
  bool failed_ = false;
};

net::awaitable<bool> hash_directory(std::string directory, int workers) {
  hash_job job(co_await net::this_coro::executor, workers);
  co_return co_await job.run(std::move(directory));
}

} // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  int workers = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  bool usage_ok = arguments.size() == 1 || (arguments.size() == 3 && arguments[1] == "--workers");
  if (usage_ok && arguments.size() == 3) {
    const auto [end, error] = std::from_chars(arguments[2].data(), arguments[2].data() + arguments[2].size(), workers);
    usage_ok = error == std::errc() && end == arguments[2].data() + arguments[2].size() && workers >= 1;
  }
  if (!usage_ok) {
    fmt::print(stderr, "usage: hash_files DIR [--workers N]\n");
    return 2;
  }
  try {
    return coproc::run(hash_directory(std::string(arguments[0]), workers)) ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "hash_files: {}\n", e.what());
    return 1;
  }
}
