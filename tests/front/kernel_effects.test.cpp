// SPDX-License-Identifier: BSL-1.0
// What the dispatcher wants done to processes and sockets, done: on a socket pair whose other end is the test's.
#include <coproc/front/incarnation.hpp>
#include <coproc/front/kernel_effects.hpp>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

using namespace coproc;
namespace front = coproc::detail::front;

namespace {

struct kernel_bench {
  kernel_bench() { epoll.add(made.process->handles().eventfd.get(), EPOLLIN, 1); }

  bool has_mail() const {
    pollfd p{made.for_worker.control.get(), POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  }
  // What its other end has received.
  detail::worker::worker_message mail() const {
    detail::worker::worker_message m{};
    CHECK(::recv(made.for_worker.control.get(), &m, sizeof m, MSG_DONTWAIT) == sizeof m);
    return m;
  }

  os::epoll epoll;
  front::server_client server; // none is there
  front::kernel_effects<> kernel{epoll, server};
  front::incarnation made = front::make_incarnation(2, 9, 4096);
  front::worker& w = *made.process;
  std::shared_ptr<shm::segment_pool> segments = std::make_shared<shm::segment_pool>();
};

} // namespace

TEST_CASE("an event says where it comes from, and of which incarnation") {
  const front::event_key key{front::event_source::death, 0x123456789abcde};
  const auto seen = front::event_key::unpack(key.pack());
  CHECK(seen.source == front::event_source::death);
  CHECK(seen.incarnation == 0x123456789abcde);
}

TEST_CASE("a segment is announced once to each worker, and a message is owed a wake-up") {
  kernel_bench b;
  const auto block = b.segments->allocate(1000);
  CHECK(b.kernel.send_segment(b.w, block) == 0);
  CHECK(b.mail().order == detail::worker::worker_order::map_segment);
  CHECK(b.w.owes_wake_up());
  CHECK(b.w.mailbox().parent.sent_messages.load() == 1);
  CHECK(b.kernel.send_segment(b.w, block) == 0);
  CHECK_FALSE(b.has_mail());
}

TEST_CASE("a segment that could not be sent is sent again") {
  kernel_bench b;
  const auto block = b.segments->allocate(1000);
  b.made.for_worker.control.reset();
  CHECK(b.kernel.send_segment(b.w, block) == EPIPE);
  CHECK_FALSE(b.w.owes_wake_up());
  CHECK_FALSE(b.w.segments().maps(block.owner()));
}

TEST_CASE("private memory is what is resident and not shared") {
  kernel_bench b;
  CHECK(b.kernel.private_bytes(b.w) == 0); // unknown
  b.w.set_statm(os::unique_fd(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)));
  const auto before = b.kernel.private_bytes(b.w);
  constexpr std::size_t bytes = 8 << 20;
  std::vector<char> touched(bytes, 'x');
  asm volatile("" : : "r"(touched.data()) : "memory");
  CHECK(b.kernel.private_bytes(b.w) >= before + bytes / 2);
}

TEST_CASE("a worker that is dealt with is unwatched and told of; its memory stays until it is cleared") {
  kernel_bench b;
  b.kernel.observe_exits = true;
  b.w.on_start({}, {});
  b.w.on_started(4711, {});
  b.w.on_death({});
  const std::weak_ptr<front::worker_memory> memory = b.w.memory;
  b.kernel.retire(std::move(b.made.process));
  REQUIRE(b.kernel.exits.size() == 1);
  CHECK(b.kernel.exits[0].pid == 4711);
  CHECK(b.kernel.exits[0].index == 2);
  CHECK_FALSE(memory.expired());
  b.kernel.graveyard.clear();
  CHECK(memory.expired());
}

TEST_CASE("nobody is told of a worker that was never forked") {
  kernel_bench b;
  b.kernel.observe_exits = true;
  b.kernel.retire(std::move(b.made.process));
  CHECK(b.kernel.exits.empty());
}
