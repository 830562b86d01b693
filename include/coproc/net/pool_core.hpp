// SPDX-License-Identifier: BSL-1.0
// The pool's engine room: runs the process_host in turns on an Asio executor. It owns the mutex, the one wait on the host's
// epoll, and the one drainer token; process_pool is a handle to it. Front end, any number of threads.
//
// The token: IDLE (nothing outstanding: no wait, no handler, so run() may return), POLLING (a turn is posted or running),
// ARMED (a wait on the epoll is pending). In POLLING and ARMED exactly one handler of ours exists, and it runs a turn.
#pragma once

#include <coproc/net/asio.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/net/delivery.hpp>
#include <coproc/net/handler_memory.hpp>
#include <coproc/net/shutdown_gate.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/net/wake_list.hpp>
#include <coproc/os/lock.hpp>
#include <coproc/pool/fork_generation.hpp>
#include <coproc/pool/idle_strategy.hpp>
#include <coproc/pool/image.hpp>
#include <coproc/pool/process_host.hpp>
#include <coproc/pool/record_store.hpp>
#include <coproc/pool/spin.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace coproc {

/// pool_options with every default resolved and every value checked; see resolve_options.hpp.
struct resolved_options {
  pool::host_options host;
  worker_start_observer on_worker_start;
  worker_exit_observer on_worker_exit;
};

/// A template so that a file that includes coproc and makes no pool compiles nothing of it, or of what it is built on.
template <class Host, class Descriptor = net::posix::stream_descriptor, class Timer = net::steady_timer,
          class Records = pool::record_store>
class basic_pool_core final : public shutdown_listener,
                              public std::enable_shared_from_this<basic_pool_core<Host, Descriptor, Timer, Records>> {
public:
  using trace_sink = std::function<void(const trace_event&)>;

  basic_pool_core(net::any_io_executor ex, const resolved_options& options)
      : executor_(std::move(ex)), options_(options),
        argument_limit_(std::min(options.host.max_payload, options.host.limits.max_queue_bytes)),
        host_(options.host), idle_(host_, options.host.worker.spin_limit, options.host.worker.busy_poll) {
    try {
      wait_.emplace(executor_);
      guard_.emplace(executor_);
    } catch (const net::system_error& e) { // it may be the first to need the context's reactor
      // Not every errno of Asio 1.22's own system category equals its std::errc; those of the standard one do.
      throw pool_error(os::system_code(e.code().value()), "coproc: the execution context");
    }
    if (const auto* io = detail::as_io_executor(executor_)) context_ = detail::context_of(*io);
  }

  basic_pool_core(const basic_pool_core&) = delete;
  basic_pool_core& operator=(const basic_pool_core&) = delete;

  ~basic_pool_core() {
    if (wait_ && wait_->is_open()) wait_->release(); // the descriptor is the host's
    if (!is_own_process()) static_cast<void>(records_.release()); // their lock may be held for ever
  }

  /// Starts the fork server and the first workers; throws with everything rolled back.
  void start() {
    pool::count_forks();
    process_ = {};
    records_->set_owner(this->weak_from_this());
    host_.launch();
    registration_.join(executor_, this->weak_from_this());
    wait_->assign(host_.wait_fd());
    post_notices();
  }

  const net::any_io_executor& executor() const noexcept { return executor_; }
  /// The io_context whose plain executor that is, or null.
  net::io_context* context() const noexcept { return context_; }
  /// Nothing may be submitted any more, for it could not be completed.
  bool context_is_gone() const noexcept { return context_is_gone_.load(std::memory_order_relaxed); }
  const resolved_options& options() const noexcept { return options_; }
  const std::shared_ptr<shm::segment_pool>& segments() const noexcept { return host_.segments(); }

  /// Argument memory that belongs to no task, for an array of `count` elements.
  std::shared_ptr<const pool::lent_block> lend(std::size_t count, std::size_t element_bytes) const {
    expect_own_process();
    if (count > options_.host.max_payload / element_bytes)
      throw pool_error(make_error_code(errc::payload_too_large),
                       "an argument_array of " + std::to_string(count) + " elements takes more than the " +
                           std::to_string(options_.host.max_payload) + " bytes of pool_options::max_payload");
    const std::size_t bytes = count * element_bytes;
    return std::make_shared<const pool::lent_block>(segments()->allocate(bytes), bytes);
  }

  /// The pool of these records if this is within a turn of it, so that it lives until the caller returns; else null.
  static basic_pool_core* in_turn_with(const Records& records) noexcept {
    basic_pool_core* const core = turn_on_this_thread.core;
    return core != nullptr && core->records_.get() == &records ? core : nullptr;
  }

  /// Encoded arguments of one call may take so many bytes.
  std::uint64_t argument_limit() const noexcept { return argument_limit_; }

  /// In a forked copy calls can only fail, with records of their own: somebody may have held the lock of these.
  Records& records() { return is_own_process() ? *records_ : foreign_records(); }

  /// False in a forked copy of the process that made the pool, workers included.
  bool is_own_process() const noexcept { return process_.is_own(); }
  void expect_own_process() const {
    if (!is_own_process()) throw wrong_process();
  }
  static pool_error wrong_process() {
    return {make_error_code(errc::wrong_process),
            pool::this_worker_context.mailbox != nullptr
                ? "a task cannot use the pool it runs in: return to the front end and submit from there"
                : "this process is a forked copy of the one that made the pool: make a pool of its own here"};
  }
  bool has_function(std::uintptr_t address) const noexcept { return image_.contains(address); }

  // ---- tasks

  /// Hands a prepared record over; never completes it inline.
  void submit(pool::task_record& t) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    // A submission out of a completion costs no clock read of its own, unless time counts for it.
    const bool within_turn = in_turn();
    if (within_turn && host_.tasks().submit_quickly(t, last_look_at_clock_)) return guard_delivery();
    const auto now = within_turn && !t.special ? last_look_at_clock_ : pool::clock_now();
    host_.tasks().submit(t, now);
    after_change(now, wakes);
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
    change([&](auto& tasks, pool::time_point now) { tasks.cancel(t, ticket, strength, now); });
  }

  // ---- the pool as a whole; each harmless after the end, and in a forked copy

  void close() noexcept {
    change([](auto& tasks, pool::time_point) { tasks.close(); });
  }
  void recycle_workers() noexcept {
    change([](auto& tasks, pool::time_point now) { tasks.recycle_all(now); });
  }
  void terminate(int signal) noexcept {
    change([&](auto& tasks, pool::time_point now) { tasks.terminate(signal, now); });
  }

  template <class Handler>
  void shut_down(duration drain_for, Handler handler) {
    if (context_is_gone()) return; // the handler, too, as all that wait
    gate()->wait(std::move(handler));
    change([&](auto& tasks, pool::time_point now) { tasks.shut_down(pool::after(now, drain_for), now); });
  }

  pool_stats stats() const {
    expect_own_process();
    std::lock_guard lock(mutex_);
    return host_.stats(pool::clock_now());
  }

  void trace(trace_sink sink) {
    std::lock_guard lock(mutex_);
    host_.tasks().traced().set(static_cast<bool>(sink));
    sink_ = sink ? std::make_shared<trace_sink>(std::move(sink)) : nullptr;
  }

  /// Ends everything: outstanding operations complete with operation_aborted (posted), workers and fork server are gone
  /// when it returns. Bounded by about two kill_graces and three seconds. Idempotent; any thread, also inside a handler.
  void stop() noexcept { stop(true); }

  /// Destroys handlers uninvoked instead; from here on the context is not touched.
  void context_shutting_down() noexcept override {
    context_is_gone_.store(true, std::memory_order_relaxed);
    stop(false);
    if (!is_own_process()) return;
    pool::task_list left; // since an earlier stop(), for a turn that the context was to run
    {
      std::lock_guard lock(mutex_);
      left = take_undelivered();
      guard_.reset();
      wait_.reset(); // also after an earlier stop(): this object may be held by awaitables that outlive the context
    }
    end_all(left, pool::ending::destroy);
    executor_ = {}; // a strand cannot be destroyed later
  }

private:
  enum class token : std::uint8_t { idle, polling, armed };
  static constexpr std::size_t tasks_per_turn = 256;
  static constexpr std::chrono::microseconds turn_limit{20};  // then the loop's other handlers get their turn
  static constexpr std::chrono::microseconds look_period{50}; // at the epoll and at deadlines, while polling
  static constexpr std::chrono::microseconds deliver_limit{100}; // then a round, though handlers are left
  static constexpr std::chrono::milliseconds guard_period{2};

  struct turn_mark {
    basic_pool_core* core;
    std::uint64_t holder;
  };

  // Never freed: a record may outlive its thread.
  static Records& foreign_records() {
    static thread_local Records* store = nullptr;
    if (store == nullptr) store = new Records;
    return *store;
  }

  // Under the mutex: is this thread within the turn that holds the token?
  bool in_turn() const noexcept {
    return turn_on_this_thread.core == this && turn_on_this_thread.holder == holder_;
  }

  template <class Body>
  auto locked(Body body) {
    std::lock_guard lock(mutex_);
    return body();
  }

  // ---- turns ----

  template <class Change>
  void change(Change make) noexcept {
    if (!is_own_process()) return;
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    const auto now = pool::clock_now();
    make(host_.tasks(), now);
    after_change(now, wakes);
    look_at_ = {};
  }

  // What is owed after a change by whoever made it.
  void after_change(pool::time_point now, wake_list& wakes) {
    auto& tasks = host_.tasks();
    tasks.pump(now);
    flush(in_turn(), wakes); // inside a turn the rest is flushed at its end
    if (token_ == token::idle) {
      post_turn();
      token_ = token::polling;
      looked_ = false;
      look_at_ = pool::time_point::max(); // what happened while all was idle is seen after the first round, or by the wait
    } else if (token_ == token::polling) {
      guard_delivery(); // whoever holds the token may be in a handler that blocks
    } else {
      if (tasks.completed().empty() && !host_.has_starts() && !tasks.ending())
        host_.set_timer(host_.next_deadline());
      else
        interrupt_wait();
    }
  }

  void flush(bool only_sleepers, wake_list& wakes) {
    host_.tasks().waking().flush(only_sleepers, [&](pool::worker_record& w) { wakes.add(w); });
  }

  // ARMED -> POLLING: the wait's handler runs the turn.
  void interrupt_wait() {
    token_ = token::polling;
    host_.tasks().waking().disarm();
    net::error_code ignored;
    if (wait_) wait_->cancel(ignored);
  }

  // The one that is posted lies in turn_memory_, at least on a plain io_context, so that posting it needs no memory of the heap.
  struct next_turn {
    using allocator_type = handler_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type(self->turn_memory_); }
    void operator()() const { self->turn(); }

    std::shared_ptr<basic_pool_core> self;
  };

  template <class Use>
  void with_executor(Use use) {
    if (context_ != nullptr)
      use(context_->get_executor());
    else
      use(executor_);
  }

  void post_turn() {
    with_executor([this](const auto& ex) { net::post(ex, next_turn{this->shared_from_this()}); });
  }

  // Within a turn. Deferred, the next one is most likely run by this thread, after what else is ready; a post would wake another thread
  // of the context each time, to go on with what is in this one's caches. But should this thread leave the loop (run_one(), a
  // handler that throws), nobody is woken for what it leaves behind: so only while the guard's timer will wake somebody.
  void continue_turn() {
    if (!guarded_) return post_turn();
    with_executor([this](const auto& ex) { net::defer(ex, next_turn{this->shared_from_this()}); });
  }

  void woken() {
    {
      std::lock_guard lock(mutex_);
      token_ = token::polling;
      look_at_ = pool::clock_now();
      idle_.woken(look_at_);
    }
    turn();
  }

  // Rounds of drain, dispatch, complete, until there is nothing left to do; bounded, so that the loop's other handlers get
  // their turn. Only the holder of the token runs it; who holds it is said by holder_, see check_delivery().
  void turn() {
    const std::uint64_t me = locked([&] { return ++holder_; });
    const turn_scope scope({this, me});
    const typename Records::turn_cache cache(*records_);
    try {
      round r;
      std::size_t completed = deliver(me, r);
      for (pool::time_point end = pool::time_point::max(); completed < tasks_per_turn;) {
        advance(me, r);
        if (r.next == step::end) return;
        if (r.next == step::spin) {
          if (!idle_.spin().slice()) break;
          r.now = idle_.spin().last_time();
        }
        if (r.next == step::attend) attend();
        if (r.next != step::spin) completed += deliver(me, r);
        if (r.now >= end) break;
        if (end == pool::time_point::max()) end = r.now + turn_limit;
      }
    } catch (...) { // of a handler, or for want of memory; io_context::run() throws it
      go_on(me, &basic_pool_core::post_turn);
      throw;
    }
    go_on(me, &basic_pool_core::continue_turn);
  }

  void go_on(std::uint64_t me, void (basic_pool_core::*next)()) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (holder_ != me) {
      lost(wakes);
      return;
    }
    delivery_.between_handlers(); // one may have thrown
    (this->*next)();
  }

  enum class step { begin, complete, attend, spin, end };

  struct round {
    step next = step::begin;
    pool::time_point now{};
    bool left_some = false; // of what is to be delivered
  };

  void advance(std::uint64_t me, round& r) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    r.next = holder_ == me ? advance(r, wakes) : lost(wakes);
  }

  // A turn that was taken over has given back results since, for whose room their worker may be waiting; the holder, who was to
  // wake it, may be asleep.
  [[gnu::cold, gnu::noinline]] step lost(wake_list& wakes) {
    if (!stopped_) flush(false, wakes);
    return step::end;
  }

  // One round under the mutex. `end`: the token is IDLE or ARMED now, or somebody else's.
  step advance(round& r, wake_list& wakes) {
    auto& tasks = host_.tasks();
    if (stopped_) {
      if (take_completed() != 0) return step::complete;
      call_off_guard();
      token_ = token::idle;
      return step::end;
    }
    const auto now = r.now = last_look_at_clock_ =
        r.next == step::spin && !tasks.any_special() ? idle_.spin().time() : idle_.spin().exact_time();
    const std::size_t moved = r.left_some ? 0 : tasks.drain(tasks_per_turn, now);
    // Results first: whoever waits for one needs not wait for the system calls of a look. But not for long.
    if (look_at_ == pool::time_point::max()) look_at_ = now + look_period;
    if (now >= look_at_ && (moved == 0 || now - look_at_ >= look_period)) {
      look_at_ = now + look_period;
      looked_ = true;
      tasks.waking().publish_cpu(pool::current_cpu());
      host_.clear_graveyard();
      host_.look(now);
      host_.tick(now);
    }
    tasks.pump(now);
    flush(false, wakes);
    const std::size_t ended = take_completed();
    idle_.moved(moved);
    if (host_.has_starts() || host_.has_notices() || !tasks.traced().empty()) {
      delivery_.between_handlers(); // one thread at a time makes workers and calls the trace's sink
      return step::attend;
    }
    if (ended != 0 || moved != 0 || r.left_some) return step::complete;
    if (!host_.busy()) {
      if (!looked_) { // a death may have been waiting to be seen, and nobody else is
        look_at_ = {};
        return step::begin;
      }
      token_ = token::idle;
      delivery_.between_handlers(); // the next turn has no number yet: nobody may take over from this one meanwhile
      call_off_guard();
      if (host_.over() && gate_) gate_->open();
      return step::end;
    }
    if (idle_.spins(now)) {
      delivery_.between_handlers(); // the spinner looks at memory without the mutex
      return step::spin;
    }
    if (!idle_.falls_asleep(pool::clock_now(), pool::current_cpu())) return step::begin;
    delivery_.between_handlers(); // as where the token becomes IDLE
    // Under the mutex, like cancel(): the descriptor object is not thread-safe.
    wait_->async_wait(Descriptor::wait_read,
                      [self = this->shared_from_this()](net::error_code) { self->woken(); });
    token_ = token::armed;
    return step::end;
  }

  // ---- completing; see delivery.hpp for who may

  std::size_t take_completed() noexcept {
    auto& completed = host_.tasks().completed();
    const std::size_t n = completed.size();
    if (n == 0) return 0;
    delivery_.add(completed);
    if (!stopped_ && (n > 1 || host_.busy())) guard_delivery();
    return n;
  }

  // Handlers that throw leave the rest to the next turn. So do those that take long, each not long enough to be taken over from:
  // deadlines and results must not wait for all of them. Returns how many were called.
  std::size_t deliver(std::uint64_t me, round& r) {
    r.left_some = false;
    for (std::size_t n = 0;; ++n) {
      if (n % 32 == 8 && refresh_clock(me) - r.now > deliver_limit) {
        r.left_some = true;
        return n;
      }
      const auto [t, more] = delivery_.claim(me);
      if (t == nullptr) return n;
      t->end(*t, stopped_.load(std::memory_order_relaxed) ? pool::ending::post : pool::ending::invoke);
      if (!more) return n + 1;
    }
  }

  pool::time_point refresh_clock(std::uint64_t me) {
    const auto now = pool::clock_now();
    std::lock_guard lock(mutex_);
    if (holder_ == me) last_look_at_clock_ = now;
    return now;
  }

  // Under the mutex.
  void guard_delivery() {
    if (guarded_ || !guard_) return;
    try {
      guard_->expires_after(guard_period);
      guard_->async_wait([self = this->shared_from_this()](net::error_code e) { self->check_delivery(e); });
      guarded_ = true;
    } catch (const std::bad_alloc&) { // the next one tries again
    }
  }

  void call_off_guard() {
    if (guarded_ && guard_) guard_->cancel();
  }

  void check_delivery(net::error_code called_off) {
    {
      std::lock_guard lock(mutex_);
      guarded_ = false;
      if (token_ != token::polling) return; // also after stop(): a turn may have been deferred under this guard
      if (!delivery_.take_over_if_stuck(holder_, holder_ + 1, !called_off)) return guard_delivery();
      ++holder_;        // turn() goes one further; nobody else is called that
      guard_delivery(); // the next handler may block as well
      look_at_ = {};
    }
    turn();
  }

  class turn_scope {
  public:
    explicit turn_scope(const turn_mark& mark) noexcept : previous_(std::exchange(turn_on_this_thread, mark)) {}
    ~turn_scope() { turn_on_this_thread = previous_; }
    turn_scope(const turn_scope&) = delete;
    turn_scope& operator=(const turn_scope&) = delete;

  private:
    const turn_mark previous_;
  };

  // ---- between rounds, without the mutex ----

  // Makes workers, and tells observers and the trace what happened.
  void attend() {
    while (const auto index = locked([&] { return stopped_ ? std::nullopt : host_.take_start(); })) {
      try {
        auto made = host_.make(*index);
        locked([&] {
          if (!stopped_) host_.adopt(*index, std::move(made), pool::clock_now());
        });
      } catch (const pool_error& e) {
        locked([&] { host_.tasks().start_failed(*index, e.code(), pool::clock_now()); });
      } catch (const std::bad_alloc&) {
        locked([&] { host_.tasks().start_failed(*index, os::system_code(ENOMEM), pool::clock_now()); });
      }
    }
    post_notices();
    tell_trace();
  }

  void post_notices() {
    const auto [starts, exits] =
        locked([&] { return std::pair(host_.take_start_notices(), host_.take_exit_notices()); });
    for (const worker_start& e : starts)
      net::post(executor_, [observer = options_.on_worker_start, e]() mutable { observer(e); });
    for (const worker_exit& e : exits)
      net::post(executor_, [observer = options_.on_worker_exit, e]() mutable { observer(e); });
  }

  void tell_trace() {
    const auto [sink, events] = locked([&] { return std::pair(sink_, host_.tasks().traced().take()); });
    if (!sink) return;
    for (const trace_event& e : events) (*sink)(e);
  }

  // ---- the end ----

  std::shared_ptr<shutdown_gate> gate() {
    std::lock_guard lock(mutex_);
    if (!gate_) {
      gate_ = shutdown_gate::make(executor_);
      if (stopped_ || host_.over()) gate_->open();
    }
    return gate_;
  }

  // Under the mutex.
  pool::task_list take_undelivered() noexcept {
    pool::task_list all = std::exchange(host_.tasks().completed(), {});
    delivery_.abandon(all);
    return all;
  }

  static void end_all(pool::task_list& tasks, pool::ending how) noexcept {
    while (pool::task_record* t = tasks.pop_front()) t->end(*t, how);
  }

  void stop(bool complete_handlers) noexcept {
    if (!is_own_process()) return;
    pool::task_list done;
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      stopped_ = true;
      host_.begin_end();
      done = take_undelivered();
      net::error_code ignored;
      wait_->cancel(ignored);
      if (wait_->is_open()) wait_->release();
      call_off_guard();
    }
    host_.finish_end();
    end_all(done, complete_handlers ? pool::ending::post : pool::ending::destroy);
    if (complete_handlers && gate_) gate_->open();
  }

  static inline thread_local constinit turn_mark turn_on_this_thread{};

  net::any_io_executor executor_;
  net::io_context* context_ = nullptr;
  std::atomic<bool> context_is_gone_{false};
  resolved_options options_;
  std::uint64_t argument_limit_;
  pool::process_mark process_;
  pool::image_snapshot image_;
  std::unique_ptr<Records, typename Records::retirement> records_{new Records};
  std::optional<Descriptor> wait_; // on the host's epoll

  handler_memory turn_memory_;

  mutable os::mutex mutex_; // guards all below
  token token_ = token::idle;
  std::atomic<bool> stopped_{false};
  std::uint64_t holder_ = 1; // the turn that holds the token; 0 is "no turn" in delivery.hpp
  pool::time_point last_look_at_clock_{}, look_at_{};
  bool looked_ = false; // since the pool was idle
  std::shared_ptr<trace_sink> sink_;
  std::shared_ptr<shutdown_gate> gate_;
  std::optional<Timer> guard_;
  bool guarded_ = false; // guard_ has a handler
  delivery delivery_;
  Host host_;
  pool::idle_strategy<Host> idle_;
  shutdown_service::registration registration_;
};

using pool_core = basic_pool_core<pool::process_host>;

} // namespace coproc
