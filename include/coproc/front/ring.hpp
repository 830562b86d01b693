// SPDX-License-Identifier: BSL-1.0
// The mailbox of one worker from the front end's side: the private mirror of its ring of slots, and the only validator
// of what the worker wrote there (rules R1 to R3, docs/protocol.md); and the words by which either side may sleep and
// be woken (rules W1 and W2). It knows nothing of processes and time. Nothing here makes a system call, but for waking
// a worker that is told to end. Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/front/worker_memory.hpp>
#include <coproc/os/cache.hpp>
#include <coproc/shm/sleep.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace coproc::detail::front {

class ring {
public:
  ring(std::shared_ptr<worker_memory> its_memory, std::uint64_t max_result_bytes)
      : memory(std::move(its_memory)), max_result_bytes_(max_result_bytes) {}
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  const std::shared_ptr<worker_memory> memory;
  shm::mailbox& mailbox() const noexcept { return memory->mailbox(); }

  // ---- what is in it

  /// Slots that are not free: with tasks, or with what was revoked and is not acknowledged.
  std::uint64_t load() const noexcept { return issued_ - drained_; }
  bool ring_full() const noexcept { return load() == shm::ring_slots; }
  /// Tasks in it that are neither finished nor revoked.
  std::size_t unfinished() const noexcept { return unfinished_; }
  /// Those of them that must run in this worker.
  std::size_t homebound() const noexcept { return homebound_; }
  /// Tasks that were published and not revoked since it was made; and those of them that have finished.
  std::uint64_t tasks_issued() const noexcept { return tasks_issued_; }
  std::uint64_t tasks_done() const noexcept { return tasks_done_; }

  /// The task that the worker runs or will begin next: the first that was not taken back.
  COPROC_LAZY task_record* head() const noexcept;

  /// Calls f(task) for each task that is issued here and not revoked, oldest first.
  template <class F>
  void each_issued(F f) {
    for (std::uint64_t seq = drained_; seq != issued_; ++seq)
      if (task_record* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  /// The same from the newest back to position `from`: the order for taking tasks back, since the worker, which goes on
  /// meanwhile from the other end, would otherwise begin one whose elder is already gone.
  template <class F>
  void each_issued_backwards(F f, std::uint64_t from = 0) {
    for (std::uint64_t seq = issued_; seq-- > std::max(drained_, from);)
      if (task_record* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  // ---- in and out

  /// Writes a task into the ring: bytes first, then READY (rules R1 and R2, docs/protocol.md).
  COPROC_LAZY void publish(task_record& t) noexcept;

  /// Takes `t` back unless the worker has begun it. The slot stays occupied until the worker acknowledges (rule R1,
  /// docs/protocol.md).
  COPROC_LAZY bool revoke(task_record& t) noexcept;

  enum class drained_kind { nothing, finished, acknowledged, violation };
  struct drained {
    drained_kind kind;
    task_record* task = nullptr; ///< finished: with outcome and result set
    std::uint64_t ran_ns = 0;    ///< finished: as the worker says; 0: not measured
  };

  /// Consumes the head if it is DONE. Loads each worker-writable word once, validates, copies out (rule R3,
  /// docs/protocol.md).
  COPROC_LAZY drained drain_one() noexcept;

  /// The rest is forgotten; its tasks have been dealt with.
  COPROC_LAZY void clear() noexcept;

  // ---- what the worker says of it

  enum class task_state { ready, running, done, illegal };

  /// What the worker's word says of an issued task.
  COPROC_LAZY task_state state_of(const task_record& t) noexcept;

  /// Is the head DONE, or RUNNING? Hints, which no decision but of scheduling may rest on.
  COPROC_LAZY bool head_done() const noexcept;
  COPROC_LAZY bool runs_head() const noexcept;

  template <class Set>
  void add_head(Set& set) const noexcept {
    set.add(mailbox().at(drained_), shm::pack(drained_, shm::slot_state::done));
  }

  /// After death and drain: is what is left a legal ring, RUNNING? READY*, REVOKED only where revoked?
  COPROC_LAZY bool legal_remains() noexcept;

  /// Its initializer is through; by its own word, which decides nothing but scheduling.
  COPROC_LAZY bool initialized() const noexcept;

  /// It ends by its own will; by its own word, which decides nothing but scheduling.
  COPROC_LAZY bool says_it_left() const noexcept;

  // ---- who sleeps, and who is to be woken

  /// Something was published since the last take_debt(): if it sleeps, it must be woken (rule W1, docs/protocol.md).
  bool owes_wake_up() const noexcept { return owes_wake_up_; }
  /// A result was given back, for whose room it may be waiting: the same.
  COPROC_LAZY void owe_for_freed() noexcept;
  bool freed_since_flush() const noexcept { return memory->freed_since_flush.load(std::memory_order_relaxed); }
  /// After a fence that follows the publications. True: it must be woken, by shm::waker::wake().
  bool take_debt() noexcept {
    owes_wake_up_ = false;
    return waker_.must_wake(mailbox());
  }

  bool looks_asleep() const noexcept { return waker_.looks_asleep(mailbox()); }

  /// As far as it has said: when it last looked for tasks, or had run one that it timed and that took a while.
  bool runs_on(int cpu) const noexcept {
    return mailbox().worker.cpu.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(cpu) + 1;
  }

  /// Asks for a bell: the front end is about to sleep, or sleeps. 0: it polls.
  COPROC_LAZY void arm(std::uint64_t arm_epoch) noexcept;

  // ---- other news for the worker

  /// A message was sent on its control socket.
  COPROC_LAZY void message_sent() noexcept;

  /// 1 + the number of the CPU that the front end runs on.
  COPROC_LAZY void publish_front_end_cpu(std::uint32_t cpu) noexcept;

  COPROC_LAZY void request_shutdown() noexcept;

  COPROC_LAZY void raise_stop(const task_record& t) noexcept;

private:
  COPROC_LAZY static void demote_arguments(task_record& t) noexcept;

  // Slots come from another CPU's cache, records of a pool with many tasks from a far one: on their way while others
  // are seen to.
  COPROC_LAZY void prefetch_behind(std::uint64_t seq) const noexcept;

  COPROC_LAZY bool head_is(shm::slot_state s) const noexcept;

  // The head may be READY, RUNNING or DONE; never READY again once seen RUNNING; REVOKED only where revoked. Rule R3,
  // docs/protocol.md.
  COPROC_LAZY bool legal_head(std::uint64_t w) noexcept;

  COPROC_LAZY bool take_result(shm::slot& s, task_record& t) noexcept;

  // Of any kind and length, so this one alone would do; the other spares short values a call.
  template <class = void>
  [[gnu::noinline]] bool take_unusual_result(const shm::slot& s, task_record& t, const shm::packed_location& where,
                                             std::uint64_t length) noexcept;

  std::uint64_t max_result_bytes_;
  std::uint64_t issued_ = 0, drained_ = 0, tasks_issued_ = 0, tasks_done_ = 0;
  std::size_t unfinished_ = 0, homebound_ = 0;
  bool head_running_ = false;
  mutable bool initialized_ = false;
  bool owes_wake_up_ = false;
  shm::waker waker_;
  std::uint32_t front_end_cpu_ = 0;
  std::uint64_t armed_ = 0, sent_messages_ = 0;
  std::array<task_record*, shm::ring_slots> tasks_{};
  std::bitset<shm::ring_slots> revoked_;
};

} // namespace coproc::detail::front

#include <coproc/front/ring.ipp>
