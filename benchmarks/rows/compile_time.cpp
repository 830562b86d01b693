// SPDX-License-Identifier: BSL-1.0
// What including coproc costs the compiler, against what its users include anyway: files with nothing but one #include,
// compiled by the compiler of this build with the flags that every arm shares. Includes nothing of coproc.
#include "../rows.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sstream>

extern char** environ;

namespace bench {

namespace {

/// Seconds that the command takes; throws if it fails.
double run_command(const std::vector<std::string>& words, const std::string& log) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const auto start = clock::now();
  pid_t pid;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error != 0 || ::waitpid(pid, &status, 0) != pid || status != 0)
    throw peer_missing("it does not compile, see " + log);
  return seconds_since(start);
}

/// The lines of compiler.txt: the compiler, then its flags.
std::vector<std::string> compiler_command(const std::string& build) {
  std::ifstream file(build + "/compiler.txt");
  std::vector<std::string> words;
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) words.push_back(line);
  if (words.empty()) throw peer_missing("no compiler.txt in the build directory");
  return words;
}

arm compilation(std::string name, const settings& set, const std::string& line) {
  const auto set_up = [=]() -> run_function {
    std::string stem = set.build + "/compile_time_";
    for (const char c : name) stem += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    std::ofstream(stem + ".cpp") << line << '\n';
    std::vector<std::string> command = compiler_command(set.build);
    command.insert(command.end(), {stem + ".cpp", "-o", stem + ".o", "-E"});
    run_command(command, stem + ".log"); // warms the page cache up, and tells whether the header exists
    command.back() = "-c";
    return [=](const run_order&) -> run_values { return {run_command(command, stem + ".log") * 1e9}; };
  };
  return {std::move(name), set_up, 1, true};
}

} // namespace

void compile_time(session& s) {
  row r{"compile", "compile time of a file with only this #include, same flags (-O2)", {}, {}};
  r.tasks_per_second = false;
  r.runs = s.set.quick ? 3 : 5;
  r.arms = {compilation("asio.hpp", s.set, "#include <asio.hpp>"),
            compilation("coproc/coproc.hpp", s.set, "#include <coproc/coproc.hpp>"),
            compilation("coproc/fwd.hpp", s.set, "#include <coproc/fwd.hpp>"), compilation("empty file", s.set, "")};
  r.goals = {ratio_goal("coproc/coproc.hpp", "asio.hpp", at_most, 1.25),
             {"coproc/fwd.hpp - empty file", [](const one_run& in) { return in("coproc/fwd.hpp") - in("empty file"); },
              at_most, 30e6, unit::nanoseconds}};
  s.add(r);
}

} // namespace bench
