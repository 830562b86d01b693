// SPDX-License-Identifier: BSL-1.0
// The life of a worker process from fork to _exit: map its memory, become killable with its parent, initialise, loop.
// Runs in a fresh child of the fork server; never touches the front end's objects.
#pragma once

#include <coproc/config.hpp>
#include <coproc/options.hpp>
#include <coproc/os/cpu.hpp>
#include <coproc/os/epoll.hpp>
#include <coproc/os/process.hpp>
#include <coproc/os/process_state.hpp>
#include <coproc/os/socket.hpp>
#include <coproc/os/streams.hpp>
#include <coproc/worker/loop.hpp>
#include <coproc/worker/orders.hpp>
#include <coproc/worker/stray_signals.hpp>
#include <coproc/worker/views.hpp>

#include <array>
#include <cstdio>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <sys/stat.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace coproc::detail::worker {

struct worker_descriptors {
  os::unique_fd mailbox, results, control, eventfd;
};

/// What all workers of a pool have in common; copied by the forks themselves.
struct worker_settings {
  hook initializer, finalizer;
  std::chrono::nanoseconds spin_limit{}, busy_poll{};
  duration idle_timeout = unlimited; ///< of those that may leave: see start_request
  worker_limits limits;
  affinity_policy affinity = affinity_policy::none;
  int oom_score_adj = 0;
  pid_t front_end = 0;
  on_worker_end descendants = on_worker_end::kill;
  descriptor_list inherit;
  int first_descriptor = 3; ///< the pool's descriptors in workers have this number or a higher one: see using.md
  std::vector<std::pair<std::string, std::optional<std::string>>> env; ///< empty value: to be removed
  std::string working_directory;                                       ///< empty: that of the front end
  std::optional<mode_t> umask;
  bool restore_state = false;       ///< after each task
  std::uint64_t seed = 0;           ///< of the pool
  std::optional<rlimit> open_files; ///< the limit of the front end, if the fork server had to raise its own
};

inline constexpr const char* cannot_close = "the descriptors of the program cannot be closed: close_range(2) is "
                                            "refused, and there is no /proc/self/fd; allow either";

/// As os::clean_child: those that the pool itself needs, and those that all may have, stay.
COPROC_LAZY bool clean_child(const descriptor_list& inherit, std::initializer_list<int> own) noexcept {
  std::array<int, descriptor_list::max_size + 4> keep;
  auto end = std::copy(inherit.begin(), inherit.end(), keep.begin());
  end = std::copy(own.begin(), own.end(), end);
  return os::clean_child({keep.begin(), end});
}

/// Exit codes of a worker that ended by itself, besides 0; documented in docs/errors.md.
inline constexpr int exit_initializer_failed = 70, exit_set_up_failed = 71, exit_leaked = 72;

/// The real one: doorbell and argument segments.
COPROC_LAZY_CLASS class worker_environment final : public environment {
public:
  worker_environment(os::unique_fd control, os::unique_fd eventfd, const worker_settings& settings)
      : control_(std::move(control)), eventfd_(std::move(eventfd)) {
    if (settings.restore_state) state_.emplace(settings.first_descriptor);
  }

  // A task that closed the descriptor has made this worker mute: its death, at least, is heard.
  void ring() noexcept override {
    if (!os::ring(eventfd_.get())) os::exit_now(exit_set_up_failed);
  }

  std::span<const std::byte> segment(std::uint32_t id) override {
    const os::mapping& m = segments_.at(id);
    return {m.data(), m.size()};
  }

  void read_orders(std::uint64_t sent) override {
    while (received_ < sent) read_order();
  }

  void leave() noexcept override { os::exit_now(0); }

  void before_sleep() noexcept override { os::flush_standard_streams(); }

  void after_task() noexcept override {
    if (state_) state_->restore();
  }

private:
  void read_order() {
    worker_message message;
    os::received r = os::receive_message(control_.get(), os::writable_bytes_of(message), true);
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
      segments_.insert_or_assign(m.segment, os::mapping(fd.get(), m.bytes, os::access::read_only));
    } catch (const std::exception& e) {
      std::fprintf(stderr, "coproc: worker %u ends: %s\n", this_worker_context.index, e.what());
      os::exit_now(exit_set_up_failed);
    }
  }

  os::unique_fd control_, eventfd_;
  std::optional<os::process_state> state_; // as the initializer left it
  std::unordered_map<std::uint32_t, os::mapping> segments_;
  std::uint64_t received_ = 0;
};

/// Environment, working directory and umask of this process and its children. Throws pool_error.
COPROC_LAZY void enter_surroundings(const worker_settings& settings);

/// Runs in the child, all signals still blocked. Does not return.
COPROC_LAZY void worker_main(const start_request& start, worker_descriptors fds, pid_t server,
                             const worker_settings& settings) noexcept;

} // namespace coproc::detail::worker

#include <coproc/worker/process.ipp>
