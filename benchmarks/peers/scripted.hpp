// SPDX-License-Identifier: BSL-1.0
// A peer in another language: a process that reads lines "IN_FLIGHT TASKS" and answers each with the seconds that the
// tasks took. It times itself; starting it is not measured. Linux only; includes nothing of coproc.
#pragma once

#include "../arm.hpp"

#include <cstdio>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

class scripted_peer {
public:
  /// Starts `command`, which says "ready" first; throws peer_missing(otherwise) if it does not.
  scripted_peer(const std::vector<std::string>& command, const std::string& otherwise) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const auto start = [&] {
      ::dup2(to[0], STDIN_FILENO);
      ::dup2(from[1], STDOUT_FILENO);
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
      std::vector<char*> argv;
      for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::execvp(argv[0], argv.data());
    };
    process_.emplace(start, 0); // it ends, with its workers, at the end of its input
    ::close(to[0]);
    ::close(from[1]);
    to_.reset(::fdopen(to[1], "w"));
    from_.reset(::fdopen(from[0], "r"));
    char ready[16] = "";
    if (std::fscanf(from_.get(), "%15s", ready) != 1 || std::string(ready) != "ready") throw peer_missing(otherwise);
  }
  scripted_peer(const scripted_peer&) = delete;
  ~scripted_peer() {
    to_.reset();
    while (std::fgetc(from_.get()) != EOF) {
    }
  }

  double run(int in_flight, long tasks) {
    fmt::print(to_.get(), "{} {}\n", in_flight, tasks);
    std::fflush(to_.get());
    double seconds = 0;
    if (std::fscanf(from_.get(), "%lf", &seconds) != 1) throw std::runtime_error("it ended");
    return seconds;
  }

private:
  struct closer {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::unique_ptr<std::FILE, closer> to_, from_;
  std::optional<child> process_;
};

inline arm scripted(std::string name, int window, std::vector<std::string> command, std::string otherwise) {
  const auto set_up = [=]() -> run_function {
    auto peer = std::make_shared<scripted_peer>(command, otherwise);
    return [=](const run_order& o) -> run_values {
      return {peer->run(window, o.tasks) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up, window};
}

} // namespace bench
