// SPDX-License-Identifier: BSL-1.0
// The dispatcher's surroundings in tests: effects that are only written down, workers played by hand over real
// mailboxes, and a clock that moves when told. One process, one thread. May include front/ and below.
#pragma once

#include "fake_engine.hpp"

#include <coproc/front/dispatcher.hpp>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

namespace coproc::testing {

using namespace std::chrono_literals;

inline std::shared_ptr<front::worker_memory> make_worker_memory(std::size_t result_bytes = 4096) {
  auto memory = std::make_shared<front::worker_memory>();
  const auto mailbox = os::make_memfd("coproc-test-mailbox", shm::mailbox_bytes);
  memory->mailbox_map = os::mapping(mailbox.get(), shm::mailbox_bytes, os::access::read_write);
  const auto results = os::make_memfd("coproc-test-results", result_bytes);
  memory->results_map = os::mapping(results.get(), result_bytes, os::access::read_only);
  return memory;
}

/// The loans that were given back an odd number of times, as bits.
inline std::uint64_t returned_flags(const shm::mailbox& m) {
  std::uint64_t flags = 0;
  for (unsigned k = 0; k != shm::max_loans; ++k) flags |= std::uint64_t{m.parent.returned[k].load()} << k;
  return flags;
}

/// A worker whose every step is taken by the test.
class hand_worker {
public:
  explicit hand_worker(std::shared_ptr<front::worker_memory> memory) : memory_(std::move(memory)) {}

  shm::mailbox& mailbox() const noexcept { return memory_->mailbox(); }
  shm::slot& head() const noexcept { return mailbox().at(cursor); }
  std::uint64_t entry() const noexcept { return head().entry.load(); }

  void initialized() { mailbox().worker.phase.store(static_cast<std::uint32_t>(shm::worker_phase::initialized)); }

  /// READY -> RUNNING; acknowledges revoked slots on the way. False: nothing to run.
  bool begin() {
    for (;;) {
      switch (shm::claim(head(), cursor)) {
      case shm::claim_result::claimed: return running = true;
      case shm::claim_result::nothing: return false;
      case shm::claim_result::revoked: shm::acknowledge(head(), cursor); ++cursor;
      }
    }
  }

  void finish(shm::result_kind kind = shm::result_kind::value_inline, std::uint64_t length = 0,
              std::uint64_t offset = 0) {
    shm::finish(head(), cursor, {static_cast<std::uint64_t>(kind), offset}, length, reported_run_ns);
    ++cursor;
    running = false;
  }

  /// Runs one task from READY to DONE, and returns its entry.
  std::optional<std::uint64_t> run_one() {
    if (!running && !begin()) return {};
    const std::uint64_t ran = entry();
    finish();
    return ran;
  }

  std::uint64_t cursor = 0;
  std::uint64_t reported_run_ns = 0; // with each result; 0: not measured
  bool running = false;

private:
  std::shared_ptr<front::worker_memory> memory_;
};

/// Writes down what the dispatcher wants done.
struct recorded_effects final : front::effects {
  struct signalled {
    std::uint64_t incarnation;
    int number;
    bool operator==(const signalled&) const = default;
  };

  void signal(front::worker& w, int number) noexcept override {
    signals.push_back({w.incarnation, number});
    if (on_signal) on_signal(w, number);
  }
  void dismiss(front::worker& w) noexcept override { dismissed.push_back(w.incarnation); }
  void server_hangs() noexcept override { server_hung = true; }
  std::uint64_t private_bytes(const front::worker& w) const noexcept override {
    const auto it = memory.find(w.incarnation);
    return it == memory.end() ? 0 : it->second;
  }
  void request_start(unsigned index) override { starts.push_back(index); }
  void forget_starts() noexcept override { starts.clear(); }
  int send_segment(front::worker& w, const shm::argument_block&) noexcept override {
    segments_sent.push_back(w.incarnation);
    if (segments_before_error == 0) return segment_error;
    --segments_before_error;
    return 0;
  }
  void retire(std::unique_ptr<front::worker> w) noexcept override { retired.push_back(std::move(w)); }

  std::vector<signalled> signals;
  std::vector<std::uint64_t> dismissed;
  std::map<std::uint64_t, std::uint64_t> memory; ///< bytes by incarnation
  bool server_hung = false;
  std::vector<unsigned> starts;
  std::vector<std::uint64_t> segments_sent;
  std::size_t segments_before_error = 0;
  int segment_error = 0;
  std::vector<std::unique_ptr<front::worker>> retired;
  std::function<void(front::worker&, int)> on_signal;
};

/// A dispatcher with all that surrounds it.
class pool_bench {
public:
  explicit pool_bench(const front::dispatcher_limits& limits = {}) : d(limits, effects) {}

  /// Does what the pool does on request_start, up to START sent.
  std::uint64_t add_worker(unsigned index) {
    const std::uint64_t incarnation = ++incarnations;
    auto memory = make_worker_memory();
    workers.emplace(incarnation, hand_worker(memory));
    d.add_worker(std::make_unique<front::worker>(index, incarnation, std::move(memory), 2048), now);
    return incarnation;
  }

  std::uint64_t live_worker(unsigned index) {
    const std::uint64_t incarnation = add_worker(index);
    d.workers().started(incarnation, static_cast<pid_t>(1000 + incarnation), {}, now);
    worker(incarnation).initialized();
    return incarnation;
  }

  std::uint64_t sleeping_worker(unsigned index) {
    const std::uint64_t incarnation = live_worker(index);
    worker(incarnation).mailbox().worker.sleeping.store(shm::sleep_tag(0));
    return incarnation;
  }

  /// Gives the pool the habit of tasks that its worker says took so long. 320 is a multiple of the ring. Time must have
  /// passed since the worker was made: no report is believed that is longer.
  void teach(std::uint64_t incarnation, std::uint64_t run_ns = 100, std::uint64_t count = 320) {
    worker(incarnation).reported_run_ns = run_ns;
    for (std::uint64_t i = 0; i != count; ++i) {
      submit(1'000'000 + i);
      worker(incarnation).run_one();
      turn();
    }
    completed();
  }

  /// Runs whatever this worker has and gets; the names in that order.
  std::vector<std::uint64_t> run_all(std::uint64_t incarnation) {
    std::vector<std::uint64_t> order;
    for (;;) {
      while (const auto name = worker(incarnation).run_one()) order.push_back(*name);
      if (turn() == 0) return order;
    }
  }

  /// Starts what the dispatcher has asked for; returns how many.
  std::size_t start_requested() {
    const auto wanted = std::exchange(effects.starts, {});
    for (const unsigned index : wanted) live_worker(index);
    return wanted.size();
  }

  hand_worker& worker(std::uint64_t incarnation) { return workers.at(incarnation); }
  front::worker& record(std::uint64_t incarnation) {
    front::worker* found = nullptr;
    d.workers().each_worker([&](front::worker& w) {
      if (w.incarnation == incarnation) found = &w;
    });
    if (found == nullptr) throw std::logic_error("no such worker");
    return *found;
  }

  /// A prepared task; its entry is its name.
  front::task_record& task(std::uint64_t name, std::uint64_t bytes = 0) {
    front::task_record& t = records.acquire();
    t.call = {name, 0, bytes};
    make_details(t).terms = {};
    t.special = true; // terms may be set from here on
    t.may_wait = true;
    return t;
  }

  /// One of the usual kind, without terms.
  front::task_record& plain_task(std::uint64_t name) {
    front::task_record& t = records.acquire();
    t.call = {name, 0, 0};
    t.may_wait = true;
    return t;
  }

  front::task_record& submit(front::task_record& t) {
    d.submit(t, now);
    d.pump(now);
    return t;
  }
  front::task_record& submit(std::uint64_t name, std::uint64_t bytes = 0) { return submit(task(name, bytes)); }

  void cancel(front::task_record& t, front::cancel_strength strength = front::cancel_strength::terminal) {
    d.cancel(t, t.ticket.load(), strength, now);
    d.pump(now);
  }

  /// One turn: drain, tick, pump.
  std::size_t turn() {
    const std::size_t moved = d.drain(256, now);
    d.tick(now);
    d.pump(now);
    return moved;
  }

  void advance(duration by) {
    now += by;
    turn();
  }

  static worker_exit killed_by(int signal) {
    worker_exit e;
    e.status_known = true;
    e.signal = signal;
    return e;
  }

  void pidfd_fires(std::uint64_t incarnation) {
    d.workers().died(incarnation, now);
    d.pump(now);
  }
  void exited(std::uint64_t incarnation, int signal = SIGKILL) {
    d.workers().exited(incarnation, killed_by(signal), now);
    d.pump(now);
  }

  struct ended {
    std::uint64_t name;
    front::verdict outcome;
    net::error_code error;
    std::optional<worker_exit> exit;
    bool operator==(std::uint64_t other) const { return name == other; }
  };

  /// What has completed since the last call, in order.
  std::vector<ended> completed() {
    std::vector<ended> all;
    while (front::task_record* t = d.completed().pop_front()) {
      ended e{t->call.entry, t->outcome, {}, {}};
      if (t->outcome == front::verdict::failed) e.error = details(*t).error;
      if (t->has_cold_part && details(*t).exit) e.exit = *details(*t).exit;
      all.push_back(std::move(e));
      records.recycle(*t);
    }
    return all;
  }

  /// Names of completed tasks with that outcome; anything else fails the caller's comparison.
  std::vector<std::uint64_t> completed_as(front::verdict outcome) {
    std::vector<std::uint64_t> names;
    for (const ended& e : completed()) names.push_back(e.outcome == outcome ? e.name : ~e.name);
    return names;
  }

  recorded_effects effects;
  fake_engine engine;
  front::record_store& records = engine.records;
  front::dispatcher d;
  std::map<std::uint64_t, hand_worker> workers;
  std::uint64_t incarnations = 0;
  os::time_point now = os::time_point{} + 1h;
};

} // namespace coproc::testing
