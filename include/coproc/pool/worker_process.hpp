// SPDX-License-Identifier: BSL-1.0
// The life of a worker process from fork to _exit: map its memory, become killable with its parent, initialise, loop.
// Runs in a fresh child of the fork server; never touches the front end's objects.
#pragma once

#include <coproc/options.hpp>
#include <coproc/os/cpu.hpp>
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

/// What all workers of a pool have in common; copied by the forks themselves.
struct worker_settings {
  hook initializer, finalizer;
  std::chrono::nanoseconds spin_limit{}, busy_poll{};
  unsigned min_workers = 0;        ///< those with an index from here on end when they are idle for idle_timeout
  duration idle_timeout = unlimited;
  worker_limits limits;
  affinity_policy affinity = affinity_policy::none;
  int oom_score_adj = 0;
};

/// Exit codes of a worker that ended by itself, besides 0; documented in docs/errors.md.
inline constexpr int exit_initializer_failed = 70, exit_set_up_failed = 71;

/// The worker's side of its environment: doorbell and argument segments, each a Mapping.
template <class Mapping>
class basic_worker_environment {
public:
  basic_worker_environment(os::unique_fd control, os::unique_fd eventfd) noexcept
      : control_(std::move(control)), eventfd_(std::move(eventfd)) {}

  // A task that closed the descriptor has made this worker mute: its death, at least, is heard.
  void ring() noexcept {
    if (!os::ring(eventfd_.get())) os::exit_now(exit_set_up_failed);
  }

  std::span<const std::byte> segment(std::uint32_t id) {
    for (;;) {
      if (const auto it = segments_.find(id); it != segments_.end()) return {it->second.data(), it->second.size()};
      read_order(); // it was sent before the task was published
    }
  }

  void read_orders(std::uint64_t sent) {
    while (received_ < sent) read_order();
  }

  [[noreturn]] void leave() noexcept { os::exit_now(0); }

  void before_sleep() noexcept { std::fflush(stdout); }

private:
  void read_order() {
    worker_message message;
    os::received r = os::receive_message(control_.get(), writable_bytes_of(message), true);
    if (r.error != 0 || r.bytes != sizeof message) os::exit_now(exit_set_up_failed); // the front end is gone
    ++received_;
    if (message.order == worker_order::unmap_segment)
      segments_.erase(message.segment);
    else
      map(message, r.fds[0]);
  }

  // Perhaps while a task's arguments are decoded: an exception would end the task alone, and the segment would be
  // missing for ever.
  void map(const worker_message& m, const os::unique_fd& fd) noexcept {
    try {
      segments_.insert_or_assign(m.segment, Mapping(fd.get(), m.bytes, os::access::read_only));
    } catch (const std::exception& e) {
      std::fprintf(stderr, "coproc: worker %u ends: %s\n", this_worker_context.index, e.what());
      os::exit_now(exit_set_up_failed);
    }
  }

  os::unique_fd control_, eventfd_;
  std::unordered_map<std::uint32_t, Mapping> segments_;
  std::uint64_t received_ = 0;
};

using worker_environment = basic_worker_environment<os::mapping>;

namespace detail {

// Each may be refused by the system, or make no sense there: then the worker is not started.
template <class Limits>
void apply_limits(const Limits& l) {
  const auto set = [](auto resource, const char* name, const std::optional<std::uint64_t>& value) {
    if (!value) return;
    const rlimit limit{static_cast<rlim_t>(*value), static_cast<rlim_t>(*value)};
    if (os::invoke(os::call::setrlimit, [&] { return ::setrlimit(resource, &limit); }) != 0) os::throw_errno(name);
  };
  set(RLIMIT_AS, "setrlimit(RLIMIT_AS)", l.address_space_bytes);
  set(RLIMIT_DATA, "setrlimit(RLIMIT_DATA)", l.data_bytes);
  set(RLIMIT_STACK, "setrlimit(RLIMIT_STACK)", l.stack_bytes);
  set(RLIMIT_CORE, "setrlimit(RLIMIT_CORE)", l.core_bytes);
  set(RLIMIT_CPU, "setrlimit(RLIMIT_CPU)", l.cpu_seconds);
  set(RLIMIT_NOFILE, "setrlimit(RLIMIT_NOFILE)", l.open_files);
  set(RLIMIT_NPROC, "setrlimit(RLIMIT_NPROC)", l.processes);
}

inline void run_initializer(hook initializer, unsigned index) noexcept {
  if (!initializer) return;
  try {
    initializer();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "coproc: the initializer of worker %u threw: %s\n", index, e.what());
    os::exit_now(exit_initializer_failed);
  } catch (...) {
    std::fprintf(stderr, "coproc: the initializer of worker %u threw\n", index);
    os::exit_now(exit_initializer_failed);
  }
}

} // namespace detail

/// Runs in the child, all signals still blocked. Does not return.
template <worker_policy Environment>
[[noreturn]] void worker_main(const start_request& start, worker_descriptors fds, pid_t server,
                                     const worker_settings& settings) noexcept {
  // The signal comes when the forking *thread* ends; the fork server has only one. It may have died before prctl.
  os::invoke(os::call::prctl, [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
  if (os::parent() != server) os::exit_now(exit_set_up_failed);
  char name[16];
  std::snprintf(name, sizeof name, "coproc-%u", start.index % 100'000);
  os::set_name(name);
  const int keep[] = {fds.mailbox.get(), fds.results.get(), fds.control.get(), fds.eventfd.get()};
  os::clean_child(keep);

  try {
    os::mapping mailbox_map(fds.mailbox.get(), shm::mailbox_bytes, os::access::read_write);
    os::mapping results_map(fds.results.get(), start.result_bytes + start.view_bytes, os::access::read_write);
    fds.mailbox.reset();
    auto& m = *reinterpret_cast<shm::mailbox*>(mailbox_map.data());
    this_worker_context.mailbox = &m;
    this_worker_context.index = start.index;
    shm::view_arena arena(results_map.data() + start.result_bytes, start.view_bytes, start.result_bytes, fds.results.get(),
                          m.parent.returned);
    view_lender views(arena);
    this_worker_context.views = &views;
    if (settings.oom_score_adj != 0) os::raise_oom_score(settings.oom_score_adj);
    if (settings.affinity == affinity_policy::spread) os::pin_to_usable_cpu(start.index);
    detail::apply_limits(settings.limits);
    detail::run_initializer(settings.initializer, start.index);
    // A change of credentials, for which the initializer is the place, clears it.
    os::invoke(os::call::prctl, [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
    if (os::parent() != server) os::exit_now(exit_set_up_failed);
    shm::store(shm::site::phase, m.worker.phase, static_cast<std::uint32_t>(shm::worker_phase::initialized),
               std::memory_order_release);

    Environment environment(std::move(fds.control), std::move(fds.eventfd));
    environment.ring(); // calls may wait for just this worker
    worker_loop<Environment> loop(
        m, shm::result_space(results_map.data(), start.result_bytes, fds.results.get(), m.parent.freed),
        start.max_result_bytes, this_worker_context, environment, settings.spin_limit,
        start.index < settings.min_workers ? unlimited : settings.idle_timeout, settings.busy_poll);
    loop.run();
    if (settings.finalizer) {
      hook finalizer = settings.finalizer;
      finalizer();
    }
    std::fflush(stdout);
    os::exit_now(0);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "coproc: worker %u ends: %s\n", start.index, e.what());
  }
  os::exit_now(exit_set_up_failed);
}

} // namespace coproc::pool
