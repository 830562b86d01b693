// SPDX-License-Identifier: BSL-1.0
// Descriptors in tasks: whatever number the program had is closed there, and none of the pool's is to be found under
// it, for the life of the pool; those that were named stay. Real pools in children, whose descriptors are known.
#include "support/in_child.hpp"
#include "support/refuse_call.hpp"
#include "support/run.hpp"
#include "support/sanitized.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <span>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace process_descriptors {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::errc;

namespace {

// What a task does with numbers that it, or a library, has noted: write a log line, read, close, as syslog(3) and
// random_device do. Returns how many of them were open.
int use_stale(const std::vector<int>& numbers) {
  int open = 0;
  for (const int fd : numbers) {
    char byte = 'x';
    open += ::write(fd, &byte, 1) >= 0 || errno != EBADF;
    open += ::read(fd, &byte, 1) >= 0 || errno != EBADF;
    open += ::close(fd) == 0;
  }
  return open;
}

struct answer {
  int open = 0;
  std::vector<char> large;
};
answer use_stale_and_return_much(const std::vector<int>& numbers, std::span<const char> argument) {
  answer a;
  a.open = use_stale(numbers);
  a.large.assign(argument.begin(), argument.end()); // in the results file
  return a;
}

std::vector<int> open_above_stdio() {
  auto all = numbers_in("/proc/self/fd");
  std::erase_if(all, [](int fd) { return fd <= 2 || ::fcntl(fd, F_GETFD) < 0; });
  return all;
}

rlimit file_limit() {
  rlimit l{};
  ::getrlimit(RLIMIT_NOFILE, &l);
  return l;
}
void set_file_limit(rlim_t soft, rlim_t hard) {
  const rlimit l{soft, hard};
  expect(::setrlimit(RLIMIT_NOFILE, &l) == 0, "setrlimit");
}

/// Many calls with large arguments and results, in workers that are replaced now and then.
void expect_no_stale_number_open(net::io_context& io, coproc::process_pool& pool, const std::vector<int>& numbers) {
  const std::vector<char> large(256 << 10, 'A');
  std::vector<ending<answer>> calls(24);
  for (auto& e : calls) start(e, pool, use_stale_and_return_much, numbers, large);
  expect(run_all(io), "calls do not end");
  for (const auto& e : calls) {
    expect(e.succeeded(), "a call failed");
    expect(e.value->large == large, "a result is corrupted");
    expect(e.value->open == 0, "a number of the program is open in a task");
  }
}

std::string refusal(net::io_context& io, const coproc::pool_options& options) {
  try {
    coproc::process_pool pool(io, options);
  } catch (const std::exception& e) {
    return e.what();
  }
  return {};
}

} // namespace

TEST_CASE("whatever number the program had when the pool was made is closed in tasks, and hits nothing of the pool") {
  const leak_audit audit;
  for (int before = 0; before != 8; ++before) {
    INFO(before << " descriptors opened before the log");
    check_in_child([before] {
      drop_inherited_descriptors();
      for (int i = 0; i < before; ++i) ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      int pair[2];
      expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
      net::io_context io(1);
      const net::steady_timer opens_the_descriptors_of_the_context(io);
      const std::vector<int> numbers = open_above_stdio();
      expect(numbers.size() >= static_cast<std::size_t>(before) + 2, "the test sees no descriptor");
      coproc::process_pool pool(io, {.max_workers = 1, .max_tasks_per_child = 5});
      expect_no_stale_number_open(io, pool, numbers);
      // Nor did anything arrive in the program's own.
      char byte;
      expect(::recv(pair[0], &byte, 1, MSG_DONTWAIT) < 0 && ::recv(pair[1], &byte, 1, MSG_DONTWAIT) < 0, "a line");
    });
  }
}

TEST_CASE("the memory of results has no descriptor in a worker, and the pool's two are above all of the program's") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    constexpr int highest = 300;
    expect(::fcntl(0, F_DUPFD, highest) == highest, "F_DUPFD");
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    ending<std::vector<int>> e;
    start(e, pool, +[] { return open_above_stdio(); });
    expect(run_all(io) && e.succeeded(), "the call failed");
    expect(e.value->size() == 2, "a worker has other descriptors than its socket and its bell");
    expect(std::ranges::min(*e.value) > highest, "a descriptor of the pool is where one of the program was");
  });
}

TEST_CASE("inherited descriptors are open in hooks and tasks of all workers, standard input too, and no others") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    int log[2], in[2];
    expect(::pipe(log) == 0 && ::pipe(in) == 0, "pipe");
    expect(::dup2(in[0], 0) == 0, "dup2");
    expect(::write(in[1], "stdin!", 6) == 6, "write");
    static int log_fd = log[1];
    const auto print = [] { static_cast<void>(!::write(log_fd, "p", 1)); };
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1,
                                   .max_tasks_per_child = 2,
                                   .preload = print,
                                   .initializer = [] { static_cast<void>(!::write(log_fd, "i", 1)); },
                                   .inherit_descriptors = {log[1], 0}});
    std::vector<ending<int>> calls(6);
    for (auto& e : calls)
      start(
          e, pool, +[] {
            char byte = 0;
            if (::write(log_fd, "t", 1) != 1 || ::read(0, &byte, 1) != 1) return -1;
            return static_cast<int>(byte);
          });
    ending<bool> other;
    start(other, pool, +[](int fd) { return ::fcntl(fd, F_GETFD) < 0; }, log[0]);
    expect(run_all(io), "calls do not end");
    std::string read_in_order;
    for (const auto& e : calls) {
      expect(e.succeeded(), "a call failed");
      read_in_order += static_cast<char>(*e.value);
    }
    expect(read_in_order == "stdin!", "standard input is another");
    expect(other.succeeded() && *other.value, "one that was not named is open");
    char text[64] = {};
    const auto n = ::read(log[0], text, sizeof text - 1);
    expect(n > 0 && std::count(text, text + n, 't') == 6 && std::count(text, text + n, 'p') == 1 &&
               std::count(text, text + n, 'i') >= 3,
           "the log does not have all lines");
  });
}

TEST_CASE("a descriptor to be inherited that is not open is refused by name; so is a list that is too long") {
  net::io_context io(1);
  CHECK(refusal(io, {.max_workers = 1, .inherit_descriptors = {987}}).find("inherit_descriptors has 987") !=
        std::string::npos);
  CHECK(refusal(io, {.max_workers = 1, .inherit_descriptors = {-1}}).find("inherit_descriptors has -1") !=
        std::string::npos);
  const std::vector<int> many(17, 1), some(16, 1);
  CHECK_THROWS_AS(coproc::descriptor_list(std::span<const int>(many)), std::invalid_argument);
  CHECK(coproc::descriptor_list(std::span<const int>(some)).size() == 16);
}

TEST_CASE(
    "the limit of open files is raised for the pool's descriptors alone, and where that is forbidden it is said") {
  const leak_audit audit;
  check_in_child([] {
    drop_inherited_descriptors();
    set_file_limit(64, 128);
    expect(::fcntl(0, F_DUPFD, 63) == 63, "F_DUPFD");
    net::io_context io(1);
    coproc::process_pool pool(io, {.max_workers = 1});
    ending<bool> e;
    start(e, pool, +[] { return file_limit().rlim_cur == 64 && file_limit().rlim_max == 128; });
    expect(run_all(io) && e.succeeded() && *e.value, "a task has another limit than the program");
    expect_no_stale_number_open(io, pool, {63});
  });
  check_in_child([] {
    drop_inherited_descriptors();
    set_file_limit(64, 64);
    expect(::fcntl(0, F_DUPFD, 63) == 63, "F_DUPFD");
    net::io_context io(1);
    const std::string text = refusal(io, {.max_workers = 1});
    expect(text.find("descriptor 63") != std::string::npos && text.find("RLIMIT_NOFILE") != std::string::npos,
           "not said");
  });
}

TEST_CASE("where close_range is refused descriptors are closed one by one") {
  const leak_audit audit;
  for (const int error : {ENOSYS, EPERM})
    check_in_child([error] {
      drop_inherited_descriptors();
      int pair[2];
      expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
      refuse_call(SYS_close_range, error);
      net::io_context io(1);
      const net::steady_timer opens_the_descriptors_of_the_context(io);
      const std::vector<int> numbers = open_above_stdio();
      coproc::process_pool pool(io, {.max_workers = 1, .max_tasks_per_child = 5});
      expect_no_stale_number_open(io, pool, numbers);
      ::close(pair[1]);
      char byte;
      expect(::recv(pair[0], &byte, 1, MSG_DONTWAIT) == 0, "a worker or the fork server has the other end");
    });
}

TEST_CASE("where pidfd_open is refused there is no pool, and the text says why") {
  const leak_audit audit;
  check_in_child([] {
    refuse_call(SYS_pidfd_open, ENOSYS);
    net::io_context io(1);
    const std::string text = refusal(io, {.max_workers = 1});
    expect(text.find("pidfd_open") != std::string::npos && text.find("Linux 5.3") != std::string::npos, text.c_str());
  });
}

} // namespace process_descriptors
