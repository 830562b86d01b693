// SPDX-License-Identifier: BSL-1.0
// What coproc costs the compiler, against what its users compile anyway: CPU time and peak memory of the compiler of
// this build, with flags that all arms of a row share. Includes nothing of coproc.
#include "../rows.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sstream>
#include <sys/resource.h>
#include <sys/wait.h>

extern char** environ;

namespace bench {

namespace {

struct cost {
  double cpu_ns = 0, peak_bytes = 0;
};

/// What the command costs; throws if it fails.
cost run_command(const std::vector<std::string>& words, const std::string& log) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  pid_t pid;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  rusage used{};
  if (error != 0 || ::wait4(pid, &status, 0, &used) != pid || status != 0)
    throw peer_missing("it does not compile, see " + log);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return {(seconds(used.ru_utime) + seconds(used.ru_stime)) * 1e9, static_cast<double>(used.ru_maxrss) * 1024};
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

using flags = std::vector<std::string>;

/// Compiles a file to an object file; `value` says what of its cost is measured.
arm compilation(std::string name, const settings& set, const std::string& source, flags more, double cost::* value) {
  const auto set_up = [=]() -> run_function {
    std::string stem = set.build + "/compile_";
    for (const char c : name) stem += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    for (const std::string& f : more) stem += f;
    std::vector<std::string> command = compiler_command(set.build);
    command.insert(command.end(), more.begin(), more.end());
    command.insert(command.end(), {source, "-o", stem + ".o", "-E"});
    run_command(command, stem + ".log"); // warms the page cache up, and tells whether the headers exist
    command.back() = "-c";
    return [=](const run_order&) -> run_values { return {run_command(command, stem + ".log").*value}; };
  };
  return {std::move(name), set_up, 1, true};
}

/// A file with nothing but one #include, or nothing.
arm inclusion(const std::string& header, const settings& set) {
  const std::string source =
      set.build + "/include_" + std::string(header.empty() ? "nothing" : header.substr(header.rfind('/') + 1)) + ".cpp";
  std::ofstream(source) << (header.empty() ? std::string("\n") : "#include <" + header + ">\n");
  return compilation(header.empty() ? "empty file" : header, set, source, {"-O2", "-DFMT_HEADER_ONLY"}, &cost::cpu_ns);
}

row a_row(std::string id, std::string title, const settings& set) {
  row r{std::move(id), std::move(title), {}, {}};
  r.tasks_per_second = false;
  r.runs = set.quick ? 3 : 5;
  return r;
}

} // namespace

void compile_time(session& s) {
  row includes = a_row("compile.include", "CPU time of the compiler for a file with only this #include, -O2", s.set);
  includes.arms = {inclusion("asio.hpp", s.set), inclusion("coproc/coproc.hpp", s.set),
                   inclusion("coproc/fwd.hpp", s.set), inclusion("", s.set)};
  includes.goals = {ratio_goal("coproc/coproc.hpp", "asio.hpp", at_most, 1.4),
                    {"coproc/fwd.hpp - empty file",
                     [](const one_run& in) { return in("coproc/fwd.hpp") - in("empty file"); }, at_most, 30e6,
                     unit::nanoseconds}};
  s.add(includes);

  const std::string files = s.set.sources + "/compile/";
  const std::string hello = s.set.sources + "/../examples/01_hello.cpp";
  for (const std::string optimisation : {"-O2", "-O0"}) {
    row calls = a_row("compile.call" + optimisation, "CPU time of the compiler, " + optimisation, s.set);
    const auto arm_of = [&](std::string name, const std::string& source, const char* more = "-pthread") {
      return compilation(std::move(name), s.set, source, {optimisation, more}, &cost::cpu_ns);
    };
    calls.arms = {arm_of("a coroutine on bare Asio", files + "coroutine.cpp"),
                  arm_of("one call", files + "one_call.cpp"), arm_of("ten calls", files + "ten_calls.cpp"),
                  arm_of("01_hello", hello),
                  arm_of("01_hello with coproc::compiled", hello, "-DCOPROC_SEPARATE_COMPILATION")};
    calls.goals = {ratio_goal("one call", "a coroutine on bare Asio", at_most, 1.5),
                   ratio_goal("ten calls", "a coroutine on bare Asio", at_most, 2.2),
                   ratio_goal("01_hello", "a coroutine on bare Asio", at_most, 3),
                   ratio_goal("01_hello with coproc::compiled", "a coroutine on bare Asio", at_most, 1.6)};
    s.add(calls);
  }

  row memory = a_row("compile.memory", "peak memory of the compiler, -O2", s.set);
  memory.u = unit::bytes;
  memory.arms = {compilation("a coroutine on bare Asio", s.set, files + "coroutine.cpp", {"-O2"}, &cost::peak_bytes),
                 compilation("one call", s.set, files + "one_call.cpp", {"-O2"}, &cost::peak_bytes)};
  memory.goals = {ratio_goal("one call", "a coroutine on bare Asio", at_most, 1.2)};
  s.add(memory);
}

} // namespace bench
