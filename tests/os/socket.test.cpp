// SPDX-License-Identifier: BSL-1.0
// Messages with descriptors: whole or not at all, every received descriptor owned, whatever the peer sends. One
// process.
#include <coproc/os/socket.hpp>

#include <catch2/catch.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <vector>

using namespace coproc;

namespace {

std::size_t open_descriptors() {
  std::size_t n = 0;
  DIR* const dir = ::opendir("/proc/self/fd");
  while (::readdir(dir) != nullptr) ++n;
  ::closedir(dir);
  return n;
}

std::span<const std::byte> bytes(const std::string& s) { return std::as_bytes(std::span(s)); }

os::received receive(int socket, std::size_t room = 64, bool wait = false) {
  std::vector<std::byte> buffer(room);
  return os::receive_message(socket, buffer, wait);
}

// Sends by hand what send_message never would.
void send_raw(int socket, std::span<const std::byte> message, const std::vector<int>& fds) {
  iovec iov{const_cast<std::byte*>(message.data()), message.size()};
  std::vector<std::byte> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  REQUIRE(::sendmsg(socket, &header, MSG_NOSIGNAL) >= 0);
}

} // namespace

TEST_CASE("messages keep their borders and their order") {
  auto [a, b] = os::make_socketpair();
  REQUIRE(os::send_message(a.get(), bytes("one")) == 0);
  REQUIRE(os::send_message(a.get(), bytes("three")) == 0);
  CHECK(receive(b.get()).bytes == 3);
  CHECK(receive(b.get()).bytes == 5);
  CHECK(receive(b.get()).error == EAGAIN);
}

TEST_CASE("descriptors arrive as new ones for the same files, owned and close-on-exec") {
  const auto before = open_descriptors();
  {
    auto [a, b] = os::make_socketpair();
    const int fds[] = {::open("/dev/null", O_RDONLY | O_CLOEXEC), ::open("/dev/zero", O_RDONLY | O_CLOEXEC)};
    REQUIRE(os::send_message(a.get(), bytes("x"), fds) == 0);
    struct stat sent[2];
    for (int i = 0; i != 2; ++i) {
      ::fstat(fds[i], &sent[i]);
      ::close(fds[i]);
    }
    const auto r = receive(b.get());
    REQUIRE(r.fd_count == 2);
    CHECK_FALSE(r.truncated);
    for (std::size_t i = 0; i != 2; ++i) {
      struct stat got{};
      REQUIRE(::fstat(r.fds[i].get(), &got) == 0);
      CHECK(got.st_rdev == sent[i].st_rdev);
      CHECK((::fcntl(r.fds[i].get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("as many descriptors as fit arrive, more are truncated, and none leaks") {
  const auto before = open_descriptors();
  {
    auto [a, b] = os::make_socketpair();
    const os::unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (const std::size_t count : {std::size_t{8}, std::size_t{9}, std::size_t{100}}) {
      send_raw(a.get(), bytes("x"), std::vector<int>(count, null.get()));
      const auto r = receive(b.get());
      CHECK(r.error == 0);
      CHECK(r.fd_count == 8);
      CHECK(r.truncated == (count > 8));
    }
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a message that is too long is cut and flagged, and its descriptors are owned all the same") {
  const auto before = open_descriptors();
  {
    auto [a, b] = os::make_socketpair();
    const os::unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int fd = null.get();
    REQUIRE(os::send_message(a.get(), bytes("0123456789"), {&fd, 1}) == 0);
    const auto r = receive(b.get(), 4);
    CHECK(r.truncated);
    CHECK(r.bytes == 4);
    CHECK(r.fd_count == 1);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("descriptors that nobody receives are closed with the socket") {
  const auto before = open_descriptors();
  {
    auto [a, b] = os::make_socketpair();
    const os::unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int fd = null.get();
    REQUIRE(os::send_message(a.get(), bytes("x"), {&fd, 1}) == 0);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a full socket is EAGAIN without waiting, and takes messages again when it was read") {
  auto [a, b] = os::make_socketpair();
  int sent = 0, error = 0;
  const std::string message(1000, 'x');
  while ((error = os::send_message(a.get(), bytes(message))) == 0) ++sent;
  CHECK(error == EAGAIN);
  CHECK(sent > 10);
  for (int i = 0; i != sent; ++i) REQUIRE(receive(b.get(), 2000).bytes == 1000);
  CHECK(os::send_message(a.get(), bytes(message)) == 0);
}

TEST_CASE("a peer that is gone: what it sent can be read, then the end; sending is EPIPE and no signal") {
  auto [a, b] = os::make_socketpair();
  REQUIRE(os::send_message(a.get(), bytes("last words")) == 0);
  a.reset();
  CHECK(receive(b.get(), 64, true).bytes == 10);
  const auto r = receive(b.get(), 64, true);
  CHECK(r.error == 0);
  CHECK(r.bytes == 0);
  CHECK(os::send_message(b.get(), bytes("x")) == EPIPE);
}
