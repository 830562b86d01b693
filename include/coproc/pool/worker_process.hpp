// SPDX-License-Identifier: BSL-1.0
// The life of a worker process from fork to _exit: map its memory, become killable with its parent, initialise, loop.
// Runs in a fresh child of the fork server; never touches the front end's objects.
#pragma once

#include <coproc/options.hpp>
#include <coproc/os/epoll.hpp>
#include <coproc/os/process.hpp>
#include <coproc/os/socket.hpp>
#include <coproc/pool/messages.hpp>
#include <coproc/pool/worker_loop.hpp>

#include <cstdio>
#include <new>
#include <unordered_map>

namespace coproc::pool {

struct worker_descriptors {
  os::unique_fd mailbox, results, control, eventfd;
};

/// Exit codes of a worker that ended by itself, besides 0; documented in docs/errors.md.
inline constexpr int exit_initializer_failed = 70, exit_set_up_failed = 71;

/// The worker's side of its environment: doorbell and argument segments.
class worker_environment {
public:
  worker_environment(os::unique_fd control, os::unique_fd eventfd) noexcept
      : control_(std::move(control)), eventfd_(std::move(eventfd)) {}

  void ring() noexcept { os::ring(eventfd_.get()); }

  std::span<const std::byte> segment(std::uint32_t id) {
    for (;;) {
      if (const auto it = segments_.find(id); it != segments_.end()) return {it->second.data(), it->second.size()};
      read_order(); // it was sent before the task was published
    }
  }

  void read_orders(std::uint64_t sent) {
    while (received_ < sent) read_order();
  }

  void before_sleep() noexcept { std::fflush(stdout); }

private:
  void read_order() {
    worker_message message;
    os::received r = os::receive_message(control_.get(), std::as_writable_bytes(std::span(&message, 1)), true);
    if (r.error != 0 || r.bytes != sizeof message) os::exit_now(exit_set_up_failed); // the front end is gone
    ++received_;
    if (message.order == worker_order::unmap_segment)
      segments_.erase(message.segment);
    else
      segments_.insert_or_assign(message.segment, os::mapping(r.fds[0].get(), message.bytes, os::access::read_only));
  }

  os::unique_fd control_, eventfd_;
  std::unordered_map<std::uint32_t, os::mapping> segments_;
  std::uint64_t received_ = 0;
};

/// Runs in the child, all signals still blocked. Does not return.
[[noreturn]] inline void worker_main(const start_request& start, worker_descriptors fds, pid_t server, hook initializer,
                                     hook finalizer, std::chrono::nanoseconds spin_limit) noexcept {
  // The signal comes when the forking *thread* ends; the fork server has only one. It may have died before prctl.
  os::invoke(os::call::prctl, [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
  if (::getppid() != server) os::exit_now(exit_set_up_failed);
  char name[16];
  std::snprintf(name, sizeof name, "coproc-%u", start.index % 100'000);
  ::prctl(PR_SET_NAME, name);
  const int keep[] = {fds.mailbox.get(), fds.results.get(), fds.control.get(), fds.eventfd.get()};
  os::clean_child(keep);

  try {
    os::mapping mailbox_map(fds.mailbox.get(), shm::mailbox_bytes, os::access::read_write);
    os::mapping results_map(fds.results.get(), start.result_bytes, os::access::read_write);
    fds.mailbox.reset();
    auto& m = *reinterpret_cast<shm::mailbox*>(mailbox_map.data());
    this_worker_context.mailbox = &m;
    this_worker_context.index = start.index;
    if (initializer) {
      try {
        initializer();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "coproc: the initializer of worker %u threw: %s\n", start.index, e.what());
        os::exit_now(exit_initializer_failed);
      } catch (...) {
        std::fprintf(stderr, "coproc: the initializer of worker %u threw\n", start.index);
        os::exit_now(exit_initializer_failed);
      }
    }
    shm::store(shm::site::phase, m.worker.phase, static_cast<std::uint32_t>(shm::worker_phase::initialized),
               std::memory_order_release);

    worker_environment environment(std::move(fds.control), std::move(fds.eventfd));
    worker_loop<worker_environment> loop(
        m, shm::result_space(results_map.data(), start.result_bytes, fds.results.get(), m.parent.freed),
        start.max_result_bytes, this_worker_context, environment, spin_limit);
    loop.run();
    if (finalizer) finalizer();
    std::fflush(stdout);
    os::exit_now(0);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "coproc: worker %u ends: %s\n", start.index, e.what());
  }
  os::exit_now(exit_set_up_failed);
}

} // namespace coproc::pool
