// SPDX-License-Identifier: BSL-1.0
// Runs that wait for most of their time, in several front ends side by side, which are forked copies of the test. Free
// of Catch, which does not report from a copy: what does not hold is collected, and told by the process that forked
// them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace coproc::testing {

/// What did not hold in this process.
inline std::vector<std::string>& problems() {
  static std::vector<std::string> all;
  return all;
}
inline void expect(bool holds, const std::string& what) {
  if (!holds) problems().push_back(what);
}

/// Lives as long as the last process that has it.
template <class T, class... A>
T* make_shared_with_children(const A&... args) {
  void* const p = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return new (p) T(args...);
}

/// Calls run(i) once for every i below `runs`, in `front_ends` processes; each takes the next one that nobody has
/// taken, and begins with prepare(). Returns the problems of each run below its name(i); empty if there are none.
template <class Prepare, class Run, class Name>
std::string run_side_by_side(std::size_t runs, unsigned front_ends, Prepare prepare, Run run, Name name) {
  struct board {
    std::atomic<std::size_t> next{0}, done{0}, text_used{0};
    char text[1 << 16]{};
  };
  board& b = *make_shared_with_children<board>();
  const auto add_text = [&b](const std::string& text) {
    const std::size_t at = b.text_used.fetch_add(text.size());
    if (at < sizeof b.text) std::memcpy(b.text + at, text.data(), std::min(text.size(), sizeof b.text - at));
  };
  const auto work = [&]() noexcept {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    prepare();
    for (std::size_t i; (i = b.next++) < runs; ++b.done) {
      run(i);
      if (problems().empty()) continue;
      std::string text = name(i) + ":\n";
      for (const std::string& each : problems()) text += "  " + each + "\n";
      problems().clear();
      add_text(text);
    }
    ::_exit(0);
  };
  std::vector<pid_t> children;
  for (unsigned i = 0; i != front_ends; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) work();
    if (pid < 0) add_text("a front end could not be forked\n");
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) add_text("a front end ended with status " + std::to_string(status) + "\n");
  }
  if (b.done != runs) add_text("not all runs came to their end\n");
  std::string text(b.text, std::min(b.text_used.load(), sizeof b.text));
  ::munmap(&b, sizeof b);
  return text;
}

} // namespace coproc::testing
