// SPDX-License-Identifier: BSL-1.0
// A machine in one thread: a clock that jumps from event to event, worker processes that operate real mailboxes one
// shared access at a time, a fork server (the shipped state machine) behind a socket, and a front end that lives on
// what wakes it: bells, pidfds, messages, its timer. Around the shipped dispatcher and turn; seeded, so that every run
// replays. A wake-up that is lost here is a run that never ends. May include front/, server/ and below; needs
// COPROC_FAULT_POINTS.
#pragma once

#include "fake_workers.hpp"

#include <coproc/front/bell_moderation.hpp>
#include <coproc/front/early_wake.hpp>
#include <coproc/front/record_handler.hpp>
#include <coproc/front/turn.hpp>
#include <coproc/server/fork_server.hpp>

#include <fmt/format.h>

#include <deque>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <unordered_map>

namespace coproc::testing {

/// What a simulated task does once it is begun, and what was done to it.
struct simulated_task {
  enum class kind { value, endless, deaf, polite, suicide };

  front::task_record* record = nullptr;
  std::uint64_t ticket = 0;
  kind does = kind::value;
  duration length{};
  bool may_wait = true, cancelled = false, terminal = false, request_stop = false, has_block = false;
  duration timeout = unlimited;
  int begun = 0;
  std::uint64_t ran_on = 0;
  os::time_point told_at = os::time_point::max(); ///< its worker has published, and rung if that was asked for
};

/// A worker process: each step is one access to shared memory, and it may die, or be stopped, between any two.
struct simulated_worker : hand_worker {
  enum class at { boot, fetch, claim, header, body, result, done, acknowledge, bell, epoch, tag, check, futex, awake };

  using hand_worker::hand_worker;

  std::uint64_t incarnation = 0;
  unsigned index = 0;
  pid_t pid = 0;
  at next = at::boot;
  bool alive = false, stopped = false, asleep = false, watched = true, termed = false, dies_in_initializer = false;
  bool deaf = false;                 ///< blocks SIGTERM just now
  os::time_point unkillable_until{}; ///< in an uninterruptible sleep
  std::uint64_t name = 0;            ///< of the task it runs
  std::uint32_t epoch = 0;
  std::uint64_t last_rung = 0, turn = 0; ///< the scheduled step has this number; others are void
  int lost = 0, status = 0;
  os::time_point body_begins{}, body_ends{};
};

class simulator {
public:
  explicit simulator(std::uint64_t seed)
      : random_(seed), limits_{.max_workers = 1 + static_cast<unsigned>(below(4)),
                               .max_queue = 4 + below(60),
                               .max_queue_bytes = 3000,
                               .kill_grace = 20ms,
                               .exit_status_wait = 50ms,
                               .max_start_failures = 1000},
        fault_rate_(chance(0.1)   ? 0.0
                    : chance(0.5) ? 0.02
                                  : 0.2),
        effects_(*this), d_(limits_, effects_), server_effects_(*this), server_(server_effects_) {
    current = this;
    os::faults.before_store = [](unsigned) { current->interleave(); };
    os::faults.after_store = [](unsigned) { current->interleave(); };
    for (unsigned i = 0; i != limits_.max_workers; ++i) effects_.starts.push_back(i);
    start_requested();
  }
  ~simulator() { os::faults = {}; }
  simulator(const simulator&) = delete;

  /// Tasks come, are cancelled, and anything goes wrong.
  void run_unsafe(int tasks) {
    const bool close = chance(0.1), lose = fault_rate_ > 0 && chance(0.1), changes_size = chance(0.5);
    for (int i = 0; i != tasks && !failed(); ++i) {
      advance_to(now_ + random_time(300us));
      submit();
      if (chance(0.2)) cancel_one();
      if (changes_size && chance(0.2)) resize();
      if (faulty()) break_something();
      if (lose && i == tasks / 2) lose_server();
    }
    if (close) {
      d_.close();
      closed_ = true;
      after_change();
    }
  }

  /// Faults stop: everything ends within `bound` of simulated time. In half of the worlds what is stopped stays
  /// stopped, and what survives SIGKILL does so for ever; then there must be other workers in its place.
  void run_live(duration bound) {
    faults_ = false;
    const bool stuck = chance(0.5);
    for (auto& [incarnation, w] : workers_) settle(w, stuck);
    // What runs for ever without a time-out is nobody's fault but the caller's.
    std::vector<std::uint64_t> endless;
    for (auto& [name, t] : open_)
      if ((stuck || t.does != simulated_task::kind::value) && t.timeout == unlimited) endless.push_back(name);
    for (const auto name : endless)
      if (const auto it = open_.find(name); it != open_.end()) cancel(it->second, front::cancel_strength::terminal);
    advance_to(now_ + 100ms);
    for (int i = 0; i != 8 && !failed(); ++i) submit(true);
    advance_to(now_ + bound);
    if (!open_.empty())
      fail(fmt::format("{} tasks have not ended {} ms after the last fault:{}", open_.size(), bound / 1ms,
                       describe_open()));
    if (d_.outstanding() != 0 || d_.books().accepted() != 0 || d_.books().accepted_bytes() != 0)
      fail("the counters of the queue are off");
  }

  bool failed() const { return !failures.empty(); }
  std::vector<std::string> failures;
  std::uint64_t completions = 0, deaths = 0, steps = 0, moved = 0, quick = 0, silent_sleeps = 0, caught_early = 0;
  std::uint64_t resizes = 0;
  std::array<std::uint64_t, 7> outcomes{};

private:
  struct worker : simulated_worker {
    using simulated_worker::simulated_worker;
    bool killed_in_vain = false, stuck = false;
  };

  // The end of the faults for one worker.
  void settle(worker& w, bool stuck) {
    const auto runs = w.running ? open_.find(w.name) : open_.end();
    // A request to stop, or an initializer, may take as long as it likes.
    if (stuck && w.alive && w.stopped && w.next != at::boot && (runs == open_.end() || !runs->second.request_stop)) {
      w.stuck = true;
      if (w.unkillable_until > now_) w.unkillable_until = os::time_point::max();
      return;
    }
    w.unkillable_until = {};
    if (w.killed_in_vain) die(w, SIGKILL);
    if (std::exchange(w.stopped, false)) schedule(w, 0ns);
  }

  // ---- chance and time

  bool chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }
  bool faulty() { return faults_ && chance(fault_rate_); }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  duration random_time(duration most) {
    return duration(static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most.count()) + 1)));
  }
  void fail(std::string what) {
    if (failures.size() < 5) failures.push_back(fmt::format("{} (at {} us)", what, (now_ - begin_) / 1us));
  }

  struct event {
    os::time_point at;
    std::uint64_t order;
    std::function<void()> happens;
    bool operator<(const event& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
  };

  void after(duration delay, std::function<void()> happens) {
    events_.push({now_ + delay, ++orders_, std::move(happens)});
  }

  void advance_to(os::time_point end) {
    int at_once = 0;
    while (!events_.empty() && events_.top().at <= end && !failed()) {
      auto e = std::move(const_cast<event&>(events_.top()));
      events_.pop();
      at_once = e.at == now_ ? at_once + 1 : 0;
      if (at_once > 20'000) return fail("time stands still: something spins");
      now_ = e.at;
      e.happens();
      check_limits();
    }
    now_ = std::max(now_, end);
  }

  void check_limits() {
    if (d_.books().accepted() > limits_.max_queue) fail("more accepted than max_queue");
    if (d_.books().accepted_bytes() > limits_.max_queue_bytes) fail("more bytes accepted than max_queue_bytes");
    const auto outstanding = d_.books().outstanding();
    if (outstanding + d_.completed().size() != open_.size())
      fail(fmt::format("{} outstanding, {} submitted and not completed", outstanding, open_.size()));
  }

  std::string describe_open() {
    std::string text;
    for (const auto& [name, t] : open_)
      text += fmt::format(
          "\n  task {}: kind {}, place {}, begun {} on {}, time-out {} us, cancelled {}, terminal {}, request_stop {}",
          name, static_cast<int>(t.does), static_cast<int>(t.record->where), t.begun, t.ran_on,
          t.timeout == unlimited ? -1 : t.timeout / 1us, t.cancelled, t.terminal, t.request_stop);
    d_.workers().each_worker([&](front::worker& r) {
      const worker& w = workers_.at(r.incarnation);
      text += fmt::format(
          "\n  worker {}: status {}, suspended {}, load {}; next {}, alive {}, stopped {}, stuck {}, asleep {}, "
          "deaf {}",
          r.incarnation, static_cast<int>(r.status()), r.suspended(), r.load(), static_cast<int>(w.next), w.alive,
          w.stopped, w.stuck, w.asleep, w.deaf);
    });
    text +=
        fmt::format("\n  front end: waits {}, timer in {} us, next deadline in {} us, server gone {}", waits_,
                    timer_at_ == os::time_point::max() ? -1 : (timer_at_ - now_) / 1us,
                    d_.next_deadline() == os::time_point::max() ? -1 : (d_.next_deadline() - now_) / 1us, server_gone_);
    return text;
  }

  // ---- the application

  enum class submitter { anybody, handler }; // a handler is called within a turn

  void submit(bool harmless = false, submitter from = submitter::anybody) {
    const std::uint64_t name = ++names_;
    front::task_record& t = records_.acquire();
    simulated_task s;
    const auto dice = below(100);
    using kind = simulated_task::kind;
    s.does = dice < 80   ? kind::value
             : dice < 84 ? kind::endless
             : dice < 86 ? kind::deaf
             : dice < 94 ? kind::polite
                         : kind::suicide;
    if (harmless) s.does = kind::value;
    s.length = random_time(harmless || chance(0.7) ? 20us : 3ms);
    s.timeout = harmless || chance(0.3) ? duration(1us + random_time(5ms)) : unlimited;
    s.request_stop = s.does == kind::polite && chance(0.5);
    s.may_wait = !chance(0.2);
    s.has_block = chance(0.1);
    const bool plain = chance(from == submitter::handler ? 0.8 : 0.3) && s.timeout == unlimited && !s.request_stop;
    t.call = {name, 0, s.has_block ? 500 : below(shm::inline_bytes)};
    if (s.has_block) {
      auto& block = make_details(t).block;
      block = segments().allocate(500);
      t.call.location = shm::packed_location{block.owner().id(), block.offset()}.pack();
    } else {
      static_cast<void>(t.make_inline_room(t.call.length)); // its bytes may be any
    }
    t.special = !plain;
    if (!plain) {
      auto& terms = make_details(t).terms;
      terms.timeout = s.timeout;
      terms.when_cancelled = s.request_stop ? on_cancel::request_stop : on_cancel::kill;
    }
    t.may_wait = s.may_wait;
    s.record = &t;
    s.ticket = t.ticket.load();
    open_[name] = s;
    if (from == submitter::handler && d_.submit_quickly(t, now_)) {
      ++quick;
      return;
    }
    d_.submit(t, now_);
    after_change();
  }

  void resize() {
    const auto max = 1 + static_cast<unsigned>(below(6)), min = 1 + static_cast<unsigned>(below(max));
    ++resizes;
    most_workers_ = std::max(most_workers_, max);
    d_.resize(min, max, now_);
    after_change();
  }

  void cancel_one() {
    if (open_.empty()) return;
    auto it = open_.lower_bound(1 + below(names_));
    if (it == open_.end()) it = open_.begin();
    const auto strength = static_cast<front::cancel_strength>(below(3));
    if (!chance(0.1)) return cancel(it->second, strength);
    d_.cancel(*it->second.record, it->second.ticket - 1, strength, now_); // of an earlier life of the record
    after_change();
  }

  void cancel(simulated_task& t, front::cancel_strength strength) {
    t.cancelled = true;
    t.terminal |= strength == front::cancel_strength::terminal;
    d_.cancel(*t.record, t.ticket, strength, now_);
    after_change();
  }

  // ---- the front end: what front/pool_impl.hpp and front/idle_strategy.hpp do, with the shipped turn

  void after_change() {
    d_.pump(now_);
    flush();
    if (turn_.needs_post()) {
      post_turn();
      turn_.posted();
    }
    switch (turn_.changed(!d_.completed().empty() || !effects_.starts.empty())) {
    case front::turn::answer::set_timer: return set_timer(d_.next_deadline());
    case front::turn::answer::interrupt: return woken();
    default: return; // no handler blocks here
    }
  }

  void flush() {
    d_.waking().flush(false, [this](front::worker& r) {
      const auto it = workers_.find(r.incarnation);
      if (it == workers_.end() || !it->second.asleep) return; // a futex without a sleeper
      it->second.asleep = false;
      schedule(it->second, random_time(30us));
    });
  }

  void post_turn() {
    after(1us + random_time(2us), [this] { turn(); });
  }

  // What ends a wait; nothing, while there is none.
  void woken() {
    if (!std::exchange(waits_, false)) return;
    turn_.woken(now_);
    d_.waking().disarm();
    if (early_wake_.woken(now_)) d_.waking().silence();
    post_turn();
  }

  void go_on() {
    turn_.goes_on();
    post_turn();
  }

  void turn() {
    turn_.begin();
    front::turn::findings found;
    found.moved = d_.drain(chance(0.2) ? 1 + below(5) : 256, now_);
    moved += found.moved;
    bells_.moved(found.moved);
    caught_early += found.moved != 0 && early_wake_.watching(now_);
    if (found.moved != 0) early_wake_.came();
    if (turn_.check_is_due(now_, found.moved)) {
      look_at_events();
      d_.tick(now_);
    }
    d_.pump(now_);
    flush();
    found.ended = d_.completed().size();
    take_completed();
    for (std::size_t i = 0; faults_ && i != found.ended; ++i)
      if (chance(0.3)) submit(false, submitter::handler);
    found.errands = !effects_.starts.empty();
    found.busy = d_.outstanding() != 0;
    switch (turn_.after_round(found)) {
    case front::turn::step::idle: return;
    case front::turn::step::rest: return rest();
    case front::turn::step::attend: start_requested(); [[fallthrough]];
    default: return go_on();
    }
  }

  void rest() {
    if (early_wake_.watching(now_)) return go_on();
    const int cpu = static_cast<int>(below(2));
    const auto pause = bells_.pause(d_.waking().workload(cpu));
    const bool silent = pause.count() != 0;
    const auto alarm = early_wake_.alarm(now_, silent ? os::time_point::max() : d_.waking().first_due(now_, cpu));
    if (alarm == now_) return go_on();
    if (silent) {
      ++silent_sleeps;
      d_.waking().arm_idle(++arm_epoch_);
    } else {
      d_.waking().arm(++arm_epoch_);
      if (d_.waking().any_head_done()) {
        d_.waking().disarm();
        return go_on();
      }
    }
    bells_.sleeps(silent);
    turn_.armed();
    waits_ = true;
    set_timer(std::min(silent ? now_ + pause : alarm, d_.next_deadline()));
    if (!deaths_.empty() || !mail_.empty() || (server_gone_ && !server_gone_known_) || timer_fired_)
      woken(); // level-triggered
  }

  void set_timer(os::time_point next) {
    if (next >= timer_at_) return;
    timer_at_ = next;
    const std::uint64_t number = ++timer_number_;
    after(std::max<duration>(next - now_, 1ns), [this, number] {
      if (number != timer_number_) return;
      timer_fired_ = true;
      woken();
    });
  }

  void look_at_events() {
    if (std::exchange(timer_fired_, false)) timer_at_ = os::time_point::max();
    for (const std::uint64_t incarnation : std::exchange(deaths_, {})) d_.workers().died(incarnation, now_);
    while (!mail_.empty()) {
      const detail::server::server_message m = mail_.front();
      mail_.pop_front();
      switch (m.event) {
      case detail::server::server_event::started: d_.workers().started(m.incarnation, m.pid, {}, now_); break;
      case detail::server::server_event::start_failed:
        d_.workers().start_refused(m.incarnation, os::system_code(m.error), now_);
        break;
      case detail::server::server_event::exited:
        d_.workers().exited(m.incarnation, detail::server::exit_from(m), now_);
        break;
      default: break;
      }
    }
    if (!server_gone_ || server_gone_known_) return;
    if (std::exchange(standby_, false)) {
      ++servers_;
      server_gone_ = false;
      server_.on_stand_by({}); // this is the copy from here on
      d_.workers().server_replaced(now_);
    } else {
      server_gone_known_ = true;
      d_.workers().server_lost(now_);
    }
  }

  void start_requested() {
    while (!effects_.starts.empty() && !server_gone_known_) {
      const unsigned index = effects_.starts.back();
      effects_.starts.pop_back();
      if (!d_.workers().has_seat(index) && chance(0.5)) { // or else it comes up, and has to leave
        d_.workers().forgo(index);
        continue;
      }
      if (faulty()) {
        d_.workers().start_failed(index, os::system_code(EMFILE), now_);
        continue;
      }
      const std::uint64_t incarnation = ++incarnations_;
      auto memory = fresh_memory();
      worker& w = workers_.emplace(incarnation, worker(memory)).first->second;
      w.incarnation = incarnation;
      w.index = index;
      d_.add_worker(std::make_unique<front::worker>(index, incarnation, std::move(memory), 2048), now_);
      if (faulty()) {
        d_.workers().start_refused(incarnation, os::system_code(EAGAIN), now_);
        continue;
      }
      after(random_time(100us), [this, incarnation, index, server = servers_] {
        if (server_gone_ || server != servers_) return;
        detail::worker::start_request request;
        request.incarnation = incarnation;
        request.index = index;
        if (faulty())
          server_.refuse(request, EMFILE);
        else
          server_.on_start(request, {});
      });
    }
    if (server_gone_known_) effects_.starts.clear();
  }

  // Recycled over all runs: making it costs more than a run.
  static std::shared_ptr<front::worker_memory> fresh_memory() {
    static std::vector<std::shared_ptr<front::worker_memory>> all;
    for (auto& m : all)
      if (m.use_count() == 1) {
        std::memset(static_cast<void*>(&m->mailbox()), 0, sizeof(shm::mailbox));
        m->freed_since_flush = false;
        return m;
      }
    all.push_back(make_worker_memory());
    return all.back();
  }

  static shm::segment_pool& segments() {
    static const auto pool = std::make_shared<shm::segment_pool>();
    return *pool;
  }

  // ---- what the dispatcher wants done

  struct dispatcher_effects final : front::effects {
    explicit dispatcher_effects(simulator& simulator) : s(simulator) {}

    void signal(front::worker& w, int number) noexcept override { s.on_signal(s.workers_.at(w.incarnation), number); }
    void dismiss(front::worker& w) noexcept override {
      w.request_shutdown();
      worker& v = s.workers_.at(w.incarnation);
      if (std::exchange(v.asleep, false)) s.schedule(v, s.random_time(30us));
    }
    void server_hangs() noexcept override { s.fail("the fork server was taken for hung"); }
    std::uint64_t private_bytes(const front::worker&) const noexcept override { return 0; }
    void request_start(unsigned index) override { starts.push_back(index); }
    void forget_starts() noexcept override { starts.clear(); }
    int send_segment(front::worker& w, const shm::argument_block&) noexcept override {
      const worker& to = s.workers_.at(w.incarnation);
      if (to.pid != 0 && !to.alive) return EPIPE;
      return s.faulty() ? (s.chance(0.7) ? EAGAIN : ENOBUFS) : 0;
    }
    void retire(std::unique_ptr<front::worker> w) noexcept override { s.retired_.insert(w->incarnation); }

    simulator& s;
    std::vector<unsigned> starts;
  };

  // ---- what the fork server wants done

  struct server_effects final : detail::server::fork_server_effects {
    explicit server_effects(simulator& simulator) : s(simulator) {}

    detail::server::spawned spawn(const detail::worker::start_request& r, detail::worker::worker_descriptors) override {
      if (s.faulty()) return {EAGAIN, 0, {}};
      worker& w = s.workers_.at(r.incarnation);
      w.pid = static_cast<pid_t>(1000 + r.incarnation);
      w.alive = true;
      w.watched = !s.faulty();
      w.dies_in_initializer = s.faulty();
      s.schedule(w, s.random_time(s.faulty() ? duration(5ms) : duration(50us)));
      return {0, w.pid, {}};
    }
    detail::server::spawned fork_copy(os::unique_fd) override { return {}; } // in the copy
    int signal(pid_t, int, int) noexcept override { return EPERM; }
    os::exit_report reap(pid_t pid) noexcept override {
      os::exit_report r;
      r.known = !s.faulty(); // a thief
      r.status = s.workers_.at(static_cast<std::uint64_t>(pid) - 1000).status;
      return r;
    }
    int send(const detail::server::server_message& m, int) noexcept override {
      if (s.faulty()) {
        const bool full = s.chance(0.5);
        s.after(full ? s.random_time(1ms) : duration(10ms), [&sim = s] { // as its poll loop does
          if (!sim.server_gone_ && (sim.server_.has_output() || sim.server_.retry_later())) sim.server_.on_writable();
        });
        return full ? EAGAIN : ENOBUFS;
      }
      s.mail_on_its_way_ = std::max(s.mail_on_its_way_, s.now_ + s.random_time(30us)); // in order
      s.after(s.mail_on_its_way_ - s.now_, [&sim = s, m] {
        sim.mail_.push_back(m);
        sim.woken();
      });
      return 0;
    }

    simulator& s;
  };

  void lose_server() {
    if (server_gone_) return;
    server_was_lost_ = true;
    for (auto& [incarnation, w] : workers_)
      if (w.alive)
        after(random_time(200us), [this, i = incarnation] {
          if (worker& v = workers_.at(i); v.alive)
            v.unkillable_until > now_ ? void(v.killed_in_vain = true) : die(v, SIGKILL);
        });
    after(random_time(200us), [this] {
      server_gone_ = true;
      standby_ = chance(0.7);
      woken();
    });
  }

  // ---- workers

  using at = simulated_worker::at;

  // The one pending step of w; whatever was pending is void.
  void schedule(worker& w, duration delay) {
    const std::uint64_t number = ++w.turn;
    after(delay, [this, i = w.incarnation, number] {
      if (worker& v = workers_.at(i); v.turn == number) step(v);
    });
  }

  // In the middle of the dispatcher's own stores: some worker is faster.
  void interleave() {
    if (in_step_ || workers_.empty() || !chance(0.3)) return;
    auto it = workers_.lower_bound(1 + below(incarnations_));
    if (it == workers_.end()) it = workers_.begin();
    worker& w = it->second;
    if (w.next == at::body && now_ < w.body_ends) return;
    for (auto n = 1 + below(4); n != 0 && w.alive && !w.asleep && !w.stopped; --n) step(w);
  }

  void step(worker& w) {
    if (!w.alive || w.stopped || w.asleep) return;
    ++steps;
    if (faults_ && fault_rate_ > 0 && chance(fault_rate_ / 40)) return die(w, SIGSEGV);
    in_step_ = true;
    const duration delay = act(w);
    in_step_ = false;
    if (w.alive && !w.asleep && delay >= 0ns) schedule(w, delay);
  }

  // One access. How long until the next; negative: never by itself.
  duration act(worker& w) {
    shm::mailbox& m = w.mailbox();
    shm::slot& s = w.head();
    switch (std::exchange(w.next, at::fetch)) {
    case at::boot:
      if (w.dies_in_initializer) return die(w, 0), -1ns;
      w.initialized();
      break;
    case at::fetch: {
      const std::uint64_t word = shm::load_state(s);
      w.next = word == shm::pack(w.cursor, shm::slot_state::ready)     ? at::claim
               : word == shm::pack(w.cursor, shm::slot_state::revoked) ? at::acknowledge
                                                                       : at::epoch;
      if (w.next == at::epoch && m.parent.shutdown.load() != 0) return die(w, 0), -1ns;
      break;
    }
    case at::claim:
      if (!shm::compare_exchange(shm::site::slot_running, s.state, shm::pack(w.cursor, shm::slot_state::ready),
                                 shm::pack(w.cursor, shm::slot_state::running))) {
        w.next = at::acknowledge;
        break;
      }
      w.name = w.entry();
      w.running = true;
      m.worker.cpu.store(static_cast<std::uint32_t>(1 + below(3)));
      begun(w);
      w.next = at::header;
      break;
    case at::header: {
      if (w.entry() != w.name) fail("a slot was rewritten under a running task");
      w.next = at::body;
      const duration length = body_length(w);
      w.body_begins = now_;
      w.body_ends = os::after(now_, length);
      return length == unlimited ? -1ns : length;
    }
    case at::body: return body(w);
    case at::result:
      std::memcpy(s.bytes, &w.name, sizeof w.name);
      s.entry.store(static_cast<std::uint64_t>((now_ - w.body_begins) / 1ns)); // 0: not measured
      s.location.store(shm::packed_location{static_cast<std::uint64_t>(shm::result_kind::value_inline), 0}.pack());
      s.length.store(sizeof w.name);
      w.next = at::done;
      break;
    case at::done:
    case at::acknowledge:
      w.running = w.deaf = false;
      shm::acknowledge(s, w.cursor); // the same store ends both
      ++w.cursor;
      w.next = at::bell;
      break;
    case at::bell:
      if (const auto it = open_.find(w.name); it != open_.end() && it->second.ran_on == w.incarnation)
        it->second.told_at = now_;
      if (shm::must_ring(m, w.last_rung)) after(random_time(10us), [this] { woken(); });
      break;
    case at::epoch:
      w.epoch = m.parent.epoch.load();
      w.next = at::tag;
      break;
    case at::tag:
      m.worker.sleeping.store(shm::sleep_tag(w.epoch));
      w.next = at::check;
      break;
    case at::check: w.next = shm::has_work(s, w.cursor) || m.parent.shutdown.load() != 0 ? at::awake : at::futex; break;
    case at::futex:
      w.next = at::awake;
      w.asleep = m.parent.epoch.load() == w.epoch;
      break;
    case at::awake: m.worker.sleeping.store(0); break;
    }
    return random_time(200ns);
  }

  duration body_length(worker& w) {
    const auto it = open_.find(w.name);
    if (it == open_.end()) return 0ns; // told elsewhere
    switch (it->second.does) {
    case simulated_task::kind::endless: return unlimited;
    case simulated_task::kind::deaf: w.deaf = true; return unlimited;
    case simulated_task::kind::polite: return 20us;
    default: return it->second.length;
    }
  }

  duration body(worker& w) {
    const auto it = open_.find(w.name);
    w.next = at::result;
    if (it == open_.end()) return 0ns;
    if (it->second.does == simulated_task::kind::suicide) return die(w, SIGABRT), -1ns;
    if (it->second.does == simulated_task::kind::polite && w.mailbox().parent.stop.load() != w.cursor + 1 &&
        (it->second.length -= 20us) > 0ns) {
      w.next = at::body;
      w.body_ends = now_ + 20us;
      return 20us;
    }
    return 0ns;
  }

  void begun(worker& w) {
    const auto it = open_.find(w.name);
    if (it == open_.end()) return fail(fmt::format("task {} runs after its completion", w.name));
    it->second.ran_on = w.incarnation;
    if (++it->second.begun > 1) fail(fmt::format("task {} runs twice", w.name));
    if (most_workers_ == 1 && w.name < last_begun_)
      fail(fmt::format("task {} was overtaken by {}", w.name, last_begun_));
    last_begun_ = std::max(last_begun_, w.name);
  }

  void die(worker& w, int status) {
    if (!w.alive) return;
    ++deaths;
    w.alive = false;
    w.status = status;
    if (w.watched)
      after(random_time(faulty() ? duration(3ms) : duration(20us)), [this, i = w.incarnation] {
        if (retired_.contains(i)) return; // closed
        deaths_.push_back(i);
        woken();
      });
    if (w.watched && faulty()) return; // nobody will ever say how it ended
    after(random_time(faulty() ? duration(3ms) : duration(20us)), [this, pid = w.pid] {
      if (!server_gone_) server_.on_dead(pid); // one that stood by does not know it
    });
  }

  void on_signal(worker& w, int number) {
    if (!server_was_lost_) check_signal(w, number);
    w.termed |= number == SIGTERM;
    if (chance(0.3) && !in_step_ && w.alive) step(w); // one more before it takes effect
    if (number == SIGTERM && (w.deaf || w.stopped)) return;
    if (number == SIGKILL && w.unkillable_until > now_) {
      w.killed_in_vain = true;
      return;
    }
    if (chance(0.5)) return die(w, number);
    after(random_time(50us), [this, i = w.incarnation, number] {
      if (worker& v = workers_.at(i); v.alive && !(number == SIGTERM && v.deaf)) die(v, number);
    });
  }

  // Promise G4 and rule K, docs/protocol.md.
  void check_signal(worker& w, int number) {
    const auto it = open_.find(w.name);
    if (number == SIGTERM) {
      if (!w.running || it == open_.end()) return fail("SIGTERM to a worker that runs nothing");
      const simulated_task& t = it->second;
      if (!(t.terminal && !t.request_stop) && t.timeout == unlimited)
        fail("SIGTERM hits a task that nobody wanted killed");
      for (std::uint64_t seq = w.cursor + 1; seq != w.cursor + shm::ring_slots; ++seq)
        if (shm::load_state(w.mailbox().at(seq)) == shm::pack(seq, shm::slot_state::ready))
          fail("SIGTERM with READY tasks behind its target");
    } else if (!w.termed && w.alive && w.running) {
      fail("SIGKILL hits a task without SIGTERM before it");
    }
  }

  void break_something() {
    if (workers_.empty()) return;
    auto it = workers_.lower_bound(1 + below(incarnations_));
    if (it == workers_.end()) it = workers_.begin();
    worker& w = it->second;
    switch (below(4)) {
    case 0:
      if (w.unkillable_until <= now_) die(w, SIGKILL);
      break;
    case 1: // SIGSTOP, SIGCONT
      w.stopped = true;
      after(random_time(chance(0.5) ? duration(1ms) : duration(60ms)), [this, i = w.incarnation] {
        if (worker& v = workers_.at(i); !v.stuck && std::exchange(v.stopped, false)) schedule(v, 0ns);
      });
      break;
    case 2: // an uninterruptible sleep
      w.stopped = true;
      w.unkillable_until = now_ + random_time(100ms);
      after(w.unkillable_until - now_, [this, i = w.incarnation] {
        worker& v = workers_.at(i);
        if (v.stuck) return;
        if (v.killed_in_vain) return die(v, SIGKILL);
        if (std::exchange(v.stopped, false)) schedule(v, 0ns);
      });
      break;
    case 3: d_.workers().died(12'345'678, now_); break; // of nobody
    }
  }

  // ---- endings

  void take_completed() {
    while (front::task_record* t = d_.completed().pop_front()) {
      ++completions;
      ++outcomes[static_cast<std::size_t>(t->outcome)];
      const std::uint64_t name = t->call.entry;
      const auto it = open_.find(name);
      if (it == open_.end() || it->second.record != t) return fail(fmt::format("task {} completes twice", name));
      judge(*t, name, it->second);
      open_.erase(it);
      records_.recycle(*t);
    }
  }

  void judge(const front::task_record& t, std::uint64_t name, const simulated_task& s) {
    const auto require = [&](bool holds, const char* what) {
      if (!holds)
        fail(fmt::format("task {} (begun {} times, cancelled {}, terminal {}): {}", name, s.begun, s.cancelled,
                         s.terminal, what));
    };
    require(now_ <= os::after(s.told_at, 2ms), "nobody looked at its result for two milliseconds");
    switch (t.outcome) {
    case front::verdict::value: {
      std::uint64_t result = 0;
      if (t.result_length == sizeof result) std::memcpy(&result, result_bytes(t).data(), sizeof result);
      require(s.begun == 1 && result == name, "a wrong value");
      break;
    }
    case front::verdict::aborted:
      require(s.begun == 0 ? s.cancelled || closed_ : s.terminal && !s.request_stop, "aborted for no reason");
      break;
    case front::verdict::queue_timeout: require(false, "a queue_timeout without one"); break;
    case front::verdict::task_timeout: require(s.begun == 1 && s.timeout != unlimited, "task_timeout"); break;
    case front::verdict::lost: {
      require(s.begun == 1 && details(t).exit.has_value(), "worker_lost though it was never begun");
      if (s.begun != 1) break;
      worker& w = workers_.at(s.ran_on);
      require(!w.alive || w.killed_in_vain || server_was_lost_, "worker_lost, and the worker lives");
      require(++w.lost == 1, "a second task lost by one death");
      break;
    }
    case front::verdict::failed:
      require(s.begun == 0, "failed though it was begun");
      require((details(t).error == make_error_code(errc::queue_full) && !s.may_wait) ||
                  (s.has_block && fault_rate_ > 0) ||
                  (details(t).error == make_error_code(errc::pool_closed) && closed_) || server_gone_,
              "failed for no reason");
      break;
    case front::verdict::exception: require(false, "an exception"); break;
    }
  }

  static inline simulator* current = nullptr;

  std::mt19937_64 random_;
  front::dispatcher_limits limits_;
  unsigned most_workers_ = limits_.max_workers; // ever
  double fault_rate_;
  bool faults_ = true, in_step_ = false;
  os::time_point now_ = os::time_point{} + 1h;
  const os::time_point begin_ = now_;
  std::priority_queue<event> events_;
  std::uint64_t orders_ = 0, names_ = 0, incarnations_ = 0, last_begun_ = 0;

  fake_engine engine_;
  front::record_store& records_ = engine_.records;
  std::map<std::uint64_t, simulated_task> open_;
  std::map<std::uint64_t, worker> workers_;
  dispatcher_effects effects_;
  front::dispatcher d_;
  front::turn turn_;
  bool waits_ = false; // for what look_at_events() sees, or the timer
  std::uint64_t arm_epoch_ = 0, timer_number_ = 0;
  front::bell_moderation bells_;
  front::early_wake early_wake_;
  os::time_point timer_at_ = os::time_point::max();
  bool timer_fired_ = false;
  std::vector<std::uint64_t> deaths_; // pidfds that have fired
  std::set<std::uint64_t> retired_;

  server_effects server_effects_;
  detail::server::fork_server server_;
  std::deque<detail::server::server_message> mail_; // arrived, not read
  os::time_point mail_on_its_way_{};
  bool closed_ = false, server_gone_ = false, server_gone_known_ = false, server_was_lost_ = false;
  bool standby_ = false; // takes over from the one that is gone
  unsigned servers_ = 0; // how often that has happened
};

} // namespace coproc::testing
