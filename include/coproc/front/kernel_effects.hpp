// SPDX-License-Identifier: BSL-1.0
// What the front end's epoll watches, and what the dispatcher wants done to processes and sockets. Front end, under the
// pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/effects.hpp>
#include <coproc/front/server_client.hpp>
#include <coproc/front/worker.hpp>
#include <coproc/os/epoll.hpp>
#include <coproc/os/process.hpp>
#include <coproc/os/socket.hpp>
#include <coproc/server/messages.hpp>
#include <coproc/worker/orders.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace coproc::detail::front {

/// The descriptors behind one wait: rule W3, docs/protocol.md.
enum class event_source : std::uint64_t {
  server = 1,   ///< the fork server's socket
  server_death, ///< its pidfd
  standby,      ///< socket and pidfd of the fork server that stands by
  timer,        ///< the pool's one timerfd
  bell,         ///< a worker's eventfd; edge-triggered and never read: a worker could clear O_NONBLOCK on it
  death,        ///< a worker's pidfd, one-shot
};

struct event_key {
  event_source source{};
  std::uint64_t incarnation = 0;

  constexpr std::uint64_t pack() const noexcept { return static_cast<std::uint64_t>(source) << 56 | incarnation; }
  static constexpr event_key unpack(std::uint64_t w) noexcept {
    return {static_cast<event_source>(w >> 56), w & ((std::uint64_t{1} << 56) - 1)};
  }
};

/// The effects of a real pool.
COPROC_LAZY_CLASS class kernel_effects final : public effects {
public:
  kernel_effects(os::epoll& epoll, server_client& server) noexcept : epoll_(epoll), server_(server) {}

  void signal(worker& w, int number) noexcept override {
    if (!w.handles().pidfd) return;
    const int error = os::send_signal(w.handles().pidfd.get(), number);
    // it may have rights that this process gave up
    if (error != 0 && error != ESRCH) server_.signal(w.incarnation, number);
  }

  void dismiss(worker& w) noexcept override { w.request_shutdown(); }

  void request_start(unsigned index) override { starts.push_back(index); }

  void forget_starts() noexcept override { starts.clear(); }

  int send_segment(worker& w, const shm::argument_block& block) noexcept override {
    const shm::segment& s = block.owner();
    if (w.segments().maps(s)) return 0;
    try {
      w.segments().make_room();
    } catch (const std::bad_alloc&) {
      return ENOMEM;
    }
    const int fd = s.fd();
    const int error = send_order(w, {detail::worker::worker_order::map_segment, s.id(), s.bytes()}, {&fd, 1});
    if (error == 0) w.segments().map(s);
    return error;
  }

  void server_hangs() noexcept override { server_must_die = true; }

  /// Resident pages that are neither of a file nor shared memory, from statm (proc(5)): "size resident shared ...".
  std::uint64_t private_bytes(const worker& w) const noexcept override {
    char text[128] = {};
    const int fd = w.handles().statm.get();
    if (fd < 0 || os::read_from_start(fd, {text, sizeof text - 1}) == 0) return 0;
    unsigned long long size = 0, resident = 0, shared = 0;
    if (std::sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || resident < shared) return 0;
    return (resident - shared) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }

  void retire(std::unique_ptr<worker> w) noexcept override {
    if (observe_exits && w->pid() != 0) note_exit(w->exit());
    if (w->handles().pidfd) epoll_.remove(w->handles().pidfd.get());
    epoll_.remove(w->handles().eventfd.get());
    w->close_handles();
    graveyard.push(std::move(w));
  }

  /// 0 or errno. A message that is sent is announced, so that a worker reads it before it sleeps again.
  int send_order(worker& w, const detail::worker::worker_message& m, std::span<const int> fds) noexcept {
    const int error = os::send_message(w.handles().control.get(), os::bytes_of(m), fds);
    if (error == 0) w.message_sent();
    return error;
  }

  std::vector<unsigned> starts;     ///< incarnations to be made, outside the mutex
  std::vector<worker_start> births; ///< for on_worker_start
  std::vector<worker_exit> exits;   ///< for on_worker_exit
  /// Dead workers. The holder of the drainer token may be looking at their memory, without the mutex: it clears this.
  worker_stack graveyard;
  bool observe_exits = false;
  bool server_must_die = false;

private:
  void note_exit(const worker_exit& e) noexcept {
    try {
      exits.push_back(e);
    } catch (const std::bad_alloc&) { // nobody is told of this one
    }
  }

  os::epoll& epoll_;
  server_client& server_;
};

} // namespace coproc::detail::front
