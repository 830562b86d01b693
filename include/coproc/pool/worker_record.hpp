// SPDX-License-Identifier: BSL-1.0
// One incarnation of a worker as the front end sees it: its memory, the private mirror of its ring, and the validation of
// whatever it wrote. Nothing here makes a system call. Front end, under the dispatcher's mutex.
#pragma once

#include <coproc/os/cache.hpp>
#include <coproc/pool/result_account.hpp>
#include <coproc/pool/task_record.hpp>
#include <coproc/shm/sleep.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <vector>

namespace coproc::pool {

/// The shared memory of one incarnation as mapped by the front end. Kept alive by its worker_record, and by results that
/// still lie in it.
struct worker_memory {
  os::mapping mailbox_map;  ///< read-write
  os::mapping results_map;  ///< read-only

  shm::mailbox& mailbox() const noexcept { return *reinterpret_cast<shm::mailbox*>(mailbox_map.data()); }

  /// A result of its file has been decoded, or dropped. Any thread.
  void free_result(unsigned group) noexcept {
    results.done(group, [this](std::uint64_t n) {
      shm::store(shm::site::freed, mailbox().parent.freed, n, std::memory_order_release);
      note_freed();
    });
  }

  /// A loan of its views has ended. Any thread; no other has this loan.
  void give_back(unsigned loan) noexcept {
    const std::uint8_t now = returned[loan].load(std::memory_order_relaxed) ^ 1;
    returned[loan].store(now, std::memory_order_relaxed);
    shm::store(shm::site::returned, mailbox().parent.returned[loan], now, std::memory_order_release);
    note_freed();
  }

  /// The next flush wakes the worker if it sleeps: it may be waiting for room, or could give memory back to the system.
  void note_freed() noexcept {
    freed_since_flush.store(true, std::memory_order_release);
    if (freed_somewhere) freed_somewhere->store(true, std::memory_order_release);
  }

  result_account results;
  /// What the mailbox says. Relaxed: who has a loan has it by way of the worker. Atomic, because a broken one may lend it twice.
  shm::loan_flags returned{};

  std::atomic<bool> freed_since_flush{false};
  std::shared_ptr<std::atomic<bool>> freed_somewhere; ///< the dispatcher's; set after freed_since_flush
};

/// What the front end holds of a worker besides memory; pids are for people, signals go through the pidfd.
struct worker_handles {
  os::unique_fd control;   ///< front end's end of the control socket
  os::unique_fd eventfd;   ///< the worker's doorbell
  os::unique_fd pidfd;     ///< set by STARTED
  os::unique_fd statm;     ///< its /proc/<pid>/statm, which stays its own whatever becomes of the pid
  pid_t pid = 0;
};

/// How long a worker with tasks behind a running one goes without progress before others take them.
inline constexpr std::chrono::microseconds steal_after{200};

/// A template so that a file that makes no pool does not compile it.
template <class Task>
class basic_worker_record {
public:
  enum class state : std::uint8_t {
    starting,    ///< START sent
    live,        ///< takes tasks
    leaving,     ///< told to end in an orderly way, its ring is empty
    ending,      ///< SIGTERM sent: takes no more
    killed,      ///< SIGKILL sent
    dead,        ///< known dead; waits for its exit status
    quarantined, ///< survives SIGKILL: given up, its slot replaced
  };
  basic_worker_record(unsigned its_index, std::uint64_t its_incarnation, std::shared_ptr<worker_memory> its_memory,
                      std::uint64_t max_result_bytes)
      : index(its_index), incarnation(its_incarnation), memory(std::move(its_memory)), max_result_bytes_(max_result_bytes) {}

  const unsigned index;
  const std::uint64_t incarnation;
  const std::shared_ptr<worker_memory> memory;
  worker_handles handles;
  std::unique_ptr<basic_worker_record> next;    ///< in a list of the dead

  state status = state::starting;
  bool due = false;                             ///< to be replaced once its successor is ready; works until then
  bool relieved = false;                        ///< it is ready: no more tasks for this one
  exit_cause due_to = exit_cause::recycled;
  Task* victim = nullptr;                       ///< the task that the kill is meant for
  duration grace{};                             ///< between SIGTERM and SIGKILL
  time_point next_step = time_point::max();     ///< escalation, or the end of waiting for the exit status
  time_point born_at{};
  time_point start_deadline = time_point::max();///< to be initialized
  std::uint64_t tasks_issued = 0, tasks_done = 0;
  std::uint64_t task_limit = 0;                 ///< of tasks_issued; 0: none
  std::size_t homebound = 0;                    ///< tasks in its ring that must run here
  bool exit_known = false;
  worker_exit exit;                             ///< `cause` is why it is killed, from then on
  bool stalled = false;                         ///< did not start its head in time; no new work until it moves
  time_point deaf_since = time_point::max();    ///< its socket has been full since, though its ring is empty
  bool dirty = false;                           ///< published to since the last flush
  time_point head_since = time_point::max();    ///< when the present head was first seen at the head
  time_point head_deadline = time_point::max(); ///< head_since + its timeout
  time_point head_soft_deadline = time_point::max(); ///< head_since + its soft_timeout
  bool head_since_initialized = true;           ///< the worker was initialized by head_since
  bool head_woke_it = false;                    ///< it slept when the present head was given to it
  time_point active_at{};                       ///< last publication or progress
  time_point steal_at{};                        ///< not before, tasks behind its head may be taken
  time_point measured_at{};                     ///< its memory
  shm::waker waker;
  bool may_leave = false;                       ///< it was told to end when it is idle for long
  std::vector<std::uint32_t> segments;          ///< argument segments it was sent
  std::vector<std::uint32_t> unmap_backlog;     ///< segments it is still to be told to unmap

  shm::mailbox& mailbox() const noexcept { return memory->mailbox(); }
  std::uint64_t load() const noexcept { return issued_ - drained_; }
  bool ring_full() const noexcept { return load() == shm::ring_slots; }
  bool takes_work() const noexcept { return status == state::live && !stalled && !relieved && !exhausted() && !left(); }
  /// It has been given all tasks that it may run.
  bool exhausted() const noexcept { return task_limit != 0 && tasks_issued >= task_limit; }
  /// It ends by its own will, because it was idle for long; by its own word, which decides nothing but scheduling.
  bool left() const noexcept {
    return may_leave && mailbox().worker.phase.load(std::memory_order_relaxed) ==
                            static_cast<std::uint32_t>(shm::worker_phase::left);
  }
  /// Its initializer is through; by its own word, which decides nothing but scheduling.
  bool initialized() const noexcept {
    if (!initialized_)
      initialized_ = mailbox().worker.phase.load(std::memory_order_relaxed) >=
                     static_cast<std::uint32_t>(shm::worker_phase::initialized);
    return initialized_;
  }
  /// Tasks in its ring that are neither finished nor revoked.
  std::size_t unfinished() const noexcept { return unfinished_; }

  void publish(Task& t) noexcept {
    const std::uint64_t seq = issued_++;
    tasks_[seq % shm::ring_slots] = &t;
    revoked_.reset(seq % shm::ring_slots);
    t.where = place::issued;
    t.worker = this;
    t.seq = seq;
    ++unfinished_;
    ++tasks_issued;
    homebound += t.home >= 0;
    dirty = true;
    const std::size_t inline_length = t.arguments_inline() ? t.call.length : 0;
    shm::slot& s = mailbox().at(seq);
    const bool awaited = unfinished_ == 1; // who has another task to go on with fetches these lines sooner from where they are
    if (awaited && t.needs_segments()) demote_arguments(t);
    shm::publish(s, seq, t.call, t.inline_bytes(inline_length));
    if (awaited && inline_length > shm::first_line_bytes) {
      shm::demote_further_bytes(s, inline_length);
      os::demote(&s);
    }
  }

  /// Takes `t` back unless the worker has begun it. The slot stays occupied until the worker acknowledges.
  bool revoke(Task& t) noexcept {
    if (!shm::revoke(mailbox().at(t.seq), t.seq)) return false;
    tasks_[t.seq % shm::ring_slots] = nullptr;
    revoked_.set(t.seq % shm::ring_slots);
    t.worker = nullptr;
    --unfinished_;
    --tasks_issued;
    homebound -= t.home >= 0;
    return true;
  }

  /// Calls f(task) for each task that is issued here and not revoked, oldest first, from position `from` on.
  template <class F>
  void each_issued(F f, std::uint64_t from = 0) {
    for (std::uint64_t seq = std::max(drained_, from); seq != issued_; ++seq)
      if (Task* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  /// The task that the worker runs or will begin next: the first that was not taken back.
  Task* head() const noexcept {
    for (std::uint64_t seq = drained_; seq != issued_; ++seq)
      if (Task* t = tasks_[seq % shm::ring_slots]) return t;
    return nullptr;
  }

  /// The same from the newest back to position `from`: the order for taking tasks back, since the worker, which goes on
  /// meanwhile from the other end, would otherwise begin one whose elder is already gone.
  template <class F>
  void each_issued_backwards(F f, std::uint64_t from = 0) {
    for (std::uint64_t seq = issued_; seq-- > std::max(drained_, from);)
      if (Task* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  enum class drained_kind { nothing, finished, acknowledged, violation };
  struct drained {
    drained_kind kind;
    Task* task = nullptr;        ///< finished: with outcome and result set
    std::uint64_t ran_ns = 0;    ///< finished: as the worker says; 0: not measured
  };

  /// Consumes the head if it is DONE. Loads each worker-writable word once, validates, copies out (R3).
  drained drain_one() noexcept {
    if (load() == 0) return {drained_kind::nothing};
    const std::uint64_t seq = drained_;
    const std::size_t i = seq % shm::ring_slots;
    shm::slot& s = mailbox().at(seq);
    look_ahead(seq);
    const std::uint64_t w = shm::load_state(s);
    if (!legal_head(w)) return {drained_kind::violation};
    if (w != shm::pack(seq, shm::slot_state::done)) return {drained_kind::nothing};
    Task* const t = tasks_[i];
    if (t != nullptr && !take_result(s, *t)) return {drained_kind::violation};
    tasks_[i] = nullptr;
    ++drained_;
    head_running_ = false;
    const std::uint64_t ran_ns = s.entry.load(std::memory_order_relaxed);
    shm::release(s, seq);
    if (t == nullptr) return {drained_kind::acknowledged};
    --unfinished_;
    ++tasks_done;
    homebound -= t->home >= 0;
    t->worker = nullptr;
    return {drained_kind::finished, t, ran_ns};
  }

  /// One look at the head, for the race between sleeping and DONE.
  bool head_done() const noexcept {
    return head_is(shm::slot_state::done);
  }

  /// The same for RUNNING; a hint.
  bool runs_head() const noexcept {
    return head_is(shm::slot_state::running);
  }

  template <class Set>
  void add_head(Set& set) const noexcept {
    set.add(mailbox().at(drained_), shm::pack(drained_, shm::slot_state::done));
  }

  enum class task_state { ready, running, done, illegal };

  /// What the worker's word says of an issued task.
  task_state look(const Task& t) noexcept {
    const std::uint64_t w = shm::load_state(mailbox().at(t.seq));
    if (w == shm::pack(t.seq, shm::slot_state::running)) {
      if (t.seq == drained_) head_running_ = true;
      return task_state::running;
    }
    if (w == shm::pack(t.seq, shm::slot_state::ready))
      return t.seq == drained_ && head_running_ ? task_state::illegal : task_state::ready;
    return w == shm::pack(t.seq, shm::slot_state::done) ? task_state::done : task_state::illegal;
  }

  /// After death and drain: is what is left a legal ring, RUNNING? READY*, REVOKED only where revoked?
  bool legal_remains() noexcept {
    for (std::uint64_t seq = drained_; seq != issued_; ++seq) {
      const std::uint64_t w = shm::load_state(mailbox().at(seq));
      if (tasks_[seq % shm::ring_slots] == nullptr) {
        if (w != shm::pack(seq, shm::slot_state::revoked)) return false;
        continue;
      }
      if (w == shm::pack(seq, shm::slot_state::ready) && !(seq == drained_ && head_running_)) continue;
      if (w == shm::pack(seq, shm::slot_state::running) && seq == drained_) continue;
      return false;
    }
    return true;
  }

  /// Does it run the task at its head, as far as the front end has seen?
  bool head_running() const noexcept { return head_running_; }

  /// The rest of a dead ring is forgotten; its tasks have been dealt with.
  void clear_ring() noexcept {
    drained_ = issued_;
    unfinished_ = homebound = 0;
    tasks_.fill(nullptr);
  }

  /// A message was sent on its control socket.
  void message_sent() noexcept {
    shm::store(shm::site::sent_messages, mailbox().parent.sent_messages, ++sent_messages_, std::memory_order_release);
    dirty = true;
  }

  void publish_front_end_cpu(std::uint32_t cpu) noexcept {
    if (std::exchange(front_end_cpu_, cpu) != cpu)
      shm::store(shm::site::front_end_cpu, mailbox().parent.cpu, cpu, std::memory_order_relaxed);
  }

  void request_shutdown() noexcept {
    shm::store(shm::site::shutdown, mailbox().parent.shutdown, std::uint32_t{1}, std::memory_order_release);
    waker.force(mailbox());
    shm::waker::wake(mailbox());
  }

  void raise_stop(const Task& t) noexcept {
    shm::store(shm::site::stop, mailbox().parent.stop, t.seq + 1, std::memory_order_relaxed);
  }

  /// Asks for a ring: the front end is about to sleep, or sleeps. 0: it polls.
  void arm(std::uint64_t arm_epoch) noexcept {
    if (armed_ == arm_epoch) return;
    armed_ = arm_epoch;
    shm::store(shm::site::armed, mailbox().doorbell.armed, arm_epoch, std::memory_order_release);
  }

private:
  static void demote_arguments(Task& t) noexcept {
    const auto& block = t.cold().block;
    if (block) os::each_outer_line(block.data(), t.call.length, os::demote);
  }

  // Slots come from another CPU's cache, records of a pool with many tasks from a far one: on their way while others are seen to.
  void look_ahead(std::uint64_t seq) const noexcept {
    __builtin_prefetch(&mailbox().at(seq + 6).state);
    if (const Task* const t = tasks_[(seq + 3) % shm::ring_slots]) t->prefetch();
  }

  bool head_is(shm::slot_state s) const noexcept {
    return load() != 0 && shm::load_state(mailbox().at(drained_)) == shm::pack(drained_, s);
  }

  // The head may be READY, RUNNING or DONE; never READY again once seen RUNNING; REVOKED only where revoked.
  bool legal_head(std::uint64_t w) noexcept {
    const std::uint64_t seq = drained_;
    if (w == shm::pack(seq, shm::slot_state::done)) return true;
    const std::size_t i = seq % shm::ring_slots;
    if (revoked_.test(i)) return w == shm::pack(seq, shm::slot_state::revoked);
    if (w == shm::pack(seq, shm::slot_state::running)) return head_running_ = true;
    return w == shm::pack(seq, shm::slot_state::ready) && !head_running_;
  }

  bool take_result(shm::slot& s, Task& t) noexcept {
    const auto where = shm::packed_location::unpack(s.location.load(std::memory_order_relaxed));
    const std::uint64_t length = s.length.load(std::memory_order_relaxed);
    if (where.tag != static_cast<std::uint64_t>(shm::result_kind::value_inline) || length > Task::near_bytes)
      return take_unusual_result(s, t, where, length);
    shm::copy_few_bytes(t.bytes, s.bytes, length);
    t.result_length = length;
    t.outcome = verdict::value;
    return true;
  }

  // Of any kind and length, so this one alone would do; the other spares short values a call.
  [[gnu::noinline]] bool take_unusual_result(const shm::slot& s, Task& t, const shm::packed_location& where,
                                             std::uint64_t length) noexcept {
    auto kind = static_cast<shm::result_kind>(where.tag);
    const bool has_views = kind > shm::result_kind::exception_in_file;
    const auto tag = shm::result_tag::unpack(where.tag);
    if (has_views) {
      if (tag.loan >= shm::max_loans) return false;
      kind = tag.without_views();
    }
    switch (kind) {
    case shm::result_kind::value_inline:
    case shm::result_kind::exception_inline:
      if (length > shm::inline_bytes) return false;
      shm::copy_few_bytes(t.make_inline_room(length), s.bytes, length);
      break;
    case shm::result_kind::value_in_file:
    case shm::result_kind::exception_in_file: {
      const std::uint64_t file_bytes = memory->results_map.size();
      if (length > max_result_bytes_ || where.offset > file_bytes || length > file_bytes - where.offset) return false;
      auto& cold = t.make_cold();
      cold.far_result = memory->results_map.data() + where.offset;
      cold.result_owner = memory;
      cold.result_group = memory->results.drained();
      t.encumbered = t.result_in_file = true;
      break;
    }
    default: return false;
    }
    t.result_length = length;
    const bool threw = kind == shm::result_kind::exception_inline || kind == shm::result_kind::exception_in_file;
    t.outcome = threw ? verdict::exception : verdict::value;
    if (has_views) {
      auto& cold = t.make_cold();
      cold.result_owner = memory;
      cold.loan = static_cast<unsigned>(tag.loan);
      t.encumbered = true;
    }
    return true;
  }

  std::uint64_t max_result_bytes_;
  std::uint64_t issued_ = 0, drained_ = 0, armed_ = 0, sent_messages_ = 0;
  std::size_t unfinished_ = 0;
  std::uint32_t front_end_cpu_ = 0;
  bool head_running_ = false;
  mutable bool initialized_ = false;
  std::array<Task*, shm::ring_slots> tasks_{};
  std::bitset<shm::ring_slots> revoked_;
};

} // namespace coproc::pool
