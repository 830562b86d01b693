// SPDX-License-Identifier: BSL-1.0
// The fork server's logic against a fake system: answers, their order, what happens while the socket is full or the
// system is short of something. No process is forked here; tests/process and tests/fault run the real one.
#include <coproc/server/fork_server.hpp>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <map>

using namespace coproc;
using namespace coproc::detail::server;
using coproc::detail::worker::start_request;
using coproc::detail::worker::worker_descriptors;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
os::unique_fd some_descriptor() { return os::unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

struct fake_system final : fork_server_effects {
  spawned spawn(const start_request& r, worker_descriptors fds) override {
    started_with = r;
    seen_mailbox = fds.mailbox.get();
    spawned s;
    s.error = spawn_error;
    if (s.error != 0) return s;
    s.pid = next_pid++;
    s.pidfd = some_descriptor();
    pidfds[s.pid] = s.pidfd.get();
    return s;
  }
  os::exit_report reap(pid_t pid) noexcept override {
    reaped.push_back(pid);
    os::exit_report r;
    r.known = status_known;
    r.status = SIGSEGV;
    r.usage.ru_utime = {2, 5};
    r.usage.ru_stime = {0, 7};
    r.usage.ru_maxrss = 4711;
    return r;
  }
  spawned fork_copy(os::unique_fd socket) override {
    copy_socket = socket.get();
    spawned s;
    s.error = spawn_error;
    if (s.error != 0) return s;
    s.pid = is_copy ? 0 : next_pid++;
    s.pidfd = some_descriptor();
    return s;
  }
  int signal(pid_t pid, int pidfd, int number) noexcept override {
    signalled.push_back({pid, number});
    CHECK(is_open(pidfd));
    return signal_error;
  }
  int send(const server_message& m, int fd) noexcept override {
    if (send_error != 0) return send_error;
    sent.push_back(m);
    if (m.event == server_event::started || m.event == server_event::ready)
      descriptor_was_open.push_back(fd >= 0 && is_open(fd));
    return 0;
  }

  std::vector<server_message> sent;
  std::vector<bool> descriptor_was_open;
  std::vector<pid_t> reaped;
  std::map<pid_t, int> pidfds;
  start_request started_with;
  std::vector<std::pair<pid_t, int>> signalled;
  int seen_mailbox = -1, copy_socket = -1, spawn_error = 0, send_error = 0, signal_error = 0;
  bool is_copy = false; ///< fork_copy() returns in the copy
  bool status_known = true;
  pid_t next_pid = 100;
};

start_request request(std::uint64_t incarnation) {
  start_request r;
  r.incarnation = incarnation;
  return r;
}

worker_descriptors descriptors() {
  return {some_descriptor(), some_descriptor(), some_descriptor(), some_descriptor()};
}

std::vector<std::pair<server_event, std::uint64_t>> events(const fake_system& system) {
  std::vector<std::pair<server_event, std::uint64_t>> list;
  for (const auto& m : system.sent) list.emplace_back(m.event, m.incarnation);
  return list;
}

using expected = std::vector<std::pair<server_event, std::uint64_t>>;

} // namespace

TEST_CASE("START is answered with STARTED, pid and pidfd, and the worker's descriptors are closed") {
  fake_system system;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  REQUIRE(events(system) == expected{{server_event::started, 7}});
  CHECK(system.sent[0].pid == 100);
  CHECK(system.descriptor_was_open[0]);
  CHECK_FALSE(is_open(system.seen_mailbox));
  REQUIRE(server.children().size() == 1);
  CHECK(server.children()[0].incarnation == 7);
}

TEST_CASE("a failed spawn is answered with START_FAILED and its errno, and nothing is kept") {
  fake_system system;
  system.spawn_error = EAGAIN;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  CHECK(events(system) == expected{{server_event::start_failed, 7}});
  CHECK(system.sent[0].error == EAGAIN);
  CHECK_FALSE(is_open(system.seen_mailbox));
  CHECK(server.children().empty());
}

TEST_CASE("a START whose descriptors did not arrive is refused") {
  fake_system system;
  fork_server server(system);
  server.refuse(request(8), EMFILE);
  CHECK(events(system) == expected{{server_event::start_failed, 8}});
  CHECK(system.sent[0].error == EMFILE);
}

TEST_CASE("a death is reaped once and reported with status and usage") {
  fake_system system;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  server.on_dead(100);
  server.on_dead(100);
  server.on_dead(4242); // nobody of ours
  CHECK(system.reaped == std::vector<pid_t>{100});
  REQUIRE(events(system) == expected{{server_event::started, 7}, {server_event::exited, 7}});
  const server_message& m = system.sent[1];
  CHECK(m.pid == 100);
  CHECK(m.user_microseconds == 2'000'005);
  CHECK(m.system_microseconds == 7);
  CHECK(m.max_rss_kilobytes == 4711);
  const worker_exit e = exit_from(m);
  CHECK(e.status_known);
  CHECK(e.signal == SIGSEGV);
  CHECK_FALSE(e.exit_code);
  CHECK_FALSE(is_open(system.pidfds[100]));
  CHECK(server.children().empty());
}

TEST_CASE("an unknown status says so") {
  fake_system system;
  system.status_known = false;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  server.on_dead(100);
  const worker_exit e = exit_from(system.sent.at(1));
  CHECK_FALSE(e.status_known);
  CHECK(e.signal == 0);
  CHECK_FALSE(e.exit_code);
}

TEST_CASE("while the socket is full messages wait in order, and a pidfd lives until its STARTED is sent") {
  const int error = GENERATE(EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS);
  fake_system system;
  fork_server server(system);
  system.send_error = error;
  server.on_start(request(1), descriptors());
  server.on_dead(100);
  server.on_start(request(2), descriptors());
  system.spawn_error = ENOMEM;
  server.on_start(request(3), descriptors());
  server.on_dead(101);
  CHECK(system.sent.empty());
  CHECK(server.has_output() == (error == EAGAIN)); // else POLLOUT would say "now" for ever
  CHECK(server.retry_later() == (error != EAGAIN));
  CHECK(is_open(system.pidfds[100]));
  CHECK(is_open(system.pidfds[101]));

  server.on_writable(); // still full
  CHECK(system.sent.empty());
  system.send_error = 0;
  server.on_writable();
  CHECK(events(system) == expected{{server_event::started, 1},
                                   {server_event::exited, 1},
                                   {server_event::started, 2},
                                   {server_event::start_failed, 3},
                                   {server_event::exited, 2}});
  CHECK(system.descriptor_was_open == std::vector<bool>{true, true});
  CHECK_FALSE(is_open(system.pidfds[100]));
  CHECK_FALSE(is_open(system.pidfds[101]));
  CHECK_FALSE(server.has_output());
  CHECK_FALSE(server.retry_later());
}

TEST_CASE("a socket that fills up in between loses nothing") {
  fake_system system;
  fork_server server(system);
  server.on_start(request(1), descriptors());
  system.send_error = EAGAIN;
  server.on_dead(100);
  server.on_start(request(2), descriptors());
  system.send_error = 0;
  server.on_dead(101);
  CHECK(events(system) == expected{{server_event::started, 1},
                                   {server_event::exited, 1},
                                   {server_event::started, 2},
                                   {server_event::exited, 2}});
}

TEST_CASE("when the front end is gone messages are dropped") {
  fake_system system;
  fork_server server(system);
  system.send_error = EPIPE;
  server.on_start(request(1), descriptors());
  CHECK_FALSE(server.has_output());
  CHECK_FALSE(server.retry_later());
  CHECK(server.children().size() == 1);
}

TEST_CASE("a copy that stands by is a child that nobody is told of, its death included") {
  fake_system system;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  server.on_stand_by(some_descriptor());
  CHECK_FALSE(is_open(system.copy_socket));
  CHECK(server.children().size() == 2);
  server.on_dead(101);
  CHECK(system.reaped == std::vector<pid_t>{101});
  CHECK(events(system) == expected{{server_event::started, 7}});
  CHECK(server.children().size() == 1);
}

TEST_CASE("the copy itself has no children and nothing to say but that it is ready, with its pidfd") {
  const int error = GENERATE(0, EAGAIN);
  fake_system system;
  system.send_error = EAGAIN;
  fork_server server(system);
  server.on_start(request(7), descriptors()); // its answer waits
  system.is_copy = true;
  system.send_error = error;
  server.on_stand_by(some_descriptor());
  CHECK(server.children().empty());
  CHECK_FALSE(is_open(system.pidfds[100]));
  system.send_error = 0;
  server.on_writable();
  REQUIRE(events(system) == expected{{server_event::ready, 0}});
  CHECK(system.sent[0].pid == ::getpid());
  CHECK(system.descriptor_was_open.at(0));
  CHECK_FALSE(server.has_output());
}

TEST_CASE("a copy that cannot be forked is answered with the errno") {
  fake_system system;
  system.spawn_error = ENOMEM;
  fork_server server(system);
  server.on_stand_by(some_descriptor());
  REQUIRE(events(system) == expected{{server_event::stand_by_failed, 0}});
  CHECK(system.sent[0].error == ENOMEM);
  CHECK(server.children().empty());
}

TEST_CASE("signals reach the worker that they are meant for, and a refusal is reported") {
  fake_system system;
  fork_server server(system);
  server.on_start(request(7), descriptors());
  server.on_start(request(8), descriptors());
  server.on_signal(8, SIGTERM);
  CHECK(system.signalled == std::vector<std::pair<pid_t, int>>{{101, SIGTERM}});
  CHECK(system.sent.size() == 2);
  system.signal_error = EPERM;
  server.on_signal(8, SIGKILL);
  REQUIRE(system.sent.size() == 3);
  CHECK(system.sent[2].event == server_event::signal_failed);
  CHECK(system.sent[2].incarnation == 8);
  CHECK(system.sent[2].error == EPERM);
  server.on_dead(101);
  server.on_signal(8, SIGKILL); // its pid may be somebody else's
  CHECK(system.signalled.size() == 2);
}
