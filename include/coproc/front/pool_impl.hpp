// SPDX-License-Identifier: BSL-1.0
// The engine of a real pool: runs the process_host in turns on an Asio executor. It owns the mutex, the one wait on the
// host's epoll, and the timer that guards handlers, and does what turn.hpp says: at any time at most one handler of
// ours exists beside that timer's, and it runs a turn (rules W4 and W5, docs/protocol.md). Front end, any number of
// threads.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/arguments.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/front/failure.hpp>
#include <coproc/front/handler_memory.hpp>
#include <coproc/front/idle_strategy.hpp>
#include <coproc/front/image.hpp>
#include <coproc/front/options_check.hpp>
#include <coproc/front/process_host.hpp>
#include <coproc/front/record_store.hpp>
#include <coproc/front/turn.hpp>
#include <coproc/front/wake_list.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/net/shutdown_gate.hpp>
#include <coproc/net/shutdown_service.hpp>
#include <coproc/os/lock.hpp>
#include <coproc/os/spin.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace coproc::detail::front {

COPROC_LAZY_CLASS class pool_impl final : public engine, public shutdown_listener {
public:
  pool_impl(const net::any_io_executor& ex, const resolved_options& options)
      : engine(arguments::limit(options.max_payload, options.limits.max_queue_bytes), ex), options_(options),
        host_(options, tasks_), arguments_(host_.segments(), options.max_payload, options.limits.max_queue_bytes),
        tasks_(options.limits, host_.kernel()),
        idle_(host_, tasks_.waking(), options.worker.spin_limit, options.worker.busy_poll) {
    try {
      wait_.emplace(ex);
      guard_.emplace(ex);
    } catch (const net::system_error& e) { // it may be the first to need the context's reactor
      // Not every errno of Asio 1.22's own system category equals its std::errc; those of the standard one do.
      throw pool_error(os::system_code(e.code().value()), "coproc: the execution context");
    }
    if (const auto* io = as_io_executor(ex)) context_.store(context_of(*io), std::memory_order_relaxed);
  }

  ~pool_impl() override {
    if (wait_ && wait_->is_open()) wait_->release(); // the descriptor is the host's
  }

  /// Starts the fork server and the first workers; throws with everything rolled back.
  void start() {
    os::count_forks();
    process_ = {};
    host_.launch();
    const net::any_io_executor ex = executor();
    registration_.join(ex, weak_self());
    gate_ = shutdown_gate::make(ex);
    wait_->assign(host_.wait_fd());
    post_notices();
  }

  // ---- one call

  task_record& acquire(std::uintptr_t entry, std::uintptr_t code, const task_options* options) override {
    expect_own_process();
    if (!image_.contains(entry) || !image_.contains(code))
      throw pool_error(
          make_error_code(errc::unknown_function),
          "fn is in a library that was loaded after the pool was made, so the workers do not have it: load "
          "the library first, or make the pool later");
    if (options == nullptr) {
      task_record& t = records_.acquire();
      t.call.entry = entry;
      t.call.limit_ns = 0;
      return t;
    }
    const task_terms terms = resolve(*options);
    task_record& t = records_.acquire();
    t.call.entry = entry;
    t.call.limit_ns = limit_of(terms);
    t.special = true;
    make_details(t).terms = terms;
    return t;
  }

  [[noreturn]] void refuse_arguments(std::uint64_t bytes) const override { throw arguments_.too_large(bytes); }
  void grow_arguments(task_record& t, writer& w, std::size_t more_bytes) override { arguments_.grow(t, w, more_bytes); }
  void seal_arguments(task_record& t, writer& w) override { arguments_.seal(t, w); }
  void keep(task_record& t, const std::shared_ptr<const array_memory>& memory) override { arguments_.keep(t, memory); }

  // What a record of a forked copy holds is mapped in the original alone: leaked there on purpose, as the pool is.
  void recycle(task_record& t) noexcept override {
    if (is_own_process()) [[likely]]
      records_.recycle(t);
  }

  cold_part& make_cold(task_record& t) noexcept override { return make_details(t); }

  std::span<const std::byte> result_in_file(const task_record& t) const noexcept override {
    return {details(t).far_result, t.result_length};
  }

  std::exception_ptr failure(task_record& t) const noexcept override { return failure_of(t); }

  std::shared_ptr<const std::byte> borrow(task_record& t, std::shared_ptr<void>& loan, std::uint64_t place,
                                          std::uint64_t bytes) const override {
    return borrow_views(t, loan, place, bytes);
  }

  // ---- memory

  std::shared_ptr<const array_memory> lend(std::size_t count, std::size_t element_bytes) const override {
    expect_own_process();
    return arguments_.lend(count, element_bytes);
  }
  const std::shared_ptr<shm::segment_pool>& segments() const noexcept { return host_.segments(); }
  const void* memory_owner() const noexcept override { return arguments_.owner(); }

  // ---- tasks

  void submit(task_record& t) override {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (context_is_gone()) throw pool_error(make_error_code(errc::pool_closed));
    see_to_a_turn();
    // A submission out of a completion costs no clock read of its own, unless time counts for it.
    const bool within_turn = in_turn();
    if (within_turn && tasks_.submit_quickly(t, turn_.last_time())) return set_guard();
    const auto now = within_turn && !t.special ? turn_.last_time() : clock_now();
    tasks_.submit(t, now);
    after_change(now, wakes);
  }

  void cancel(task_record& t, std::uint64_t ticket, net::cancellation_type type) noexcept override {
    using ct = net::cancellation_type;
    cancel_strength strength{};
    if ((type & ct::terminal) != ct::none)
      strength = cancel_strength::terminal;
    else if ((type & ct::partial) != ct::none)
      strength = cancel_strength::partial;
    else if ((type & ct::total) != ct::none)
      strength = cancel_strength::total;
    else
      return;
    change([&](auto& tasks, time_point now) { tasks.cancel(t, ticket, strength, now); });
  }

  // ---- the pool as a whole; each harmless after the end, and in a forked copy

  void close() noexcept override {
    change([](auto& tasks, time_point) { tasks.close(); });
  }
  void recycle_workers() noexcept override {
    change([](auto& tasks, time_point now) { tasks.workers().recycle_all(now); });
  }
  void resize(count min_workers, count max_workers) override {
    expect_own_process();
    const pool_size size = resolve_size(min_workers, max_workers, options_.limits);
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    see_to_a_turn();
    const auto now = clock_now();
    host_.resize(size.min_workers, size.max_workers, now);
    after_change(now, wakes);
    turn_.check_soon();
  }
  void terminate(int signal) noexcept override {
    change([&](auto& tasks, time_point now) { tasks.terminate(signal, now); });
  }

  void shut_down(duration drain_for) override {
    if (!is_own_process()) return;
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    see_to_a_turn();
    const auto now = clock_now();
    tasks_.shut_down(after(now, drain_for), now);
    after_change(now, wakes);
    turn_.check_soon();
  }

  void drop_queued() noexcept override {
    change([](auto& tasks, time_point now) { tasks.drop_queued(now); });
  }

  std::shared_ptr<shutdown_gate> gate() override {
    expect_own_process();
    return gate_;
  }

  pool_stats stats() const override {
    expect_own_process();
    std::lock_guard lock(mutex_);
    return host_.stats(clock_now());
  }

  void trace(trace_sink sink) override {
    if (!is_own_process()) return;
    std::lock_guard lock(mutex_);
    tasks_.workers().traced().set(static_cast<bool>(sink));
    sink_ = sink ? std::make_shared<trace_sink>(std::move(sink)) : nullptr;
  }

  void stop() noexcept override {
    const executor_use context(*this);
    stop(true);
  }

  void context_forked() noexcept override { end_in_copy(); }

  /// Destroys handlers uninvoked instead; when it returns, no thread touches the context any more. What others do with
  /// it they do within a use of the executor, or under the mutex after a look at context_is_gone() or stopped_.
  void context_shutting_down() noexcept override {
    context_.store(nullptr, std::memory_order_release);
    context_is_gone_.store(true, std::memory_order_release);
    stop(false);
    if (!is_own_process()) return;
    executor_.take_back();
    task_list left; // since an earlier stop(), for a turn that the context was to run
    {
      std::lock_guard lock(mutex_);
      left = take_undelivered();
      guard_.reset();
      wait_.reset(); // also after an earlier stop(): this object may be held by awaitables that outlive the context
    }
    end_all(left, ending::destroy);
  }

private:
  std::shared_ptr<pool_impl> shared_self() { return std::static_pointer_cast<pool_impl>(this->shared_from_this()); }
  std::weak_ptr<shutdown_listener> weak_self() { return shared_self(); }

  static constexpr const char* this_is_a_copy =
      "this process is a forked copy of the one that made the pool: make a pool of its own here";

  void expect_own_process() const {
    if (is_own_process()) return;
    throw pool_error(make_error_code(errc::wrong_process),
                     detail::worker::this_worker_context.mailbox != nullptr
                         ? "a task cannot use the pool it runs in: return to the front end and submit from there"
                         : this_is_a_copy);
  }

  // The process was forked with calls outstanding, and its copy runs the loop, too. Workers, events and shared memory
  // are the original's: a copy that looked at them would take them from it, or crash. Its calls end here. Whatever of
  // ours a loop may invoke asks is_own_process() first.
  [[gnu::cold, gnu::noinline]] void end_in_copy() noexcept {
    if (is_own_process()) return;
    const net::error_code error = make_error_code(errc::wrong_process);
    task_list left;
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(ended_in_copy_, true)) return;
      tasks_.abandon();
      left = take_undelivered();
      net::error_code ignored;
      if (wait_) wait_->cancel(ignored); // not release(): before notify_fork() the reactor's epoll is the original's
    }
    while (task_record* t = left.pop_front()) {
      task_details& d = make_details(*t);
      d.error = error;
      d.error_cause = {};
      d.error_text = this_is_a_copy;
      t->outcome = verdict::failed;
      t->end(*t, ending::post);
    }
    if (gate_) gate_->fail(std::make_exception_ptr(pool_error(error, this_is_a_copy)));
  }

  struct turn_mark {
    pool_impl* core;
    turn::number holder;
  };

  // Under the mutex: is this thread within the turn that holds the token?
  bool in_turn() const noexcept {
    return turn_on_this_thread.core == this && turn_.is_held_by(turn_on_this_thread.holder);
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
    try {
      see_to_a_turn();
    } catch (const std::bad_alloc&) { // nothing is outstanding: what is asked for begins with the next call
    }
    const auto now = clock_now();
    make(tasks_, now);
    after_change(now, wakes);
    turn_.check_soon();
  }

  // Before a change: the turn that sees to it waits for the mutex. Where there is no memory to post it, nothing has
  // changed. (On a plain io_context it needs none.)
  void see_to_a_turn() {
    if (!turn_.needs_post()) return;
    post_turn();
    turn_.posted();
  }

  // What is owed after a change by whoever made it.
  void after_change(time_point now, wake_list& wakes) {
    tasks_.pump(now);
    flush(in_turn(), wakes); // inside a turn the rest is flushed at its end
    switch (turn_.changed(!tasks_.completed().empty() || host_.has_starts() || tasks_.ending())) {
    case turn::answer::nothing: return;
    case turn::answer::guard: return set_guard();
    case turn::answer::set_timer: return static_cast<void>(host_.set_timer(host_.next_deadline()));
    case turn::answer::interrupt: return interrupt_wait();
    }
  }

  void flush(bool only_sleepers, wake_list& wakes) {
    tasks_.waking().flush(only_sleepers, [&](worker& w) { wakes.add(w); });
  }

  void interrupt_wait() {
    tasks_.waking().disarm();
    net::error_code ignored;
    if (wait_) wait_->cancel(ignored);
  }

  // The one that is posted lies in turn_memory_, at least on a plain io_context, so that posting it needs no memory of
  // the heap.
  struct next_turn {
    using allocator_type = handler_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type(self->turn_memory_); }
    void operator()() const { self->run_turn(); }

    std::shared_ptr<pool_impl> self;
  };

  // Under the mutex, and not stopped by the context; or on a thread of the context.
  template <class Use>
  void with_executor(Use use) {
    if (net::io_context* const io = context()) return use(io->get_executor());
    if (const executor_use ex(*this); ex) use(*ex);
  }

  void post_turn() {
    with_executor([this](const auto& ex) { net::post(ex, next_turn{shared_self()}); });
  }

  // Within a turn. Deferred, the next one is most likely run by this thread, after what else is ready; a post would
  // wake another thread of the context each time, to go on with what is in this one's caches. But should this thread
  // leave the loop (run_one(), a handler that throws), nobody is woken for what it leaves behind: so only while the
  // guard's timer will wake somebody.
  void continue_turn() {
    if (!turn_.is_guarded()) return post_turn();
    with_executor([this](const auto& ex) { net::defer(ex, next_turn{shared_self()}); });
  }

  void woken() {
    if (!is_own_process()) return end_in_copy();
    {
      const std::lock_guard lock(mutex_);
      const auto now = clock_now();
      turn_.woken(now);
      idle_.woken(now);
    }
    run_turn();
  }

  // Rounds of drain, dispatch, complete, until there is nothing left to do; bounded, so that the loop's other handlers
  // get their turn.
  void run_turn() {
    if (!is_own_process()) return end_in_copy();
    turn::run r(locked([this] { return turn_.begin(); }));
    const turn_scope scope({this, r.me});
    const record_store::turn_cache cache(records_);
    try {
      if (!go_through_rounds(r)) return;
    } catch (...) { // of a handler, or for want of memory; io_context::run() throws it
      go_on(r.me, &pool_impl::post_turn);
      throw;
    }
    go_on(r.me, &pool_impl::continue_turn);
  }

  // True: another turn is to go on.
  bool go_through_rounds(turn::run& r) {
    deliver(r);
    while (r.has_tasks_left()) {
      advance(r);
      switch (r.next) {
      case turn::step::idle:
      case turn::step::end: return false;
      case turn::step::spin:
        if (!idle_.spin().slice()) return true;
        r.now = idle_.spin().last_time();
        break;
      case turn::step::attend: attend(); [[fallthrough]];
      default: deliver(r);
      }
      if (!r.has_time_left()) return true;
    }
    return true;
  }

  void go_on(turn::number me, void (pool_impl::*next)()) {
    if (!is_own_process()) return end_in_copy();
    wake_list wakes;
    const std::lock_guard lock(mutex_);
    if (!turn_.is_held_by(me)) return lost(wakes);
    turn_.goes_on();
    try {
      (this->*next)();
    } catch (const std::bad_alloc&) {
      turn_.could_not_post();
      set_guard();
    }
  }

  void advance(turn::run& r) {
    if (!is_own_process()) { // a handler forked
      end_in_copy();
      r.next = turn::step::end;
      return;
    }
    wake_list wakes;
    const std::lock_guard lock(mutex_);
    if (turn_.is_held_by(r.me)) {
      r.next = round(r, wakes);
    } else {
      lost(wakes);
      r.next = turn::step::end;
    }
  }

  // A turn that was taken over has given back results since, for whose room their worker may be waiting; the holder,
  // who was to wake it, may be asleep.
  [[gnu::cold, gnu::noinline]] void lost(wake_list& wakes) {
    if (!stopped_) flush(false, wakes);
  }

  // One round under the mutex.
  turn::step round(turn::run& r, wake_list& wakes) {
    if (stopped_) {
      if (take_completed() != 0) return turn::step::deliver;
      call_off_guard();
      turn_.stopped();
      return turn::step::end;
    }
    const bool has_spun = r.next == turn::step::spin;
    const bool time_counts = tasks_.books().any_special();
    const auto now = r.now = has_spun && !time_counts ? idle_.spin().time() : idle_.spin().exact_time();
    turn_.set_time(now);
    turn::findings found;
    found.left_some = r.left_some;
    found.moved = r.left_some ? 0 : tasks_.drain(turn::tasks_per_turn, now);
    if (turn_.check_is_due(now, found.moved)) {
      tasks_.waking().publish_cpu(os::current_cpu());
      host_.clear_graveyard();
      host_.take_events(now);
      host_.tick(now);
    }
    tasks_.pump(now);
    flush(false, wakes);
    found.ended = take_completed();
    idle_.moved(found.moved);
    found.errands = host_.has_starts() || host_.has_notices() || !tasks_.workers().traced().empty();
    found.busy = host_.busy();
    switch (const turn::step next = turn_.after_round(found)) {
    case turn::step::idle:
      call_off_guard();
      if (host_.over()) gate_->open();
      return next;
    case turn::step::rest: return rest(now);
    default: return next;
    }
  }

  turn::step rest(time_point now) {
    if (idle_.spins(now)) return turn::step::spin;
    if (!idle_.falls_asleep(clock_now(), os::current_cpu())) return turn::step::round;
    // Under the mutex, like cancel(): the descriptor object is not thread-safe.
    wait_->async_wait(net::posix::stream_descriptor::wait_read,
                      [self = shared_self()](net::error_code) { self->woken(); });
    turn_.armed();
    return turn::step::end;
  }

  // ---- completing

  std::size_t take_completed() noexcept {
    auto& completed = tasks_.completed();
    const std::size_t n = completed.size();
    if (n == 0) return 0;
    turn_.add(completed);
    if (!stopped_ && (n > 1 || host_.busy())) set_guard();
    return n;
  }

  // Handlers that throw leave the rest to the next turn. So do those that take long, each not long enough to be taken
  // over from: deadlines and results must not wait for all of them.
  void deliver(turn::run& r) {
    r.left_some = false;
    for (std::size_t n = 0;; ++n) {
      if (turn::run::looks_at_clock(n) && r.delivers_too_long(refresh_clock(r.me))) {
        r.left_some = true;
        return r.delivered(n);
      }
      const auto [t, more] = turn_.claim(r.me);
      if (t == nullptr) return r.delivered(n);
      t->end(*t, stopped_.load(std::memory_order_relaxed) ? ending::post : ending::invoke);
      if (!more || !is_own_process()) return r.delivered(n + 1);
    }
  }

  time_point refresh_clock(turn::number me) {
    const auto now = clock_now();
    const std::lock_guard lock(mutex_);
    if (turn_.is_held_by(me)) turn_.set_time(now);
    return now;
  }

  // Under the mutex.
  void set_guard() {
    if (!turn_.needs_guard() || !guard_) return;
    try {
      guard_->expires_after(turn::guard_period);
      guard_->async_wait([self = shared_self()](net::error_code e) { self->check_delivery(e); });
      turn_.guard_set();
    } catch (const std::bad_alloc&) { // the next one tries again
    }
  }

  void call_off_guard() {
    if (turn_.is_guarded() && guard_) guard_->cancel();
  }

  // Also after stop(): a turn may have been deferred under this guard.
  void check_delivery(net::error_code called_off) {
    if (!is_own_process()) return end_in_copy();
    {
      const std::lock_guard lock(mutex_);
      const auto answer = turn_.guard_fired(!called_off);
      if (answer == turn::guard_answer::nothing) return;
      set_guard();
      if (answer == turn::guard_answer::guard) return;
    }
    run_turn();
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
          if (!stopped_) host_.adopt(*index, std::move(made), clock_now());
        });
      } catch (const pool_error& e) {
        locked([&] { tasks_.workers().start_failed(*index, e.code(), clock_now()); });
      } catch (const std::bad_alloc&) {
        locked([&] { tasks_.workers().start_failed(*index, os::system_code(ENOMEM), clock_now()); });
      }
    }
    post_notices();
    tell_trace();
  }

  void post_notices() {
    const auto [starts, exits] =
        locked([&] { return std::pair(host_.take_start_notices(), host_.take_exit_notices()); });
    with_executor([&](const auto& ex) {
      for (const worker_start& e : starts)
        net::post(ex, tell_here([observer = options_.on_worker_start, e]() mutable { observer(e); }));
      for (const worker_exit& e : exits)
        net::post(ex, tell_here([observer = options_.on_worker_exit, e]() mutable { observer(e); }));
    });
  }

  // Not in a forked copy of this process, which has no workers.
  template <class Tell>
  static auto tell_here(Tell tell) {
    return [tell, process = os::process_mark()]() mutable {
      if (process.is_own()) tell();
    };
  }

  void tell_trace() {
    const auto [sink, events] = locked([&] { return std::pair(sink_, tasks_.workers().traced().take()); });
    if (!sink) return;
    for (const trace_event& e : events) (*sink)(e);
  }

  // ---- the end ----

  // Under the mutex.
  task_list take_undelivered() noexcept {
    task_list all = std::exchange(tasks_.completed(), {});
    turn_.abandon(all);
    return all;
  }

  static void end_all(task_list& tasks, ending how) noexcept {
    while (task_record* t = tasks.pop_front()) t->end(*t, how);
  }

  void stop(bool complete_handlers) noexcept {
    if (!is_own_process()) return;
    task_list done;
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
    end_all(done, complete_handlers ? ending::post : ending::destroy);
    if (complete_handlers) gate_->open();
  }

  COPROC_VISIBLE static inline thread_local constinit turn_mark turn_on_this_thread{};

  resolved_options options_;
  image_snapshot image_;
  record_store records_{this};
  std::optional<net::posix::stream_descriptor> wait_; // on the host's epoll

  std::shared_ptr<shutdown_gate> gate_; // made by start()
  handler_memory turn_memory_;

  mutable os::mutex mutex_; // guards all below
  std::atomic<bool> stopped_{false};
  turn turn_;
  std::shared_ptr<trace_sink> sink_;
  std::optional<net::steady_timer> guard_;
  bool ended_in_copy_ = false; // this is one, and has seen to what it was copied with
  process_host host_;
  const arguments arguments_; // not under the mutex
  dispatcher tasks_;
  idle_strategy<process_host, wakeups> idle_;
  shutdown_service::registration registration_;
};

} // namespace coproc::detail::front
