// SPDX-License-Identifier: BSL-1.0
// The pool's engine room: binds the dispatcher to Asio, to the fork server and to the kernel. It owns the mutex, the private
// epoll on which Asio waits, and the one drainer token; process_pool is a handle to it. Front end, any number of threads.
//
// The token: IDLE (nothing outstanding: no wait, no handler, so run() may return), POLLING (a turn is posted or running),
// ARMED (a wait on the epoll is pending). In POLLING and ARMED exactly one handler of ours exists, and it runs a turn.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/pool/process_policy.hpp>
#include <coproc/pool/dispatcher.hpp>
#include <coproc/pool/fork_generation.hpp>
#include <coproc/pool/image.hpp>
#include <coproc/pool/incarnation.hpp>
#include <coproc/pool/record_store.hpp>
#include <coproc/pool/server_client.hpp>
#include <coproc/pool/spin.hpp>

#include <array>
#include <mutex>
#include <optional>

namespace coproc {

/// pool_options with every default resolved and every value checked; see options_check.hpp.
struct resolved_options {
  pool::dispatcher_limits limits;
  std::uint64_t max_payload = 0;
  hook preload, initializer, finalizer;
  unsigned usable_cpus = 1;
};

class pool_core final : public shutdown_listener, public std::enable_shared_from_this<pool_core> {
public:
  pool_core(net::any_io_executor ex, const resolved_options& options)
      : executor_(std::move(ex)), options_(options), timer_(os::make_timerfd()),
        spin_(options.usable_cpus > 1 ? spin_limit : std::chrono::nanoseconds(0)), dispatcher_(options.limits, policy_) {
    try {
      wait_.emplace(executor_);
    } catch (const net::system_error& e) { // it may be the first to need the context's reactor
      // Not every errno of Asio 1.22's own system category equals its std::errc; those of the standard one do.
      throw pool_error(os::system_code(e.code().value()), "coproc: the execution context");
    }
    if (const auto* io = detail::executor_target<net::io_context::executor_type>(executor_)) io_executor_ = *io;
  }

  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;

  /// Starts the fork server and all workers; throws with everything rolled back.
  void start() {
    pool::count_forks();
    generation_ = pool::fork_generation.load(std::memory_order_relaxed);
    server_.launch(options_.preload, options_.initializer, options_.finalizer,
                   options_.usable_cpus > 1 ? spin_limit : std::chrono::nanoseconds(0));
    epoll_.add(server_.socket(), EPOLLIN, pool::event_key{pool::event_source::server, 0}.pack());
    epoll_.add(server_.pidfd(), EPOLLIN | EPOLLONESHOT, pool::event_key{pool::event_source::server_death, 0}.pack());
    epoll_.add(timer_.get(), EPOLLIN | EPOLLET, pool::event_key{pool::event_source::timer, 0}.pack());
    for (unsigned i = 0; i < options_.limits.max_workers; ++i) start_worker(i, true);
    await_first_workers();
    wait_->assign(epoll_.fd());
    registration_.join(executor_, weak_from_this());
  }

  const net::any_io_executor& executor() const noexcept { return executor_; }
  const resolved_options& options() const noexcept { return options_; }
  const std::shared_ptr<shm::segment_pool>& segments() const noexcept { return segments_; }
  pool::record_store& records() noexcept { return records_; }

  /// False in a forked copy of the process that made the pool, workers included.
  bool is_own_process() const noexcept {
    return pool::fork_generation.load(std::memory_order_relaxed) == generation_;
  }
  bool has_function(std::uintptr_t address) const noexcept { return image_.contains(address); }

  /// Hands a prepared record over; never completes it inline.
  void submit(pool::task_record& t) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    dispatcher_.submit(t);
    // A submission out of a completion costs no clock read of its own.
    after_change(turn_on_this_thread == this ? turn_began_ : pool::clock_now(), wakes);
  }

  /// By the contract's table; harmless when the operation has completed. Any thread.
  void cancel(pool::task_record& t, std::uint64_t ticket, net::cancellation_type type) noexcept {
    using ct = net::cancellation_type;
    pool::cancel_strength strength;
    if ((type & ct::terminal) != ct::none)
      strength = pool::cancel_strength::terminal;
    else if ((type & ct::partial) != ct::none)
      strength = pool::cancel_strength::partial;
    else if ((type & ct::total) != ct::none)
      strength = pool::cancel_strength::total;
    else
      return;
    if (!is_own_process()) return;
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    const auto now = pool::clock_now();
    dispatcher_.cancel(t, ticket, strength, now);
    after_change(now, wakes);
  }

  /// Ends everything: outstanding operations complete with operation_aborted (posted), workers and fork server are gone
  /// when it returns. Bounded by about two kill_graces and three seconds. Idempotent; any thread, also inside a handler.
  void stop() noexcept { stop(true); }

  /// Destroys handlers uninvoked instead; from here on the context is not touched.
  void context_shutting_down() noexcept override {
    stop(false);
    if (!is_own_process()) return;
    std::lock_guard lock(mutex_);
    wait_.reset(); // also after an earlier stop(): this object may be held by awaitables that outlive the context
  }

private:
  enum class token : std::uint8_t { idle, polling, armed };
  static constexpr std::size_t tasks_per_turn = 256;
  static constexpr unsigned rounds_per_turn = 16;
  static constexpr unsigned rounds_per_look = 16; // at the epoll, while polling
  static constexpr int spins_per_slice = 128;
  static constexpr std::chrono::nanoseconds spin_limit = std::chrono::microseconds(50);

  // Workers to be woken once the mutex is released; futex_wake needs the memory, so it is held.
  class wake_list {
  public:
    void add(pool::worker_record& w) {
      if (count_ == list_.size())
        shm::waker::wake(w.mailbox());
      else
        list_[count_++] = w.memory;
    }
    ~wake_list() {
      for (std::size_t i = 0; i < count_; ++i) shm::waker::wake(list_[i]->mailbox());
    }

  private:
    std::array<std::shared_ptr<pool::worker_memory>, 8> list_;
    std::size_t count_ = 0;
  };

  // ---- turns ----

  // What is owed after a change by a submitter or canceller.
  void after_change(pool::time_point now, wake_list& wakes) {
    dispatcher_.pump(now);
    flush(turn_on_this_thread == this, wakes); // inside a turn the rest is flushed at its end
    if (token_ == token::idle) {
      token_ = token::polling;
      post_turn();
    } else if (token_ == token::armed) {
      if (dispatcher_.completed().empty() && policy_.starts.empty())
        set_timer(dispatcher_.next_deadline());
      else
        interrupt_wait();
    }
  }

  void flush(bool only_sleepers, wake_list& wakes) {
    dispatcher_.flush(only_sleepers, [&](pool::worker_record& w) { wakes.add(w); });
  }

  // ARMED -> POLLING: the wait's handler runs the turn.
  void interrupt_wait() {
    token_ = token::polling;
    dispatcher_.disarm();
    net::error_code ignored;
    if (wait_) wait_->cancel(ignored);
  }

  void post_turn() {
    auto handler = [self = shared_from_this()] { self->turn(); };
    if (io_executor_)
      net::post(*io_executor_, std::move(handler));
    else
      net::post(executor_, std::move(handler));
  }

  void woken() {
    {
      std::lock_guard lock(mutex_);
      token_ = token::polling;
      dispatcher_.disarm();
      rounds_until_look_ = 0;
      spin_.slept(pool::clock_now() - armed_at_);
    }
    turn();
  }

  // Rounds of drain, dispatch, complete, until there is nothing left to do; bounded, so that the loop's other handlers get
  // their turn. Only the holder of the token runs it.
  void turn() {
    const turn_scope scope(this);
    std::size_t completed = 0;
    for (unsigned round = 0; completed < tasks_per_turn && round < rounds_per_turn; ++round) {
      pool::task_list done;
      pool::head_set heads;
      const step next = advance(done, heads);
      if (next == step::end) return;
      if (next == step::spin && !spin(heads)) break;
      if (next == step::start_workers) start_requested();
      completed += done.size();
      deliver(done);
    }
    post_turn();
  }

  enum class step { complete, start_workers, spin, end };

  // One round under the mutex. `end`: the token is IDLE or ARMED now, and no longer ours.
  step advance(pool::task_list& done, pool::head_set& heads) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) {
      done.splice_back(dispatcher_.completed());
      if (done.empty()) token_ = token::idle;
      return done.empty() ? step::end : step::complete;
    }
    const auto now = turn_began_ = pool::clock_now();
    const bool look = rounds_until_look_ == 0;
    rounds_until_look_ = look ? rounds_per_look : rounds_until_look_ - 1;
    if (look) look_at_events(now);
    const std::size_t moved = dispatcher_.drain(tasks_per_turn, now);
    if (look) dispatcher_.tick(now);
    dispatcher_.pump(now);
    flush(false, wakes);
    done.splice_back(dispatcher_.completed());
    if (!policy_.starts.empty()) return step::start_workers;
    moved_since_wake_ += moved;
    if (moved != 0) spun_ = {};
    if (!done.empty() || moved != 0) return step::complete;
    if (dispatcher_.outstanding() == 0) {
      token_ = token::idle;
      return step::end;
    }
    if (spun_ < spin_limit && spin_.worthwhile() && dispatcher_.worth_spinning(pool::current_cpu())) {
      heads = dispatcher_.heads();
      return step::spin;
    }
    spun_ = {};
    return arm() ? step::end : step::complete;
  }

  // A handler may throw through run(): what is left is then completed by the next turn.
  void deliver(pool::task_list& done) {
    try {
      while (pool::task_record* t = done.pop_front()) t->complete(*t, stopped_.load(std::memory_order_relaxed));
    } catch (...) {
      {
        std::lock_guard lock(mutex_);
        done.splice_back(dispatcher_.completed());
        dispatcher_.completed().splice_back(done);
      }
      post_turn();
      throw;
    }
  }

  // Without the mutex; a slice at a time, so that io_context::poll() ends. The memory is safe to look at: only the holder
  // of the token buries workers.
  bool spin(const pool::head_set& heads) noexcept {
    const auto begin = pool::clock_now();
    for (int i = 0; i < spins_per_slice; ++i) {
      if (heads.any_done()) {
        spin_.success();
        return true;
      }
      pool::cpu_relax();
    }
    spun_ += pool::clock_now() - begin;
    return false;
  }

  class turn_scope {
  public:
    explicit turn_scope(const pool_core* core) noexcept : previous_(std::exchange(turn_on_this_thread, core)) {}
    ~turn_scope() { turn_on_this_thread = previous_; }
    turn_scope(const turn_scope&) = delete;
    turn_scope& operator=(const turn_scope&) = delete;

  private:
    const pool_core* previous_;
  };

  // False: a worker was faster, go on polling.
  bool arm() {
    const auto now = pool::clock_now();
    const auto pause = coalescing_pause();
    coalescing_ = pause.count() != 0;
    if (coalescing_) {
      set_timer(now + pause);
    } else {
      dispatcher_.arm(++arm_epoch_);
      shm::full_fence(); // pairs with the workers' fence between DONE and reading `armed`
      if (dispatcher_.any_head_done()) {
        dispatcher_.disarm();
        return false;
      }
      set_timer(dispatcher_.next_deadline());
    }
    token_ = token::armed;
    armed_at_ = now;
    moved_since_wake_ = 0;
    // Under the mutex, like cancel(): the descriptor object is not thread-safe.
    wait_->async_wait(net::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](net::error_code) { self->woken(); });
    return true;
  }

  // Where worker and front end share a CPU, or both are busy, each ring of the doorbell would preempt the worker for the
  // sake of one short task. When a wake-up has brought that little and many short tasks are pending, the next sleep is a
  // timed one without doorbells, as network cards moderate their interrupts. 0: ring.
  std::chrono::nanoseconds coalescing_pause() const noexcept {
    const auto backlog = dispatcher_.short_backlog();
    if (backlog.count() == 0) return {};
    const bool worth_it = coalescing_ ? moved_since_wake_ >= 8 : moved_since_wake_ <= 4;
    return worth_it ? std::clamp<std::chrono::nanoseconds>(backlog, std::chrono::microseconds(10), spin_limit)
                    : std::chrono::nanoseconds(0);
  }

  // ---- events ----

  void look_at_events(pool::time_point now) {
    std::array<epoll_event, 64> buffer;
    for (;;) {
      const auto events = epoll_.wait(buffer, 0);
      for (const epoll_event& e : events) {
        const auto key = pool::event_key::unpack(e.data.u64);
        switch (key.source) {
        case pool::event_source::bell: break; // drain() looks at every ring anyway
        case pool::event_source::timer: timer_at_ = pool::time_point::max(); break;
        case pool::event_source::death: dispatcher_.died(key.incarnation, now); break;
        case pool::event_source::server:
        case pool::event_source::server_death: hear_server(now); break;
        }
      }
      if (events.size() < buffer.size()) break;
    }
    tell_dropped_segments();
  }

  void hear_server(pool::time_point now) {
    bool dead = false;
    while (!server_is_gone_) {
      auto in = server_.receive();
      if (in.message) {
        on_message(*in.message, std::move(in.fd), now);
        continue;
      }
      if (!in.gone && !dead) {
        std::array<pollfd, 1> death{{{server_.pidfd(), POLLIN, 0}}};
        if (os::wait_readable(death, 0) <= 0) return; // alive, and nothing to say
        dead = true; // its last words may have come in between
        continue;
      }
      server_is_gone_ = true;
      epoll_.remove(server_.socket());
      dispatcher_.server_lost(now);
    }
  }

  void on_message(const pool::server_message& m, os::unique_fd fd, pool::time_point now) {
    switch (m.event) {
    case pool::server_event::started:
      watch(fd, m.incarnation);
      dispatcher_.started(m.incarnation, m.pid, std::move(fd));
      break;
    case pool::server_event::start_failed:
      start_error_ = m.error;
      dispatcher_.start_refused(m.incarnation, os::system_code(m.error), now);
      break;
    case pool::server_event::exited: dispatcher_.exited(m.incarnation, pool::exit_from(m), now); break;
    default: break; // only before the first worker
    }
  }

  // Unwatched, for want of kernel memory, a death is told by EXITED alone: later, but it is told.
  void watch(const os::unique_fd& pidfd, std::uint64_t incarnation) noexcept {
    if (!pidfd) return;
    try {
      epoll_.add(pidfd.get(), EPOLLIN | EPOLLONESHOT, pool::event_key{pool::event_source::death, incarnation}.pack());
    } catch (const pool_error&) {
    }
  }

  // The timer is only ever moved forward; when it fires too early, the next arming sets it again.
  void set_timer(pool::time_point next) {
    if (next >= timer_at_) return;
    timer_at_ = next;
    os::set_timer(timer_.get(), next);
  }

  // ---- workers ----

  void start_requested() {
    for (;;) {
      unsigned index;
      {
        std::lock_guard lock(mutex_);
        if (policy_.starts.empty() || stopped_ || server_is_gone_) return;
        index = policy_.starts.back();
        policy_.starts.pop_back();
      }
      start_worker(index, false);
    }
  }

  void start_worker(unsigned index, bool constructing) {
    pool::incarnation made;
    try {
      made = pool::make_incarnation(index, ++incarnations_, options_.max_payload);
      epoll_.add(made.record->handles.eventfd.get(), EPOLLIN | EPOLLET, pool::event_key{pool::event_source::bell, made.request.incarnation}.pack());
    } catch (const pool_error& e) {
      if (constructing)
        throw pool_error(make_error_code(errc::worker_start_failed), std::string(e.what()));
      std::lock_guard lock(mutex_);
      return dispatcher_.start_failed(index, e.code(), pool::clock_now());
    }
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    dispatcher_.add_worker(std::move(made.record));
    if (const int error = server_.start(made.request, made.for_worker)) {
      start_error_ = error;
      dispatcher_.start_refused(made.request.incarnation, os::system_code(error), pool::clock_now());
    }
  }

  // In the constructor: all workers live, or an exception.
  void await_first_workers() {
    for (;;) {
      std::size_t starting = 0;
      dispatcher_.each_worker([&](const pool::worker_record& w) { starting += w.status == pool::worker_record::state::starting; });
      if (start_error_ != 0)
        throw pool_error(make_error_code(errc::worker_start_failed),
                         fmt::format("fork of a worker failed: {}", std::strerror(start_error_)));
      if (server_is_gone_)
        throw pool_error(make_error_code(errc::worker_start_failed), "the fork server died while it started the workers");
      if (starting == 0) return;
      std::array<pollfd, 2> fds{{{server_.socket(), POLLIN, 0}, {server_.pidfd(), POLLIN, 0}}};
      os::wait_readable(fds, -1);
      hear_server(pool::clock_now());
    }
  }

  // Workers unmap what the segment pool has given back; until then the pages would stay.
  void tell_dropped_segments() {
    const auto dropped = segments_->take_dropped();
    dispatcher_.each_worker([&](pool::worker_record& w) {
      for (const std::uint32_t id : dropped)
        if (std::erase(w.segments, id) != 0) w.unmap_backlog.push_back(id);
      while (!w.unmap_backlog.empty() && policy_.send_order(w, {pool::worker_order::unmap_segment, w.unmap_backlog.back(), 0}, {}) == 0)
        w.unmap_backlog.pop_back();
    });
  }

  // ---- the end ----

  void stop(bool complete_handlers) noexcept {
    if (!is_own_process()) return;
    pool::task_list done;
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      stopped_ = true;
      try {
        hear_server(pool::clock_now()); // of workers that came up while nobody listened: they, too, may end in order
      } catch (const pool_error&) {     // no memory to watch one: the fork server ends it
      }
      dispatcher_.close();
      dispatcher_.each_process([](pool::worker_record& w) {
        if (w.unfinished() != 0 && w.handles.pidfd)
          os::send_signal(w.handles.pidfd.get(), SIGTERM);
        else
          w.request_shutdown();
      });
      dispatcher_.abandon();
      done.splice_back(dispatcher_.completed());
      net::error_code ignored;
      wait_->cancel(ignored);
      if (wait_->is_open()) wait_->release();
    }
    end_processes();
    while (pool::task_record* t = done.pop_front()) complete_handlers ? t->complete(*t, true) : t->destroy(*t);
  }

  void end_processes() noexcept {
    const auto grace = std::min<duration>(options_.limits.kill_grace, std::chrono::hours(1));
    const auto term_deadline = pool::clock_now() + grace;
    bool all_dead = true;
    dispatcher_.each_process([&](pool::worker_record& w) {
      if (w.handles.pidfd && !os::wait_dead(w.handles.pidfd.get(), term_deadline)) {
        os::send_signal(w.handles.pidfd.get(), SIGKILL);
        all_dead = false;
      }
    });
    const auto kill_deadline = pool::clock_now() + grace;
    if (!all_dead)
      dispatcher_.each_process([&](pool::worker_record& w) {
        if (w.handles.pidfd) os::wait_dead(w.handles.pidfd.get(), kill_deadline);
      });
    server_.end(pool::clock_now() + std::chrono::seconds(2));
  }

  static inline thread_local const pool_core* turn_on_this_thread = nullptr;

  net::any_io_executor executor_;
  std::optional<net::io_context::executor_type> io_executor_;
  resolved_options options_;
  unsigned generation_ = 0;
  pool::image_snapshot image_;
  os::epoll epoll_;
  os::unique_fd timer_;
  std::shared_ptr<shm::segment_pool> segments_ = std::make_shared<shm::segment_pool>();
  pool::record_store records_;
  std::optional<net::posix::stream_descriptor> wait_; // on epoll_'s descriptor, which epoll_ owns

  std::mutex mutex_; // guards all below
  pool::server_client server_;
  token token_ = token::idle;
  std::atomic<bool> stopped_{false};
  bool server_is_gone_ = false;
  int start_error_ = 0;
  unsigned rounds_until_look_ = 0;
  std::uint64_t arm_epoch_ = 0;
  std::atomic<std::uint64_t> incarnations_{0};
  pool::time_point timer_at_ = pool::time_point::max(), turn_began_{}, armed_at_{};
  pool::spin_gate spin_;
  std::chrono::nanoseconds spun_{};
  bool coalescing_ = false;
  std::size_t moved_since_wake_ = 0;
  pool::process_policy policy_{epoll_};
  pool::dispatcher<pool::process_policy> dispatcher_;
  shutdown_service::registration registration_;
};

} // namespace coproc
