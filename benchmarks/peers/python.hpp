// SPDX-License-Identifier: BSL-1.0
// Python's ProcessPoolExecutor under asyncio, when python3 is there: a process that this one talks to over two pipes, so
// that its runs alternate with the others'. It times itself; starting it is not measured.
#pragma once

#include "../process_tree.hpp"

#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace bench {

class python_peer {
public:
  python_peer(const std::string& script, int workers) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const auto start_python = [&] {
      ::dup2(to[0], STDIN_FILENO);
      ::dup2(from[1], STDOUT_FILENO);
      ::execlp("python3", "python3", script.c_str(), fmt::format("{}", workers).c_str(), nullptr);
    };
    process_.emplace(start_python, 0); // it ends, with its workers, at the end of its input
    ::close(to[0]);
    ::close(from[1]);
    to_.reset(::fdopen(to[1], "w"));
    from_.reset(::fdopen(from[0], "r"));
    char version[64] = "";
    if (std::fscanf(from_.get(), "ready %63s", version) == 1) version_ = version;
  }

  python_peer(const python_peer&) = delete;
  ~python_peer() {
    to_.reset();
    while (std::fgetc(from_.get()) != EOF) {
    }
  }

  /// Empty if there is no python3.
  const std::string& version() const { return version_; }

  /// As run_in_flight, or with one task in flight and a pause as run_after_pauses.
  double run(int in_flight, long tasks, std::chrono::duration<double> pause = {}) {
    fmt::print(to_.get(), "{} {} {}\n", in_flight, tasks, pause.count());
    std::fflush(to_.get());
    double seconds = 0;
    if (std::fscanf(from_.get(), "%lf", &seconds) != 1) throw std::runtime_error("python3 ended");
    return seconds;
  }

private:
  struct closer {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::unique_ptr<std::FILE, closer> to_, from_;
  std::string version_;
  std::optional<child> process_;
};

} // namespace bench
