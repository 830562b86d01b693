// SPDX-License-Identifier: BSL-1.0
// The engine of a real pool: runs the process_host in turns on an Asio executor. It owns the mutex, the one wait on the host's
// epoll, and the one drainer token. Front end, any number of threads.
//
// The token: IDLE (nothing outstanding: no wait, no handler, so run() may return), POLLING (a turn is posted or
// running), ARMED (a wait on the epoll is pending). In POLLING and ARMED exactly one handler of ours exists, and it
// runs a turn. Rules W4 and W5, docs/protocol.md.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/delivery.hpp>
#include <coproc/front/engine.hpp>
#include <coproc/front/failure.hpp>
#include <coproc/front/handler_memory.hpp>
#include <coproc/front/idle_strategy.hpp>
#include <coproc/front/image.hpp>
#include <coproc/front/options_check.hpp>
#include <coproc/front/process_host.hpp>
#include <coproc/front/record_store.hpp>
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
      : engine(std::min(options.max_payload, options.limits.max_queue_bytes), ex), options_(options), host_(options),
        idle_(host_, options.worker.spin_limit, options.worker.busy_poll) {
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
      throw pool_error(make_error_code(errc::unknown_function),
                       "fn is in a library that was loaded after the pool was made, so the workers do not have it: load "
                       "the library first, or make the pool later");
    if (options == nullptr) {
      task_record& t = records_.acquire();
      t.call.entry = entry;
      t.call.limit_ns = 0;
      return t;
    }
    const task_terms terms = resolve(*options, options_.limits.max_workers);
    task_record& t = records_.acquire();
    t.call.entry = entry;
    t.call.limit_ns = limit_of(terms);
    t.special = true;
    make_details(t).terms = terms;
    return t;
  }

  [[noreturn]] void refuse_arguments(std::uint64_t bytes) const override {
    const bool payload = bytes > options_.max_payload;
    throw pool_error(make_error_code(errc::payload_too_large),
                     "the arguments of this call take more than the " +
                         std::to_string(payload ? options_.max_payload : options_.limits.max_queue_bytes) +
                         " bytes of pool_options::" + (payload ? "max_payload" : "max_queue_bytes"));
  }

  void grow_arguments(task_record& t, writer& w, std::size_t more_bytes) override {
    if (more_bytes > argument_limit_ || w.size() > argument_limit_ - more_bytes)
      refuse_arguments(w.size() + std::min(more_bytes, ~std::size_t{0} - w.size()));
    task_details& d = make_details(t);
    if (w.size() + more_bytes <= sizeof d.bytes) {
      std::memcpy(d.bytes, w.data(), w.size());
      return w.rebase(d.bytes, sizeof d.bytes);
    }
    shm::argument_block block = host_.segments()->allocate(w.size() + more_bytes);
    std::memcpy(block.data(), w.data(), w.size());
    d.block = std::move(block);
    t.encumbered = true;
    w.rebase(d.block.data(), d.block.capacity());
  }

  void seal_arguments(task_record& t, writer& w) override {
    if (w.size() > argument_limit_) refuse_arguments(w.size());
    t.call.length = w.size();
    task_details& d = make_details(t);
    if (d.block && w.data() == d.block.data()) {
      d.block.set_used(w.size());
      t.call.location = shm::packed_location{d.block.owner().id(), d.block.offset()}.pack();
    } else if (w.data() != t.bytes && w.size() <= sizeof t.bytes) { // it was rewound after it had grown
      std::memcpy(t.bytes, w.data(), w.size());
    }
  }

  void keep(task_record& t, const std::shared_ptr<const lent_memory>& memory) override {
    if (memory->owner != host_.segments().get())
      throw std::invalid_argument(
          "coproc: this argument_array was made for another pool, whose workers alone can map it: make it for the pool of "
          "this call, or pass a std::span of it, which is copied");
    t.call.location = task_record::inline_and_lent;
    make_details(t).lent.push_back(memory);
  }

  void recycle(task_record& t) noexcept override { records_.recycle(t); }

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

  std::shared_ptr<const lent_memory> lend(std::size_t count, std::size_t element_bytes) const override {
    expect_own_process();
    if (count > options_.max_payload / element_bytes)
      throw pool_error(make_error_code(errc::payload_too_large),
                       "an argument_array of " + std::to_string(count) + " elements takes more than the " +
                           std::to_string(options_.max_payload) + " bytes of pool_options::max_payload");
    const std::size_t bytes = count * element_bytes;
    return std::make_shared<const lent_block>(host_.segments()->allocate(bytes), bytes);
  }

  const std::shared_ptr<shm::segment_pool>& segments() const noexcept { return host_.segments(); }

  const void* memory_owner() const noexcept override { return host_.segments().get(); }

  // ---- tasks

  void submit(task_record& t) override {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (context_is_gone()) throw pool_error(make_error_code(errc::pool_closed));
    begin_turn();
    // A submission out of a completion costs no clock read of its own, unless time counts for it.
    const bool within_turn = in_turn();
    if (within_turn && host_.tasks().submit_quickly(t, last_look_at_clock_)) return guard_delivery();
    const auto now = within_turn && !t.special ? last_look_at_clock_ : clock_now();
    host_.tasks().submit(t, now);
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
    change([](auto& tasks, time_point now) { tasks.recycle_all(now); });
  }
  void terminate(int signal) noexcept override {
    change([&](auto& tasks, time_point now) { tasks.terminate(signal, now); });
  }

  void shut_down(duration drain_for) override {
    if (!is_own_process()) return;
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    begin_turn();
    const auto now = clock_now();
    host_.tasks().shut_down(after(now, drain_for), now);
    after_change(now, wakes);
    look_at_ = {};
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
    host_.tasks().traced().set(static_cast<bool>(sink));
    sink_ = sink ? std::make_shared<trace_sink>(std::move(sink)) : nullptr;
  }

  void stop() noexcept override {
    const executor_use context(*this);
    stop(true);
  }

  /// Destroys handlers uninvoked instead; when it returns, no thread touches the context any more. What others do with it they do
  /// within a use of the executor, or under the mutex after a look at context_is_gone() or stopped_.
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

  void expect_own_process() const {
    if (is_own_process()) return;
    throw pool_error(make_error_code(errc::wrong_process),
                     worker::this_worker_context.mailbox != nullptr
                         ? "a task cannot use the pool it runs in: return to the front end and submit from there"
                         : "this process is a forked copy of the one that made the pool: make a pool of its own here");
  }

  enum class token : std::uint8_t { idle, polling, armed };
  static constexpr std::size_t tasks_per_turn = 256;
  static constexpr std::chrono::microseconds turn_limit{20};  // then the loop's other handlers get their turn
  static constexpr std::chrono::microseconds look_period{50}; // at the epoll and at deadlines, while polling
  static constexpr std::chrono::microseconds deliver_limit{100}; // then a round, though handlers are left
  static constexpr std::chrono::milliseconds guard_period{2};

  struct turn_mark {
    pool_impl* core;
    std::uint64_t holder;
  };

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
    try {
      begin_turn();
    } catch (const std::bad_alloc&) { // nothing is outstanding: what is asked for begins with the next call
    }
    const auto now = clock_now();
    make(host_.tasks(), now);
    after_change(now, wakes);
    look_at_ = {};
  }

  // IDLE -> POLLING, before a change: the turn that sees to it waits for the mutex. Where there is no memory to post it, nothing has
  // changed. (On a plain io_context it needs none.)
  void begin_turn() {
    if (token_ == token::polling && turn_owed_) {
      post_turn();
      turn_owed_ = false;
    }
    if (token_ != token::idle) return;
    post_turn();
    token_ = token::polling;
    looked_ = false;
    look_at_ = time_point::max(); // what happened while all was idle is seen after the first round, or by the wait
  }

  // What is owed after a change by whoever made it.
  void after_change(time_point now, wake_list& wakes) {
    auto& tasks = host_.tasks();
    tasks.pump(now);
    flush(in_turn(), wakes); // inside a turn the rest is flushed at its end
    if (token_ == token::polling) {
      guard_delivery(); // whoever holds the token may be in a handler that blocks
    } else if (token_ == token::armed) {
      if (tasks.completed().empty() && !host_.has_starts() && !tasks.ending())
        host_.set_timer(host_.next_deadline());
      else
        interrupt_wait();
    }
  }

  void flush(bool only_sleepers, wake_list& wakes) {
    host_.tasks().waking().flush(only_sleepers, [&](worker_record& w) { wakes.add(w); });
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

  // Within a turn. Deferred, the next one is most likely run by this thread, after what else is ready; a post would wake another thread
  // of the context each time, to go on with what is in this one's caches. But should this thread leave the loop (run_one(), a
  // handler that throws), nobody is woken for what it leaves behind: so only while the guard's timer will wake somebody.
  void continue_turn() {
    if (!guarded_) return post_turn();
    with_executor([this](const auto& ex) { net::defer(ex, next_turn{shared_self()}); });
  }

  void woken() {
    {
      std::lock_guard lock(mutex_);
      token_ = token::polling;
      look_at_ = clock_now();
      idle_.woken(look_at_);
    }
    turn();
  }

  // Rounds of drain, dispatch, complete, until there is nothing left to do; bounded, so that the loop's other handlers get
  // their turn. Only the holder of the token runs it; who holds it is said by holder_, see check_delivery().
  void turn() {
    const std::uint64_t me = locked([&] { return ++holder_; });
    const turn_scope scope({this, me});
    const record_store::turn_cache cache(records_);
    try {
      round r;
      std::size_t completed = deliver(me, r);
      for (time_point end = time_point::max(); completed < tasks_per_turn;) {
        advance(me, r);
        if (r.next == step::end) return;
        if (r.next == step::spin) {
          if (!idle_.spin().slice()) break;
          r.now = idle_.spin().last_time();
        }
        if (r.next == step::attend) attend();
        if (r.next != step::spin) completed += deliver(me, r);
        if (r.now >= end) break;
        if (end == time_point::max()) end = r.now + turn_limit;
      }
    } catch (...) { // of a handler, or for want of memory; io_context::run() throws it
      go_on(me, &pool_impl::post_turn);
      throw;
    }
    go_on(me, &pool_impl::continue_turn);
  }

  void go_on(std::uint64_t me, void (pool_impl::*next)()) {
    wake_list wakes;
    std::lock_guard lock(mutex_);
    if (holder_ != me) {
      lost(wakes);
      return;
    }
    delivery_.between_handlers(); // one may have thrown
    try {
      (this->*next)();
    } catch (const std::bad_alloc&) { // the guard's timer goes on, or the next call
      turn_owed_ = true;
      guard_delivery();
    }
  }

  enum class step { begin, complete, attend, spin, end };

  struct round {
    step next = step::begin;
    time_point now{};
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

  // One round under the mutex. `end`: the token is IDLE or ARMED now, or somebody else's. Rules W4 and W5,
  // docs/protocol.md.
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
    if (look_at_ == time_point::max()) look_at_ = now + look_period;
    if (now >= look_at_ && (moved == 0 || now - look_at_ >= look_period)) {
      look_at_ = now + look_period;
      looked_ = true;
      tasks.waking().publish_cpu(os::current_cpu());
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
      if (host_.over()) gate_->open();
      return step::end;
    }
    if (idle_.spins(now)) {
      delivery_.between_handlers(); // the spinner looks at memory without the mutex
      return step::spin;
    }
    if (!idle_.falls_asleep(clock_now(), os::current_cpu())) return step::begin;
    delivery_.between_handlers(); // as where the token becomes IDLE
    // Under the mutex, like cancel(): the descriptor object is not thread-safe.
    wait_->async_wait(net::posix::stream_descriptor::wait_read,
                      [self = shared_self()](net::error_code) { self->woken(); });
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
      t->end(*t, stopped_.load(std::memory_order_relaxed) ? ending::post : ending::invoke);
      if (!more) return n + 1;
    }
  }

  time_point refresh_clock(std::uint64_t me) {
    const auto now = clock_now();
    std::lock_guard lock(mutex_);
    if (holder_ == me) last_look_at_clock_ = now;
    return now;
  }

  // Under the mutex.
  void guard_delivery() {
    if (guarded_ || !guard_) return;
    try {
      guard_->expires_after(guard_period);
      guard_->async_wait([self = shared_self()](net::error_code e) { self->check_delivery(e); });
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
      if (!std::exchange(turn_owed_, false) && !delivery_.take_over_if_stuck(holder_, holder_ + 1, !called_off))
        return guard_delivery();
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
          if (!stopped_) host_.adopt(*index, std::move(made), clock_now());
        });
      } catch (const pool_error& e) {
        locked([&] { host_.tasks().start_failed(*index, e.code(), clock_now()); });
      } catch (const std::bad_alloc&) {
        locked([&] { host_.tasks().start_failed(*index, os::system_code(ENOMEM), clock_now()); });
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
        net::post(ex, [observer = options_.on_worker_start, e]() mutable { observer(e); });
      for (const worker_exit& e : exits)
        net::post(ex, [observer = options_.on_worker_exit, e]() mutable { observer(e); });
    });
  }

  void tell_trace() {
    const auto [sink, events] = locked([&] { return std::pair(sink_, host_.tasks().traced().take()); });
    if (!sink) return;
    for (const trace_event& e : events) (*sink)(e);
  }

  // ---- the end ----

  // Under the mutex.
  task_list take_undelivered() noexcept {
    task_list all = std::exchange(host_.tasks().completed(), {});
    delivery_.abandon(all);
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
  token token_ = token::idle;
  std::atomic<bool> stopped_{false};
  std::uint64_t holder_ = 1; // the turn that holds the token; 0 is "no turn" in delivery.hpp
  time_point last_look_at_clock_{}, look_at_{};
  bool looked_ = false; // since the pool was idle
  std::shared_ptr<trace_sink> sink_;
  std::optional<net::steady_timer> guard_;
  bool guarded_ = false;   // guard_ has a handler
  bool turn_owed_ = false; // POLLING, but for want of memory no turn could be posted
  delivery delivery_;
  process_host host_;
  idle_strategy<process_host> idle_;
  shutdown_service::registration registration_;
};

} // namespace coproc::detail::front
