// SPDX-License-Identifier: BSL-1.0
// What the front end's epoll watches, and what the dispatcher wants done to processes and sockets. Front end, under the
// pool's mutex.
#pragma once

#include <coproc/os/epoll.hpp>
#include <coproc/os/process.hpp>
#include <coproc/os/socket.hpp>
#include <coproc/pool/messages.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

namespace coproc::pool {

/// The descriptors behind one wait.
enum class event_source : std::uint64_t {
  server = 1,   ///< the fork server's socket
  server_death, ///< its pidfd
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

/// The dispatcher_policy of a real pool; a template so that a file that makes none does not compile it.
template <class Worker>
class basic_process_policy {
public:
  explicit basic_process_policy(os::epoll& epoll) noexcept : epoll_(epoll) {}

  void signal(Worker& w, int number) noexcept {
    if (w.handles.pidfd) os::send_signal(w.handles.pidfd.get(), number);
  }

  void dismiss(Worker& w) noexcept { w.request_shutdown(); }

  void request_start(unsigned index) { starts.push_back(index); }

  void forget_starts() noexcept { starts.clear(); }

  int send_segment(Worker& w, const shm::argument_block& block) noexcept {
    const shm::segment& s = block.owner();
    if (std::find(w.segments.begin(), w.segments.end(), s.id()) != w.segments.end()) return 0;
    const int fd = s.fd();
    const int error = send_order(w, {worker_order::map_segment, s.id(), s.bytes()}, {&fd, 1});
    if (error == 0) w.segments.push_back(s.id());
    return error;
  }

  void server_hangs() noexcept { server_must_die = true; }

  /// Resident pages that are neither of a file nor shared memory, from statm (proc(5)): "size resident shared ...".
  std::uint64_t private_bytes(const Worker& w) const noexcept {
    char text[128] = {};
    const int fd = w.handles.statm.get();
    if (fd < 0 || os::read_from_start(fd, {text, sizeof text - 1}) == 0) return 0;
    unsigned long long size = 0, resident = 0, shared = 0;
    if (std::sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || resident < shared) return 0;
    return (resident - shared) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }

  void retire(std::unique_ptr<Worker> w) noexcept {
    if (observe_exits && w->handles.pid != 0) note_exit(w->exit);
    if (w->handles.pidfd) epoll_.remove(w->handles.pidfd.get());
    epoll_.remove(w->handles.eventfd.get());
    w->handles = {};
    w->next = std::move(graveyard);
    graveyard = std::move(w);
  }

  /// 0 or errno. A message that is sent is announced, so that a worker reads it before it sleeps again.
  int send_order(Worker& w, const worker_message& m, std::span<const int> fds) noexcept {
    const int error = os::send_message(w.handles.control.get(), bytes_of(m), fds);
    if (error == 0) w.message_sent();
    return error;
  }

  std::vector<unsigned> starts;              ///< incarnations to be made, outside the mutex
  std::vector<worker_start> births;          ///< for on_worker_start
  std::vector<decltype(Worker::exit)> exits; ///< for on_worker_exit
  /// Dead workers. The holder of the drainer token may be looking at their memory, without the mutex: it clears this.
  std::unique_ptr<Worker> graveyard;
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
};

using process_policy = basic_process_policy<worker_record>;

} // namespace coproc::pool
