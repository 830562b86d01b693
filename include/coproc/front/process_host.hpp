// SPDX-License-Identifier: BSL-1.0
// Between the dispatcher and the kernel: the fork server, the workers' descriptors, one epoll over all of them, one
// timer (rule W3, docs/protocol.md). Front end; under the pool's mutex but where a function says otherwise. Knows
// nothing of Asio.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/dispatcher.hpp>
#include <coproc/front/incarnation.hpp>
#include <coproc/front/kernel_effects.hpp>
#include <coproc/front/options_check.hpp>
#include <coproc/front/server_client.hpp>
#include <coproc/os/epoll.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

namespace coproc::detail::front {

class process_host {
public:
  /// `tasks`: whom events are told; constructed later, upon kernel().
  COPROC_LAZY process_host(const resolved_options& options, dispatcher& tasks);

  process_host(const process_host&) = delete;
  process_host& operator=(const process_host&) = delete;

  /// What the dispatcher acts through.
  effects& kernel() noexcept { return effects_; }

  const std::shared_ptr<shm::segment_pool>& segments() const noexcept { return segments_; }

  /// Becomes readable when take_events() has something to see.
  int wait_fd() const noexcept { return epoll_.fd(); }

  /// Starts the fork server and the first workers, and waits until they live. Throws with everything rolled back.
  COPROC_LAZY void launch();

  // ---- events

  /// Sees to what the epoll reports.
  COPROC_LAZY void take_events(time_point now);

  COPROC_LAZY void tick(time_point now) noexcept;

  /// When tick() is due next.
  COPROC_LAZY time_point next_deadline() const noexcept;

  /// What keeps the loop alive. Births and deaths do if somebody wants to be told of them.
  COPROC_LAZY bool busy() const noexcept;
  /// The shutdown is complete: no process is left, but for unkillable ones.
  bool over() const noexcept { return dispatcher_.over() && server_is_gone_; }

  /// The timer is only ever moved forward; when it fires too early, the next arming sets it again. False: it could not
  /// be set.
  COPROC_LAZY bool set_timer(time_point next) noexcept;

  // ---- workers to be started

  bool has_starts() const noexcept { return !effects_.starts.empty(); }

  COPROC_LAZY std::optional<unsigned> take_start() noexcept;

  /// Without the mutex: makes and maps memory. Throws pool_error.
  COPROC_LAZY incarnation make(unsigned index);

  COPROC_LAZY void adopt(unsigned index, incarnation made, time_point now);

  /// As dispatcher::resize.
  void resize(unsigned min_workers, unsigned max_workers, time_point now) {
    effects_.starts.reserve(max_workers);
    dispatcher_.resize(min_workers, max_workers, now);
  }

  /// Unmaps the memory of the dead. Only for the holder of the drainer token.
  COPROC_LAZY void clear_graveyard() noexcept;

  // ---- what observers are told

  bool has_notices() const noexcept { return !effects_.births.empty() || !effects_.exits.empty(); }
  auto take_start_notices() noexcept { return std::exchange(effects_.births, {}); }
  auto take_exit_notices() noexcept { return std::exchange(effects_.exits, {}); }

  pool_stats stats(time_point now) const {
    pool_stats s = dispatcher_.stats(now);
    std::size_t i = 0;
    dispatcher_.workers().each_process(
        [&](const auto& w) { s.workers[i++].private_bytes = effects_.private_bytes(w); });
    return s;
  }

  // ---- the end

  /// First half of a destructor: nothing is begun any more, everything is aborted, everybody is told to end.
  COPROC_LAZY void begin_end() noexcept;

  /// Second half, without the mutex: waits for the processes, kill_grace for SIGTERM and finalizers, and once more for
  /// SIGKILL; then ends the fork server.
  COPROC_LAZY void finish_end() noexcept;

private:
  // It has nothing left to do, and ends at once, unless it hangs.
  COPROC_LAZY void dismiss_server(time_point now) noexcept;

  COPROC_LAZY void hear_server(time_point now);

  // It is dead. One that stands by takes its place; false: there is none.
  COPROC_LAZY bool replace_server(time_point now);

  COPROC_LAZY void ask_for_standby(time_point now);

  COPROC_LAZY void hear_standby(time_point now);

  COPROC_LAZY void watch_standby() noexcept;
  COPROC_LAZY void unwatch_standby() noexcept;
  COPROC_LAZY void drop_standby() noexcept;

  COPROC_LAZY void on_message(const server::server_message& m, os::unique_fd fd, time_point now);

  COPROC_LAZY void came_up(worker& w);

  // Unwatched, for want of kernel memory, a death is told by EXITED alone: later, but it is told.
  COPROC_LAZY void watch(const os::unique_fd& pidfd, std::uint64_t incarnation) noexcept;

  // In the constructor: all workers live, or an exception.
  COPROC_LAZY void await_first_workers();

  // Workers unmap what the segment pool has given back; until then the pages would stay.
  COPROC_LAZY void tell_dropped_segments();

  resolved_options options_;
  os::epoll epoll_;
  os::unique_fd timer_;
  time_point timer_at_ = time_point::max();
  std::shared_ptr<shm::segment_pool> segments_;
  server_client server_, standby_;
  time_point standby_at_ = time_point::max(); // when one is asked for
  bool server_is_gone_ = false;
  bool server_dismissed_ = false;
  time_point server_deadline_ = time_point::max(); // when a dismissed one is killed
  int start_error_ = 0;
  std::atomic<std::uint64_t> incarnations_{0};
  kernel_effects<> effects_{epoll_, server_};
  dispatcher& dispatcher_;
};

} // namespace coproc::detail::front

#include <coproc/front/process_host.ipp>
