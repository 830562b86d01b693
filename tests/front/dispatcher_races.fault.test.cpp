// SPDX-License-Identifier: BSL-1.0
// Random events against the dispatcher, with workers that take steps in the middle of its own stores (through the fault
// hooks), die, freeze, write garbage, outlive SIGKILL; starts that fail, notices that never come. After every event the
// promises are checked. One thread, no fork; every seed replays.
#include <coproc/front/dispatcher.hpp>

#include <coproc/front/record_handler.hpp>

#include "fake_workers.hpp"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <random>
#include <set>
#include <unordered_map>

using namespace coproc;
using namespace coproc::testing;
using front::cancel_strength;
using front::verdict;

namespace {

struct sim_worker : hand_worker {
  using hand_worker::hand_worker;

  unsigned index = 0;
  bool alive = true, frozen = false, asleep = false, ignores_term = false, unkillable = false;
  bool told_started = false, told_dead = false, told_exited = false, mute = false; // mute: nobody reports its exit
  bool hostile = false, was_termed = false;
  int untainted_lost = 0;
  std::uint64_t last_rung = 0;
  std::set<std::uint64_t> issued; // names
};

struct sim_task {
  front::task_record* record;
  std::uint64_t ticket;
  int begun = 0;
  bool tainted = false, may_wait = true, cancelled = false, terminal = false, request_stop = false;
  duration timeout = unlimited;
  std::uint64_t running_on = 0;
};

class simulation {
public:
  explicit simulation(std::uint64_t seed)
      : random_(seed), limits_{.max_workers = 1 + static_cast<unsigned>(seed % 4),
                               .max_queue = 4 + seed % 90,
                               .max_queue_bytes = 2000,
                               .kill_grace = 20ms,
                               .exit_status_wait = 50ms,
                               .max_start_failures = 1000},
        d_(limits_, effects_) {
    effects_.on_signal = [this](front::worker& w, int number) { on_signal(w, number); };
    for (unsigned i = 0; i != limits_.max_workers; ++i) effects_.request_start(i);
    current = this;
    os::faults.before_store = [](unsigned) { current->interleave(); };
    os::faults.after_store = [](unsigned) { current->interleave(); };
  }
  ~simulation() { os::faults = {}; }
  simulation(const simulation&) = delete;

  void run(int events) {
    for (int i = 0; i != events && failures.empty(); ++i) {
      event();
      settle();
    }
  }

  /// Faults stop: everything must complete within bounded time.
  void finish() {
    faults_ = false;
    armed_ = false;
    d_.waking().disarm();
    if (chance(0.2)) replace_server();
    if (chance(0.15)) return lose_server();
    if (chance(0.2)) {
      d_.close();
      settle();
      d_.abandon();
      settle();
      if (d_.outstanding() != 0 || !open_.empty()) fail("tasks survived close and abandon");
      return;
    }
    run_down();
  }

  std::uint64_t completions() const { return completions_; }
  std::vector<std::string> failures;

private:
  static inline simulation* current = nullptr;

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  void fail(std::string what) { failures.push_back(std::move(what)); }

  // ---- events ----

  void event() {
    if (!armed_ && chance(0.1)) {
      d_.waking().arm(++arm_epoch_);
      rung_ = false;
      if (d_.waking().any_head_done())
        d_.waking().disarm();
      else
        armed_ = true;
      return;
    }
    switch (below(16)) {
    case 0:
    case 1:
    case 2:
    case 3: submit(); break;
    case 4: cancel(); break;
    case 5:
    case 6:
    case 7:
    case 8: step_some(); break;
    case 9:
    case 10:
    case 11: turn(); break;
    case 12:
      now_ += std::chrono::microseconds(below(3000));
      turn();
      break;
    case 13: start_some(); break;
    case 14: tell_some(); break;
    case 15:
      if (chance(0.5)) break_something();
      break;
    }
  }

  void submit() {
    const std::uint64_t name = ++names_;
    front::task_record& t = records_.acquire();
    t.call = {name, 0, below(4) == 0 ? below(600) : 8};
    if (t.call.length > shm::inline_bytes) t.call.length = shm::inline_bytes;
    t.special = true;
    auto& terms = make_details(t).terms;
    terms.timeout = chance(0.2) ? duration(std::chrono::microseconds(1 + below(5000))) : unlimited;
    terms.when_cancelled = chance(0.2) ? on_cancel::request_stop : on_cancel::kill;
    t.may_wait = !chance(0.2);
    open_[name] = {&t,
                   t.ticket.load(),
                   0,
                   false,
                   t.may_wait,
                   false,
                   false,
                   terms.when_cancelled == on_cancel::request_stop,
                   terms.timeout,
                   0};
    d_.submit(t, now_);
    d_.pump(now_);
  }

  void cancel() {
    if (open_.empty()) return;
    auto it = std::next(open_.begin(), static_cast<std::ptrdiff_t>(below(open_.size())));
    const auto strength = static_cast<cancel_strength>(below(3));
    const bool stale = chance(0.1);
    if (!stale) {
      it->second.cancelled = true;
      it->second.terminal |= strength == cancel_strength::terminal;
    }
    d_.cancel(*it->second.record, it->second.ticket - (stale ? 1 : 0), strength, now_);
    d_.pump(now_);
  }

  void turn() {
    if (armed_ && !rung_ && chance(0.7)) return; // asleep
    armed_ = false;
    d_.waking().disarm();
    d_.drain(chance(0.3) ? 1 + below(5) : 256, now_);
    d_.tick(now_);
    d_.pump(now_);
  }

  void start_some() {
    for (const unsigned index : std::exchange(effects_.starts, {})) {
      if (faults_ && chance(0.1)) {
        d_.workers().start_failed(index, os::system_code(EMFILE), now_);
        continue;
      }
      const std::uint64_t incarnation = ++incarnations_;
      auto memory = make_worker_memory();
      auto& w = workers_.emplace(incarnation, sim_worker(memory)).first->second;
      w.index = index;
      w.ignores_term = chance(0.2);
      w.unkillable = faults_ && chance(0.05);
      w.mute = faults_ && chance(0.1);
      d_.add_worker(std::make_unique<front::worker>(index, incarnation, std::move(memory), 2048), now_);
      if (!faults_) tell(incarnation, w);
    }
  }

  void tell_some() {
    for (auto& [incarnation, w] : workers_)
      if (chance(0.5)) tell(incarnation, w);
  }

  void tell(std::uint64_t incarnation, sim_worker& w) {
    if (!w.told_started) {
      w.told_started = true;
      if (faults_ && chance(0.1)) {
        w.alive = false;
        w.told_dead = w.told_exited = true;
        return d_.workers().start_refused(incarnation, os::system_code(EAGAIN), now_);
      }
      d_.workers().started(incarnation, static_cast<pid_t>(1000 + incarnation), {}, now_);
      if (!chance(0.05)) w.initialized();
      return d_.pump(now_);
    }
    if (w.alive) return;
    const bool pidfd_first = chance(0.5);
    for (const bool pidfd : {pidfd_first, !pidfd_first}) {
      if (pidfd && !w.told_dead) {
        w.told_dead = true;
        d_.workers().died(incarnation, now_);
      } else if (!pidfd && !w.told_exited && !w.mute) {
        w.told_exited = true;
        worker_exit e = pool_bench::killed_by(SIGKILL);
        e.pid = static_cast<pid_t>(1000 + incarnation);
        d_.workers().exited(incarnation, e, now_);
      }
      d_.pump(now_);
      if (faults_ && chance(0.5)) return;
    }
  }

  void break_something() {
    if (workers_.empty()) return;
    auto& w = std::next(workers_.begin(), static_cast<std::ptrdiff_t>(below(workers_.size())))->second;
    switch (below(4)) {
    case 0: w.alive = w.alive && w.unkillable; break;
    case 1: w.frozen = !w.frozen; break;
    case 2: d_.workers().died(12'345'678, now_); break; // of nobody
    case 3:
      if (!w.alive || !chance(0.3)) break;
      w.hostile = true;
      for (const auto name : w.issued)
        if (const auto it = open_.find(name); it != open_.end()) it->second.tainted = true;
      auto& s = w.mailbox().at(w.cursor + below(3));
      switch (below(3)) {
      case 0:
        s.state.store(chance(0.5) ? shm::pack(w.cursor + below(3), static_cast<shm::slot_state>(below(8))) : random_());
        break;
      case 1: s.location.store(random_()); break;
      case 2: s.length.store(random_()); break;
      }
      break;
    }
  }

  // Another one takes the place of a dead one, whose workers die with it.
  void replace_server() {
    for (auto& [incarnation, w] : workers_) {
      w.alive = false;
      w.mute = true;
    }
    d_.workers().server_replaced(now_);
    settle();
    for (auto& [incarnation, w] : workers_)
      if (w.told_started) tell(incarnation, w);
  }

  void lose_server() {
    for (auto& [incarnation, w] : workers_) {
      w.alive = false;
      w.mute = true;
    }
    d_.workers().server_lost(now_);
    settle();
    if (chance(0.5))
      for (auto& [incarnation, w] : workers_)
        if (w.told_started) tell(incarnation, w);
    for (int i = 0; i != 20; ++i) {
      now_ += 10ms;
      d_.drain(256, now_);
      d_.tick(now_);
      settle();
    }
    if (!open_.empty()) fail("tasks survived the fork server");
  }

  void run_down() {
    for (auto& [incarnation, w] : workers_) w.frozen = w.unkillable = w.ignores_term = w.mute = false;
    for (int i = 0; i != 3000 && !open_.empty() && failures.empty(); ++i) {
      for (auto& [incarnation, w] : workers_) {
        if (w.alive && w.hostile) w.alive = false; // its words may be anything: an end by its own hand
        tell(incarnation, w);
      }
      start_some();
      for (int j = 0; j != 30; ++j)
        for (auto& [incarnation, w] : workers_) step(incarnation, w);
      now_ += 1ms;
      turn();
      settle();
    }
    if (!open_.empty()) fail(fmt::format("{} tasks never completed", open_.size()));
  }

  // ---- workers ----

  void interleave() {
    if (!busy_ && chance(0.2)) step_some();
  }

  void step_some() {
    if (workers_.empty()) return;
    for (auto n = below(6); n != 0; --n) {
      const auto it = std::next(workers_.begin(), static_cast<std::ptrdiff_t>(below(workers_.size())));
      step(it->first, it->second);
    }
  }

  void step(std::uint64_t incarnation, sim_worker& w) {
    if (!w.alive || w.frozen || w.asleep || busy_) return;
    busy_ = true;
    const auto ring_if_asked = [&] {
      if (shm::must_ring(w.mailbox(), w.last_rung)) rung_ = true;
    };
    if (w.running) {
      std::memcpy(w.head().bytes, &running_name(w), sizeof(std::uint64_t));
      if (const auto it = open_.find(running_name(w)); it != open_.end()) it->second.running_on = 0;
      const std::uint64_t reports[] = {0, 1, 100, 20'000, 5'000'000, ~std::uint64_t{0}};
      w.reported_run_ns = reports[below(std::size(reports))];
      w.finish(shm::result_kind::value_inline, sizeof(std::uint64_t));
      ring_if_asked();
    } else {
      switch (shm::claim(w.head(), w.cursor)) {
      case shm::claim_result::claimed: begun(incarnation, w); break;
      case shm::claim_result::revoked:
        shm::acknowledge(w.head(), w.cursor);
        ++w.cursor;
        ring_if_asked();
        break;
      case shm::claim_result::nothing: {
        const std::uint32_t e = w.mailbox().parent.epoch.load();
        w.mailbox().worker.sleeping.store(shm::sleep_tag(e));
        w.asleep = !shm::has_work(w.head(), w.cursor);
        if (!w.asleep) w.mailbox().worker.sleeping.store(0);
      }
      }
    }
    busy_ = false;
  }

  std::uint64_t& running_name(sim_worker& w) { return running_[&w]; }

  void begun(std::uint64_t incarnation, sim_worker& w) {
    w.running = true;
    const std::uint64_t name = running_name(w) = w.entry();
    const auto it = open_.find(name);
    if (it == open_.end()) {
      if (!w.hostile) fail(fmt::format("task {} runs after its completion", name));
      return;
    }
    w.issued.insert(name);
    it->second.tainted |= w.hostile;
    it->second.running_on = incarnation;
    if (++it->second.begun > 1 && !it->second.tainted) fail(fmt::format("task {} runs twice", name));
  }

  void on_signal(front::worker& r, int number) {
    sim_worker& w = workers_.at(r.incarnation);
    if (!w.hostile && faults_) {
      if (number == SIGTERM) {
        const auto it = open_.find(running_name(w));
        if (!w.running || it == open_.end())
          fail("SIGTERM to a worker that runs nothing");
        else if (!(it->second.terminal && !it->second.request_stop) && it->second.timeout == unlimited)
          fail("SIGTERM hits a task that nobody wanted killed");
        for (std::uint64_t seq = w.cursor + 1; seq != w.cursor + shm::ring_slots; ++seq)
          if (w.mailbox().at(seq).state.load() == shm::pack(seq, shm::slot_state::ready))
            fail("SIGTERM with READY tasks behind the target");
      } else if (!w.was_termed && w.running && w.alive) {
        fail("SIGKILL hits a task without SIGTERM before it");
      }
    }
    w.was_termed = true;
    if (chance(0.2)) { // one more step before the signal takes effect
      w.asleep = false;
      step(r.incarnation, w);
    }
    if (number == SIGTERM ? !w.ignores_term : !w.unkillable) w.alive = false;
  }

  // ---- what must hold after every event ----

  void settle() {
    d_.waking().flush(false, [&](front::worker& r) {
      sim_worker& w = workers_.at(r.incarnation);
      w.asleep = false;
      w.mailbox().worker.sleeping.store(0);
    });
    note_issued();
    take_completed();
    effects_.retired.clear();
    effects_.signals.clear();

    for (auto& [incarnation, w] : workers_)
      if (w.alive && w.asleep && !w.hostile && shm::has_work(w.head(), w.cursor) && known(incarnation))
        fail("a lost wake-up");
    if (armed_ && !rung_ && d_.waking().any_head_done() && !any_hostile()) fail("a lost ring");
    if (d_.books().accepted() > limits_.max_queue) fail("more accepted than max_queue");
    if (d_.books().accepted_bytes() > limits_.max_queue_bytes) fail("more bytes accepted than max_queue_bytes");
    if (d_.outstanding() != open_.size())
      fail(fmt::format("{} outstanding, {} submitted and not completed", d_.outstanding(), open_.size()));
    for (auto it = workers_.begin(); it != workers_.end();)
      if (!known(it->first) && it->second.told_dead && it->second.told_exited) {
        running_.erase(&it->second);
        it = workers_.erase(it);
      } else {
        ++it;
      }
  }

  bool known(std::uint64_t incarnation) {
    bool found = false;
    d_.workers().each_worker([&](front::worker& r) { found |= r.incarnation == incarnation; });
    return found;
  }

  bool any_hostile() const {
    return std::any_of(workers_.begin(), workers_.end(), [](const auto& p) { return p.second.hostile; });
  }

  void note_issued() {
    d_.workers().each_worker([&](front::worker& r) {
      sim_worker& w = workers_.at(r.incarnation);
      r.each_issued([&](front::task_record& t) {
        w.issued.insert(t.call.entry);
        if (w.hostile) open_.at(t.call.entry).tainted = true;
      });
    });
  }

  void take_completed() {
    while (front::task_record* t = d_.completed().pop_front()) {
      ++completions_;
      const std::uint64_t name = t->call.entry;
      const auto it = open_.find(name);
      if (it == open_.end() || it->second.record != t) {
        fail(fmt::format("task {} completes twice", name));
        return;
      }
      if (!it->second.tainted) check_outcome(*t, name, it->second);
      open_.erase(it);
      records_.recycle(*t);
    }
  }

  void check_outcome(const front::task_record& t, std::uint64_t name, const sim_task& s) {
    const auto require = [&](bool holds, const char* what) {
      if (!holds)
        fail(fmt::format("task {} (begun {} times, cancelled {}, terminal {}): {}", name, s.begun, s.cancelled,
                         s.terminal, what));
    };
    switch (t.outcome) {
    case verdict::value: {
      std::uint64_t result = 0;
      if (t.result_length == sizeof result) std::memcpy(&result, result_bytes(t).data(), sizeof result);
      require(s.begun == 1 && result == name, "a wrong value");
      break;
    }
    case verdict::aborted:
      if (s.begun == 0)
        require(s.cancelled || !faults_, "aborted for no reason");
      else
        require((s.terminal && !s.request_stop) || !faults_, "aborted while running, without terminal cancellation");
      break;
    case verdict::queue_timeout: require(false, "queue_timeout"); break;
    case verdict::task_timeout: require(s.begun == 1 && s.timeout != unlimited, "task_timeout"); break;
    case verdict::lost: {
      const auto& exit = details(t).exit;
      require(exit.has_value(), "worker_lost without a cause");
      if (!exit) break;
      const auto w = workers_.find(static_cast<std::uint64_t>(exit->pid) - 1000);
      if (w != workers_.end() && w->second.hostile) break; // issued and lost within one event
      require(s.begun == 1, "worker_lost, never begun");
      require(w != workers_.end() && (!w->second.alive || w->second.unkillable), "worker_lost, and the worker lives");
      if (w != workers_.end()) require(++w->second.untainted_lost <= 1, "a second task lost by one death");
      break;
    }
    case verdict::failed:
      require(s.begun == 0, "failed though it was begun");
      require((details(t).error == make_error_code(errc::queue_full) && !s.may_wait) || !faults_,
              "failed for no reason");
      break;
    case verdict::exception: require(false, "an exception"); break;
    }
  }

  std::mt19937_64 random_;
  front::dispatcher_limits limits_;
  recorded_effects effects_;
  fake_engine engine_;
  front::record_store& records_ = engine_.records;
  front::dispatcher d_;
  std::map<std::uint64_t, sim_worker> workers_;
  std::map<const sim_worker*, std::uint64_t> running_;
  std::map<std::uint64_t, sim_task> open_;
  os::time_point now_ = os::time_point{} + 1h;
  std::uint64_t names_ = 0, incarnations_ = 0, arm_epoch_ = 0, completions_ = 0;
  bool faults_ = true, armed_ = false, rung_ = false, busy_ = false;
};

} // namespace

TEST_CASE("whatever happens, every task completes exactly once, as the rules say") {
  std::uint64_t events = 0, completions = 0;
  for (std::uint64_t seed = 1; events < 100'000; ++seed) {
    CAPTURE(seed);
    simulation s(seed);
    const int length = 100 + static_cast<int>(seed % 7) * 150;
    s.run(length);
    if (s.failures.empty()) s.finish();
    for (const auto& what : s.failures) FAIL_CHECK(what);
    REQUIRE(s.failures.empty());
    events += static_cast<std::uint64_t>(length);
    completions += s.completions();
  }
  CHECK(completions > events / 8);
  WARN(events << " random events, " << completions << " tasks");
}
